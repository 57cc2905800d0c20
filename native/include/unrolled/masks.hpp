// Random masks from a counter (Philox4x32-10), the bits of unrolled/engines/masks.py.
#pragma once

#include "unrolled/types.hpp"

namespace unrolled {

// Inverted dropout of (T, B, N): a factor of 0 with probability p, otherwise of 1 / (1 - p).
struct Dropout {
  double p;
  u64 seed;
  u32 stream;
};

// The streams of a language model's masks, those of unrolled/engines/masks.py: behind a layer, and of the embedding.
constexpr u32 dropout_stream(i64 layer) { return 3u << 24 | static_cast<u32>(layer) << 4; }
constexpr u32 embedding_stream = 4u << 24;

}  // namespace unrolled

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

struct Philox {
  u32 words[4];
};

// Ten rounds over the counter (c0, c1, c2, c3) (Salmon, Moraes, Dror & Shaw 2011).
inline Philox philox(u32 c0, u32 c1, u32 c2, u32 c3, u64 seed) {
  u32 k0 = static_cast<u32>(seed), k1 = static_cast<u32>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const u64 a = static_cast<u64>(c0) * 0xD2511F53u, b = static_cast<u64>(c2) * 0xCD9E8D57u;
    c0 = static_cast<u32>(b >> 32) ^ c1 ^ k0;
    c1 = static_cast<u32>(b);
    c2 = static_cast<u32>(a >> 32) ^ c3 ^ k1;
    c3 = static_cast<u32>(a);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

}  // namespace unrolled

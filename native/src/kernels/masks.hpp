// Zoneout's bits: Philox4x32-10 from the counter (unit / 4, row, step, stream), as unrolled/engines/masks.py draws them.
#pragma once

#include "unrolled/masks.hpp"
#include "unrolled/recurrent.hpp"

namespace unrolled {
namespace {

// Bit j: unit u + j keeps its old value; n <= 32.
inline u32 zoneout_bits(const Zoneout& z, i64 t, i64 b, i64 u, int n) {
  const u64 threshold = static_cast<u64>(z.rate * 4294967296.0 + 0.5);
  u32 bits = 0;
  for (int j = 0; j < n;) {
    const Philox p = philox(static_cast<u32>((u + j) / 4), static_cast<u32>(b), static_cast<u32>(t), z.stream, z.seed);
    for (int k = static_cast<int>((u + j) % 4); k < 4 && j < n; ++k, ++j) bits |= static_cast<u32>(p.words[k] < threshold) << j;
  }
  return bits;
}

}  // namespace
}  // namespace unrolled

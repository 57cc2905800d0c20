// Inverted dropout by masks from a counter, drawn where they are used: drawing one again is cheaper than keeping it.
#pragma once

#include "unrolled/masks.hpp"

#include "sequence.hpp"

namespace unrolled {
namespace {

// Words of the counters (block, row, step, stream), (block + 1, ...), ... at words[4 * i + k]. Plain loops over lanes of 64
// bits, which compilers turn into the instruction set's own words; over lanes of 32 they do not.
struct PhiloxLanes {
  static constexpr int lanes = 16;
  u32 words[4 * lanes];

  void draw(u32 block, u32 row, u32 step, u32 stream, u64 seed) {
    u64 c0[lanes], c1[lanes], c2[lanes], c3[lanes];
    constexpr u64 low = 0xFFFFFFFF;
    for (int i = 0; i < lanes; ++i) c0[i] = block + static_cast<u32>(i), c1[i] = row, c2[i] = step, c3[i] = stream;
    u32 k0 = static_cast<u32>(seed), k1 = static_cast<u32>(seed >> 32);
    for (int round = 0; round < 10; ++round) {
      for (int i = 0; i < lanes; ++i) {
        const u64 a = (c0[i] & low) * 0xD2511F53, b = (c2[i] & low) * 0xCD9E8D57;
        c0[i] = (b >> 32) ^ c1[i] ^ k0;
        c1[i] = b & low;
        c2[i] = (a >> 32) ^ c3[i] ^ k1;
        c3[i] = a & low;
      }
      k0 += 0x9E3779B9;
      k1 += 0xBB67AE85;
    }
    for (int i = 0; i < lanes; ++i) {
      words[4 * i] = static_cast<u32>(c0[i]), words[4 * i + 1] = static_cast<u32>(c1[i]);
      words[4 * i + 2] = static_cast<u32>(c2[i]), words[4 * i + 3] = static_cast<u32>(c3[i]);
    }
  }
};

template <class S>
void drop_of(const Dropout& d, const typename S::Real* x, typename S::Real* y, i64 T, i64 B, i64 N, int threads) {
  using Real = typename S::Real;
  constexpr i64 wide = 4 * PhiloxLanes::lanes;
  auto task = [=](Member& me) {
    const u64 threshold = static_cast<u64>(d.p * 4294967296.0 + 0.5);
    const u32 last = static_cast<u32>(threshold - 1);  // the largest word that drops, where any does
    const Real kept = static_cast<Real>(1.0 / (1.0 - d.p)), lost = threshold ? Real(0) : kept;
    PhiloxLanes drawn;
    Real factor[wide];
    for (i64 m = split(T * B, me.size, me.index); m < split(T * B, me.size, me.index + 1); ++m)
      for (i64 n0 = 0; n0 < N; n0 += wide) {
        drawn.draw(static_cast<u32>(n0 / 4), static_cast<u32>(m % B), static_cast<u32>(m / B), d.stream, d.seed);
        for (i64 j = 0; j < wide; ++j) factor[j] = drawn.words[j] <= last ? lost : kept;
        const i64 n = N - n0 < wide ? N - n0 : wide, at = m * N + n0;
        if (x) {
          for (i64 j = 0; j < n; ++j) y[at + j] = x[at + j] * factor[j];
        } else {
          for (i64 j = 0; j < n; ++j) y[at + j] = factor[j];
        }
      }
  };
  parallel(T * B * N < 100000 ? 1 : threads, task);
}

}  // namespace
}  // namespace unrolled

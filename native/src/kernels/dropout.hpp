// Inverted dropout by masks from a counter, drawn where they are used: drawing one again is cheaper than keeping it.
#pragma once

#include "masks.hpp"
#include "sequence.hpp"

namespace unrolled {
namespace {

template <class S>
void drop_of(const Dropout& d, const typename S::Real* x, typename S::Real* y, i64 T, i64 B, i64 N, int threads) {
  using Real = typename S::Real;
  constexpr i64 wide = PhiloxLanes::wide;
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

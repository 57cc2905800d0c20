// The right side of a product, B (K, N), as it is packed: in panels [panel][k][NV * width], or split for tiles.
#pragma once

#include "unrolled/types.hpp"

namespace unrolled {
namespace {

inline i64 larger(i64 a, i64 b) { return a > b ? a : b; }
inline i64 smaller(i64 a, i64 b) { return a < b ? a : b; }

// How the columns of B lie in panels: consecutive, or `nv` gates of the same `width` units side by side.
template <class S>
struct Panels {
  i64 N;         // columns in all; where gates stand side by side, of one gate
  int nv;        // vectors in a panel
  bool gated;    // vector v is gate v
  bool split = false;  // for tiles: see tiles.hpp
  i64 step() const { return nv * S::width; }
  i64 units() const { return gated ? S::width : step(); }
  i64 count() const { return ceil_div(N, units()); }
  i64 size_of_one(i64 K) const { return split ? ceil_div(K, 32) * 768 * nv : K * step(); }  // Real's numbers
  i64 size(i64 K) const { return count() * size_of_one(K); }
  // Where vector v of panel p begins among B's columns, and how many of its lanes exist.
  i64 start(i64 p, int v) const { return gated ? v * N + p * S::width : p * step() + v * S::width; }
  // Where panel p of packed numbers with K rows lies; null where there is none (-1), or nothing packed.
  const typename S::Real* at(const typename S::Real* packed, i64 K, i64 p) const {
    return packed && p >= 0 ? packed + p * size_of_one(K) : nullptr;
  }
  // Where column j stands among the count() x step() numbers of a row of all panels.
  i64 place(i64 j) const {
    return gated ? j % N / S::width * step() + j / N * S::width + j % N % S::width : j;
  }
  int lanes(i64 p, int v) const {
    const i64 left = gated ? N - p * S::width : N - (p * step() + v * S::width);
    return static_cast<int>(left < 0 ? 0 : left < S::width ? left : S::width);
  }
};

// A row of B, times `scale` where given; a missing one (null) is zeros.
template <class Real>
struct Source {
  const Real* row = nullptr;
  const Real* scale = nullptr;
};

}  // namespace
}  // namespace unrolled

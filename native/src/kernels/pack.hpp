// How the right side of a product is packed into its panels.
#pragma once

#include "unrolled/threads.hpp"

#include "tiles.hpp"

namespace unrolled {
namespace {

// Where the i-th of `parts` shares of M begins: 32 rows in tiles of at most 6 are 6 6 5 5 5 5, not 6 6 6 6 6 2.
inline i64 split(i64 M, i64 parts, i64 i) { return M * i / parts; }

// B[k][n] = src[n * ld + k]: a weight as torch keeps it, used as h W^T. Panels [p0, p1), of which `first` lies at `out`.
template <class S>
void pack_transposed(const Panels<S>& panels, i64 K, const typename S::Real* src, i64 ld, typename S::Real* out, i64 p0,
                     i64 p1, i64 first = 0) {
  if constexpr (has_tiles<S>)
    if (panels.split) return split_transposed<S>(panels, K, src, ld, out, p0, p1, first);
  constexpr int W = S::width;
  const i64 step = panels.step();
  for (i64 p = p0; p < p1; ++p)
    for (int v = 0; v < panels.nv; ++v) {
      const int lanes = panels.lanes(p, v);
      const typename S::Real* from = src + panels.start(p, v) * ld;
      typename S::Real* to = out + (p - first) * K * step + v * W;
      i64 k0 = 0;
      if constexpr (requires(typename S::Vec (&r)[W]) { S::transpose(r); }) {
        for (; k0 < K; k0 += W) {
          const int depth = static_cast<int>(K - k0 < W ? K - k0 : W);
          typename S::Vec r[W];
          for (int n = 0; n < lanes; ++n) prefetch(from + n * ld + k0 + 8 * W);  // rows lie pages apart
          if (lanes == W && depth == W) {
            for (int n = 0; n < W; ++n) r[n] = S::load(from + n * ld + k0);
          } else {
            for (int n = 0; n < W; ++n) r[n] = n < lanes ? S::load_n(from + n * ld + k0, depth) : S::zero();
          }
          S::transpose(r);
          for (int k = 0; k < depth; ++k) S::store(to + (k0 + k) * step, r[k]);
        }
      }
      for (; k0 < K; k0 += 16) {  // 16 x W at a time: both sides stay in the first cache
        const i64 k1 = k0 + 16 < K ? k0 + 16 : K;
        for (i64 k = k0; k < k1; ++k)
          for (int n = 0; n < W; ++n) to[k * step + n] = n < lanes ? from[n * ld + k] : 0;
      }
    }
}

// B[k][n] = the n-th number of `from`, in all panels.
template <class S>
void pack_row(const Panels<S>& panels, i64 K, i64 k, const Source<typename S::Real>& from, typename S::Real* out) {
  constexpr int W = S::width;
  const i64 step = panels.step();
  const typename S::Real *row = from.row, *scale = from.scale;
  for (i64 p = 0; p < panels.count(); ++p)
    for (int v = 0; v < panels.nv; ++v) {
      typename S::Real* to = out + (p * K + k) * step + v * W;
      const int lanes = panels.lanes(p, v);
      const i64 start = panels.start(p, v);
      if (!row || lanes == 0) {
        S::store(to, S::zero());
      } else {
        auto a = lanes == W ? S::load(row + start) : S::load_n(row + start, lanes);
        if (scale) a = S::mul(a, lanes == W ? S::load(scale + start) : S::load_n(scale + start, lanes));
        S::store(to, a);
      }
    }
}

// B of K rows, row_of(k) each: this member's share of them.
template <class S, class RowOf>
void pack_rows(const Panels<S>& panels, i64 K, const Member& me, RowOf row_of, typename S::Real* out) {
  if constexpr (has_tiles<S>)
    if (panels.split) {
      const i64 blocks = ceil_div(K, 32), to = split(blocks, me.size, me.index + 1) * 32;
      return split_rows<S>(panels, K, split(blocks, me.size, me.index) * 32, to, row_of, out, 0, panels.count(), 0);
    }
  for (i64 k = split(K, me.size, me.index); k < split(K, me.size, me.index + 1); ++k) pack_row<S>(panels, K, k, row_of(k), out);
}

}  // namespace
}  // namespace unrolled

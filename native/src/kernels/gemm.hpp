// Matrix products with one order of summation: every element of C is ONE chain of fused multiply-adds along K, from
// k = 0 upward, whatever the tile it falls into. So neither the number of threads, nor the rows beside it, nor the way K is
// cut into blocks (a chain is put down in C and taken up again) changes a bit of it.
//
// B is packed into panels [panel][k][NV * width]; A is read row by row, or packed into tiles [k][rows of the tile].
#pragma once

#include "unrolled/types.hpp"

namespace unrolled {
namespace {

// Rows a tile may have so that accumulators, one row of the panel and a broadcast stay in registers.
template <class S>
constexpr int tile_rows(int nv) {
  return S::registers >= 32 ? (nv == 4 ? 6 : 8) : (nv == 4 ? 3 : nv == 3 ? 4 : nv == 2 ? 6 : 8);
}

// How the columns of B lie in panels: consecutive, or `nv` gates of the same `width` units side by side.
template <class S>
struct Panels {
  i64 N;         // columns in all; where gates stand side by side, of one gate
  int nv;        // vectors in a panel
  bool gated;    // vector v is gate v
  i64 step() const { return nv * S::width; }
  i64 units() const { return gated ? S::width : step(); }
  i64 count() const { return ceil_div(N, units()); }
  i64 size(i64 K) const { return count() * K * step(); }
  // Where vector v of panel p begins among B's columns, and how many of its lanes exist.
  i64 start(i64 p, int v) const { return gated ? v * N + p * S::width : p * step() + v * S::width; }
  int lanes(i64 p, int v) const {
    const i64 left = gated ? N - p * S::width : N - (p * step() + v * S::width);
    return static_cast<int>(left < 0 ? 0 : left < S::width ? left : S::width);
  }
};

// B[k][n] = src[n * ld + k]: a weight as torch keeps it, used as h W^T. Panels [p0, p1), of which `first` lies at `out`.
template <class S>
void pack_transposed(const Panels<S>& panels, i64 K, const typename S::Real* src, i64 ld, typename S::Real* out, i64 p0,
                     i64 p1, i64 first = 0) {
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

// B[k][n] = row[n], times scale[n] where given; a missing row (null) is zeros. Panels [p0, p1).
template <class S>
void pack_row(const Panels<S>& panels, i64 K, i64 k, const typename S::Real* row, const typename S::Real* scale,
              typename S::Real* out, i64 p0, i64 p1) {
  constexpr int W = S::width;
  const i64 step = panels.step();
  for (i64 p = p0; p < p1; ++p)
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

enum class Begin { zero, bias, load };  // what a chain starts from: 0, a row shared by all rows, or C itself

// C (MR, NV * width) from A (MR, K) and one panel. a[r * row + k * along]; `tail` lanes of the last vector are C's.
template <class S, int MR, int NV, bool Tiled>
void tile(i64 K, const typename S::Real* a, i64 lda, const typename S::Real* b, i64 ldb, Begin begin,
          const typename S::Real* bias, typename S::Real* c, i64 ldc, int tail) {
  using Vec = typename S::Vec;
  constexpr int W = S::width;
  Vec acc[MR][NV];
  if (begin == Begin::zero) {
    for (int r = 0; r < MR; ++r)
      for (int v = 0; v < NV; ++v) acc[r][v] = S::zero();
  } else {
    for (int r = 0; r < MR; ++r) {
      const typename S::Real* from = begin == Begin::bias ? bias : c + r * ldc;
      for (int v = 0; v < NV; ++v)
        acc[r][v] = v == NV - 1 && tail < W ? S::load_n(from + v * W, tail) : S::load(from + v * W);
    }
  }
  for (i64 k = 0; k < K; ++k) {
    Vec row[NV];
    for (int v = 0; v < NV; ++v) row[v] = S::load(b + k * ldb + v * W);
    for (int r = 0; r < MR; ++r) {
      const Vec x = S::set1(Tiled ? a[k * MR + r] : a[r * lda + k]);
      for (int v = 0; v < NV; ++v) acc[r][v] = S::fma(x, row[v], acc[r][v]);
    }
  }
  for (int r = 0; r < MR; ++r)
    for (int v = 0; v < NV; ++v) {
      if (v == NV - 1 && tail < W)
        S::store_n(c + r * ldc + v * W, acc[r][v], tail);
      else
        S::store(c + r * ldc + v * W, acc[r][v]);
    }
}

template <class S>
using TileFunction = void (*)(i64, const typename S::Real*, i64, const typename S::Real*, i64, Begin,
                              const typename S::Real*, typename S::Real*, i64, int);

template <class S, bool Tiled>
TileFunction<S> tile_for(int mr, int nv) {
#define UNROLLED_ROWS(NV)                                                                                    \
  {                                                                                                          \
    tile<S, 1, NV, Tiled>, tile<S, 2, NV, Tiled>, tile<S, 3, NV, Tiled>, tile<S, 4, NV, Tiled>,               \
        tile<S, (tile_rows<S>(NV) >= 5 ? 5 : 1), NV, Tiled>, tile<S, (tile_rows<S>(NV) >= 6 ? 6 : 1), NV, Tiled>, \
        tile<S, (tile_rows<S>(NV) >= 7 ? 7 : 1), NV, Tiled>, tile<S, (tile_rows<S>(NV) >= 8 ? 8 : 1), NV, Tiled> \
  }
  static constexpr TileFunction<S> table[4][8] = {UNROLLED_ROWS(1), UNROLLED_ROWS(2), UNROLLED_ROWS(3), UNROLLED_ROWS(4)};
#undef UNROLLED_ROWS
  return table[nv - 1][mr - 1];
}

// Where a tile's rows end when M rows are dealt out evenly: 32 rows in tiles of at most 6 are 6 6 5 5 5 5, not 6 6 6 6 6 2.
inline i64 split(i64 M, i64 parts, i64 i) { return M * i / parts; }

// C = A B for one panel: A (M, K) with rows `lda` apart, C (M, the panel's columns) with rows `ldc` apart. The panels hold
// K_all rows, of which [k_from, k_from + K) are used; a long K is cut so that a quarter MiB of the panel stays in L2.
// With `ldb`, B is not packed: its rows lie `ldb` apart, and its columns are a multiple of the register's width.
template <class S>
void product_panel(i64 M, i64 K, const typename S::Real* a, i64 lda, const Panels<S>& panels, i64 p,
                   const typename S::Real* packed, i64 K_all, i64 k_from, Begin begin, const typename S::Real* bias,
                   typename S::Real* c, i64 ldc, i64 ldb = 0) {
  const i64 step = panels.step(), row = ldb ? ldb : step;
  int nv = panels.nv;
  while (nv > 1 && panels.lanes(p, nv - 1) == 0) --nv;
  const int tail = panels.lanes(p, nv - 1);
  const i64 tiles = ceil_div(M, tile_rows<S>(nv));
  const i64 max_k = 262144 / static_cast<i64>(sizeof(typename S::Real)) / step;
  const i64 blocks = K > max_k ? ceil_div(K, max_k) : 1;
  for (i64 block = 0; block < blocks; ++block) {
    const i64 k0 = split(K, blocks, block), k1 = split(K, blocks, block + 1);
    const typename S::Real* b = ldb ? packed + (k_from + k0) * ldb + p * step : packed + (p * K_all + k_from + k0) * step;
    for (i64 i = 0; i < tiles; ++i) {
      const i64 r0 = split(M, tiles, i), r1 = split(M, tiles, i + 1);
      tile_for<S, false>(static_cast<int>(r1 - r0), nv)(k1 - k0, a + r0 * lda + k0, lda, b, row,
                                                        block ? Begin::load : begin, bias, c + r0 * ldc, ldc, tail);
    }
  }
}

// As product_panel(), from a weight that is not packed yet: this panel is, into `room`, where it meets its rows while it
// still lies in the second cache.
template <class S>
void product_passing(i64 M, i64 K, const typename S::Real* a, i64 lda, const Panels<S>& panels, i64 p,
                     const typename S::Real* weight, typename S::Real* room, Begin begin, const typename S::Real* bias,
                     typename S::Real* c, i64 ldc) {
  pack_transposed<S>(panels, K, weight, K, room, p, p + 1, p);
  product_panel<S>(M, K, a, lda, panels, p, room, 0, 0, begin, bias, c, ldc);  // panels of no rows: each lies at `room`
}

// C = A B over panels [p0, p1) of consecutive columns; `bias` has a number for each of them.
template <class S>
void product(i64 M, i64 K, const typename S::Real* a, i64 lda, const Panels<S>& panels, const typename S::Real* packed,
             i64 K_all, i64 k_from, Begin begin, const typename S::Real* bias, typename S::Real* c, i64 ldc, i64 p0,
             i64 p1, i64 ldb = 0) {
  for (i64 p = p0; p < p1; ++p)
    product_panel<S>(M, K, a, lda, panels, p, packed, K_all, k_from, begin, bias ? bias + p * panels.step() : nullptr,
                     c + p * panels.step(), ldc, ldb);
}

// As product(), for many rows: blocks of rows whose A stays in the second cache while all panels pass.
template <class S>
void product_tall(i64 M, i64 K, const typename S::Real* a, i64 lda, const Panels<S>& panels,
                  const typename S::Real* packed, i64 K_all, i64 k_from, Begin begin, const typename S::Real* bias,
                  typename S::Real* c, i64 ldc, i64 p0, i64 p1, i64 ldb = 0) {
  const i64 bytes = K * static_cast<i64>(sizeof(typename S::Real));
  i64 rows = 393216 / (bytes ? bytes : 1);
  rows = rows < 48 ? 48 : rows > 384 ? 384 : rows / 6 * 6;
  for (i64 m = 0; m < M; m += rows)
    product<S>(m + rows < M ? rows : M - m, K, a + m * lda, lda, panels, packed, K_all, k_from, begin, bias, c + m * ldc,
               ldc, p0, p1, ldb);
}

// One product of product_outer(): packed B (K, N) and the C (M, N) it is added to.
template <class S>
struct Target {
  Panels<S> panels;
  const typename S::Real* packed;
  typename S::Real* c;
  i64 ldc;
};

// From one packed tile of product_outer() to the next: a line more than the tile, since tiles that lie whole pages apart
// meet in one set of the first cache.
template <class S>
i64 tiles_apart(i64 K) {
  return K * tile_rows<S>(4) + 64 / static_cast<i64>(sizeof(typename S::Real));
}
template <class S>
i64 tiles_size(i64 K, i64 chunk) {
  return ceil_div(chunk, tile_rows<S>(4)) * tiles_apart<S>(K);
}

// C += A^T B over a block of K rows, for each target: A is (K, M) with rows `lda` apart, of which columns [m0, m1) are done.
// They are packed here, `chunk` at a time, into `tiles` (tiles_size() numbers). `fresh`: C = A^T B.
template <class S>
void product_outer(i64 K, const typename S::Real* a, i64 lda, i64 m0, i64 m1, typename S::Real* tiles, i64 chunk,
                   const Target<S>* targets, int count, bool fresh) {
  constexpr int rows = tile_rows<S>(4);
  constexpr i64 ahead = 16, in_cache = 524288 / static_cast<i64>(sizeof(typename S::Real));
  const i64 apart = tiles_apart<S>(K);
  for (i64 c0 = m0; c0 < m1; c0 += chunk) {
    const i64 c1 = c0 + chunk < m1 ? c0 + chunk : m1, n = ceil_div(c1 - c0, rows);
    for (i64 k = 0; k < K; ++k) {
      const typename S::Real* row = a + k * lda + c0;
      // Rows lie pages apart, where no processor looks ahead by itself.
      for (i64 m = 0; m < c1 - c0; m += 64 / static_cast<i64>(sizeof(typename S::Real))) __builtin_prefetch(row + ahead * lda + m);
      for (i64 i = 0; i < n; ++i) {
        const i64 r0 = i * rows, mr = c1 - c0 - r0 < rows ? c1 - c0 - r0 : rows;
        typename S::Real* to = tiles + i * apart + k * mr;
        if (mr == rows)
          for (int r = 0; r < rows; ++r) to[r] = row[r0 + r];
        else
          for (i64 r = 0; r < mr; ++r) to[r] = row[r0 + r];
      }
    }
    for (int j = 0; j < count; ++j) {
      const Target<S>& target = targets[j];
      const i64 step = target.panels.step(), panels = target.panels.count();
      const auto one = [&](i64 p, i64 i) {
        int nv = target.panels.nv;
        while (nv > 1 && target.panels.lanes(p, nv - 1) == 0) --nv;
        const i64 r0 = i * rows, mr = c1 - c0 - r0 < rows ? c1 - c0 - r0 : rows;
        tile_for<S, true>(static_cast<int>(mr), nv)(K, tiles + i * apart, 0, target.packed + p * K * step, step,
                                                    fresh ? Begin::zero : Begin::load, nullptr,
                                                    target.c + (c0 + r0) * target.ldc + p * step, target.ldc,
                                                    target.panels.lanes(p, nv - 1));
      };
      if (panels * K * step <= in_cache) {  // C is written along its rows, and a tile of A stays in the first cache
        for (i64 i = 0; i < n; ++i)
          for (i64 p = 0; p < panels; ++p) one(p, i);
      } else {
        for (i64 p = 0; p < panels; ++p)
          for (i64 i = 0; i < n; ++i) one(p, i);
      }
    }
  }
}

}  // namespace
}  // namespace unrolled

// Matrix products with one order of summation: every element of C is ONE chain of fused multiply-adds along K, from
// k = 0 upward, whatever the tile it falls into. So neither the number of threads, nor the rows beside it, nor the way K is
// cut into blocks (a chain is put down in C and taken up again) changes a bit of it.
//
// B is packed into panels [panel][k][NV * width]; A is read row by row, or packed into tiles [k][rows of the tile]. Where
// panels are split, the products are those of tiles.hpp, whose order of summation is another, and as fixed.
#pragma once

#include "pack.hpp"

namespace unrolled {
namespace {

// Numbers in a line of the cache.
template <class S>
constexpr i64 line_of = 64 / static_cast<i64>(sizeof(typename S::Real));

// Rows a tile may have so that accumulators, one row of the panel and a broadcast stay in registers.
template <class S>
constexpr int tile_rows(int nv) {
  return S::registers >= 32 ? (nv == 4 ? 6 : 8) : (nv == 4 ? 3 : nv == 3 ? 4 : nv == 2 ? 6 : 8);
}

// What a tile asks for while it works, a line for each k: C where the next tile begins (null: it is in the cache), then
// the panel that comes next, from here on.
template <class Real>
struct Soon {
  const Real* b;
  const Real* c;
};

// C (MR, NV * width) from A (MR, K) and one panel. a[r * row + k * along]; `tail` lanes of the last vector are C's.
template <class S, int MR, int NV, bool Tiled>
void tile(i64 K, const typename S::Real* a, i64 lda, const typename S::Real* b, i64 ldb, Begin begin,
          const typename S::Real* bias, typename S::Real* c, i64 ldc, int tail, Soon<typename S::Real> soon) {
  using Vec = typename S::Vec;
  constexpr int W = S::width;
  const i64 of_c = soon.c ? MR * NV : 0;
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
    if constexpr (MR > 2) {  // one row and two use a line as fast as it comes: asking for another keeps it waiting
      if (k < of_c)
        prefetch_to_write(soon.c + k / NV * ldc + k % NV * W);
      else
        prefetch_second(soon.b + k * line_of<S>);
    }
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
                              const typename S::Real*, typename S::Real*, i64, int, Soon<typename S::Real>);

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

// The left side as products with these panels read it: its rows themselves, or split, in `room` (left_room() numbers). From
// column `gap_at` on they lie `gap` numbers further, which is for split panels alone.
template <class S>
const typename S::Real* left_of(const Panels<S>& panels, i64 M, i64 K, const typename S::Real* a, i64 lda,
                                typename S::Real* room, i64 gap_at = 0, i64 gap = 0) {
  if constexpr (has_tiles<S>)
    if (panels.split) {
      split_left<S>(M, K, a, lda, room, gap ? gap_at : K, gap);
      return room;
    }
  return a;
}
template <class S>
i64 left_room(const Panels<S>& panels, i64 M, i64 K) {
  return panels.split ? left_size(M, K) : 0;
}

// So many strips of M rows, from one to the next so far apart in A and in C: one member's rows of a batch, step after step.
struct Strips {
  i64 count = 1, a = 0, c = 0;
};

// C = A B for one panel: A (M, K) with rows `lda` apart, C (M, the panel's columns) with rows `ldc` apart. The panels hold
// K_all rows, of which [k_from, k_from + K) are used; a long K is cut so that a quarter MiB of the panel stays in L2.
// Of split panels A is what left_of() made, and k_from a multiple of 32. With `ldb`, B is not packed: its rows lie `ldb` apart, and its columns are a multiple of the register's width.
// `then`: the packed numbers that will be asked for after these, or null.
template <class S>
void product_panel(i64 M, i64 K, const typename S::Real* a, i64 lda, const Panels<S>& panels, i64 p,
                   const typename S::Real* packed, i64 K_all, i64 k_from, Begin begin, const typename S::Real* bias,
                   typename S::Real* c, i64 ldc, i64 ldb = 0, const typename S::Real* then = nullptr, Strips strips = {}) {
  if constexpr (has_tiles<S>)
    if (panels.split)
      return product_tiles<S>(M, K, a, panels, p, panels.at(packed, K_all, p), K_all ? K_all : K, k_from,
                              begin, bias, c, ldc);
  const i64 step = panels.step(), row = ldb ? ldb : step;
  int nv = panels.nv;
  while (nv > 1 && panels.lanes(p, nv - 1) == 0) --nv;
  const int tail = panels.lanes(p, nv - 1);
  const i64 each = ceil_div(M, tile_rows<S>(nv)), tiles = each * strips.count;
  const i64 max_k = 262144 / static_cast<i64>(sizeof(typename S::Real)) / step;
  const i64 blocks = K > max_k ? ceil_div(K, max_k) : 1;
  for (i64 block = 0; block < blocks; ++block) {
    const i64 k0 = split(K, blocks, block), k1 = split(K, blocks, block + 1);
    const typename S::Real* b = ldb ? packed + (k_from + k0) * ldb + p * step : packed + (p * K_all + k_from + k0) * step;
    const bool last = block + 1 == blocks;
    const typename S::Real* next = last ? then : ldb ? nullptr : b + (k1 - k0) * step;
    const typename S::Real* rows = a + k0;
    typename S::Real* to = c;
    for (i64 i = 0, j = 0; i < tiles; ++i) {
      const i64 r0 = split(M, each, j), r1 = split(M, each, j + 1);
      Soon<typename S::Real> soon{b, nullptr};
      if (next && i < step / line_of<S>) soon.b = next + i * (k1 - k0) * line_of<S>;
      if (ldc > 4 * S::width) soon.c = j + 1 < each ? to + r1 * ldc : i + 1 < tiles ? to + strips.c : last ? c + step : c;
      tile_for<S, false>(static_cast<int>(r1 - r0), nv)(k1 - k0, rows + r0 * lda, lda, b, row, block ? Begin::load : begin, bias,
                                                        to + r0 * ldc, ldc, tail, soon);
      if (++j == each) j = 0, rows += strips.a, to += strips.c;
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
             i64 p1, i64 ldb = 0, Strips strips = {}) {
  for (i64 p = p0; p < p1; ++p)
    product_panel<S>(M, K, a, lda, panels, p, packed, K_all, k_from, begin, bias ? bias + p * panels.step() : nullptr,
                     c + p * panels.step(), ldc, ldb,
                     ldb ? nullptr : panels.at(packed, K_all, p + 1 < p1 ? p + 1 : p0) + k_from * panels.step(), strips);
}

// Rows of A that stay in the second cache while all panels of product_tall() pass; for split panels, so many of its columns.
constexpr i64 tall_depth = 512;
template <class S>
i64 tall_rows(const Panels<S>& panels, i64 K) {
  if (panels.split) return 192;
  const i64 rows = 393216 / larger(K * static_cast<i64>(sizeof(typename S::Real)), 1);
  return rows < 48 ? 48 : rows > 384 ? 384 : rows / 6 * 6;
}
template <class S>
i64 tall_room(const Panels<S>& panels, i64 M, i64 K) {
  return left_room(panels, smaller(M, tall_rows(panels, K)), smaller(K, tall_depth));
}

// As product(), for many rows; `room`: tall_room() numbers.
template <class S>
void product_tall(i64 M, i64 K, const typename S::Real* a, i64 lda, const Panels<S>& panels,
                  const typename S::Real* packed, i64 K_all, i64 k_from, Begin begin, const typename S::Real* bias,
                  typename S::Real* c, i64 ldc, i64 p0, i64 p1, typename S::Real* room, i64 ldb = 0) {
  const i64 rows = tall_rows(panels, K);
  for (i64 m = 0; m < M; m += rows) {
    const i64 some = m + rows < M ? rows : M - m;
    const i64 depth = panels.split ? tall_depth : K;
    for (i64 k = 0, deep; k < K; k += deep) {
      deep = smaller(K - k, depth);
      product<S>(some, deep, left_of<S>(panels, some, deep, a + m * lda + k, lda, room), lda, panels, packed, K_all, k_from + k,
                 k ? Begin::load : begin, bias, c + m * ldc, ldc, p0, p1, ldb);
    }
  }
}

// As product_tall(), for strips of M rows, over all panels; not for split ones.
template <class S>
void product_strips(Strips strips, i64 M, i64 K, const typename S::Real* a, i64 lda, const Panels<S>& panels,
                    const typename S::Real* packed, Begin begin, const typename S::Real* bias, typename S::Real* c, i64 ldc) {
  const i64 together = larger(tall_rows(panels, K) / M, 1);
  for (i64 i = 0; i < strips.count; i += together)
    product<S>(M, K, a + i * strips.a, lda, panels, packed, K, 0, begin, bias, c + i * strips.c, ldc, 0, panels.count(), 0,
               {smaller(together, strips.count - i), strips.a, strips.c});
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
  const i64 size = ceil_div(chunk, tile_rows<S>(4)) * tiles_apart<S>(K);
  return has_tiles<S> ? larger(size, left_size(chunk, K)) : size;
}

// The first M columns of A (K rows, `lda` apart) as tiles, so many k at a time: they lie in the first cache then, and so do
// the ends of the tiles.
template <class S>
void pack_tiles(i64 K, const typename S::Real* a, i64 lda, i64 M, typename S::Real* tiles) {
  using Real = typename S::Real;
  constexpr int rows = tile_rows<S>(4), deep = 8, ahead = 16;
  const i64 apart = tiles_apart<S>(K);
  for (i64 k0 = 0; k0 < K; k0 += deep) {
    const i64 k1 = smaller(k0 + deep, K);
    for (i64 k = k0 + ahead; k < k1 + ahead; ++k)  // rows lie pages apart, where no processor looks ahead by itself
      for (i64 m = 0; m < M; m += line_of<S>) prefetch_second(a + k * lda + m);
    for (i64 r0 = 0; r0 < M; r0 += rows) {
      const i64 mr = smaller(M - r0, rows);
      Real* to = tiles + r0 / rows * apart;
      for (i64 k = k0; k < k1; ++k) {
        const Real* from = a + k * lda + r0;
        if (mr == rows)
          ::memcpy(to + k * rows, from, rows * sizeof(Real));
        else
          ::memcpy(to + k * mr, from, static_cast<size_t>(mr) * sizeof(Real));
      }
    }
  }
}

// The columns [c0, c1) of A, split, against all panels of each target.
template <class S>
void outer_tiles(i64 K, const float* a, i64 lda, i64 c0, i64 c1, float* tiles, const Target<S>* targets, int count, bool fresh) {
  for (i64 m = c0; m < c1; m += 16)
    split_columns<S>(K, a + m, lda, static_cast<int>(c1 - m < 16 ? c1 - m : 16),
                     reinterpret_cast<unsigned char*>(tiles + left_size(m - c0, K)));
  for (int j = 0; j < count; ++j) {
    const Target<S>& to = targets[j];
    for (i64 p = 0; p < to.panels.count(); ++p)
      product_tiles<S>(c1 - c0, K, tiles, to.panels, p, to.panels.at(to.packed, K, p), K, 0,
                       fresh ? Begin::zero : Begin::load, nullptr, to.c + c0 * to.ldc + p * to.panels.step(), to.ldc);
  }
}

// C += A^T B over a block of K rows, for each target: A is (K, M) with rows `lda` apart, of which columns [m0, m1) are done.
// They are packed here, `chunk` at a time, into `tiles` (tiles_size() numbers). `fresh`: C = A^T B.
template <class S>
void product_outer(i64 K, const typename S::Real* a, i64 lda, i64 m0, i64 m1, typename S::Real* tiles, i64 chunk,
                   const Target<S>* targets, int count, bool fresh) {
  constexpr int rows = tile_rows<S>(4);
  constexpr i64 in_cache = 524288 / static_cast<i64>(sizeof(typename S::Real));
  const i64 apart = tiles_apart<S>(K);
  for (i64 c0 = m0; c0 < m1; c0 += chunk) {
    const i64 c1 = c0 + chunk < m1 ? c0 + chunk : m1, n = ceil_div(c1 - c0, rows);
    if constexpr (has_tiles<S>)
      if (targets[0].panels.split) {
        outer_tiles<S>(K, a, lda, c0, c1, tiles, targets, count, fresh);
        continue;
      }
    pack_tiles<S>(K, a + c0, lda, c1 - c0, tiles);
    for (int j = 0; j < count; ++j) {
      const Target<S>& target = targets[j];
      const i64 step = target.panels.step(), panels = target.panels.count();
      const bool along = panels * K * step <= in_cache;  // C is written along its rows, and a tile of A stays in the first cache
      for (i64 at = 0; at < n * panels; ++at) {
        const i64 p = along ? at % panels : at / n, i = along ? at / panels : at % n;
        const i64 p_then = along ? (at + 1) % panels : (at + 1) / n, i_then = along ? (at + 1) / panels : (at + 1) % n;
        int nv = target.panels.nv;
        while (nv > 1 && target.panels.lanes(p, nv - 1) == 0) --nv;
        const i64 r0 = i * rows, mr = c1 - c0 - r0 < rows ? c1 - c0 - r0 : rows;
        const typename S::Real* b = target.packed + p * K * step;
        const bool more = !along && p + 1 < panels && i < step / line_of<S>;
        tile_for<S, true>(static_cast<int>(mr), nv)(
            K, tiles + i * apart, 0, b, step, fresh ? Begin::zero : Begin::load, nullptr, target.c + (c0 + r0) * target.ldc + p * step,
            target.ldc, target.panels.lanes(p, nv - 1),
            {more ? b + (step + i * line_of<S>) * K : b, target.c + (c0 + i_then * rows) * target.ldc + p_then * step});
      }
    }
  }
}

}  // namespace
}  // namespace unrolled

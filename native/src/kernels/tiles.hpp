// Products on a processor's tile unit, for the words that have one: operands are split into parts that the unit multiplies,
// and every element of C is summed in one order, a block of K after another, whatever rows and columns stand beside it.
//
// The left side A (M, K) is split into tiles [row / 16][block of K][part][row % 16][k]; a panel of the right side into
// [pair of vectors][block of K][part][vector of the pair][k / 2][column][k % 2], where the last pair may be a single one.
#pragma once

#include "panels.hpp"

namespace unrolled {
namespace {

template <class S>
constexpr bool has_tiles = requires { typename S::Session; };

// What a thread sets up before its first product, and again where other code may have run on it.
struct NoSession {
  void resume() {}
};
template <class S, bool = has_tiles<S>>
struct SessionOf {
  using type = NoSession;
};
template <class S>
struct SessionOf<S, true> {
  using type = typename S::Session;
};
template <class S>
using Session = typename SessionOf<S>::type;

enum class Begin { zero, bias, load };  // what a sum starts from: 0, a row shared by all rows, or C itself

// Whether products with a matrix (N, K) go over tiles. It depends on the matrix alone: a row's bits must not depend on
// the rows beside it. Small ones lie in the first caches, where splitting costs more than it saves.
template <class S>
bool splits(i64 N, i64 K) {
  return has_tiles<S> && N >= 64 && K >= 128 && N * K >= 16384;
}

// Where vector v of a panel has its high part of block k, in bytes; its other parts lie split_width() tiles further each.
template <class S>
i64 split_width(const Panels<S>& panels, int v) {
  return v + 1 < panels.nv || v % 2 == 1 ? 2 : 1;
}
template <class S>
i64 split_place(const Panels<S>& panels, i64 K, i64 k, int v) {
  return (v / 2 * 2 * ceil_div(K, 32) * 3 + k / 32 * 3 * split_width(panels, v) + v % 2) * S::tile_bytes;
}

// Numbers that the split left side of `rows` rows takes.
inline i64 left_size(i64 rows, i64 K) { return ceil_div(rows, 16) * ceil_div(K, 32) * 768; }

// Splits rows of A, `lda` apart. From column `gap_at` on they lie `gap` numbers further.
template <class S>
void split_left(i64 M, i64 K, const float* a, i64 lda, float* to, i64 gap_at, i64 gap) {
  const i64 blocks = ceil_div(K, 32);
  unsigned char* out = reinterpret_cast<unsigned char*>(to);
  for (i64 r = 0; r < M; ++r) {
    const float* row = a + r * lda;
    for (i64 block = 0; block < blocks; ++block) {
      const i64 k = block * 32;
      const int n = static_cast<int>(K - k < 32 ? K - k : 32);
      const float* from = row + k + (k >= gap_at ? gap : 0);
      float joined[32];
      if (k < gap_at && k + n > gap_at) {
        for (i64 j = 0; j < n; ++j) joined[j] = row[k + j + (k + j >= gap_at ? gap : 0)];
        from = joined;
      }
      S::split_row(n >= 16 ? S::load(from) : S::load_n(from, n), n == 32 ? S::load(from + 16) : n > 16 ? S::load_n(from + 16, n - 16) : S::zero(),
                   out + ((r / 16 * blocks + block) * 3 * 16 + r % 16) * 64);
    }
  }
}

// Splits columns [m0, m0 + n) of A (K, M), n up to 16, as 16 rows of a left side.
template <class S>
void split_columns(i64 K, const float* a, i64 lda, int n, unsigned char* out) {
  for (i64 k0 = 0; k0 < K; k0 += 32, out += 3 * S::tile_bytes) {
    typename S::Vec r[2][16];
    for (int k = 0; k < 32; ++k) {
      const float* row = a + (k0 + k) * lda;
      prefetch(row + 32 * lda);  // rows lie pages apart, where no processor looks ahead by itself
      r[k / 16][k % 16] = k0 + k >= K ? S::zero() : n == 16 ? S::load(row) : S::load_n(row, n);
    }
    S::transpose(r[0]), S::transpose(r[1]);
    for (int m = 0; m < 16; ++m) S::split_row(r[0][m], r[1][m], out + m * 64);
  }
}

// As pack_transposed().
template <class S>
void split_transposed(const Panels<S>& panels, i64 K, const float* src, i64 ld, float* out, i64 p0, i64 p1, i64 first) {
  for (i64 p = p0; p < p1; ++p) {
    unsigned char* panel = reinterpret_cast<unsigned char*>(out + (p - first) * panels.size_of_one(K));
    for (int v = 0; v < panels.nv; ++v) {
      const int lanes = panels.lanes(p, v);
      const float* from = src + panels.start(p, v) * ld;
      alignas(64) unsigned char left[3 * S::tile_bytes];
      for (i64 k = 0; k < K; k += 32) {
        const i64 depth = K - k < 32 ? K - k : 32;
        for (int n = 0; n < lanes; ++n)  // rows lie pages apart
          for (int line = 0; line < 2; ++line) prefetch(from + n * ld + k + 128 + 16 * line);
        if (lanes > 0) split_left<S>(lanes, depth, from + k, ld, reinterpret_cast<float*>(left), depth, 0);
        for (int part = 0; part < 3; ++part) {
          unsigned char* tile = left + part * S::tile_bytes;
          for (i64 i = lanes * 64; i < S::tile_bytes; ++i) tile[i] = 0;
          S::turn(tile, panel + split_place(panels, K, k, v) + part * split_width(panels, v) * S::tile_bytes);
        }
      }
    }
  }
}

// As pack_rows(): rows [k0, k1) and the zeros behind the last one; k0 and k1 are multiples of 32 or the end.
template <class S, class RowOf>
void split_rows(const Panels<S>& panels, i64 K, i64 k0, i64 k1, RowOf row_of, float* out, i64 p0, i64 p1, i64 first) {
  const auto numbers = [&](const Source<float>& from, i64 p, int v) {
    const int lanes = panels.lanes(p, v);
    if (!from.row || lanes == 0) return S::zero();
    const i64 start = panels.start(p, v);
    auto a = S::load_n(from.row + start, lanes);
    return from.scale ? S::mul(a, S::load_n(from.scale + start, lanes)) : a;
  };
  for (i64 k = k0; k < round_up(k1, 32); k += 2) {
    const Source<float> even = k < K ? row_of(k) : Source<float>{}, odd = k + 1 < K ? row_of(k + 1) : Source<float>{};
    for (i64 ahead = k + 16; p1 - p0 == 1 && ahead < k + 18 && ahead < K; ++ahead)  // a panel's part of rows that lie pages apart
      if (const float* row = row_of(ahead).row)
        for (int v = 0; v < panels.nv; ++v) prefetch(row + panels.start(p0, v));
    for (i64 p = p0; p < p1; ++p) {
      unsigned char* panel = reinterpret_cast<unsigned char*>(out + (p - first) * panels.size_of_one(K)) + k % 32 / 2 * 64;
      for (int v = 0; v < panels.nv; ++v)
        S::split_pair(numbers(even, p, v), numbers(odd, p, v), panel + split_place(panels, K, k, v),
                      split_width(panels, v) * S::tile_bytes);
    }
  }
}

// A corner of C: up to 2 x 2 tiles, of which `rows` rows and, in each column of tiles, `lanes` columns exist.
struct Corner {
  Begin begin;
  const float* bias;
  float* c;
  i64 ldc;
  int rows, lanes[2];
};

// Its product over `blocks` blocks of K, through a buffer where not all of it exists. For `next` see multiply().
template <class S, int MR, int NV>
void corner(i64 blocks, const unsigned char* a, i64 a_apart, const unsigned char* b, const Corner& at, const unsigned char* next,
            i64 next_step) {
  alignas(64) float buffer[MR * NV][256], ends[NV][16];
  const float* in[MR * NV];
  float* out[MR * NV];
  const bool whole = at.rows == MR * 16 && at.lanes[0] == 16 && at.lanes[NV - 1] == 16;
  const int height = MR == 1 && at.rows < 16 ? at.rows : 16;
  if (S::configured() != height) S::configure(height);
  // What is written comes closer while the unit works, or, where it is read first, while it works on the corner before.
  const float* soon = at.c + (at.begin == Begin::load ? MR * 16 * at.ldc : 0);
  for (int r = 0; r < at.rows; ++r)
    for (int j = 0; j < NV; ++j) prefetch_to_write(soon + r * at.ldc + j * 16);
  const auto each = [&](auto visit) {  // every row of a tile of C, beside its place in the buffer
    for (int i = 0; i < MR * NV; ++i)
      for (int r = 0; r < 16 && i / NV * 16 + r < at.rows; ++r)
        visit(buffer[i] + r * 16, at.c + (i / NV * 16 + r) * at.ldc + i % NV * 16, at.lanes[i % NV]);
  };
  for (int j = 0; j < NV; ++j)
    if (at.begin == Begin::bias && at.lanes[j] < 16) S::store(ends[j], S::load_n(at.bias + j * 16, at.lanes[j]));
  for (int i = 0; i < MR * NV; ++i) {
    out[i] = whole ? at.c + i / NV * 16 * at.ldc + i % NV * 16 : buffer[i];
    in[i] = at.begin != Begin::bias ? out[i] : at.lanes[i % NV] < 16 ? ends[i % NV] : at.bias + i % NV * 16;
  }
  if (!whole && at.begin == Begin::load) each([](float* kept, float* there, int n) { S::store(kept, S::load_n(there, n)); });
  const i64 apart = whole ? at.ldc * 4 : 64;
  S::template multiply<MR, NV>(blocks, a, a_apart, b, at.begin == Begin::zero ? nullptr : in, at.begin == Begin::bias ? 0 : apart,
                               out, apart, next, next_step);
  if (!whole) each([](float* kept, float* there, int n) { S::store_n(there, S::load(kept), n); });
}

// As product_panel(): `a` is what split_left() made of A's columns [k0, k0 + K), k0 a multiple of 32; `panel` is where this
// one lies, with all its K_all rows.
template <class S>
void product_tiles(i64 M, i64 K, const float* a, const Panels<S>& panels, i64 p, const float* panel, i64 K_all, i64 k0,
                   Begin begin, const float* bias, float* c, i64 ldc) {
  int nv = panels.nv;
  while (nv > 1 && panels.lanes(p, nv - 1) == 0) --nv;
  const auto lanes = [&](int v) { return v < nv - 1 ? 16 : v == nv - 1 ? panels.lanes(p, v) : 0; };
  const i64 blocks = ceil_div(K, 32), a_apart = blocks * 3 * S::tile_bytes;
  // While many rows pass, the columns that come next come closer, each turn of rows a share of them.
  const i64 share = M > 32 ? round_up(ceil_div(6 * S::tile_bytes, ceil_div(M, 32)), 64) : 0;
  for (int v = 0; v < nv; v += 2) {
    const unsigned char* b = reinterpret_cast<const unsigned char*>(panel) + split_place(panels, K_all, k0, v);
    const unsigned char* next = b + split_place(panels, K_all, 0, 2);
    for (i64 r = 0; r < M; r += 32, next += blocks * share) {
      const unsigned char* left = reinterpret_cast<const unsigned char*>(a) + r / 16 * a_apart;
      const int rows = static_cast<int>(M - r < 32 ? M - r : 32);
      const Corner at{begin, bias ? bias + v * 16 : bias, c + r * ldc + v * 16, ldc, rows, {lanes(v), lanes(v + 1)}};
      const auto with = rows > 16 ? split_width(panels, v) == 2 ? corner<S, 2, 2> : corner<S, 2, 1>
                                  : split_width(panels, v) == 2 ? corner<S, 1, 2> : corner<S, 1, 1>;
      with(blocks, left, a_apart, b, at, next, share);
    }
  }
}

}  // namespace
}  // namespace unrolled

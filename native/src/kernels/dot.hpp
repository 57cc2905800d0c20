// Products of 8-bit numbers, summed exactly in 32 bits: the same whole numbers whatever the processor, rows and threads.
#pragma once

#include "unrolled/types.hpp"

namespace unrolled {
namespace {

template <class Bytes, int MR, int NV, int W>
void dot_rows(i64 K, const signed char* a, i64 lda, const signed char* b, const int* sums, int* acc) {
  typename Bytes::Sum sum[MR][NV];
  for (int r = 0; r < MR; ++r)
    for (int v = 0; v < NV; ++v) sum[r][v] = Bytes::start(sums + v * W);
  for (i64 k = 0; k < K; k += 4)
    for (int r = 0; r < MR; ++r) {
      const auto x = Bytes::left(a + r * lda + k);
      for (int v = 0; v < NV; ++v) sum[r][v] = Bytes::add(sum[r][v], x, b + (k * NV + v * 4) * W);
    }
  for (int r = 0; r < MR; ++r)
    for (int v = 0; v < NV; ++v) Bytes::store(acc + (r * NV + v) * W, sum[r][v]);
}

template <class Bytes, int most, int NV, int W>
void dot_columns(i64 M, i64 K, const signed char* a, i64 lda, const signed char* b, const int* sums, int* acc) {
  i64 r = 0;
  for (; r + most <= M; r += most) dot_rows<Bytes, most, NV, W>(K, a + r * lda, lda, b, sums, acc + r * NV * W);
  for (; r + 2 <= M; r += 2) dot_rows<Bytes, 2, NV, W>(K, a + r * lda, lda, b, sums, acc + r * NV * W);
  for (; r < M; ++r) dot_rows<Bytes, 1, NV, W>(K, a + r * lda, lda, b, sums, acc + r * NV * W);
}

// acc[r][j] = sum over K (a multiple of 4) of a[r][k] b[k / 4][j][k % 4], for a panel of nv * W columns j, nv 3 or 4. `sums`
// holds the sum of b over k for each column, for instructions that want the left side shifted. `most` rows at a time.
template <class Bytes, int most, int W>
void dot_panel(i64 M, i64 K, int nv, const signed char* a, i64 lda, const signed char* b, const int* sums, int* acc) {
  if (nv == 3) dot_columns<Bytes, most, 3, W>(M, K, a, lda, b, sums, acc);
  else dot_columns<Bytes, most, 4, W>(M, K, a, lda, b, sums, acc);
}

}  // namespace
}  // namespace unrolled

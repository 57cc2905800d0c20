// The product of 8-bit numbers by AVX-512 VNNI: four of them a lane and instruction, summed exactly in 32 bits.
#include <immintrin.h>

#include "unrolled/types.hpp"

namespace unrolled {
namespace {

template <int MR, int NV>
void rows(i64 K, const u8* a, i64 lda, const signed char* b, int* acc) {
  __m512i sum[MR][NV];
  for (int r = 0; r < MR; ++r)
    for (int v = 0; v < NV; ++v) sum[r][v] = _mm512_setzero_si512();
  for (i64 k = 0; k < K; k += 4) {
    __m512i w[NV];
    for (int v = 0; v < NV; ++v) w[v] = _mm512_loadu_si512(b + (k * NV + v * 4) * 16);
    for (int r = 0; r < MR; ++r) {
      int four;
      __builtin_memcpy(&four, a + r * lda + k, 4);
      const __m512i x = _mm512_set1_epi32(four);
      for (int v = 0; v < NV; ++v) sum[r][v] = _mm512_dpbusd_epi32(sum[r][v], x, w[v]);
    }
  }
  for (int r = 0; r < MR; ++r)
    for (int v = 0; v < NV; ++v) _mm512_storeu_si512(acc + (r * NV + v) * 16, sum[r][v]);
}

template <int NV>
void panel(i64 M, i64 K, const u8* a, i64 lda, const signed char* b, int* acc) {
  i64 r = 0;
  for (; r + 6 <= M; r += 6) rows<6, NV>(K, a + r * lda, lda, b, acc + r * NV * 16);
  for (; r + 2 <= M; r += 2) rows<2, NV>(K, a + r * lda, lda, b, acc + r * NV * 16);
  for (; r < M; ++r) rows<1, NV>(K, a + r * lda, lda, b, acc + r * NV * 16);
}

}  // namespace

void vnni_panel(i64 M, i64 K, int nv, const u8* a, i64 lda, const signed char* b, int* acc);
void vnni_panel(i64 M, i64 K, int nv, const u8* a, i64 lda, const signed char* b, int* acc) {
  if (nv == 3) panel<3>(M, K, a, lda, b, acc);
  else panel<4>(M, K, a, lda, b, acc);
}

}  // namespace unrolled

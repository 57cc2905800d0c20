// The product of 8-bit numbers by AVX-512 VNNI: four of them a lane and instruction.
#include <immintrin.h>

#include "../kernels/dot.hpp"

namespace unrolled {
namespace {

// The left side is shifted by 128 to be unsigned, and so is what a sum starts from.
struct Vnni {
  using Sum = __m512i;
  static Sum start(const int* sums) { return _mm512_slli_epi32(_mm512_sub_epi32(_mm512_setzero_si512(), _mm512_loadu_si512(sums)), 7); }
  static __m512i left(const signed char* x) {
    int four;
    ::memcpy(&four, x, 4);
    return _mm512_set1_epi32(static_cast<int>(static_cast<u32>(four) ^ 0x80808080u));
  }
  static Sum add(Sum sum, __m512i x, const signed char* w) { return _mm512_dpbusd_epi32(sum, x, _mm512_loadu_si512(w)); }
  static void store(int* p, Sum a) { _mm512_storeu_si512(p, a); }
};

}  // namespace

void vnni_panel(i64 M, i64 K, int nv, const signed char* a, i64 lda, const signed char* b, const int* sums, int* acc);
void vnni_panel(i64 M, i64 K, int nv, const signed char* a, i64 lda, const signed char* b, const int* sums, int* acc) {
  dot_panel<Vnni, 6, 16>(M, K, nv, a, lda, b, sums, acc);
}

}  // namespace unrolled

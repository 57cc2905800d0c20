// AVX-512: 16 floats or 8 doubles a register, 32 registers.
//
// Every simd header offers the same words, so that a kernel is written once. Products are written as `fma` where one
// rounding is meant; the compiler is told to contract nothing of its own accord (-ffp-contract=off), or a tile of three
// rows could round otherwise than a tile of four.
#pragma once

#include <immintrin.h>

#include "unrolled/types.hpp"

namespace unrolled {
namespace {

struct F32 {
  using Real = float;
  using Vec = __m512;
  using Mask = __mmask16;
  static constexpr int width = 16;
  static constexpr int registers = 32;
  static Vec zero() { return _mm512_setzero_ps(); }
  static Vec set1(float a) { return _mm512_set1_ps(a); }
  static Vec load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, Vec a) { _mm512_storeu_ps(p, a); }
  static Vec load_bf16(const std::uint16_t* p) {
    const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
  }
  // As AVX2's: the sign of the left side goes to the right one.
  struct Bytes {
    using Sum = __m512i;
    struct Left {
      __m512i size;
      __mmask64 negative;
    };
    static Sum start(const int*) { return _mm512_setzero_si512(); }
    static Left left(const signed char* x) {
      int four;
      ::memcpy(&four, x, 4);
      const __m512i value = _mm512_set1_epi32(four);
      return {_mm512_abs_epi8(value), _mm512_movepi8_mask(value)};
    }
    static Sum add(Sum sum, const Left& x, const signed char* w) {
      const __m512i plain = _mm512_loadu_si512(w);
      const __m512i right = _mm512_mask_sub_epi8(plain, x.negative, _mm512_setzero_si512(), plain);
      return _mm512_add_epi32(sum, _mm512_madd_epi16(_mm512_maddubs_epi16(x.size, right), _mm512_set1_epi16(1)));
    }
    static void store(int* p, Sum a) { _mm512_storeu_si512(p, a); }
  };
  // The first n lanes; others read as zero and are not written.
  static Vec load_n(const float* p, int n) { return _mm512_maskz_loadu_ps(first(n), p); }
  static void store_n(float* p, Vec a, int n) { _mm512_mask_storeu_ps(p, first(n), a); }
  static Mask first(int n) { return static_cast<Mask>((1u << n) - 1u); }
  static Mask from_bits(u32 bits) { return static_cast<Mask>(bits); }
  static Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
  static Vec sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
  static Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
  static Vec div(Vec a, Vec b) { return _mm512_div_ps(a, b); }
  static Vec sqrt(Vec a) { return _mm512_sqrt_ps(a); }
  static Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }    // a b + c
  static Vec fnma(Vec a, Vec b, Vec c) { return _mm512_fnmadd_ps(a, b, c); }  // c - a b
  // A NaN in the second place goes through: bounds stand first.
  static Vec max(Vec bound, Vec a) { return _mm512_max_ps(bound, a); }
  static Vec min(Vec bound, Vec a) { return _mm512_min_ps(bound, a); }
  static Vec abs(Vec a) { return _mm512_abs_ps(a); }
  static Vec copysign(Vec size, Vec sign) {
    const __m512i bit = _mm512_set1_epi32(static_cast<int>(0x80000000u));
    return _mm512_castsi512_ps(_mm512_or_si512(_mm512_andnot_si512(bit, _mm512_castps_si512(size)),
                                               _mm512_and_si512(bit, _mm512_castps_si512(sign))));
  }
  static Vec round(Vec a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static Vec scale(Vec a, Vec n) { return _mm512_scalef_ps(a, n); }  // a 2^n, n whole
  // Rows become columns, in place: pairs, fours, then quarters of registers.
  static void transpose(Vec (&r)[16]) {
    Vec a[16], b[16];
    for (int i = 0; i < 8; ++i) {
      a[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
      a[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 4; ++i) {
      b[4 * i + 0] = _mm512_shuffle_ps(a[4 * i + 0], a[4 * i + 2], 0x44);
      b[4 * i + 1] = _mm512_shuffle_ps(a[4 * i + 0], a[4 * i + 2], 0xEE);
      b[4 * i + 2] = _mm512_shuffle_ps(a[4 * i + 1], a[4 * i + 3], 0x44);
      b[4 * i + 3] = _mm512_shuffle_ps(a[4 * i + 1], a[4 * i + 3], 0xEE);
    }
    for (int i = 0; i < 4; ++i) {  // b[4 j + i] holds column i + 4 q of rows 4 j .. 4 j + 3 in its quarter q
      const Vec even01 = _mm512_shuffle_f32x4(b[i], b[4 + i], 0x88), odd01 = _mm512_shuffle_f32x4(b[i], b[4 + i], 0xDD);
      const Vec even23 = _mm512_shuffle_f32x4(b[8 + i], b[12 + i], 0x88), odd23 = _mm512_shuffle_f32x4(b[8 + i], b[12 + i], 0xDD);
      r[i] = _mm512_shuffle_f32x4(even01, even23, 0x88);
      r[8 + i] = _mm512_shuffle_f32x4(even01, even23, 0xDD);
      r[4 + i] = _mm512_shuffle_f32x4(odd01, odd23, 0x88);
      r[12 + i] = _mm512_shuffle_f32x4(odd01, odd23, 0xDD);
    }
  }
  static Mask above_zero_or_nan(Vec a) { return _mm512_cmp_ps_mask(a, _mm512_setzero_ps(), _CMP_NLE_UQ); }
  static Vec select(Mask m, Vec yes, Vec no) { return _mm512_mask_blend_ps(m, no, yes); }
};

struct F64 {
  using Real = double;
  using Vec = __m512d;
  using Mask = __mmask8;
  static constexpr int width = 8;
  static constexpr int registers = 32;
  static Vec zero() { return _mm512_setzero_pd(); }
  static Vec set1(double a) { return _mm512_set1_pd(a); }
  static Vec load(const double* p) { return _mm512_loadu_pd(p); }
  static void store(double* p, Vec a) { _mm512_storeu_pd(p, a); }
  static Vec load_n(const double* p, int n) { return _mm512_maskz_loadu_pd(first(n), p); }
  static void store_n(double* p, Vec a, int n) { _mm512_mask_storeu_pd(p, first(n), a); }
  static Mask first(int n) { return static_cast<Mask>((1u << n) - 1u); }
  static Mask from_bits(u32 bits) { return static_cast<Mask>(bits); }
  static Vec add(Vec a, Vec b) { return _mm512_add_pd(a, b); }
  static Vec sub(Vec a, Vec b) { return _mm512_sub_pd(a, b); }
  static Vec mul(Vec a, Vec b) { return _mm512_mul_pd(a, b); }
  static Vec div(Vec a, Vec b) { return _mm512_div_pd(a, b); }
  static Vec sqrt(Vec a) { return _mm512_sqrt_pd(a); }
  static Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_pd(a, b, c); }
  static Vec fnma(Vec a, Vec b, Vec c) { return _mm512_fnmadd_pd(a, b, c); }
  static Vec max(Vec bound, Vec a) { return _mm512_max_pd(bound, a); }
  static Vec min(Vec bound, Vec a) { return _mm512_min_pd(bound, a); }
  static Vec abs(Vec a) { return _mm512_abs_pd(a); }
  static Vec copysign(Vec size, Vec sign) {
    const __m512i bit = _mm512_set1_epi64(static_cast<long long>(0x8000000000000000ull));
    return _mm512_castsi512_pd(_mm512_or_si512(_mm512_andnot_si512(bit, _mm512_castpd_si512(size)),
                                               _mm512_and_si512(bit, _mm512_castpd_si512(sign))));
  }
  static Vec round(Vec a) { return _mm512_roundscale_pd(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static Vec scale(Vec a, Vec n) { return _mm512_scalef_pd(a, n); }
  // Rows become columns, in place: pairs, then quarters of registers.
  static void transpose(Vec (&r)[8]) {
    Vec even[4], odd[4];
    for (int i = 0; i < 4; ++i) {  // quarter q holds column 2 q, or 2 q + 1, of rows 2 i and 2 i + 1
      even[i] = _mm512_unpacklo_pd(r[2 * i], r[2 * i + 1]);
      odd[i] = _mm512_unpackhi_pd(r[2 * i], r[2 * i + 1]);
    }
    for (int side = 0; side < 2; ++side) {
      const Vec* a = side ? odd : even;
      const Vec low02 = _mm512_shuffle_f64x2(a[0], a[1], 0x88), low13 = _mm512_shuffle_f64x2(a[0], a[1], 0xDD);
      const Vec high02 = _mm512_shuffle_f64x2(a[2], a[3], 0x88), high13 = _mm512_shuffle_f64x2(a[2], a[3], 0xDD);
      r[side] = _mm512_shuffle_f64x2(low02, high02, 0x88);
      r[4 + side] = _mm512_shuffle_f64x2(low02, high02, 0xDD);
      r[2 + side] = _mm512_shuffle_f64x2(low13, high13, 0x88);
      r[6 + side] = _mm512_shuffle_f64x2(low13, high13, 0xDD);
    }
  }
  static Mask above_zero_or_nan(Vec a) { return _mm512_cmp_pd_mask(a, _mm512_setzero_pd(), _CMP_NLE_UQ); }
  static Vec select(Mask m, Vec yes, Vec no) { return _mm512_mask_blend_pd(m, no, yes); }
};

}  // namespace
}  // namespace unrolled

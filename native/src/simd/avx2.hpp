// AVX2 with FMA: 8 floats or 4 doubles a register, 16 registers. Same words as avx512.hpp.
#pragma once

#include <immintrin.h>

#include "unrolled/types.hpp"

namespace unrolled {
namespace {

struct F32 {
  using Real = float;
  using Vec = __m256;
  using Mask = __m256;  // a lane of ones where true
  static constexpr int width = 8;
  static constexpr int registers = 16;
  static __m256i lanes_below(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static Vec zero() { return _mm256_setzero_ps(); }
  static Vec set1(float a) { return _mm256_set1_ps(a); }
  static Vec load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, Vec a) { _mm256_storeu_ps(p, a); }
  static Vec load_bf16(const std::uint16_t* p) {
    const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
  }
  // Four products of 8-bit numbers a column, see dot.hpp. The instruction wants its left side unsigned, so the sign of the
  // left side goes to the right one; two products of at most 127 * 127 fit 16 bits.
  struct Bytes {
    using Sum = __m256i;
    struct Left {
      __m256i value, size;
    };
    static Sum start(const int*) { return _mm256_setzero_si256(); }
    static Left left(const signed char* x) {
      int four;
      ::memcpy(&four, x, 4);
      const __m256i value = _mm256_set1_epi32(four);
      return {value, _mm256_abs_epi8(value)};
    }
    static Sum add(Sum sum, const Left& x, const signed char* w) {
      const __m256i right = _mm256_sign_epi8(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(w)), x.value);
      return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(x.size, right), _mm256_set1_epi16(1)));
    }
    static void store(int* p, Sum a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a); }
  };
  static Vec load_n(const float* p, int n) { return _mm256_maskload_ps(p, lanes_below(n)); }
  static void store_n(float* p, Vec a, int n) { _mm256_maskstore_ps(p, lanes_below(n), a); }
  static Mask first(int n) { return _mm256_castsi256_ps(lanes_below(n)); }
  static Mask from_bits(u32 bits) {
    const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(static_cast<int>(bits)), bit), bit));
  }
  static Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
  static Vec sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
  static Vec mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
  static Vec div(Vec a, Vec b) { return _mm256_div_ps(a, b); }
  static Vec sqrt(Vec a) { return _mm256_sqrt_ps(a); }
  static Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
  static Vec fnma(Vec a, Vec b, Vec c) { return _mm256_fnmadd_ps(a, b, c); }
  static Vec max(Vec bound, Vec a) { return _mm256_max_ps(bound, a); }
  static Vec min(Vec bound, Vec a) { return _mm256_min_ps(bound, a); }
  static Vec abs(Vec a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
  static Vec copysign(Vec size, Vec sign) {
    const Vec bit = _mm256_set1_ps(-0.0f);
    return _mm256_or_ps(_mm256_andnot_ps(bit, size), _mm256_and_ps(bit, sign));
  }
  static Vec round(Vec a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static Vec scale(Vec a, Vec n) {
    const __m256i power = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    return _mm256_mul_ps(a, _mm256_castsi256_ps(power));
  }
  // Rows become columns, in place: pairs, fours, then halves of registers.
  static void transpose(Vec (&r)[8]) {
    Vec pairs[8], fours[8];
    for (int i = 0; i < 8; i += 2) pairs[i] = _mm256_unpacklo_ps(r[i], r[i + 1]), pairs[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    for (int i = 0; i < 8; i += 4)
      for (int j = 0; j < 2; ++j) {  // halves hold columns 2 j and 2 j + 1, four further in the upper one, of rows i to i + 3
        fours[i + 2 * j] = _mm256_shuffle_ps(pairs[i + j], pairs[i + 2 + j], 0x44);
        fours[i + 2 * j + 1] = _mm256_shuffle_ps(pairs[i + j], pairs[i + 2 + j], 0xEE);
      }
    for (int i = 0; i < 4; ++i) {
      r[i] = _mm256_permute2f128_ps(fours[i], fours[4 + i], 0x20);
      r[4 + i] = _mm256_permute2f128_ps(fours[i], fours[4 + i], 0x31);
    }
  }
  static Mask above_zero_or_nan(Vec a) { return _mm256_cmp_ps(a, zero(), _CMP_NLE_UQ); }
  static Vec select(Mask m, Vec yes, Vec no) { return _mm256_blendv_ps(no, yes, m); }
};

struct F64 {
  using Real = double;
  using Vec = __m256d;
  using Mask = __m256d;
  static constexpr int width = 4;
  static constexpr int registers = 16;
  static __m256i lanes_below(int n) {
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
  }
  static Vec zero() { return _mm256_setzero_pd(); }
  static Vec set1(double a) { return _mm256_set1_pd(a); }
  static Vec load(const double* p) { return _mm256_loadu_pd(p); }
  static void store(double* p, Vec a) { _mm256_storeu_pd(p, a); }
  static Vec load_n(const double* p, int n) { return _mm256_maskload_pd(p, lanes_below(n)); }
  static void store_n(double* p, Vec a, int n) { _mm256_maskstore_pd(p, lanes_below(n), a); }
  static Mask first(int n) { return _mm256_castsi256_pd(lanes_below(n)); }
  static Mask from_bits(u32 bits) {
    const __m256i bit = _mm256_setr_epi64x(1, 2, 4, 8);
    return _mm256_castsi256_pd(_mm256_cmpeq_epi64(_mm256_and_si256(_mm256_set1_epi64x(static_cast<int>(bits)), bit), bit));
  }
  static Vec add(Vec a, Vec b) { return _mm256_add_pd(a, b); }
  static Vec sub(Vec a, Vec b) { return _mm256_sub_pd(a, b); }
  static Vec mul(Vec a, Vec b) { return _mm256_mul_pd(a, b); }
  static Vec div(Vec a, Vec b) { return _mm256_div_pd(a, b); }
  static Vec sqrt(Vec a) { return _mm256_sqrt_pd(a); }
  static Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_pd(a, b, c); }
  static Vec fnma(Vec a, Vec b, Vec c) { return _mm256_fnmadd_pd(a, b, c); }
  static Vec max(Vec bound, Vec a) { return _mm256_max_pd(bound, a); }
  static Vec min(Vec bound, Vec a) { return _mm256_min_pd(bound, a); }
  static Vec abs(Vec a) { return _mm256_andnot_pd(_mm256_set1_pd(-0.0), a); }
  static Vec copysign(Vec size, Vec sign) {
    const Vec bit = _mm256_set1_pd(-0.0);
    return _mm256_or_pd(_mm256_andnot_pd(bit, size), _mm256_and_pd(bit, sign));
  }
  static Vec round(Vec a) { return _mm256_round_pd(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static Vec scale(Vec a, Vec n) {
    const __m256i whole = _mm256_cvtepi32_epi64(_mm256_cvtpd_epi32(n));
    const __m256i power = _mm256_slli_epi64(_mm256_add_epi64(whole, _mm256_set1_epi64x(1023)), 52);
    return _mm256_mul_pd(a, _mm256_castsi256_pd(power));
  }
  // Rows become columns, in place: pairs, then halves of registers.
  static void transpose(Vec (&r)[4]) {
    const Vec low0 = _mm256_unpacklo_pd(r[0], r[1]), high0 = _mm256_unpackhi_pd(r[0], r[1]);
    const Vec low1 = _mm256_unpacklo_pd(r[2], r[3]), high1 = _mm256_unpackhi_pd(r[2], r[3]);
    r[0] = _mm256_permute2f128_pd(low0, low1, 0x20), r[2] = _mm256_permute2f128_pd(low0, low1, 0x31);
    r[1] = _mm256_permute2f128_pd(high0, high1, 0x20), r[3] = _mm256_permute2f128_pd(high0, high1, 0x31);
  }
  static Mask above_zero_or_nan(Vec a) { return _mm256_cmp_pd(a, zero(), _CMP_NLE_UQ); }
  static Vec select(Mask m, Vec yes, Vec no) { return _mm256_blendv_pd(no, yes, m); }
};

}  // namespace
}  // namespace unrolled

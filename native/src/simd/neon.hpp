// NEON on aarch64: 4 floats or 2 doubles a register, 32 registers. Same words as avx512.hpp.
#pragma once

#include <arm_neon.h>

#include "unrolled/types.hpp"

namespace unrolled {
namespace {

// The first n numbers, through memory: such a tail comes once a row.
template <class S>
typename S::Vec load_first(const typename S::Real* p, int n) {
  typename S::Real lane[S::width] = {};
  for (int j = 0; j < n; ++j) lane[j] = p[j];
  return S::load(lane);
}
template <class S>
void store_first(typename S::Real* p, typename S::Vec a, int n) {
  typename S::Real lane[S::width];
  S::store(lane, a);
  for (int j = 0; j < n; ++j) p[j] = lane[j];
}

struct F32 {
  using Real = float;
  using Vec = float32x4_t;
  using Mask = uint32x4_t;
  static constexpr int width = 4;
  static constexpr int registers = 32;
  // Four products of 8-bit numbers a column, see dot.hpp: each in 16 bits, added by pairs and pairs of pairs.
  struct Bytes {
    using Sum = int32x4_t;
    static Sum start(const int*) { return vdupq_n_s32(0); }
    static int8x8_t left(const signed char* x) {
      int four;
      ::memcpy(&four, x, 4);
      return vreinterpret_s8_s32(vdup_n_s32(four));
    }
    static Sum add(Sum sum, int8x8_t x, const signed char* w) {
      const int8x16_t right = vld1q_s8(w);
      const int16x8_t low = vmull_s8(x, vget_low_s8(right)), high = vmull_s8(x, vget_high_s8(right));
      return vaddq_s32(sum, vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)));
    }
    static void store(int* p, Sum a) { vst1q_s32(p, a); }
  };
  static Vec zero() { return vdupq_n_f32(0); }
  static Vec set1(float a) { return vdupq_n_f32(a); }
  static Vec load(const float* p) { return vld1q_f32(p); }
  static void store(float* p, Vec a) { vst1q_f32(p, a); }
  static Vec load_n(const float* p, int n) { return load_first<F32>(p, n); }
  static void store_n(float* p, Vec a, int n) { store_first<F32>(p, a, n); }
  static Mask first(int n) { return from_bits((1u << n) - 1u); }
  static Mask from_bits(u32 bits) {
    const u32 bit[4] = {1, 2, 4, 8};
    return vtstq_u32(vdupq_n_u32(bits), vld1q_u32(bit));
  }
  static Vec add(Vec a, Vec b) { return vaddq_f32(a, b); }
  static Vec sub(Vec a, Vec b) { return vsubq_f32(a, b); }
  static Vec mul(Vec a, Vec b) { return vmulq_f32(a, b); }
  static Vec div(Vec a, Vec b) { return vdivq_f32(a, b); }
  static Vec sqrt(Vec a) { return vsqrtq_f32(a); }
  static Vec fma(Vec a, Vec b, Vec c) { return vfmaq_f32(c, a, b); }
  static Vec fnma(Vec a, Vec b, Vec c) { return vfmsq_f32(c, a, b); }
  static Vec max(Vec bound, Vec a) { return vmaxq_f32(bound, a); }  // NEON's own hand a NaN on
  static Vec min(Vec bound, Vec a) { return vminq_f32(bound, a); }
  static Vec abs(Vec a) { return vabsq_f32(a); }
  static Vec copysign(Vec size, Vec sign) { return vbslq_f32(vdupq_n_u32(0x80000000u), sign, size); }
  static Vec round(Vec a) { return vrndnq_f32(a); }
  static Vec scale(Vec a, Vec n) {
    const int32x4_t power = vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127)), 23);
    return vmulq_f32(a, vreinterpretq_f32_s32(power));
  }
  static Mask above_zero_or_nan(Vec a) { return vmvnq_u32(vcleq_f32(a, zero())); }
  static Vec select(Mask m, Vec yes, Vec no) { return vbslq_f32(m, yes, no); }
};

struct F64 {
  using Real = double;
  using Vec = float64x2_t;
  using Mask = uint64x2_t;
  static constexpr int width = 2;
  static constexpr int registers = 32;
  static Vec zero() { return vdupq_n_f64(0); }
  static Vec set1(double a) { return vdupq_n_f64(a); }
  static Vec load(const double* p) { return vld1q_f64(p); }
  static void store(double* p, Vec a) { vst1q_f64(p, a); }
  static Vec load_n(const double* p, int n) { return load_first<F64>(p, n); }
  static void store_n(double* p, Vec a, int n) { store_first<F64>(p, a, n); }
  static Mask first(int n) { return from_bits((1u << n) - 1u); }
  static Mask from_bits(u32 bits) {
    const uint64_t bit[2] = {1, 2};
    return vtstq_u64(vdupq_n_u64(bits), vld1q_u64(bit));
  }
  static Vec add(Vec a, Vec b) { return vaddq_f64(a, b); }
  static Vec sub(Vec a, Vec b) { return vsubq_f64(a, b); }
  static Vec mul(Vec a, Vec b) { return vmulq_f64(a, b); }
  static Vec div(Vec a, Vec b) { return vdivq_f64(a, b); }
  static Vec sqrt(Vec a) { return vsqrtq_f64(a); }
  static Vec fma(Vec a, Vec b, Vec c) { return vfmaq_f64(c, a, b); }
  static Vec fnma(Vec a, Vec b, Vec c) { return vfmsq_f64(c, a, b); }
  static Vec max(Vec bound, Vec a) { return vmaxq_f64(bound, a); }
  static Vec min(Vec bound, Vec a) { return vminq_f64(bound, a); }
  static Vec abs(Vec a) { return vabsq_f64(a); }
  static Vec copysign(Vec size, Vec sign) { return vbslq_f64(vdupq_n_u64(0x8000000000000000ull), sign, size); }
  static Vec round(Vec a) { return vrndnq_f64(a); }
  static Vec scale(Vec a, Vec n) {
    const int64x2_t power = vshlq_n_s64(vaddq_s64(vcvtq_s64_f64(n), vdupq_n_s64(1023)), 52);
    return vmulq_f64(a, vreinterpretq_f64_s64(power));
  }
  static Mask above_zero_or_nan(Vec a) { return veorq_u64(vcleq_f64(a, zero()), vdupq_n_u64(~u64{0})); }
  static Vec select(Mask m, Vec yes, Vec no) { return vbslq_f64(m, yes, no); }
};

}  // namespace
}  // namespace unrolled

// Plain C++: a register is an array, and the compiler makes of it what the processor has. Same words as avx512.hpp.
#pragma once

#include <cmath>
#include <cstring>

#include "unrolled/types.hpp"

namespace unrolled {
namespace {

template <class R, int W>
struct PlainSimd {
  using Real = R;
  struct Vec {
    R lane[W];
  };
  using Mask = u32;
  static constexpr int width = W;
  static constexpr int registers = 16;
  // Four products of 8-bit numbers a column, see dot.hpp.
  struct Bytes {
    struct Sum {
      int lane[W];
    };
    static Sum start(const int*) { return {}; }
    static const signed char* left(const signed char* x) { return x; }
    static Sum add(Sum sum, const signed char* x, const signed char* w) {
      for (int j = 0; j < W; ++j)
        for (int k = 0; k < 4; ++k) sum.lane[j] += x[k] * w[j * 4 + k];
      return sum;
    }
    static void store(int* p, const Sum& a) {
      for (int j = 0; j < W; ++j) p[j] = a.lane[j];
    }
  };
  template <class F>
  static Vec make(F f) {
    Vec a;
    for (int j = 0; j < W; ++j) a.lane[j] = f(j);
    return a;
  }
  static Vec zero() { return set1(0); }
  static Vec set1(R x) { return make([&](int) { return x; }); }
  static Vec load(const R* p) { return make([&](int j) { return p[j]; }); }
  static void store(R* p, const Vec& a) {
    for (int j = 0; j < W; ++j) p[j] = a.lane[j];
  }
  static Vec load_n(const R* p, int n) { return make([&](int j) { return j < n ? p[j] : R(0); }); }
  static void store_n(R* p, const Vec& a, int n) {
    for (int j = 0; j < n; ++j) p[j] = a.lane[j];
  }
  static Mask first(int n) { return n >= 32 ? ~0u : (1u << n) - 1u; }
  static Mask from_bits(u32 bits) { return bits; }
  static Vec add(const Vec& a, const Vec& b) { return make([&](int j) { return a.lane[j] + b.lane[j]; }); }
  static Vec sub(const Vec& a, const Vec& b) { return make([&](int j) { return a.lane[j] - b.lane[j]; }); }
  static Vec mul(const Vec& a, const Vec& b) { return make([&](int j) { return a.lane[j] * b.lane[j]; }); }
  static Vec div(const Vec& a, const Vec& b) { return make([&](int j) { return a.lane[j] / b.lane[j]; }); }
  static Vec sqrt(const Vec& a) { return make([&](int j) { return static_cast<Real>(::sqrt(static_cast<double>(a.lane[j]))); }); }
  // Two roundings: a fused one is a call into the C library where the processor has none.
  static Vec fma(const Vec& a, const Vec& b, const Vec& c) { return make([&](int j) { return a.lane[j] * b.lane[j] + c.lane[j]; }); }
  static Vec fnma(const Vec& a, const Vec& b, const Vec& c) { return make([&](int j) { return c.lane[j] - a.lane[j] * b.lane[j]; }); }
  static Vec max(const Vec& bound, const Vec& a) {
    return make([&](int j) { return bound.lane[j] > a.lane[j] ? bound.lane[j] : a.lane[j]; });
  }
  static Vec min(const Vec& bound, const Vec& a) {
    return make([&](int j) { return bound.lane[j] < a.lane[j] ? bound.lane[j] : a.lane[j]; });
  }
  static Vec abs(const Vec& a) { return make([&](int j) { return std::fabs(a.lane[j]); }); }
  static Vec copysign(const Vec& size, const Vec& sign) {
    return make([&](int j) { return std::copysign(size.lane[j], sign.lane[j]); });
  }
  // To the nearest whole number, by the number from which on there are no fractions; |a| stays far below it.
  static Vec round(const Vec& a) {
    const R big = sizeof(R) == 4 ? R(12582912.0) : R(6755399441055744.0);
    return make([&](int j) { return (a.lane[j] + big) - big; });
  }
  // a 2^n for whole n within the exponent's range: the bits of 2^n are n shifted into the exponent's place.
  static Vec scale(const Vec& a, const Vec& n) {
    return make([&](int j) {
      R power;
      if constexpr (sizeof(R) == 4) {
        const u32 bits = static_cast<u32>(static_cast<int>(n.lane[j] == n.lane[j] ? n.lane[j] : 0) + 127) << 23;
        std::memcpy(&power, &bits, 4);
      } else {
        const u64 bits = static_cast<u64>(static_cast<i64>(n.lane[j] == n.lane[j] ? n.lane[j] : 0) + 1023) << 52;
        std::memcpy(&power, &bits, 8);
      }
      return a.lane[j] * power;
    });
  }
  static Mask above_zero_or_nan(const Vec& a) {
    Mask m = 0;
    for (int j = 0; j < W; ++j) m |= static_cast<Mask>(!(a.lane[j] <= 0)) << j;
    return m;
  }
  static Vec select(Mask m, const Vec& yes, const Vec& no) {
    return make([&](int j) { return m >> j & 1 ? yes.lane[j] : no.lane[j]; });
  }
};

using F32 = PlainSimd<float, 8>;
using F64 = PlainSimd<double, 4>;

}  // namespace
}  // namespace unrolled

// Sums down the columns of many rows: gradients of biases and gains.
#pragma once

#include "sequence.hpp"

namespace unrolled {
namespace {

// Of rows a, `lda` apart: where the sums of a[k][m] are wanted, and those of a[k][m] normed[k][m]. Null: not wanted.
template <class Real>
struct Columns {
  const Real* a;
  i64 lda;
  Real* sums;
  const Real* normed = nullptr;
  i64 ldn = 0;
  Real* products = nullptr;
};

// Columns [m0, m1) over K rows, in the order of k; `fresh`: from zero. The sums stay in the first cache, and a row is there
// for all that is made of it: it comes from memory once.
template <class S, int N>
void column_sums(i64 K, const Columns<typename S::Real> (&of)[N], i64 m0, i64 m1, bool fresh) {
  using Real = typename S::Real;
  const auto lanes = [m1](i64 m) { return static_cast<int>(m1 - m < S::width ? m1 - m : S::width); };
  for (const auto& c : of)
    for (i64 m = m0; fresh && m < m1; ++m) {
      if (c.sums) c.sums[m] = 0;
      if (c.products) c.products[m] = 0;
    }
  constexpr i64 together = 4;  // rows for which a sum is fetched and put back once
  for (i64 k0 = 0; k0 < K; k0 += together) {
    const i64 k1 = K - k0 < together ? K : k0 + together;
    for (const auto& c : of) {
      if (!c.sums && !c.products) continue;
      for (i64 m = m0; m < m1; m += S::width) {
        const int n = lanes(m);
        auto sum = c.sums ? take<S>(c.sums + m, n) : S::zero(), product = c.products ? take<S>(c.products + m, n) : S::zero();
        for (i64 k = k0; k < k1; ++k) {
          const Real* row = c.a + k * c.lda + m;
          prefetch(row + together * c.lda);  // rows lie pages apart
          const auto a = take<S>(row, n);
          sum = S::add(sum, a);
          if (!c.products) continue;
          const Real* normed = c.normed + k * c.ldn + m;
          prefetch(normed + together * c.ldn);
          product = S::fma(a, take<S>(normed, n), product);
        }
        if (c.sums) put<S>(c.sums + m, sum, n);
        if (c.products) put<S>(c.products + m, product, n);
      }
    }
  }
}

}  // namespace
}  // namespace unrolled

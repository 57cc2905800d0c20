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
  for (i64 k = 0; k < K; ++k)
    for (const auto& c : of) {
      if (!c.sums && !c.products) continue;
      const Real* row = c.a + k * c.lda;
      for (i64 m = m0; m < m1; m += S::width) __builtin_prefetch(row + 2 * c.lda + m);  // rows lie pages apart
      for (i64 m = m0; c.sums && m < m1; m += S::width)
        put<S>(c.sums + m, S::add(take<S>(c.sums + m, lanes(m)), take<S>(row + m, lanes(m))), lanes(m));
      if (!c.products) continue;
      const Real* normed = c.normed + k * c.ldn;
      for (i64 m = m0; m < m1; m += S::width)
        put<S>(c.products + m, S::fma(take<S>(row + m, lanes(m)), take<S>(normed + m, lanes(m)), take<S>(c.products + m, lanes(m))), lanes(m));
    }
}

}  // namespace
}  // namespace unrolled

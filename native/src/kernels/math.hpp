// Activations, written once over the simd words. The errors are measured by `unrolled doctor` and the C++ tests.
#pragma once

#include "unrolled/types.hpp"

namespace unrolled {
namespace {

// e^r - 1 for |r| <= ln(2)/2: r + r^2 (1/2! + r (1/3! + ...)). Taylor's terms up to where the next one falls below a
// quarter of the type's last place; the leading r stands apart, so the result is accurate down to r = 0.
template <class S>
typename S::Vec expm1_reduced(typename S::Vec r) {
  constexpr int terms = sizeof(typename S::Real) == 4 ? 7 : 13;
  constexpr double inverse[] = {1.0 / 2,         1.0 / 6,           1.0 / 24,          1.0 / 120,
                                1.0 / 720,       1.0 / 5040,        1.0 / 40320,       1.0 / 362880,
                                1.0 / 3628800,   1.0 / 39916800,    1.0 / 479001600,   1.0 / 6227020800.0};
  using Real = typename S::Real;
  auto q = S::set1(static_cast<Real>(inverse[terms - 2]));
  for (int k = terms - 3; k >= 0; --k) q = S::fma(q, r, S::set1(static_cast<Real>(inverse[k])));
  return S::fma(S::mul(r, r), q, r);
}

// x = n ln 2 + r, with ln 2 in two parts so that r is exact to the last place.
template <class S>
typename S::Vec reduce(typename S::Vec x, typename S::Vec& n) {
  using Real = typename S::Real;
  constexpr bool narrow = sizeof(Real) == 4;
  n = S::round(S::mul(x, S::set1(static_cast<Real>(1.4426950408889634074))));
  const auto high = S::set1(narrow ? static_cast<Real>(0.693359375) : static_cast<Real>(0.693147180369123816490));
  const auto low = S::set1(narrow ? static_cast<Real>(-2.12194440054690583e-4) : static_cast<Real>(1.90821492927058770002e-10));
  return S::fnma(n, low, S::fnma(n, high, x));
}

// e^x; beyond the type's range the ends of it, without an infinity on the way.
template <class S>
typename S::Vec exp(typename S::Vec x) {
  using Real = typename S::Real;
  const auto limit = S::set1(static_cast<Real>(sizeof(Real) == 4 ? 87.0 : 708.0));
  typename S::Vec n;
  const auto r = reduce<S>(S::max(S::sub(S::zero(), limit), S::min(limit, x)), n);
  return S::scale(S::add(expm1_reduced<S>(r), S::set1(1)), n);
}

// 1 / (1 + e^-x).
template <class S>
typename S::Vec sigmoid(typename S::Vec x) {
  return S::div(S::set1(1), S::add(S::set1(1), exp<S>(S::sub(S::zero(), x))));
}

// (e^2|x| - 1) / (e^2|x| + 1) with the sign of x: e^y - 1 is made without cancellation, so small x keep their places.
template <class S>
typename S::Vec tanh(typename S::Vec x) {
  using Real = typename S::Real;
  const auto one = S::set1(1), two = S::set1(2);
  const auto y = S::min(S::set1(static_cast<Real>(sizeof(Real) == 4 ? 20.0 : 44.0)), S::mul(two, S::abs(x)));
  typename S::Vec n;
  const auto r = reduce<S>(y, n);
  const auto s = S::scale(one, n);
  const auto em1 = S::fma(s, expm1_reduced<S>(r), S::sub(s, one));
  return S::copysign(S::div(em1, S::add(em1, two)), x);
}

}  // namespace
}  // namespace unrolled

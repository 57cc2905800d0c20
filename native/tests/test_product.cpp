#include <cmath>
#include <vector>

#include "check.hpp"
#include "unrolled/cpu.hpp"

using namespace unrolled;

namespace {

template <class Real>
void against_loops(i64 M, i64 N, i64 K) {
  Random random{static_cast<unsigned long long>(M * 1000003 + N * 1009 + K)};
  std::vector<Real> a(M * K), b(N * K), c(M * N), alone(M);
  for (auto& x : a) x = static_cast<Real>(random.next());
  for (auto& x : b) x = static_cast<Real>(random.next());
  kernels<Real>(chosen()).product(M, N, K, a.data(), b.data(), c.data(), 2);
  for (i64 m = 0; m < M; ++m)
    for (i64 n = 0; n < N; ++n) {
      double exact = 0;
      for (i64 k = 0; k < K; ++k) exact += static_cast<double>(a[m * K + k]) * static_cast<double>(b[n * K + k]);
      CHECK(std::fabs(c[m * N + n] - exact) < (sizeof(Real) == 4 ? 1e-5 : 1e-13) * static_cast<double>(K + 1));
    }
  // A row of b alone, by one thread, has the bits it has among others.
  kernels<Real>(chosen()).product(M, 1, K, a.data(), b.data() + (N - 1) * K, alone.data(), 1);
  for (i64 m = 0; m < M; ++m) CHECK(alone[m] == c[m * N + N - 1]);
}

// Whole numbers of 12 bits: what a product loses of them, or counts twice, is a whole number too.
void whole_numbers() {
  const i64 M = 200, N = 37, K = 129;
  Random random{5};
  std::vector<float> a(M * K), b(N * K), c(M * N);
  for (auto& x : a) x = static_cast<float>(std::floor(random.next() * 2000));
  for (auto& x : b) x = static_cast<float>(random.below(3) - 1);
  kernels<float>(chosen()).product(M, N, K, a.data(), b.data(), c.data(), 2);
  for (i64 m = 0; m < M; ++m)
    for (i64 n = 0; n < N; ++n) {
      double exact = 0;
      for (i64 k = 0; k < K; ++k) exact += static_cast<double>(a[m * K + k]) * static_cast<double>(b[n * K + k]);
      CHECK(c[m * N + n] == exact);
    }
}

// Products of all 24 bits, with sums that cancel: as near as chains of float are, on every instruction set.
void precision() {
  const i64 M = 96, N = 40, K = 700;
  Random random{6};
  std::vector<float> a(M * K), b(N * K), c(M * N);
  for (auto& x : a) x = static_cast<float>(random.next());
  for (auto& x : b) x = static_cast<float>(random.next());
  kernels<float>(chosen()).product(M, N, K, a.data(), b.data(), c.data(), 1);
  double error = 0, chains = 0;
  for (i64 m = 0; m < M; ++m)
    for (i64 n = 0; n < N; ++n) {
      double exact = 0;
      float chain = 0;
      for (i64 k = 0; k < K; ++k) {
        exact += static_cast<double>(a[m * K + k]) * static_cast<double>(b[n * K + k]);
        chain = std::fma(a[m * K + k], b[n * K + k], chain);
      }
      error += std::pow(c[m * N + n] - exact, 2), chains += std::pow(chain - exact, 2);
    }
  CHECK(std::sqrt(error) < 1.5 * std::sqrt(chains));
}

void not_numbers() {
  std::vector<float> a(128 * 128, 1.0F), b(8 * 128, 1.0F), c(128 * 8);
  b[3 * 128 + 77] = NAN;
  kernels<float>(chosen()).product(128, 8, 128, a.data(), b.data(), c.data(), 1);
  for (i64 i = 0; i < 128 * 8; ++i) CHECK(std::isnan(c[i]) == (i % 8 == 3));
}

template <class Real>
void activations() {
  const i64 n = 20001;
  std::vector<Real> x(n), y(n);
  for (i64 i = 0; i < n; ++i) x[i] = static_cast<Real>((static_cast<double>(i) - 10000) / 700);
  for (int which = 0; which < 3; ++which) {
    kernels<Real>(chosen()).activate(which, x.data(), y.data(), n);
    for (i64 i = 0; i < n; ++i) {
      const long double v = x[i];
      const long double exact = which == 0 ? std::exp(v) : which == 1 ? 1 / (1 + std::exp(-v)) : std::tanh(v);
      const Real rounded = static_cast<Real>(exact);
      const Real place = std::nextafter(std::fabs(rounded), static_cast<Real>(INFINITY)) - std::fabs(rounded);
      CHECK(std::fabs(static_cast<double>(y[i] - exact)) <= 4.0 * static_cast<double>(place));
    }
  }
  x[0] = static_cast<Real>(NAN);
  for (int which = 0; which < 3; ++which) {
    kernels<Real>(chosen()).activate(which, x.data(), y.data(), 1);
    CHECK(std::isnan(y[0]));
  }
}

}  // namespace

void test_product() {
  for (i64 M : {1, 2, 5, 6, 7, 13, 50, 65, 128})
    for (i64 N : {1, 15, 16, 17, 63, 64, 65, 130})
      for (i64 K : {1, 2, 33, 300}) {
        against_loops<float>(M, N, K);
        if (M < 8) against_loops<double>(M, N, K);
      }
  against_loops<float>(9, 70, 3000);  // several blocks along K
  against_loops<float>(200, 70, 1200);
  against_loops<float>(70, 200, 1200);
  whole_numbers(), precision(), not_numbers();
  activations<float>();
  activations<double>();
}

// Products with weights that are packed once and kept: as they are, as bf16, or as int8. One row and two panels at a time
// where there are few rows: a single chain of multiply-adds per column would wait for itself.
#pragma once

#include <cstring>

#include "unrolled/stepper.hpp"

#include "dot.hpp"
#include "gemm.hpp"

namespace unrolled {
namespace {

using i8 = signed char;

template <class S>
typename S::Vec widen(const typename S::Real* p) {
  return S::load(p);
}

// bf16: the upper half of a float.
template <class S>
typename S::Vec widen(const std::uint16_t* p) {
  if constexpr (requires { S::load_bf16(p); }) {
    return S::load_bf16(p);
  } else {
    alignas(64) u32 bits[S::width];
    alignas(64) float values[S::width];
    for (int j = 0; j < S::width; ++j) bits[j] = static_cast<u32>(p[j]) << 16;
    std::memcpy(values, bits, sizeof values);
    return S::load(values);
  }
}

// The product of 8-bit numbers with the columns of S.
template <class S>
DotPanel dot_of() {
  if (S::width == 16 && vnni_dot()) return vnni_dot();
  return dot_panel<typename S::Bytes, S::registers >= 32 ? 6 : 2, S::width>;
}

// To bf16, to the nearest, ties to even; a NaN stays one.
inline std::uint16_t narrow(float x) {
  u32 bits;
  std::memcpy(&bits, &x, 4);
  if (x != x) return static_cast<std::uint16_t>(bits >> 16 | 0x40u);
  return static_cast<std::uint16_t>((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}

// C (P, MR, 4 * width) from A (MR, K) and P panels `apart` numbers from one another; chains start from `bias` (P panels).
template <class S, class T, int MR, int NV, int P>
void strip(i64 K, const typename S::Real* a, i64 lda, const T* b, i64 apart, const typename S::Real* bias,
           typename S::Real* c, i64 c_apart) {
  using Vec = typename S::Vec;
  constexpr int W = S::width;
  Vec acc[P][MR][NV];
  for (int p = 0; p < P; ++p)
    for (int r = 0; r < MR; ++r)
      for (int v = 0; v < NV; ++v) acc[p][r][v] = bias ? S::load(bias + (p * NV + v) * W) : S::zero();
  for (i64 k = 0; k < K; ++k)
    for (int p = 0; p < P; ++p) {
      Vec row[NV];
      for (int v = 0; v < NV; ++v) row[v] = widen<S>(b + p * apart + (k * NV + v) * W);
      for (int r = 0; r < MR; ++r) {
        const Vec x = S::set1(a[r * lda + k]);
        for (int v = 0; v < NV; ++v) acc[p][r][v] = S::fma(x, row[v], acc[p][r][v]);
      }
    }
  for (int p = 0; p < P; ++p)
    for (int r = 0; r < MR; ++r)
      for (int v = 0; v < NV; ++v) S::store(c + p * c_apart + (r * 4 + v) * W, acc[p][r][v]);
}

template <class S, class T, int NV>
void strips(i64 M, i64 K, const typename S::Real* a, i64 lda, const T* b, int count, const typename S::Real* bias,
            typename S::Real* c) {
  constexpr i64 W = S::width;
  const i64 apart = K * NV * W, c_apart = M * 4 * W;
  if (M <= 2 && count == 2) {
    if (M == 2) return strip<S, T, 2, NV, 2>(K, a, lda, b, apart, bias, c, c_apart);
    return strip<S, T, 1, NV, 2>(K, a, lda, b, apart, bias, c, c_apart);
  }
  for (int p = 0; p < count; ++p) {
    const T* panel = b + p * apart;
    const typename S::Real* from = bias ? bias + p * NV * W : nullptr;
    i64 r = 0;
    for (; r < M;) {
      const typename S::Real* rows = a + r * lda;
      typename S::Real* to = c + p * c_apart + r * 4 * W;
      constexpr int most = S::registers >= 32 ? 6 : 3;
      if (M - r >= most) strip<S, T, most, NV, 1>(K, rows, lda, panel, 0, from, to, 0), r += most;
      else if (M - r >= 2) strip<S, T, 2, NV, 1>(K, rows, lda, panel, 0, from, to, 0), r += 2;
      else strip<S, T, 1, NV, 1>(K, rows, lda, panel, 0, from, to, 0), r += 1;
    }
  }
}

// What lies below counts as zero where numbers become 8 bits: 127 over it would be beyond a float.
constexpr double negligible = 1e-30;

// Rows of activations as 8 bits: x = q * scale.
template <class S>
void quantise(i64 M, i64 K, const typename S::Real* a, i64 lda, i8* q, i64 ldq, typename S::Real* scales) {
  using Real = typename S::Real;
  constexpr int W = S::width;
  const auto lanes = [K](i64 k) { return static_cast<int>(K - k < W ? K - k : W); };
  for (i64 r = 0; r < M; ++r) {
    const Real* row = a + r * lda;
    auto most = S::zero(), odd = S::zero();  // a maximum forgets a NaN, a sum does not
    for (i64 k = 0; k < K; k += W) {
      const auto x = S::load_n(row + k, lanes(k));
      most = S::max(most, S::abs(x));
      odd = S::fma(x, S::zero(), odd);
    }
    Real lane[W], odds[W], largest = 0;
    S::store(lane, most);
    S::store(odds, odd);
    for (int j = 0; j < W; ++j) largest = lane[j] > largest ? lane[j] : largest;
    for (int j = 0; j < W; ++j) largest += odds[j];
    const auto inverse = S::set1(largest > Real(negligible) ? Real(127) / largest : Real(0));
    for (i64 k = 0; k < K; k += W) {
      S::store(lane, S::round(S::mul(S::load_n(row + k, lanes(k)), inverse)));
      for (int j = 0; j < lanes(k); ++j) q[r * ldq + k + j] = static_cast<i8>(static_cast<int>(lane[j] == lane[j] ? lane[j] : 0));
    }
    for (i64 k = K; k < ldq; ++k) q[r * ldq + k] = 0;
    scales[r] = largest / Real(127);  // a NaN is handed on
  }
}

// A matrix (N, K) of torch's, as its products want it.
template <class S>
struct Kept {
  using Real = typename S::Real;
  static constexpr i64 W = S::width;

  const StepMatrix<Real>& w;
  Panels<S> panels;
  i64 K;
  Store store;
  DotPanel dot;

  i64 padded() const { return round_up(K, 4); }
  i64 bytes() const {
    const i64 n = panels.count() * panels.step();
    return store == Store::full ? n * K * static_cast<i64>(sizeof(Real)) : store == Store::bf16 ? n * K * 2 : n * padded();
  }

  void pack(const Real* src, i64 p0, i64 p1) const {
    if (store == Store::full) return pack_transposed<S>(panels, K, src, K, reinterpret_cast<Real*>(w.data.get()), p0, p1);
    for (i64 p = p0; p < p1; ++p)
      for (int v = 0; v < panels.nv; ++v)
        for (int n = 0; n < W; ++n)
          column(n < panels.lanes(p, v) ? src + (panels.start(p, v) + n) * K : nullptr, p, v * W + n);
  }

  // c (count, M, 4 * width): panels [p, p + count), count 1 or, of two rows at most, 2. `q` are the rows quantised, `acc` room
  // for M * 64 sums. `next`: the panel that will be asked for after these, or none (-1).
  void times(i64 p, int count, i64 M, const Real* a, i64 lda, const i8* q, const Real* scales, int* acc, Real* c, i64 next) const {
    const i64 step = panels.step();
    const Real* bias = w.bias + p * step;
    if (store == Store::full) {
      const Real* b = reinterpret_cast<const Real*>(w.data.get());
      if (M <= 2) return dispatch(M, a, lda, b + p * K * step, count, bias, c);
      return product_panel<S>(M, K, a, lda, panels, p, b, K, 0, Begin::bias, bias, c, 4 * W, 0, panels.at(b, K, next));
    }
    if constexpr (sizeof(Real) == 4) {
      if (store == Store::bf16)
        return dispatch(M, a, lda, reinterpret_cast<const std::uint16_t*>(w.data.get()) + p * K * step, count, bias, c);
      for (int i = 0; i < count; ++i, c += M * 4 * W) whole(p + i, M, q, scales, acc, c);
    }
  }

 private:
  template <class T>
  void dispatch(i64 M, const Real* a, i64 lda, const T* b, int count, const Real* bias, Real* c) const {
    if (panels.nv == 3) strips<S, T, 3>(M, K, a, lda, b, count, bias, c);
    else strips<S, T, 4>(M, K, a, lda, b, count, bias, c);
  }

  // Row `from` of the matrix into column j of panel p; a missing one is zeros.
  void column(const Real* from, i64 p, i64 j) const {
    const i64 step = panels.step(), at = p * step + j;
    if (store == Store::bf16) {
      auto* to = reinterpret_cast<std::uint16_t*>(w.data.get()) + p * K * step + j;
      for (i64 k = 0; k < K; ++k) to[k * step] = from ? narrow(static_cast<float>(from[k])) : 0;
      return;
    }
    Real most = 0;
    for (i64 k = 0; from && k < K && most == most; ++k) {
      const Real size = from[k] < 0 ? -from[k] : from[k];
      if (!(size <= most)) most = size;  // a NaN ends it
    }
    w.scale[at] = most / Real(127);
    const Real inverse = most > Real(negligible) ? Real(127) / most : Real(0);
    auto* to = reinterpret_cast<i8*>(w.data.get());
    int sum = 0;
    for (i64 k = 0; k < padded(); ++k) {
      const Real scaled = from && k < K ? from[k] * inverse : Real(0);
      const int value = static_cast<int>(scaled == scaled ? scaled + (scaled < 0 ? Real(-0.5) : Real(0.5)) : 0);
      sum += value;
      to[((p * padded() / 4 + k / 4) * step + j) * 4 + k % 4] = static_cast<i8>(value);
    }
    w.sums[at] = sum;
  }

  // int8: exact sums, times the scales of the row and of the column.
  void whole(i64 p, i64 M, const i8* q, const Real* scales, int* acc, Real* c) const {
    const i64 step = panels.step(), at = p * step;
    dot(M, padded(), panels.nv, q, padded(), reinterpret_cast<const i8*>(w.data.get()) + at * padded(), w.sums + at, acc);
    for (i64 r = 0; r < M; ++r) {
      Real sums[4 * W];
      for (i64 j = 0; j < step; ++j) sums[j] = static_cast<Real>(acc[r * step + j]);
      for (i64 j = 0; j < step; j += W)
        S::store(c + r * 4 * W + j, S::fma(S::mul(S::load(sums + j), S::set1(scales[r])), S::load(w.scale + at + j), S::load(w.bias + at + j)));
    }
  }
};

}  // namespace
}  // namespace unrolled

// The equations of one step, backward, for one row and one register of units, with what surrounds a cell.
#pragma once

#include "cells.hpp"

namespace unrolled {
namespace {

template <class Real>
struct BackRow {
  i64 t, b;
  bool valid, cut;
  const Real* gates;     // the tape's (Q, H)
  const Real* norms;     // layer norm's tape
  const Real* output;    // (R)
  const Real* h_prev;    // (R), before the cut
  const Real* c_prev;    // (H), before the cut
  const Real* cell;      // (H)
  const Zones::Bits* zone_h;  // zoneout's bits, where they are drawn
  const Zones::Bits* zone_c;
  const Real* d_output;  // (R), or null
  const Real* d_gates;   // (G, H) of a trace, or null
  const Real* d_cells;   // (H) of a trace, or null
  Real* dh;              // (R): in, of h_t from later steps
  Real* kept;            // (R): out, what reaches h_{t-1} past the product
  Real* dc;              // (H): in of c_t, out of c_{t-1}
  Real* d_inner;         // (H): of the unprojected h; or dh once more
  Real* d_bar;           // (Q, H): out, of the pre-activations; for a GRU r z n and n's behind the reset gate
  Real* d_h;             // (R) wanted, or null
  Real* inner;           // (H): out, o tanh c (projection), r h (reset before); or null
  Real* d_scaled;        // (2, H): out, layer norm of c: its gradient and n; or null
};

template <class S, Cell C>
struct CellBackward {
  using Real = typename S::Real;
  using Vec = typename S::Vec;

  const Layer<Real>& L;

  // The whole gradient of h_t: from its output and from later steps; then zoneout's share past the cell.
  void arrive(const BackRow<Real>& row, i64 r, int n) const {
    Vec dh = take<S>(row.dh + r, n);
    if (!row.valid) {  // held: all of it goes to h_{t-1}
      put<S>(row.kept + r, dh, n);
      if (row.d_h) put<S>(row.d_h + r, dh, n);
      return put<S>(row.dh + r, S::zero(), n);
    }
    if (row.d_output) dh = S::add(dh, take<S>(row.d_output + r, n));
    if (row.d_h) put<S>(row.d_h + r, dh, n);
    Vec kept = S::zero();
    zone(L.zoneout_h, row.zone_h, r, n, dh, kept);
    put<S>(row.dh + r, dh, n);
    put<S>(row.kept + r, kept, n);
  }

  // Units [u, u + n) behind arrive(): d_bar and the state's gradient. In layer norm of an LSTM see normalised().
  void units(const BackRow<Real>& row, i64 u, int n) const {
    if (!row.valid) {
      for (int g = 0; g < taped_of(C); ++g) put<S>(row.d_bar + g * L.H + u, S::zero(), n);
      if (row.inner) put<S>(row.inner + u, S::zero(), n);
      if (C == Cell::lstm && row.d_cells) put<S>(row.dc + u, S::add(take<S>(row.dc + u, n), take<S>(row.d_cells + u, n)), n);
      return;
    }
    const Vec one = S::set1(1), dh = take<S>(row.d_inner + u, n);
    if constexpr (C == Cell::lstm) {
      const Vec squashed = tanh<S>(c_of(row, u, n));
      if (row.inner) put<S>(row.inner + u, S::mul(gate(row, 3, u, n), squashed), n);
      const Vec d_squashed = S::mul(dh, gate(row, 3, u, n));
      lstm(row, u, n, S::mul(dh, squashed), S::mul(d_squashed, S::fnma(squashed, squashed, one)));
    } else if constexpr (C == Cell::gru) {
      const Vec r = gate(row, 0, u, n), z = gate(row, 1, u, n), c = gate(row, 2, u, n), h_n = gate(row, 3, u, n);
      const Vec dn_bar = S::mul(plus(row, 2, u, n, S::mul(dh, S::sub(one, z))), S::fnma(c, c, one));
      const Vec dz = plus(row, 1, u, n, S::mul(dh, S::sub(before(row, row.h_prev, u, n), c)));
      const Vec dr = plus(row, 0, u, n, S::mul(dn_bar, h_n));
      bar(row, 0, u, n, S::mul(dr, slope(r)));
      bar(row, 1, u, n, S::mul(dz, slope(z)));
      bar(row, 2, u, n, dn_bar);
      bar(row, 3, u, n, S::mul(dn_bar, r));
      keep(row, u, n, S::mul(dh, z));
    } else if constexpr (C == Cell::gru_reset_before) {  // r's share follows the product with W_hn: reset()
      const Vec z = gate(row, 1, u, n), c = gate(row, 2, u, n);
      const Vec dz = plus(row, 1, u, n, S::mul(dh, S::sub(before(row, row.h_prev, u, n), c)));
      bar(row, 1, u, n, S::mul(dz, slope(z)));
      bar(row, 2, u, n, S::mul(plus(row, 2, u, n, S::mul(dh, S::sub(one, z))), S::fnma(c, c, one)));
      keep(row, u, n, S::mul(dh, z));
    } else {
      const Vec h = row.cell ? take<S>(row.cell + u, n) : take<S>(row.output + u, n);
      Vec d = dh;
      if (L.cell == Cell::rnn_tanh) d = S::mul(dh, S::fnma(h, h, one));
      if (L.cell == Cell::rnn_relu) d = S::select(S::above_zero_or_nan(h), dh, S::zero());
      bar(row, 0, u, n, d);
    }
  }

  // The reset gate, once d(r h) is known; d(r h) r, h's share, replaces it. Leaves r h for the weight's gradient.
  void reset(const BackRow<Real>& row, Real* d_rh, i64 u, int n) const {
    if (!row.valid) return bar(row, 0, u, n, S::zero()), put<S>(d_rh, S::zero(), n);
    const Vec r = gate(row, 0, u, n), d = take<S>(d_rh, n);
    Vec h = before(row, row.h_prev, u, n);
    if (L.mask) h = S::mul(h, take<S>(L.mask + row.b * L.H + u, n));
    bar(row, 0, u, n, S::mul(plus(row, 0, u, n, S::mul(d, h)), slope(r)));
    put<S>(row.inner + u, S::mul(r, h), n);
    put<S>(d_rh, S::mul(d, r), n);
  }

  // A whole row of an LSTM with layer norm: through the norm of c.
  void normalised(const BackRow<Real>& row) const {
    const i64 H = L.H;
    if (!row.valid) {
      for (i64 u = 0; u < H; u += S::width) {
        const int n = lanes(u);
        units(row, u, n);
        put<S>(row.d_scaled + u, S::zero(), n), put<S>(row.d_scaled + H + u, S::zero(), n);
      }
      return;
    }
    const i64 GH = gates_of(C) * H;
    const Vec mean = S::set1(row.norms[2 * GH + 2]), inverse = S::set1(row.norms[2 * GH + 3]), one = S::set1(1);
    Vec sum = S::zero(), sum_n = S::zero();
    for (i64 u = 0; u < H; u += S::width) {
      const int n = lanes(u);
      const Vec normed = S::mul(S::sub(c_of(row, u, n), mean), inverse), gain = take<S>(L.gain_c + u, n);
      Vec a = S::mul(normed, gain);
      if (L.shift_c) a = S::add(a, take<S>(L.shift_c + u, n));
      const Vec squashed = tanh<S>(a), o = gate(row, 3, u, n);
      if (row.inner) put<S>(row.inner + u, S::mul(o, squashed), n);
      const Vec dh = take<S>(row.d_inner + u, n);
      const Vec d_scaled = S::mul(S::mul(dh, o), S::fnma(squashed, squashed, one));
      put<S>(row.d_scaled + u, d_scaled, n);
      put<S>(row.d_scaled + H + u, normed, n);
      bar(row, 3, u, n, S::mul(dh, squashed));  // d o, until lstm() reads it below
      const Vec d_n = S::mul(d_scaled, gain);  // zero in the lanes past H
      sum = S::add(sum, d_n);
      sum_n = S::fma(d_n, normed, sum_n);
    }
    const Vec mean_d = S::set1(total<S>(sum) / static_cast<Real>(H)), mean_dn = S::set1(total<S>(sum_n) / static_cast<Real>(H));
    for (i64 u = 0; u < H; u += S::width) {
      const int n = lanes(u);
      const Vec d_n = S::mul(take<S>(row.d_scaled + u, n), take<S>(L.gain_c + u, n));
      const Vec d_c = S::mul(inverse, S::fnma(take<S>(row.d_scaled + H + u, n), mean_dn, S::sub(d_n, mean_d)));
      lstm(row, u, n, take<S>(row.d_bar + 3 * H + u, n), d_c);
    }
  }

 private:
  int lanes(i64 u) const { return static_cast<int>(L.H - u < S::width ? L.H - u : S::width); }
  static Vec slope(Vec sigmoid) { return S::mul(sigmoid, S::sub(S::set1(1), sigmoid)); }
  Vec gate(const BackRow<Real>& row, int g, i64 u, int n) const { return take<S>(row.gates + g * L.H + u, n); }
  void bar(const BackRow<Real>& row, int g, i64 u, int n, Vec a) const { put<S>(row.d_bar + g * L.H + u, a, n); }
  Vec before(const BackRow<Real>& row, const Real* state, i64 u, int n) const {
    return row.cut ? S::zero() : take<S>(state + u, n);
  }
  // The gradient of an activated gate, with a trace's share.
  Vec plus(const BackRow<Real>& row, int g, i64 u, int n, Vec d) const {
    return row.d_gates ? S::add(d, take<S>(row.d_gates + g * L.H + u, n)) : d;
  }
  void keep(const BackRow<Real>& row, i64 u, int n, Vec more) const {
    put<S>(row.kept + u, S::add(take<S>(row.kept + u, n), more), n);
  }

  void zone(const Zoneout& z, const Zones::Bits* bits, i64 u, int n, Vec& d, Vec& kept) const {
    if (z.rate == 0) return;
    if (bits) {
      const auto old = zoned_out<S>(bits, u, n);
      kept = S::select(old, d, S::zero());
      d = S::select(old, S::zero(), d);
    } else {
      kept = S::mul(S::set1(static_cast<Real>(z.rate)), d);
      d = S::mul(S::set1(static_cast<Real>(1 - z.rate)), d);
    }
  }

  // c of this step before zoneout.
  Vec c_of(const BackRow<Real>& row, i64 u, int n) const {
    if (L.zoneout_c.rate == 0) return take<S>(row.cell + u, n);
    return S::fma(gate(row, 1, u, n), before(row, row.c_prev, u, n), S::mul(gate(row, 0, u, n), gate(row, 2, u, n)));
  }

  void lstm(const BackRow<Real>& row, i64 u, int n, Vec d_o, Vec d_c_from_h) const {
    Vec dc = take<S>(row.dc + u, n), kept = S::zero();
    if (row.d_cells) dc = S::add(dc, take<S>(row.d_cells + u, n));
    zone(L.zoneout_c, row.zone_c, u, n, dc, kept);
    dc = S::add(dc, d_c_from_h);
    const Vec i = gate(row, 0, u, n), f = gate(row, 1, u, n), g = gate(row, 2, u, n), o = gate(row, 3, u, n);
    bar(row, 0, u, n, S::mul(plus(row, 0, u, n, S::mul(dc, g)), slope(i)));
    bar(row, 1, u, n, S::mul(plus(row, 1, u, n, S::mul(dc, before(row, row.c_prev, u, n))), slope(f)));
    bar(row, 2, u, n, S::mul(plus(row, 2, u, n, S::mul(dc, i)), S::fnma(g, g, S::set1(1))));
    bar(row, 3, u, n, S::mul(plus(row, 3, u, n, d_o), slope(o)));
    const Vec d_prev = S::fma(dc, f, kept);
    put<S>(row.dc + u, row.cut ? S::zero() : d_prev, n);
  }
};

// Through a layer norm over a row of N: d_u = 1/sigma (d_n - mean(d_n) - n mean(d_n n)), d_n = d * gain.
template <class S>
void normalise_backward(const typename S::Real* d, const typename S::Real* gain, const typename S::Real* normed,
                        typename S::Real inverse, i64 N, i64 apart, typename S::Real* d_u) {
  using Real = typename S::Real;
  constexpr int W = S::width;
  typename S::Vec sum[2] = {S::zero(), S::zero()}, sum_n[2] = {S::zero(), S::zero()};  // two chains each: one would wait for itself
  for (i64 j = 0; j < N; j += 2 * W)
    for (int k = 0; k < 2 && j + k * W < N; ++k) {
      const i64 at = j + k * W;
      const int n = static_cast<int>(N - at < W ? N - at : W);
      const auto d_n = S::mul(take<S>(d + at, n), take<S>(gain + at, n));
      sum[k] = S::add(sum[k], d_n);
      prefetch(normed + apart + at);  // of the row that follows
      sum_n[k] = S::fma(d_n, take<S>(normed + at, n), sum_n[k]);
    }
  const auto mean = S::set1(total<S>(S::add(sum[0], sum[1])) / static_cast<Real>(N)),
             mean_n = S::set1(total<S>(S::add(sum_n[0], sum_n[1])) / static_cast<Real>(N));
  for (i64 j = 0; j < N; j += S::width) {
    const int n = static_cast<int>(N - j < S::width ? N - j : S::width);
    const auto d_n = S::mul(take<S>(d + j, n), take<S>(gain + j, n));
    put<S>(d_u + j, S::mul(S::set1(inverse), S::fnma(take<S>(normed + j, n), mean_n, S::sub(d_n, mean))), n);
  }
}

}  // namespace
}  // namespace unrolled

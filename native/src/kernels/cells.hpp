// The equations of one step, forward, for one row and one register of units; what surrounds a cell stands here too: cut,
// zoneout, hold past the length.
#pragma once

#include "sequence.hpp"

namespace unrolled {
namespace {

// Where one row finds and leaves its numbers at one step.
template <class Real>
struct Row {
  i64 t, b;
  bool valid, cut, cut_next;
  Real* gates;           // (Q, H): X_bar comes in, gates go out
  const Real* x;         // X_bar: the same place, or a row of the table of tokens; null where it is made panel by panel
  Real* norms;           // layer norm's tape, or null
  const Real* h_prev;    // (R), before the cut
  const Real* entering;  // (R), what the recurrent product read
  Real* leaving;         // (R), what it will read at the next step
  Real* output;          // (R)
  const Real* mask;      // (R), or null
  Real* between;         // (H), between two products, or null
  const Real* c_prev;    // (H), before the cut
  Real* cell;            // (H): c after the step (LSTM), or h before zoneout (RNN), or null
  const Zones::Bits* zone_h;  // zoneout's bits, where they are drawn
  const Zones::Bits* zone_c;
};

// n in the place of x; gain and shift applied: n * gain + shift. The normalised row and 1/sigma go to the tape if there is
// one, whose next row lies `apart` numbers further: it comes closer meanwhile.
template <class S>
void normalise(typename S::Real* x, i64 N, const typename S::Real* gain, const typename S::Real* shift,
               typename S::Real* normed, typename S::Real* inverse, i64 apart) {
  typename S::Real mean, inv;
  moments<S>(x, N, mean, inv);
  if (inverse) *inverse = inv;
  for (i64 j = 0; j < N; j += S::width) {
    const int n = static_cast<int>(N - j < S::width ? N - j : S::width);
    const auto a = S::mul(S::sub(take<S>(x + j, n), S::set1(mean)), S::set1(inv));
    if (normed) {
      prefetch_to_write(normed + apart + j);
      put<S>(normed + j, a, n);
    }
    const auto scaled = S::mul(a, take<S>(gain + j, n));
    put<S>(x + j, shift ? S::add(scaled, take<S>(shift + j, n)) : scaled, n);
  }
}

// What stands beside the input's product and, of a GRU, beside the recurrent one (its b_hn, behind the reset gate), each in
// the order of its panels, with zeros where no column is.
template <class S, Cell C>
void sum_biases(const Layer<typename S::Real>& L, const Panels<S>& input, const Panels<S>& hidden, typename S::Real* to_x, typename S::Real* to_h) {
  for (i64 j = 0; j < input.count() * input.step(); ++j) to_x[j] = 0;
  for (i64 j = 0; j < hidden.count() * hidden.step(); ++j) to_h[j] = 0;
  if (!L.b_ih || L.layer_norm) return;
  for (i64 j = 0; j < gates_of(C) * L.H; ++j) {
    const bool behind_reset = C == Cell::gru && j >= 2 * L.H;  // r * (W_hn h + b_hn): it can't join the input's
    to_x[input.place(j)] = behind_reset ? L.b_ih[j] : L.b_ih[j] + L.b_hh[j];
    if (behind_reset) to_h[hidden.place(j)] = L.b_hh[j];
  }
}

// A state after zoneout: the old value where a bit says so, or in evaluation the expectation.
template <class S>
typename S::Vec zoned(const Zoneout& z, const Zones::Bits* bits, i64 u, int n, typename S::Vec before,
                      typename S::Vec fresh) {
  using Real = typename S::Real;
  if (z.rate == 0) return fresh;
  if (bits) return S::select(zoned_out<S>(bits, u, n), before, fresh);
  return S::add(S::mul(S::set1(static_cast<Real>(z.rate)), before), S::mul(S::set1(static_cast<Real>(1 - z.rate)), fresh));
}

template <class S, Cell C>
struct CellForward {
  using Real = typename S::Real;
  using Vec = typename S::Vec;

  const Layer<Real>& L;
  bool keep;  // gates are wanted on the tape

  // A register of units of both products, from one gate to the next so far apart.
  struct Sums {
    const Real* x;
    i64 x_apart;
    const Real* h;
    i64 h_apart;
    Vec of_x(int gate, int n) const { return take<S>(x + gate * x_apart, n); }
    Vec of_h(int gate, int n) const { return take<S>(h + gate * h_apart, n); }
    Vec operator()(int gate, int n) const { return S::add(of_x(gate, n), of_h(gate, n)); }
  };
  // Where the input's product stands in a row of its own.
  Sums beside(const Row<Real>& row, i64 u, const Real* h, i64 h_apart) const { return {row.x + u, L.H, h, h_apart}; }

  // Units [u, u + n) of a row.
  void units(const Row<Real>& row, const Sums& a, i64 u, int n) const {
    if (!row.valid) return hold(row, u, n);
    if constexpr (C == Cell::lstm) {
      Vec o;
      const Vec c = lstm_c(row, a, u, n, o);
      const Vec h = S::mul(o, tanh<S>(c));
      leave_c(row, u, n, c);
      leave_h(row, u, n, h);
    } else if constexpr (C == Cell::gru) {
      const Vec r = sigmoid<S>(a(0, n)), z = sigmoid<S>(a(1, n)), h_n = a.of_h(2, n);
      const Vec candidate = tanh<S>(S::fma(r, h_n, a.of_x(2, n)));
      if (keep) {
        gate(row, 0, u, n, r), gate(row, 1, u, n, z), gate(row, 2, u, n, candidate), gate(row, 3, u, n, h_n);
      }
      leave_h(row, u, n, gru_h(row, u, n, z, candidate));
    } else if constexpr (C == Cell::gru_reset_before) {
      const Vec r = sigmoid<S>(a(0, n)), z = sigmoid<S>(a(1, n));
      gate(row, 0, u, n, r), gate(row, 1, u, n, z);
      put<S>(row.between + u, S::mul(r, take<S>(row.entering + u, n)), n);
    } else {
      const Vec sum = a(0, n);
      const Vec h = L.cell == Cell::rnn_tanh ? tanh<S>(sum) : L.cell == Cell::rnn_relu ? relu(sum) : sum;
      if (row.cell) put<S>(row.cell + u, h, n);
      leave_h(row, u, n, h);
    }
  }

  // Units at u of this row follow soon. Where rows lie a page apart or more no processor looks ahead by itself.
  UNROLLED_INLINE void expect(const Row<Real>& row, i64 u) const {
    if (taped_of(C) * L.H * static_cast<i64>(sizeof(Real)) < 4096) return;
    for (i64 g = 0; g < gates_of(C) && row.x != row.gates; ++g) prefetch(row.x + g * L.H + u);
    if (keep)
      for (i64 g = 0; g < taped_of(C); ++g) prefetch_to_write(row.gates + g * L.H + u);
    if (C == Cell::lstm) prefetch(row.c_prev + u);
    if (row.cell) prefetch_to_write(row.cell + u);
    prefetch_to_write(row.output + u);
    prefetch_to_write(row.leaving + u);
  }

  // A whole row under layer norm: u holds the recurrent product (G*H), behind it there is room for H numbers.
  void normalised(const Row<Real>& row, Real* u_row) const {
    constexpr i64 G = gates_of(C);
    const i64 H = L.H, GH = G * H;
    if (!row.valid) {
      for (i64 u = 0; u < H; u += S::width) hold(row, u, lanes(u, H));
      for (i64 j = 0; row.norms && j < norms_size(C, H); ++j) row.norms[j] = 0;  // they meet zero gradients: never a NaN
      return;
    }
    normalise<S>(u_row, GH, L.gain_hh, L.b_hh, row.norms ? row.norms + GH : nullptr, row.norms ? row.norms + 2 * GH + 1 : nullptr, norms_size(C, H));
    if constexpr (C != Cell::lstm) {
      for (i64 u = 0; u < H; u += S::width) units(row, beside(row, u, u_row + u, H), u, lanes(u, H));
    } else {
      Real* c_row = u_row + GH;
      for (i64 u = 0; u < H; u += S::width) {
        Vec o;
        const Vec c = lstm_c(row, beside(row, u, u_row + u, H), u, lanes(u, H), o);
        put<S>(c_row + u, c, lanes(u, H));
        leave_c(row, u, lanes(u, H), c);
      }
      Real mean, inverse;
      moments<S>(c_row, H, mean, inverse);
      if (row.norms) row.norms[2 * GH + 2] = mean, row.norms[2 * GH + 3] = inverse;
      for (i64 u = 0; u < H; u += S::width) {
        const int n = lanes(u, H);
        Vec a = S::mul(S::mul(S::sub(take<S>(c_row + u, n), S::set1(mean)), S::set1(inverse)), take<S>(L.gain_c + u, n));
        if (L.shift_c) a = S::add(a, take<S>(L.shift_c + u, n));
        leave_h(row, u, n, S::mul(take<S>(row.gates + 3 * H + u, n), tanh<S>(a)));
      }
    }
  }

  // Units of a row behind its second product.
  void second(const Row<Real>& row, const Real* product, i64 u, int n) const {
    if constexpr (C == Cell::lstm) {
      if (row.valid) finish(row, u, n, take<S>(product, n));
    } else if constexpr (C == Cell::gru_reset_before) {
      if (!row.valid) return;
      const Vec candidate = tanh<S>(S::add(take<S>(row.x + 2 * L.H + u, n), take<S>(product, n)));
      if (keep) gate(row, 2, u, n, candidate);
      finish(row, u, n, gru_h(row, u, n, take<S>(row.gates + L.H + u, n), candidate));
    }
  }

 private:
  static int lanes(i64 u, i64 H) { return static_cast<int>(H - u < S::width ? H - u : S::width); }
  static Vec relu(Vec a) { return S::max(S::zero(), a); }
  void gate(const Row<Real>& row, int g, i64 u, int n, Vec a) const { put<S>(row.gates + g * L.H + u, a, n); }
  Vec before(const Row<Real>& row, const Real* state, i64 u, int n) const {
    return row.cut ? S::zero() : take<S>(state + u, n);
  }

  Vec lstm_c(const Row<Real>& row, const Sums& a, i64 u, int n, Vec& o) const {
    const Vec i = sigmoid<S>(a(0, n)), f = sigmoid<S>(a(1, n)), g = tanh<S>(a(2, n));
    o = sigmoid<S>(a(3, n));
    if (keep) gate(row, 0, u, n, i), gate(row, 1, u, n, f), gate(row, 2, u, n, g), gate(row, 3, u, n, o);
    return S::fma(f, before(row, row.c_prev, u, n), S::mul(i, g));
  }

  Vec gru_h(const Row<Real>& row, i64 u, int n, Vec z, Vec candidate) const {
    const Vec h = before(row, row.h_prev, u, n);
    return S::add(S::mul(S::sub(S::set1(1), z), candidate), S::mul(z, h));
  }

  void leave_c(const Row<Real>& row, i64 u, int n, Vec c) const {
    put<S>(row.cell + u, zoned<S>(L.zoneout_c, row.zone_c, u, n, before(row, row.c_prev, u, n), c), n);
  }

  void leave_h(const Row<Real>& row, i64 u, int n, Vec h) const {
    if (C == Cell::lstm && row.between)
      put<S>(row.between + u, h, n);  // to be projected
    else
      finish(row, u, n, h);
  }

  void finish(const Row<Real>& row, i64 u, int n, Vec h) const {
    if (L.zoneout_h.rate != 0) h = zoned<S>(L.zoneout_h, row.zone_h, u, n, before(row, row.h_prev, u, n), h);
    put<S>(row.output + u, h, n);
    if (row.cut_next) h = S::zero();
    else if (row.mask) h = S::mul(h, take<S>(row.mask + u, n));
    put<S>(row.leaving + u, h, n);
  }

  // Past the length: the state is held, the output and the gates are zero.
  void hold(const Row<Real>& row, i64 u, int n) const {
    if (keep)
      for (int g = 0; g < taped_of(C); ++g) gate(row, g, u, n, S::zero());
    if constexpr (C == Cell::lstm) put<S>(row.cell + u, take<S>(row.c_prev + u, n), n);
    else if (row.cell) put<S>(row.cell + u, S::zero(), n);
    const i64 R = L.P ? L.P : L.H;
    for (i64 r = u; r < (L.P && u + n >= L.H ? R : u + n < R ? u + n : R); r += S::width) {
      const int m = static_cast<int>(R - r < S::width ? R - r : S::width);
      put<S>(row.output + r, S::zero(), m);
      put<S>(row.leaving + r, take<S>(row.entering + r, m), m);
    }
  }
};

}  // namespace
}  // namespace unrolled

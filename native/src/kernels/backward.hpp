// A layer over time, backward: step after step from the last one, and after each block of steps the products that need no
// order, weight gradients and dx, over all its rows at once.
#pragma once

#include "cells_backward.hpp"
#include "outer.hpp"

namespace unrolled {
namespace {

template <class S, Cell C>
class Backward {
  using Real = typename S::Real;
  static constexpr int W = S::width;
  static constexpr i64 G = gates_of(C), Q = taped_of(C);

 public:
  Backward(const Layer<Real>& layer, const Gradients<Real>& grads, const Run& run)
      : L(layer), D(grads), q(layer), run_{team_size(layer, q.R, 2, run.threads), run.stop, run.context}, stop_(run_), GH(G * L.H), QH(Q * L.H),
        rows_max_((q.steps < L.T ? q.steps : L.T) * L.B), hidden_{q.R, 4, false, C != Cell::gru_reset_before && splits<S>(GH, q.R)}, inner_{L.H, 4, false, L.P && splits<S>(L.P, L.H)},
        plan_(plan(L.B, static_cast<double>(GH) * static_cast<double>(q.R) * sizeof(Real), hidden_.count(),
                   L.layer_norm || L.P || C == Cell::gru_reset_before, run_.threads, hidden_.split)),
        direct_(L.T * L.B <= few_rows && q.R % W == 0 && !hidden_.split ? q.R : 0), passing_(hidden_.split && L.T == 1 && L.B <= passing_rows),
        packing_(!direct_ && !passing_ && (L.T > 1 || D.d_h0 || C == Cell::gru_reset_before)), outer_(L, D, q, rows_max_, run_.threads) {}

  bool go() {
    const bool two = L.P || C == Cell::gru_reset_before;
    packed_h_ = Array<Real>(packing_ ? hidden_.size(GH) : 0);
    packed_p_ = Array<Real>(L.P ? inner_.size(L.P) : 0);
    left_row_ = larger(left_room(hidden_, L.B, GH), left_room(inner_, L.B, L.P));
    left_ = Array<Real>(run_.threads * left_row_);
    room_ = Array<Real>(passing_ && D.d_h0 ? run_.threads * hidden_.size_of_one(GH) : 0);
    d_bar_ = Array<Real>(rows_max_ * QH);
    d_u_ = Array<Real>(L.layer_norm ? 2 * rows_max_ * GH : 0);
    d_projected_ = Array<Real>(L.P ? rows_max_ * L.P : 0);
    made_ = Array<Real>(two ? rows_max_ * L.H : 0);
    d_scaled_ = Array<Real>(L.layer_norm && C == Cell::lstm ? 2 * rows_max_ * L.H : 0);
    dh_ = Array<Real>(L.B * q.R);
    kept_ = Array<Real>(L.B * q.R);
    dc_ = Array<Real>(C == Cell::lstm ? L.B * L.H : 0);
    d_inner_ = Array<Real>(two ? L.B * L.H : 0);
    scratch_ = Array<Real>(run_.threads * (L.B * 4 * W + 64));
    rows_ = Array<BackRow<Real>>(run_.threads * L.B);
    zones_ = Zones(L, q.R, run_.threads * L.B);
    for (int g = 0; g < plan_.groups && plan_.lanes > 1; ++g) new (&meetings_.at[g]) Barrier(plan_.lanes);
    outer_.allocate();
    auto task = [this](Member& me) {
      if (me.size != run_.threads) plan_ = {1, 1};  // another caller has the workers: this member does it all
      work(me);
    };
    parallel(run_.threads, task);
    return !stop_.stopped();
  }

 private:
  void work(Member& me) {
    Session<S> session;
    prepare(me);
    me.barrier.wait();
    const int group = me.index / plan_.lanes, lane = me.index % plan_.lanes;
    const bool idle = group >= plan_.groups;
    const i64 b0 = idle ? 0 : split(L.B, plan_.groups, group), b1 = idle ? 0 : split(L.B, plan_.groups, group + 1);
    const i64 p0 = split(hidden_.count(), plan_.lanes, lane), p1 = split(hidden_.count(), plan_.lanes, lane + 1);
    bool fresh = true;
    for (i64 s1 = L.T; s1 > 0;) {
      const i64 s0 = (s1 - 1) / q.steps * q.steps, low = L.reverse ? L.T - s1 : s0;
      for (i64 s = s1 - 1; s >= s0 && !idle; --s) step(me.index, group, s, low, b0, b1, p0, p1);
      stop_.ask(me), session.resume();
      me.barrier.wait();
      if (stop_.stopped()) return;
      outer_.block(me, low, s1 - s0, fresh, {d_bar_, d_u_, d_projected_, made_, d_scaled_});
      fresh = false;
      s1 = s0;
    }
    outer_.finish(me);
    const i64 from = split(L.B, me.size, me.index), to = split(L.B, me.size, me.index + 1);
    for (i64 i = from * q.R; D.d_h0 && i < to * q.R; ++i) D.d_h0[i] = dh_[i];
    for (i64 i = from * L.H; D.d_c0 && i < to * L.H; ++i) D.d_c0[i] = dc_[i];
  }

  void prepare(Member& me) {
    if (packing_) pack_rows<S>(hidden_, GH, me, [this](i64 k) { return Source<Real>{L.w_hh + k * q.R}; }, packed_h_);
    if (L.P) pack_rows<S>(inner_, L.P, me, [this](i64 k) { return Source<Real>{L.w_hr + k * L.H}; }, packed_p_);
    const i64 from = split(L.B, me.size, me.index), to = split(L.B, me.size, me.index + 1);
    for (i64 i = from * q.R; i < to * q.R; ++i) dh_[i] = D.d_h_n ? D.d_h_n[i] : 0;
    for (i64 i = from * L.H; dc_.get() && i < to * L.H; ++i) dc_[i] = D.d_c_n ? D.d_c_n[i] : 0;
    outer_.prepare(me);
  }

  BackRow<Real> row_at(i64 s, i64 low, i64 b) const {
    const i64 t = q.time(s), m = (t - low) * L.B + b, at = t * L.B + b;
    BackRow<Real> row;
    row.t = t, row.b = b, row.valid = q.valid(t, b), row.cut = q.cut(t, b);
    row.gates = L.gates ? L.gates + at * QH : nullptr;
    row.norms = L.norms ? L.norms + at * norms_size(C, L.H) : nullptr;
    row.output = L.output + t * L.out_step + b * L.out_row;
    row.h_prev = q.h_before(t, b);
    row.c_prev = s == 0 ? L.c0 + b * L.H : L.cells + ((L.reverse ? t + 1 : t - 1) * L.B + b) * L.H;
    row.cell = L.cells ? L.cells + at * L.H : nullptr;
    row.d_output = D.d_output ? D.d_output + t * D.out_step + b * D.out_row : nullptr;
    row.d_gates = D.d_gates_in ? D.d_gates_in + at * GH : nullptr;
    row.d_cells = D.d_cells_in ? D.d_cells_in + at * L.H : nullptr;
    row.dh = dh_ + b * q.R;
    row.kept = kept_ + b * q.R;
    row.dc = C == Cell::lstm ? dc_ + b * L.H : nullptr;
    row.d_inner = L.P ? d_inner_ + b * L.H : row.dh;
    row.d_bar = d_bar_ + m * QH;
    row.d_h = D.d_h ? D.d_h + at * q.R : nullptr;
    row.inner = made_.get() ? made_ + m * L.H : nullptr;
    row.d_scaled = d_scaled_.get() ? d_scaled_ + m * 2 * L.H : nullptr;
    return row;
  }

  void step(int member, int group, i64 s, i64 low, i64 b0, i64 b1, i64 p0, i64 p1) {
    Real* scratch = scratch_ + member * (L.B * 4 * W + 64);
    BackRow<Real>* rows = rows_ + member * L.B;
    const i64 n = b1 - b0, first = (q.time(s) - low) * L.B + b0;
    const CellBackward<S, C> cell{L};
    const i64 from = p0 * 4 * W, to = p1 * 4 * W < q.R ? p1 * 4 * W : q.R;
    for (i64 r = 0; r < n; ++r) {
      rows[r] = row_at(s, low, b0 + r);
      zones_.draw(L, rows[r], member * L.B + r, from, L.P ? L.H : to);
      for (i64 u = from; u < to; u += W) cell.arrive(rows[r], u, lanes(u, q.R));
      if (!L.P && !(C == Cell::lstm && L.layer_norm))
        for (i64 u = from; u < to; u += W) cell.units(rows[r], u, lanes(u, L.H));
    }
    if (L.P) unproject(rows, n, b0, first, left_ + member * left_row_);
    if (L.P || (C == Cell::lstm && L.layer_norm))
      for (i64 r = 0; r < n; ++r) {
        if (L.layer_norm) cell.normalised(rows[r]);
        for (i64 u = 0; u < L.H && !L.layer_norm; u += W) cell.units(rows[r], u, lanes(u, L.H));
      }
    if (C == Cell::gru_reset_before) reset(cell, rows, n, b0, first, scratch);
    const Real *d = d_bar_ + first * QH, *w = direct_ ? L.w_hh : packed_h_.get();
    i64 ld = QH;
    if (L.layer_norm) d = through_norm(rows, n, first), ld = GH;
    if (s == 0 && !D.d_h0) return;  // nobody asks for what comes before the first step
    if (plan_.lanes > 1) meetings_.at[group].wait();
    // A GRU's row is r z n and, last, n behind the reset gate: the recurrent product takes r z and that one.
    const bool last = C == Cell::gru && !L.layer_norm, behind = last && !hidden_.split;
    d = left_of<S>(hidden_, n, GH, d, ld, left_ + member * left_row_, 2 * L.H, last ? L.H : 0);
    Real* room = room_ + member * hidden_.size_of_one(GH);
    for (i64 i = 0; i < p1 - p0; ++i) {
      const i64 p = there_and_back(s, p0, p1, i), next = there_and_back(s, p0, p1, i + 1);
      const Real* then = hidden_.at(packed_h_, GH, next);
      if constexpr (has_tiles<S>)
        if (passing_) split_rows<S>(hidden_, GH, 0, GH, [this](i64 k) { return Source<Real>{L.w_hh + k * q.R}; }, room, p, p + 1, p);
      product_panel<S>(n, C == Cell::gru_reset_before || behind ? 2 * L.H : GH, d, ld, hidden_, p, passing_ ? room : w, passing_ ? 0 : GH, 0,
                       Begin::zero, nullptr, scratch, 4 * W, direct_, then);
      if (behind)
        product_panel<S>(n, L.H, d + 3 * L.H, ld, hidden_, p, w, GH, 2 * L.H, Begin::load, nullptr, scratch, 4 * W, direct_,
                         then ? then + 2 * L.H * hidden_.step() : nullptr);
      for (i64 r = 0; r < n; ++r) depart(rows[r], scratch + r * 4 * W, p * 4 * W);
    }
  }

  static int lanes(i64 u, i64 N) { return static_cast<int>(N - u < W ? N - u : W); }

  // dh of the step before: what came through the product, masked and cut, and what went past it.
  void depart(const BackRow<Real>& row, const Real* product, i64 begin) const {
    for (i64 r = begin; r < begin + 4 * W && r < q.R; r += W) {
      const int n = lanes(r, q.R);
      auto d = take<S>(product + r - begin, n);
      if (C == Cell::gru_reset_before) d = S::add(d, take<S>(d_inner_ + row.b * L.H + r, n));
      if (L.mask) d = S::mul(d, take<S>(L.mask + row.b * q.R + r, n));
      d = S::add(d, take<S>(row.kept + r, n));
      put<S>(row.dh + r, row.cut ? S::zero() : d, n);
    }
  }

  // Through the projection: d(o tanh c) = dh W_hr; dh is kept for the weight's gradient.
  void unproject(const BackRow<Real>* rows, i64 n, i64 b0, i64 first, Real* left) {
    for (i64 r = 0; r < n; ++r)
      for (i64 j = 0; j < L.P; ++j) d_projected_[(first + r) * L.P + j] = rows[r].dh[j];
    product<S>(n, L.P, left_of<S>(inner_, n, L.P, dh_ + b0 * L.P, L.P, left), L.P, inner_, packed_p_, L.P, 0, Begin::zero, nullptr, d_inner_ + b0 * L.H, L.H, 0,
               inner_.count());
  }

  // Reset before the product: d(r h) = dn_bar W_hn, then r's gate.
  void reset(const CellBackward<S, C>& cell, const BackRow<Real>* rows, i64 n, i64 b0, i64 first, Real* scratch) {
    for (i64 p = 0; p < hidden_.count(); ++p) {
      const Real* then = hidden_.at(packed_h_, GH, p + 1 < hidden_.count() ? p + 1 : -1);
      product_panel<S>(n, L.H, d_bar_ + first * QH + 2 * L.H, QH, hidden_, p,
                       direct_ ? L.w_hh : packed_h_.get(), GH, 2 * L.H, Begin::zero, nullptr, scratch, 4 * W, direct_,
                       then ? then + 2 * L.H * hidden_.step() : nullptr);
      for (i64 r = 0; r < n; ++r)
        for (i64 u = p * 4 * W; u < (p + 1) * 4 * W && u < L.H; u += W) {
          cell.reset(rows[r], scratch + r * 4 * W + u - p * 4 * W, u, lanes(u, L.H));
          put<S>(d_inner_ + (b0 + r) * L.H + u, take<S>(scratch + r * 4 * W + u - p * 4 * W, lanes(u, L.H)), lanes(u, L.H));
        }
    }
  }

  // Layer norm of both products, backward, while d_bar of this step's rows is in the cache. Returns where the recurrent
  // one's begin; the input's lie behind all of them.
  const Real* through_norm(const BackRow<Real>* rows, i64 n, i64 first) {
    Real* out = d_u_ + first * GH;
    for (i64 r = 0; r < n; ++r) {
      Real *d_u = out + r * GH, *d_in = d_u + rows_max_ * GH;
      if (!rows[r].valid) {
        for (i64 j = 0; j < GH; ++j) d_u[j] = d_in[j] = 0;
        continue;
      }
      const Real *norms = rows[r].norms, *d_bar = rows[r].d_bar;
      normalise_backward<S>(d_bar, L.gain_ih, norms, norms[2 * GH], GH, norms_size(C, L.H), d_in);
      if (C == Cell::gru) {  // r z and n behind the reset gate side by side
        for (i64 j = 0; j < GH; ++j) d_u[j] = d_bar[j < 2 * L.H ? j : j + L.H];
        d_bar = d_u;
      }
      normalise_backward<S>(d_bar, L.gain_hh, norms + GH, norms[2 * GH + 1], GH, norms_size(C, L.H), d_u);
    }
    return out;
  }

  union Meetings {
    Meetings() {}
    ~Meetings() {}
    Barrier at[64];
  };

  const Layer<Real>& L;
  const Gradients<Real>& D;
  Sequence<Real> q;
  const Run run_;
  Stop stop_;
  i64 GH, QH, rows_max_;
  Panels<S> hidden_, inner_;
  Plan plan_;
  i64 direct_;  // few rows: the recurrent weight is read where it lies, rows so far apart; 0: packed
  bool passing_;  // one step over split panels: each is split, used and forgotten
  bool packing_;  // it is read packed: neither where it lies, nor not at all, since nobody asks for what comes before one step
  Outer<S, C> outer_;
  i64 left_row_ = 0;
  Array<Real> left_, room_, packed_h_, packed_p_, d_bar_, d_u_, d_projected_, made_, d_scaled_, dh_, kept_, dc_, d_inner_, scratch_;
  Array<BackRow<Real>> rows_;
  Zones zones_;
  Meetings meetings_;
};

}  // namespace
}  // namespace unrolled

// A layer over time, forward: packed weights, input products by the block, and step after step the product with h in tiles
// whose gates are made while they lie in the first cache.
#pragma once

#include <new>

#include "cells.hpp"

namespace unrolled {
namespace {

template <class S, Cell C>
class Forward {
  using Real = typename S::Real;
  static constexpr int W = S::width;
  static constexpr i64 G = gates_of(C), Q = taped_of(C);
  static constexpr i64 ahead = 2, own_input = 192;
  static constexpr i64 joined_rows = 16, joined_bytes = 8 << 20;  // both weights are read again at every step

 public:
  Forward(const Layer<Real>& layer, const Run& run)
      : L(layer), q(layer), run_{team_size(layer, q.R, 1, run.threads), run.stop, run.context}, stop_(run_), GH(G * L.H), QH(Q * L.H), taped_(L.gates != nullptr),
        whole_rows_(L.layer_norm || L.P || C == Cell::gru_reset_before),
        table_(L.ids && !L.layer_norm && L.I <= L.T * L.B),
        input_{GH, 4, false, splits<S>(GH, L.I)},
        hidden_(L.layer_norm ? Panels<S>{GH, 4, false, splits<S>(GH, q.R)}
                             : C == Cell::gru_reset_before
                                   ? Panels<S>{L.H, 2, true}
                                   : Panels<S>{L.H, G > 1 ? static_cast<int>(G) : 4, G > 1, splits<S>(GH, q.R)}),
        second_{L.P ? L.P : L.H, 4, false, L.P && splits<S>(L.P, L.H)},
        plan_(plan(L.B, static_cast<double>(GH) * static_cast<double>(q.R) * sizeof(Real),
                   ceil_div(L.H, hidden_.units()), whole_rows_, run_.threads, hidden_.split)),
        passing_(L.T == 1 && L.B <= passing_rows && !L.layer_norm && (plan_.groups == 1 || !whole_rows_)) {
    joined_ = !taped_ && !L.ids && !L.layer_norm && C != Cell::gru_reset_before && !passing_ && !hidden_.split && !input_.split &&
              L.B >= joined_rows * plan_.groups && GH * (L.I + q.R) * static_cast<i64>(sizeof(Real)) <= joined_bytes;
    if (joined_) input_ = hidden_;
    if (passing_ && !whole_rows_)  // lanes share the panels: each is packed once
      plan_ = {1, static_cast<int>(smaller(run_.threads, hidden_.count()))};
  }

  bool go() {
    const i64 scratch_row = larger(L.layer_norm ? GH + L.H : 0, joined_ ? 8 * W : 4 * W);
    packed_x_ = Array<Real>(L.ids ? (table_ ? L.I * GH : 0) : passing_ ? 0 : input_.size(L.I));
    packed_h_ = Array<Real>(passing_ ? 0 : hidden_.size(q.R));
    room_row_ = passing_ ? larger(L.ids ? 0 : input_.size_of_one(L.I), hidden_.size_of_one(q.R)) : 0;
    room_ = Array<Real>(run_.threads * room_row_);
    const i64 rows = (q.steps < L.T ? q.steps : L.T) * L.B;
    left_row_ = larger(larger(L.ids || joined_ ? 0 : passing_ ? left_room(input_, rows, L.I) : tall_room(input_, rows, L.I),
                              left_room(hidden_, L.B, q.R)), left_room(second_, L.B, L.H));
    left_ = Array<Real>(run_.threads * left_row_);
    const bool two = L.P || C == Cell::gru_reset_before;
    packed_2_ = Array<Real>(two ? second_.size(L.H) : 0);
    between_ = Array<Real>(two ? L.B * L.H : 0);
    bias_x_ = Array<Real>(input_.count() * input_.step());
    bias_h_ = Array<Real>(hidden_.count() * hidden_.step());
    entering_ = Array<Real>(2 * L.B * q.R);
    block_ = Array<Real>(taped_ || joined_ ? 0 : (q.steps < L.T ? q.steps : L.T) * L.B * QH);
    cells_ = Array<Real>(C == Cell::lstm && !L.cells ? 2 * L.B * L.H : 0);
    scratch_row_ = scratch_row;
    scratch_ = Array<Real>(run_.threads * (L.B * scratch_row + 64));
    rows_ = Array<Row<Real>>(run_.threads * L.B);
    zones_ = Zones(L, q.R, run_.threads * L.B);
    for (int g = 0; g < plan_.groups && g < max_groups; ++g) new (&meetings_[g]) Barrier(plan_.lanes);
    auto task = [this](Member& me) {
      if (me.size != run_.threads) plan_ = {1, 1};  // another caller has the workers: this member does it all
      work(me);
    };
    parallel(run_.threads, task);
    return !stop_.stopped();
  }

 private:
  static constexpr int max_groups = 64;

  void work(Member& me) {
    Session<S> session;
    prepare(me);
    me.barrier.wait();
    const int group = me.index / plan_.lanes, lane = me.index % plan_.lanes;
    const bool idle = group >= plan_.groups;
    const i64 b0 = idle ? 0 : split(L.B, plan_.groups, group), b1 = idle ? 0 : split(L.B, plan_.groups, group + 1);
    const i64 panels = hidden_.count();
    const i64 p0 = split(panels, plan_.lanes, lane), p1 = split(panels, plan_.lanes, lane + 1);
    for (i64 s0 = 0; s0 < L.T; s0 += q.steps) {
      const i64 s1 = s0 + q.steps < L.T ? s0 + q.steps : L.T;
      const i64 low = L.reverse ? L.T - s1 : s0;
      if (own_rows(me)) {
        project_own(low, s1 - s0, b0, b1);
      } else if (!joined_) {
        project(me, low, s1 - s0);
        me.barrier.wait();
      }
      for (i64 s = s0; s < s1 && !idle; ++s) {
        step(me.index, s, low, b0, b1, p0, p1);
        if (plan_.lanes > 1) meetings_[group].barrier.wait();
      }
      stop_.ask(me), session.resume();
      me.barrier.wait();
      if (stop_.stopped()) return;
    }
    for (i64 b = b0; lane == 0 && b < b1; ++b) last(b);
  }

  // Packs weights and sums biases, each member its share; the first h goes where the recurrent product reads it.
  void prepare(Member& me) {
    const auto share = [&](i64 n, i64& from, i64& to) { from = split(n, me.size, me.index), to = split(n, me.size, me.index + 1); };
    i64 from, to;
    if (me.index == 0) sum_biases<S, C>(L, input_, hidden_, bias_x_, bias_h_);
    share(hidden_.count(), from, to);
    if (!passing_) pack_transposed<S>(hidden_, q.R, L.w_hh, q.R, packed_h_, from, to);
    if (L.P || C == Cell::gru_reset_before) {
      share(second_.count(), from, to);
      pack_transposed<S>(second_, L.H, L.P ? L.w_hr : L.w_hh + 2 * L.H * L.H, L.H, packed_2_, from, to);
    }
    share(L.B, from, to);
    for (i64 b = from; b < to; ++b) q.enter(q.time(0), b, L.h0 + b * q.R, entering_ + b * q.R);
    if (!L.ids) {
      share(input_.count(), from, to);
      if (!passing_) pack_transposed<S>(input_, L.I, L.w_ih, L.I, packed_x_, from, to);
    } else if (table_) {
      me.barrier.wait();  // the table holds the biases
      share(L.I, from, to);
      fill_table(from, to);
    }
  }

  void fill_table(i64 from, i64 to) {
    for (i64 v0 = from; v0 < to; v0 += 16) {
      const i64 v1 = v0 + 16 < to ? v0 + 16 : to;
      for (i64 j = 0; j < GH; ++j)
        for (i64 v = v0; v < v1; ++v) packed_x_[v * GH + j] = L.w_ih[j * L.I + v] + bias_x_[j];
    }
  }

  Real* gate_row(i64 t, i64 low, i64 b) const {
    return taped_ ? L.gates + (t * L.B + b) * QH : joined_ ? nullptr : block_ + ((t - low) * L.B + b) * QH;
  }

  // X_bar = W_ih x + b for the steps [low, low + steps), straight into the rows that will hold the gates.
  void project(Member& me, i64 low, i64 steps) {
    const i64 M = steps * L.B;
    Real* out = gate_row(low, low, 0);
    if (L.ids) {
      if (table_) return;
      const i64 from = split(M, me.size, me.index), to = split(M, me.size, me.index + 1);
      for (i64 m = from; m < to; ++m) {
        const i64 t = low + m / L.B, b = m % L.B;
        const i64 id = q.valid(t, b) ? L.ids[t * L.ids_step + b * L.ids_row] : 0;
        for (i64 j = 0; j < GH; ++j) out[m * QH + j] = L.w_ih[j * L.I + id] + bias_x_[j];
      }
      normalise_rows(low, from, to, out);
      return;
    }
    const Real* x = L.x + low * L.B * L.x_row;
    const Begin begin = L.b_ih && !L.layer_norm ? Begin::bias : Begin::zero;
    Real* left = left_ + me.index * left_row_;
    if (passing_) {
      const i64 step = input_.step();
      x = left_of<S>(input_, M, L.I, x, L.x_row, left);
      for (i64 p = split(input_.count(), me.size, me.index); p < split(input_.count(), me.size, me.index + 1); ++p)
        product_passing<S>(M, L.I, x, L.x_row, input_, p, L.w_ih, room_ + me.index * room_row_, begin, bias_x_ + p * step,
                           out + p * step, QH);
    } else if (M >= 24 * me.size || L.layer_norm) {
      const i64 m0 = split(M, me.size, me.index), m1 = split(M, me.size, me.index + 1);
      const i64 some = L.layer_norm ? (input_.split ? 192 : 96) : m1 - m0;  // rows are normalised while they lie in the second cache
      for (i64 m = m0, end; m < m1; m = end) {
        end = m1 - m < some ? m1 : m + some;
        product_tall<S>(end - m, L.I, x + m * L.x_row, L.x_row, input_, packed_x_, L.I, 0, begin, bias_x_, out + m * QH, QH, 0,
                        input_.count(), left);
        normalise_rows(low, m, end, out);
      }
    } else {
      product_tall<S>(M, L.I, x, L.x_row, input_, packed_x_, L.I, 0, begin, bias_x_, out, QH,
                      split(input_.count(), me.size, me.index), split(input_.count(), me.size, me.index + 1), left);
    }
  }

  // Whether each member makes the input's product of the rows that it goes on with, which then lie in its own caches:
  // another's may be as far away as memory. Of long rows the product takes longer than to fetch them; small tiles lose more
  // by the rows that are left over at each step.
  bool own_rows(const Member& me) const {
    return S::registers >= 32 && me.size > 1 && plan_.groups == me.size && L.B >= tile_rows<S>(4) * me.size && L.I <= own_input && !L.ids && !L.layer_norm &&
           !joined_ && !passing_ && !input_.split;
  }

  // As project(), of rows [b0, b1) of every step.
  void project_own(i64 low, i64 steps, i64 b0, i64 b1) {
    product_strips<S>({steps, L.B * L.x_row, L.B * QH}, b1 - b0, L.I, L.x + (low * L.B + b0) * L.x_row, L.x_row, input_, packed_x_,
                      L.b_ih ? Begin::bias : Begin::zero, bias_x_, gate_row(low, low, b0), QH);
  }

  // Layer norm of the input product: rows [m0, m1) of the block, n and 1/sigma onto the tape.
  void normalise_rows(i64 low, i64 m0, i64 m1, Real* out) {
    if (!L.layer_norm) return;
    for (i64 m = m0; m < m1; ++m) {
      Real* norms = L.norms ? L.norms + (low * L.B + m) * norms_size(C, L.H) : nullptr;
      normalise<S>(out + m * QH, GH, L.gain_ih, L.b_ih, norms, norms ? norms + 2 * GH : nullptr, norms_size(C, L.H));
    }
  }

  Row<Real> row_at(i64 s, i64 low, i64 b) const {
    const i64 t = q.time(s);
    Row<Real> row;
    row.t = t, row.b = b;
    row.valid = q.valid(t, b), row.cut = q.cut(t, b), row.cut_next = s + 1 < L.T && q.cut(q.time(s + 1), b);
    row.gates = gate_row(t, low, b);
    row.x = table_ ? packed_x_ + (row.valid ? L.ids[t * L.ids_step + b * L.ids_row] : 0) * GH : row.gates;
    row.norms = L.norms ? L.norms + (t * L.B + b) * norms_size(C, L.H) : nullptr;
    row.h_prev = q.h_before(t, b);
    row.entering = entering_ + ((s & 1) * L.B + b) * q.R;
    row.leaving = entering_ + ((~s & 1) * L.B + b) * q.R;
    row.output = L.output + t * L.out_step + b * L.out_row;
    row.mask = L.mask ? L.mask + b * q.R : nullptr;
    row.between = L.P || C == Cell::gru_reset_before ? between_ + b * L.H : nullptr;
    if (C == Cell::lstm) {
      const i64 before = L.reverse ? t + 1 : t - 1;
      row.c_prev = s == 0 ? L.c0 + b * L.H : L.cells ? L.cells + (before * L.B + b) * L.H : cells_ + ((~s & 1) * L.B + b) * L.H;
      row.cell = L.cells ? L.cells + (t * L.B + b) * L.H : cells_ + ((s & 1) * L.B + b) * L.H;
    } else {
      row.cell = L.cells ? L.cells + (t * L.B + b) * L.H : nullptr;
    }
    return row;
  }

  void step(int member, i64 s, i64 low, i64 b0, i64 b1, i64 p0, i64 p1) {
    Real* scratch = scratch_ + member * (L.B * scratch_row_ + 64);
    Row<Real>* rows = rows_ + member * L.B;
    const i64 n = b1 - b0;
    const i64 from = p0 * hidden_.units(), to = whole_rows_ ? L.H : p1 * hidden_.units();
    for (i64 r = 0; r < n; ++r) {
      rows[r] = row_at(s, low, b0 + r);
      zones_.draw(L, rows[r], member * L.B + r, from, to);
    }
    const Real* h = left_of<S>(hidden_, n, q.R, entering_ + ((s & 1) * L.B + b0) * q.R, q.R, left_ + member * left_row_);
    const CellForward<S, C> cell{L, taped_ || L.layer_norm};
    using Sums = typename CellForward<S, C>::Sums;
    if (L.layer_norm) {
      product<S>(n, q.R, h, q.R, hidden_, packed_h_, q.R, 0, Begin::zero, nullptr, scratch, scratch_row_, 0, hidden_.count());
      for (i64 r = 0; r < n; ++r) {
        for (i64 u = 0; r + 1 < n && u < L.H; u += W) cell.expect(rows[r + 1], u);
        cell.normalised(rows[r], scratch + r * scratch_row_);
      }
    } else {
      const Begin begin = C == Cell::gru && L.b_hh ? Begin::bias : Begin::zero;
      const i64 units = hidden_.units(), step = hidden_.step();
      Real* x_sums = scratch + L.B * 4 * W;
      for (i64 i = 0; i < p1 - p0; ++i) {
        const i64 p = there_and_back(s, p0, p1, i), next = there_and_back(s, p0, p1, i + 1);
        const Real* then = joined_ ? input_.at(packed_x_, L.I, next) : hidden_.at(packed_h_, q.R, next);
        if (joined_)
          product_panel<S>(n, L.I, L.x + (q.time(s) * L.B + b0) * L.x_row, L.x_row, input_, p, packed_x_, L.I, 0,
                           L.b_ih ? Begin::bias : Begin::zero, bias_x_ + p * step, x_sums, 4 * W, 0, hidden_.at(packed_h_, q.R, p));
        if (passing_)
          product_passing<S>(n, q.R, h, q.R, hidden_, p, L.w_hh, room_ + member * room_row_, begin, bias_h_ + p * step, scratch,
                             4 * W);
        else
          product_panel<S>(n, q.R, h, q.R, hidden_, p, packed_h_, q.R, 0, begin, bias_h_ + p * step, scratch, 4 * W, 0, then);
        for (i64 r = 0; r < n; ++r)
          for (i64 u = p * units; u < (p + 1) * units && u < L.H; u += W) {
            if (r + ahead < n) cell.expect(rows[r + ahead], u);
            const i64 at = r * 4 * W + (G > 1 ? 0 : u - p * units);
            cell.units(rows[r], joined_ ? Sums{x_sums + at, W, scratch + at, W} : cell.beside(rows[r], u, scratch + at, W), u,
                       static_cast<int>(L.H - u < W ? L.H - u : W));
          }
      }
    }
    if (L.P || C == Cell::gru_reset_before) second(cell, scratch, rows, n, b0, left_ + member * left_row_);
  }

  // The product that needs the whole of a first one: W_hr (o tanh c), or W_hn (r h).
  void second(const CellForward<S, C>& cell, Real* scratch, const Row<Real>* rows, i64 n, i64 b0, Real* left) {
    const i64 N = second_.N;
    const Real* between = left_of<S>(second_, n, L.H, between_ + b0 * L.H, L.H, left);
    for (i64 p = 0; p < second_.count(); ++p) {
      product_panel<S>(n, L.H, between, L.H, second_, p, packed_2_, L.H, 0, Begin::zero, nullptr, scratch, 4 * W, 0,
                       second_.at(packed_2_, L.H, p + 1 < second_.count() ? p + 1 : -1));
      for (i64 r = 0; r < n; ++r)
        for (i64 u = p * 4 * W; u < (p + 1) * 4 * W && u < N; u += W)
          cell.second(rows[r], scratch + r * 4 * W + u - p * 4 * W, u, static_cast<int>(N - u < W ? N - u : W));
    }
  }

  void last(i64 b) const {
    const i64 t = L.reverse ? 0 : (L.lengths ? L.lengths[b] : L.T) - 1;
    const Real* h = t < 0 || !q.valid(t, b) ? L.h0 + b * q.R : L.output + t * L.out_step + b * L.out_row;
    for (i64 r = 0; r < q.R; ++r) L.h_n[b * q.R + r] = h[r];
    if (C != Cell::lstm) return;
    const i64 end = q.time(L.T - 1);
    const Real* c = L.cells ? L.cells + (end * L.B + b) * L.H : cells_ + (((L.T - 1) & 1) * L.B + b) * L.H;
    for (i64 u = 0; u < L.H; ++u) L.c_n[b * L.H + u] = c[u];
  }

  struct alignas(64) Meeting {
    Barrier barrier;
  };
  union Meetings {
    Meetings() {}
    ~Meetings() {}
    Meeting at[max_groups];
  };

  const Layer<Real>& L;
  Sequence<Real> q;
  const Run run_;
  Stop stop_;
  i64 GH, QH;
  bool taped_, whole_rows_, table_;
  Panels<S> input_, hidden_, second_;
  Plan plan_;
  bool joined_ = false;  // the input's product is made beside the recurrent one, panel by panel: it never goes to memory
  bool passing_;  // one step of not too many rows: every panel of the weights is packed, used and forgotten
  i64 scratch_row_ = 0, room_row_ = 0, left_row_ = 0;
  Array<Real> room_, left_, packed_x_, packed_h_, packed_2_, between_, bias_x_, bias_h_, entering_, block_, cells_, scratch_;
  Array<Row<Real>> rows_;
  Zones zones_;
  Meetings meetings_store_;
  Meeting* meetings_ = meetings_store_.at;
};

}  // namespace
}  // namespace unrolled

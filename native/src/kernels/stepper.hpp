// Generation, step after step in one parallel region: the products of kept.hpp, the equations of cells.hpp, and the drawing
// of units between them.
#pragma once

#include <new>

#include "cells.hpp"
#include "step_pack.hpp"

namespace unrolled {
namespace {

template <class S, Cell C>
class StepPlay {
  using Real = typename S::Real;
  static constexpr i64 G = gates_of(C), W = S::width;

 public:
  StepPlay(StepperData<Real>& data, Play<Real>& play, const Run& run)
      : D(data), P(play), sizes_{data}, run_(run), stop_(run_), H(data.shape.H), V(data.shape.V), N(data.shape.slots),
        layers_(data.shape.layers), plan_(plan_of(data, play, run)) {
    cell_.cell = data.shape.cell, cell_.H = H;
    cell_.zoneout_h.rate = data.shape.zoneout_h, cell_.zoneout_c.rate = data.shape.zoneout_c;
  }

  bool go() {
    const int team = plan_.groups * plan_.lanes;
    D.reserve(team);
    for (int g = 0; g < plan_.groups; ++g) new (&meetings_.at[g]) Meeting{Barrier(plan_.lanes), 0};
    auto task = [this, team](Member& me) {
      if (me.size != team) {  // another caller has the workers
        plan_ = {1, 1};
        new (&meetings_.at[0]) Meeting{Barrier(1), 0};
      }
      work(me);
    };
    parallel(team, task);
    P.damaged = damaged_.load(std::memory_order_relaxed);
    return !stop_.stopped();
  }

 private:
  // A team for a single step only where it saves more than waking it costs; a long run pays that once.
  static Plan plan_of(const StepperData<Real>& data, const Play<Real>& play, const Run& run) {
    const StepSizes<S, C> sizes{data};
    i64 bytes = sizes.head().bytes();
    for (i64 l = 0; l < data.shape.layers; ++l) bytes += (l ? 2 : 1) * sizes.hidden(l).bytes();
    const double panel_bytes = static_cast<double>(bytes);
    constexpr double cycles_to_wake = 40e3;
    if ((play.ids || play.units < 8) && step_cost(play.n, panel_bytes, 1) < cycles_to_wake) return {1, 1};
    return plan(play.n, panel_bytes, sizes.gates().count(), false, run.threads < max_step_team ? run.threads : max_step_team);
  }

  struct alignas(64) Meeting {
    Barrier barrier;
    i64 live;  // rows of the group that still write
  };
  union Meetings {
    Meetings() {}
    ~Meetings() {}
    Meeting at[max_step_team];
  };

  // What a member knows of its group while it works.
  struct Place {
    Meeting& group;
    StepRoom<Real>& room;
    i64 b0;
    int lane;
    bool odd;  // which half of `entering` the next step reads
  };

  void work(Member& me) {
    const int group = me.index / plan_.lanes, lane = me.index % plan_.lanes;
    if (group >= plan_.groups) return;
    const i64 b0 = split(P.n, plan_.groups, group), b1 = split(P.n, plan_.groups, group + 1);
    Place at{meetings_.at[group], *D.rooms[me.index], b0, lane, false};
    if (lane == 0) {
      at.group.live = b1 - b0;
      for (i64 b = b0; b < b1; ++b) enter(b);
    }
    meet(at);
    const bool drawing = !P.ids && P.units > 0;
    for (i64 t = 0; drawing ? t < P.units : t < 1; ++t) {
      if (drawing && lane == 0) {
        if (me.index == 0 && t % 16 == 15) stop_.ask(me);
        settle(at, t);
      }
      if (drawing) meet(at);
      if (at.group.live == 0) break;
      if (drawing || P.ids) step(at, at.group.live);
      scores(at, at.group.live);
      meet(at);
    }
    if (lane == 0) {
      for (i64 b = b0; b < b0 + at.group.live; ++b) leave(at, b);
      ended_.fetch_add(1, std::memory_order_release);
    }
    if (me.index != 0 || !drawing) return;
    for (int tries = 0; !stop_.stopped() && ended_.load(std::memory_order_acquire) < plan_.groups; ++tries) {
      wait_a_little(tries);
      if (tries % 16 == 15) stop_.ask(me);  // the other groups hear of Ctrl-C from this member alone
    }
  }

  void meet(Place& at) const {
    if (plan_.lanes > 1) at.group.barrier.wait();
  }

  Real* entering(bool odd, i64 l, i64 b) const { return D.entering + ((odd * layers_ + l) * N + b) * H; }
  Real* cell(i64 l, i64 b) const { return D.cells + (l * N + b) * H; }

  static void copy(Real* to, const Real* from, i64 n) {
    for (i64 i = 0; i < n; ++i) to[i] = from[i];
  }

  // A slot's state into row b, and back.
  void enter(i64 b) {
    const i64 slot = P.slots[b];
    D.slot_of[b] = slot, D.row_of[b] = b;
    if (P.ids) D.ids[b] = P.ids[b];
    for (i64 l = 0; l < layers_; ++l) {
      copy(entering(false, l, b), D.h + (slot * layers_ + l) * H, H);
      if (C == Cell::lstm) copy(cell(l, b), D.c + (slot * layers_ + l) * H, H);
    }
    copy(D.logits + b * V, D.scores + slot * V, V);
  }

  void leave(const Place& at, i64 b) {
    const i64 slot = D.slot_of[b];
    for (i64 l = 0; l < layers_; ++l) {
      copy(D.h + (slot * layers_ + l) * H, entering(at.odd, l, b), H);
      if (C == Cell::lstm) copy(D.c + (slot * layers_ + l) * H, cell(l, b), H);
    }
    copy(D.scores + slot * V, D.logits + b * V, V);
    if (P.logits) copy(P.logits + D.row_of[b] * V, D.logits + b * V, V);
  }

  // Draws a unit for every row of the group; a row that ends gives its place to the last one.
  void settle(Place& at, i64 t) {
    if (stop_.stopped()) end(at);
    for (i64 b = at.b0; b < at.b0 + at.group.live;) {
      Sampler& sampler = D.samplers[D.slot_of[b]];
      u8* used = D.used + D.slot_of[b] * V;
      const i64 unit = draw(D.logits + b * V, V, sampler, used, at.room.draw);
      P.counts[D.row_of[b]] = t;
      if (unit < 0) damaged_.store(D.slot_of[b], std::memory_order_relaxed);
      if (unit < 0 || unit == sampler.stop) {
        leave(at, b);
        if (--at.group.live > b - at.b0) move(at, at.b0 + at.group.live, b);
        continue;
      }
      used[unit] = 1;
      P.counts[D.row_of[b]] = t + 1;
      P.drawn[D.row_of[b] * P.units + t] = D.ids[b] = unit;
      ++b;
    }
  }

  void end(Place& at) {
    for (i64 b = at.b0; b < at.b0 + at.group.live; ++b) leave(at, b);
    at.group.live = 0;
  }

  void move(const Place& at, i64 from, i64 to) {
    D.slot_of[to] = D.slot_of[from], D.row_of[to] = D.row_of[from];
    for (i64 l = 0; l < layers_; ++l) {
      copy(entering(at.odd, l, to), entering(at.odd, l, from), H);
      if (C == Cell::lstm) copy(cell(l, to), cell(l, from), H);
    }
    copy(D.logits + to * V, D.logits + from * V, V);
  }

  // Rows quantised where the products want them so; every lane does it for itself, which is cheaper than to meet.
  void quantised(const Place& at, i64 n, const Real* a) const {
    if (D.dot) quantise<S>(n, H, a, H, at.room.bytes, round_up(H, 4), at.room.scales);
  }

  void step(Place& at, i64 n) {
    const Panels<S> panels = sizes_.gates();
    const i64 p0 = split(panels.count(), plan_.lanes, at.lane), p1 = split(panels.count(), plan_.lanes, at.lane + 1);
    const CellForward<S, C> equations{cell_, false};
    for (i64 l = 0; l < layers_; ++l) {
      if (l) {
        const Kept<S> input = sizes_.input(l);
        const Real* below = entering(!at.odd, l - 1, at.b0);
        quantised(at, n, below);
        panelwise(at, input, p0, p1, n, below, [&](i64 b, i64 u, int lanes, const Real* c, i64 stride) {
          for (i64 g = 0; g < G; ++g) put<S>(D.x + (b * G + g) * H + u, take<S>(c + g * stride, lanes), lanes);
        });
      }
      const Kept<S> hidden = sizes_.hidden(l);
      const Real* before = entering(at.odd, l, at.b0);
      quantised(at, n, before);
      for (i64 r = 0; r < n; ++r) rows_of(at)[r] = row_at(at, l, at.b0 + r);
      panelwise(at, hidden, p0, p1, n, before, [&](i64 b, i64 u, int lanes, const Real* c, i64 stride) {
        const Row<Real>& row = rows_of(at)[b - at.b0];
        equations.units(row, equations.beside(row, u, c, stride), u, lanes);
      });
      meet(at);
    }
    at.odd = !at.odd;
    at.room.backwards = !at.room.backwards;
  }

  void scores(const Place& at, i64 n) {
    const Kept<S> head = sizes_.head();
    const i64 count = head.panels.count();
    const Real* h = entering(at.odd, layers_ - 1, at.b0);
    quantised(at, n, h);
    panelwise(at, head, split(count, plan_.lanes, at.lane), split(count, plan_.lanes, at.lane + 1), n, h,
              [&](i64 b, i64 u, int lanes, const Real* c, i64) { put<S>(D.logits + b * V + u, take<S>(c, lanes), lanes); });
  }

  // The product over panels [p0, p1), and `use` for every row and register of units of it. Every other step goes through
  // them from the end: what the last step read last is what a cache still holds where the weights are larger than it.
  template <class Use>
  void panelwise(const Place& at, const Kept<S>& w, i64 p0, i64 p1, i64 n, const Real* a, Use use) const {
    const StepRoom<Real>& room = at.room;
    const Panels<S>& panels = w.panels;
    const int most = n <= 2 ? 2 : 1;
    for (i64 done = 0, count; done < p1 - p0; done += count) {
      count = p1 - p0 - done < most ? 1 : most;
      i64 p = at.room.backwards ? p1 - done - count : p0 + done;
      const i64 next = at.room.backwards ? p - 1 : p + count;
      w.times(p, static_cast<int>(count), n, a, H, room.bytes, room.scales, room.sums, room.product, next < p0 || next >= p1 ? -1 : next);
      for (i64 i = 0; i < count; ++i, ++p)
        for (i64 r = 0; r < n; ++r)
          for (i64 u = p * panels.units(); u < (p + 1) * panels.units() && u < panels.N; u += W)
            use(at.b0 + r, u, static_cast<int>(panels.N - u < W ? panels.N - u : W),
                room.product + (i * n + r) * 4 * W + (panels.gated ? 0 : u - p * panels.units()), W);
    }
  }

  static Row<Real>* rows_of(const Place& at) {
    static_assert(sizeof(Row<Real>) <= step_row_bytes);
    return reinterpret_cast<Row<Real>*>(at.room.rows.get());
  }

  Row<Real> row_at(const Place& at, i64 l, i64 b) const {
    Row<Real> row{};
    row.valid = true;
    row.x = l ? D.x + b * G * H : D.table + D.ids[b] * G * H;
    row.h_prev = row.entering = entering(at.odd, l, b);
    row.leaving = row.output = entering(!at.odd, l, b);
    if (C == Cell::lstm) row.c_prev = row.cell = cell(l, b);
    return row;
  }

  StepperData<Real>& D;
  Play<Real>& P;
  StepSizes<S, C> sizes_;
  const Run run_;
  Stop stop_;
  i64 H, V, N, layers_;
  Plan plan_;
  Layer<Real> cell_{};
  Meetings meetings_;
  std::atomic<i64> damaged_{-1};
  std::atomic<int> ended_{0};  // groups
};

}  // namespace
}  // namespace unrolled

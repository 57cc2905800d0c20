// What forward and backward share: the order of reading, who is valid and cut, what stood before, how work is dealt out.
#pragma once

#include "unrolled/memory.hpp"
#include "unrolled/recurrent.hpp"
#include "unrolled/threads.hpp"

#include "gemm.hpp"
#include "masks.hpp"
#include "math.hpp"

namespace unrolled {
namespace {

// Rows of (t, b) whose products are made at once: memory stays bounded, caches warm. Layer norm keeps three times as much
// of a row.
constexpr i64 block_rows = 2048, block_rows_normed = 512;

constexpr i64 few_rows = 16;  // up to so many rows of (t, b) packing a weight costs more than it saves
constexpr i64 passing_rows = 128;  // up to so many rows of a single step a weight is packed panel by panel, where each meets them

// Sizes and questions of one call.
template <class Real>
struct Sequence {
  const Layer<Real>& L;
  i64 R, G, Q, steps;  // output size; gates; blocks on the tape; steps of a block

  explicit Sequence(const Layer<Real>& layer)
      : L(layer), R(layer.P ? layer.P : layer.H), G(gates_of(layer.cell)), Q(taped_of(layer.cell)),
        steps(larger((layer.layer_norm ? block_rows_normed : block_rows) / layer.B, 1)) {}

  // The step that is read s-th, and the one read before it.
  i64 time(i64 s) const { return L.reverse ? L.T - 1 - s : s; }
  bool valid(i64 t, i64 b) const { return !L.lengths || t < L.lengths[b]; }
  // Whether the state is zeroed before step t is read: a reset at t; in reverse, where t comes after t+1, one at t+1. A
  // reset in the padding cuts nothing.
  bool cut(i64 t, i64 b) const {
    const i64 at = L.reverse ? t + 1 : t;
    return L.resets && at < L.T && L.resets[at * L.B + b] && valid(at, b);
  }
  // h before step t, uncut: of the step before, or the initial one (in reverse also where the padding ends).
  const Real* h_before(i64 t, i64 b) const {
    const i64 at = L.reverse ? t + 1 : t - 1;
    if (at < 0 || at >= L.T || !valid(at, b)) return L.h0 + b * R;
    return L.output + at * L.out_step + b * L.out_row;
  }
  // h as the product at step t reads it: zero where t is cut, times the dropout mask.
  void enter(i64 t, i64 b, const Real* h, Real* to) const {
    const bool away = cut(t, b);
    for (i64 r = 0; r < R; ++r) to[r] = away ? 0 : L.mask ? h[r] * L.mask[b * R + r] : h[r];
  }
};

// A team of more than one only where it pays: waking a worker costs some fifty microseconds, and on a busy machine more.
// `passes`: products with each weight, 1 forward and 2 backward.
template <class Real>
int team_size(const Layer<Real>& L, i64 R, double passes, int wanted) {
  const double width = sizeof(Real) / 4.0, weights = static_cast<double>(gates_of(L.cell) * L.H) * static_cast<double>((L.ids ? 0 : L.I) + R);
  const double flops = 2.0 * static_cast<double>(L.T * L.B) * weights * passes * width, bytes = 4.0 * weights * passes * width;
  const double microseconds = flops / 80e3 + bytes / 8e3;
  const int worth = static_cast<int>(microseconds / 45.0) + 1;
  return worth < wanted ? worth : wanted;
}

// How a team stands to the recurrence: groups of rows that never meet, and in each group lanes that share the units.
struct Plan {
  int groups, lanes;
};

// Cycles of one step, roughly, for a division: arithmetic by tiles, or the panels' bytes from the cache they lie in.
inline double step_cost(i64 rows, double panel_bytes, int lanes, bool split = false) {
  const double bytes = panel_bytes / lanes;
  if (split && panel_bytes > 1.3e6)  // beyond the second cache: half as many bytes again, and tiles of 16 rows, best in pairs
    return bytes * 1.5 / 9.0 + bytes / 21.0 * (rows > 16 ? static_cast<double>(ceil_div(rows, 16)) : 1.3) + (lanes > 1 ? 1500.0 : 0.0);
  const double from_memory = bytes / (bytes < 700e3 ? 24.0 : 9.0);
  const double arithmetic = bytes / 64.0 * static_cast<double>(rows < 3 ? 3 : rows);
  return (arithmetic > from_memory ? arithmetic : from_memory) + (lanes > 1 ? 1500.0 : 0.0);
}

// Of two plans that cost about the same, the one with more groups: lanes meet at every step and read each other's units,
// which takes several times as long where the processors share no cache.
inline Plan plan(i64 B, double panel_bytes, i64 panels, bool whole_rows, int threads, bool split = false) {
  Plan best{1, 1};
  double cost = step_cost(B, panel_bytes, 1, split);
  const int most = static_cast<int>(B < 64 ? B : 64);
  for (int groups = threads < most ? threads : most; groups > 0; --groups) {
    int lanes = whole_rows ? 1 : threads / groups;
    if (lanes > panels) lanes = static_cast<int>(panels);
    const double found = step_cost(ceil_div(B, groups), panel_bytes, lanes, split);
    if (found < cost * 0.95) {
      best = {groups, lanes};
      cost = found;
    }
  }
  return best;
}

// The i-th panel of [p0, p1) that step s reads: every other step goes through them from the end, since what the step before
// read last is what a cache still holds where the weights are larger than it. Behind the last: none (-1).
inline i64 there_and_back(i64 s, i64 p0, i64 p1, i64 i) { return i >= p1 - p0 ? -1 : s & 1 ? p1 - 1 - i : p0 + i; }

// Asked by member 0 at the end of a block; the barrier that follows shows the answer to all.
class Stop {
 public:
  explicit Stop(const Run& run) : run_(run) {}
  void ask(const Member& me) {
    if (me.index == 0 && run_.stop && run_.stop(run_.context)) stopped_.store(true, std::memory_order_relaxed);
  }
  bool stopped() const { return stopped_.load(std::memory_order_relaxed); }

 private:
  const Run& run_;
  std::atomic<bool> stopped_{false};
};

// The first n lanes of an array, n up to a register's width.
template <class S>
typename S::Vec take(const typename S::Real* p, int n) {
  return n == S::width ? S::load(p) : S::load_n(p, n);
}
template <class S>
void put(typename S::Real* p, typename S::Vec a, int n) {
  if (n == S::width)
    S::store(p, a);
  else
    S::store_n(p, a, n);
}

// The sum of a register's lanes, in one order.
template <class S>
typename S::Real total(typename S::Vec a) {
  typename S::Real lane[S::width];
  S::store(lane, a);
  for (int half = S::width / 2; half > 0; half /= 2)
    for (int j = 0; j < half; ++j) lane[j] += lane[j + half];
  return lane[0];
}

// The sum of n numbers, value(i, m) giving m of them from the i-th on and zeros behind: four chains, since one would wait
// for itself, joined in one order.
template <class S, class Value>
typename S::Real sum_of(i64 n, Value value) {
  constexpr int W = S::width;
  typename S::Vec part[4] = {S::zero(), S::zero(), S::zero(), S::zero()};
  i64 i = 0;
  for (; i + 4 * W <= n; i += 4 * W)
    for (int k = 0; k < 4; ++k) part[k] = S::add(part[k], value(i + k * W, W));
  for (; i < n; i += W) part[0] = S::add(part[0], value(i, static_cast<int>(n - i < W ? n - i : W)));
  return total<S>(S::add(S::add(part[0], part[1]), S::add(part[2], part[3])));
}

// n numbers to normalise: mean and 1/sigma (Ba et al. 2016).
template <class S>
void moments(const typename S::Real* x, i64 n, typename S::Real& mean, typename S::Real& inverse) {
  using Real = typename S::Real;
  mean = sum_of<S>(n, [x](i64 i, int m) { return take<S>(x + i, m); }) / static_cast<Real>(n);
  const auto centre = S::set1(mean);
  const Real squares = sum_of<S>(n, [x, centre](i64 i, int m) {
    auto d = S::sub(take<S>(x + i, m), centre);
    if (m < S::width) d = S::select(S::first(m), d, S::zero());
    return S::mul(d, d);
  });
  inverse = static_cast<Real>(1) / static_cast<Real>(::sqrt(static_cast<double>(squares / static_cast<Real>(n)) + 1e-5));
}

}  // namespace
}  // namespace unrolled

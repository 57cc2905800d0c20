// The output layer under cross-entropy, forward and backward in one pass over the rows: scores become their own gradient.
#pragma once

#include "unrolled/training.hpp"

#include "columns.hpp"
#include "gemm.hpp"
#include "math.hpp"
#include "sequence.hpp"

namespace unrolled {
namespace {

template <class S>
class Head {
  using Real = typename S::Real;
  static constexpr int W = S::width;
  static constexpr i64 depth = 512, chunk = 96;  // rows packed at a time, and columns of the scores

 public:
  Head(const HeadCall<Real>& call, int threads) : c(call), scores_{c.V, 4, false, splits<S>(c.V, c.H)}, inputs_{c.H, 4, false, scores_.split} {
    const double flops = 6.0 * static_cast<double>(c.M) * static_cast<double>(c.H) * static_cast<double>(c.V);
    const int worth = static_cast<int>(flops / 80e3 / 80.0 * (sizeof(Real) / 4.0)) + 1;
    threads_ = worth < threads ? worth : threads;
  }

  // The sum of the rows' nats, in their order.
  double go() {
    packed_w_ = Array<Real>(scores_.size(c.H));
    packed_t_ = Array<Real>(inputs_.size(c.V));
    packed_h_ = Array<Real>(inputs_.size(c.M < depth ? c.M : depth));
    left_row_ = larger(tall_room(scores_, c.M, c.H), tall_room(inputs_, c.M, c.V));
    left_ = Array<Real>(threads_ * left_row_);
    logits_ = Array<Real>(c.M * c.V);
    nats_ = Array<double>(c.M);
    tiles_ = Array<Real>(threads_ * tiles_size<S>(c.M < depth ? c.M : depth, chunk));
    auto task = [this](Member& me) { work(me); };
    parallel(threads_, task);
    double sum = 0;
    for (i64 m = 0; m < c.M; ++m) sum += nats_[m];
    return sum;
  }

 private:
  void work(Member& me) {
    [[maybe_unused]] Session<S> session;
    Real* left = left_ + me.index * left_row_;
    const auto from = [&](i64 n) { return split(n, me.size, me.index); };
    const auto to = [&](i64 n) { return split(n, me.size, me.index + 1); };
    pack_transposed<S>(scores_, c.H, c.w, c.H, packed_w_, from(scores_.count()), to(scores_.count()));
    pack_rows<S>(inputs_, c.V, me, [this](i64 v) { return Source<Real>{c.w + v * c.H}; }, packed_t_);
    me.barrier.wait();
    const i64 m0 = from(c.M), m1 = to(c.M);
    product_tall<S>(m1 - m0, c.H, c.h + m0 * c.H, c.H, scores_, packed_w_, c.H, 0, c.bias ? Begin::bias : Begin::zero, c.bias,
                    logits_ + m0 * c.V, c.V, 0, scores_.count(), left);
    for (i64 m = m0; m < m1; ++m) nats_[m] = softmax(logits_ + m * c.V, c.targets[m]);
    product_tall<S>(m1 - m0, c.V, logits_ + m0 * c.V, c.V, inputs_, packed_t_, c.V, 0, Begin::zero, nullptr,
                    c.d_h + m0 * c.H, c.H, 0, inputs_.count(), left);
    for (i64 k0 = 0; k0 < c.M; k0 += depth) {
      const i64 K = c.M - k0 < depth ? c.M - k0 : depth;
      pack_rows<S>(inputs_, K, me, [this, k0](i64 k) { return Source<Real>{c.h + (k0 + k) * c.H}; }, packed_h_);
      me.barrier.wait();  // also: every member's scores are gradients now
      const Target<S> target{inputs_, packed_h_, c.d_w, c.H};
      product_outer<S>(K, logits_ + k0 * c.V, c.V, from(c.V), to(c.V), tiles_ + me.index * tiles_size<S>(K, chunk), chunk,
                       &target, 1, k0 == 0);
      me.barrier.wait();
    }
    column_sums<S>(c.M, {Columns<Real>{logits_, c.V, c.d_bias}}, from(c.V), to(c.V), true);
  }

  // A row of scores to scale (p - 1 at the target); its nats.
  double softmax(Real* x, i64 target) const {
    Real most = x[0];
    for (i64 v = 0; v < c.V; ++v) most = x[v] > most ? x[v] : most;
    const double at = static_cast<double>(x[target]) - static_cast<double>(most);
    const auto shift = S::set1(most);
    auto sum = S::zero();
    for (i64 v = 0; v < c.V; v += W) {
      const int n = static_cast<int>(c.V - v < W ? c.V - v : W);
      auto e = exp<S>(S::sub(take<S>(x + v, n), shift));
      if (n < W) e = S::select(S::first(n), e, S::zero());
      put<S>(x + v, e, n);
      sum = S::add(sum, e);
    }
    Real lane[W];
    S::store(lane, sum);
    double total = 0;
    for (int j = 0; j < W; ++j) total += static_cast<double>(lane[j]);
    const auto factor = S::set1(static_cast<Real>(c.scale / total));
    for (i64 v = 0; v < c.V; v += W) {
      const int n = static_cast<int>(c.V - v < W ? c.V - v : W);
      put<S>(x + v, S::mul(take<S>(x + v, n), factor), n);
    }
    x[target] -= static_cast<Real>(c.scale);
    return ::log(total) - at;
  }

  const HeadCall<Real>& c;
  Panels<S> scores_, inputs_;
  int threads_;
  i64 left_row_ = 0;
  Array<Real> left_, packed_w_, packed_t_, packed_h_, logits_, tiles_;
  Array<double> nats_;
};

}  // namespace
}  // namespace unrolled

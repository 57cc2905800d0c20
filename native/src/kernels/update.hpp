// What follows the gradients: their norm, clipping, and the optimiser's rule. Work is cut into blocks that depend on the
// parameters alone, so that neither a sum nor a weight depends on the number of threads.
#pragma once

#include "unrolled/training.hpp"

#include "math.hpp"
#include "sequence.hpp"

namespace unrolled {
namespace {

constexpr i64 update_block = 4096;

// visit(parameter, first, last, number of the block) for every block, dealt out to a team.
template <class Real, class Visit>
void each_block(const Trained<Real>* params, int count, int threads, Visit visit) {
  i64 blocks = 0;
  for (int i = 0; i < count; ++i) blocks += ceil_div(params[i].n, update_block);
  const int worth = static_cast<int>(blocks / 24) + 1;  // some 2 microseconds a block
  auto task = [&](Member& me) {
    const i64 from = split(blocks, me.size, me.index), to = split(blocks, me.size, me.index + 1);
    i64 block = 0;
    for (int i = 0; i < count; ++i)
      for (i64 at = 0; at < params[i].n; at += update_block, ++block)
        if (block >= from && block < to)
          visit(params[i], at, at + update_block < params[i].n ? at + update_block : params[i].n, block);
  };
  parallel(worth < threads ? worth : threads, task);
}

template <class S>
double norm_of(const Trained<typename S::Real>* params, int count, int threads) {
  using Real = typename S::Real;
  constexpr int W = S::width;
  i64 blocks = 0;
  for (int i = 0; i < count; ++i) blocks += ceil_div(params[i].n, update_block);
  Array<double> sums(blocks);
  each_block(params, count, threads, [&](const Trained<Real>& p, i64 from, i64 to, i64 block) {
    typename S::Vec parts[4] = {S::zero(), S::zero(), S::zero(), S::zero()};  // one chain would wait for itself
    i64 j = from;
    for (; j + 4 * W <= to; j += 4 * W)
      for (int k = 0; k < 4; ++k) {
        const auto g = S::load(p.g + j + k * W);
        parts[k] = S::fma(g, g, parts[k]);
      }
    for (; j < to; j += W) {
      const auto g = take<S>(p.g + j, static_cast<int>(to - j < W ? to - j : W));
      parts[0] = S::fma(g, g, parts[0]);
    }
    const auto sum = S::add(S::add(parts[0], parts[1]), S::add(parts[2], parts[3]));
    Real lane[W];
    S::store(lane, sum);
    double total = 0;
    for (int k = 0; k < W; ++k) total += static_cast<double>(lane[k]);
    sums[block] = total;
  });
  double total = 0;
  for (i64 b = 0; b < blocks; ++b) total += sums[b];
  return ::sqrt(total);
}

// Elements into [-limit, limit] where limit > 0, and times `factor`.
template <class S>
void clip_of(const Trained<typename S::Real>* params, int count, double limit, double factor, int threads) {
  using Real = typename S::Real;
  constexpr int W = S::width;
  const auto most = S::set1(static_cast<Real>(limit)), least = S::set1(static_cast<Real>(-limit)),
             f = S::set1(static_cast<Real>(factor));
  each_block(params, count, threads, [&](const Trained<Real>& p, i64 from, i64 to, i64) {
    for (i64 j = from; j < to; j += W) {
      const int n = static_cast<int>(to - j < W ? to - j : W);
      const auto g = take<S>(p.g + j, n);
      put<S>(p.g + j, limit > 0 ? S::max(least, S::min(most, g)) : S::mul(g, f), n);
    }
  });
}

// One block of one parameter by rule R. Hyperparameters are rounded once, as torch's kernels do.
template <class S, Rule R>
void update_block_of(const Trained<typename S::Real>& p, i64 from, i64 to, const Optimiser& o, double lr, i64 count) {
  using Real = typename S::Real;
  constexpr int W = S::width;
  const auto number = [](double x) { return S::set1(static_cast<Real>(x)); };
  constexpr bool adaptive = R == Rule::adam || R == Rule::adamw;
  double bias1 = 1, bias2 = 1;
  if (adaptive) {
    bias1 = 1.0 - ::pow(o.beta1, static_cast<double>(count));
    bias2 = 1.0 - ::pow(o.beta2, static_cast<double>(count));
  }
  const auto step = number(adaptive ? lr / bias1 : lr), eps = number(o.eps), decay = number(p.decay),
             shrink = number(1.0 - lr * p.decay), beta1 = number(o.beta1), one1 = number(1.0 - o.beta1), beta2 = number(o.beta2),
             one2 = number(1.0 - o.beta2), root2 = number(::sqrt(bias2));
  for (i64 j = from; j < to; j += W) {
    const int n = static_cast<int>(to - j < W ? to - j : W);
    auto w = take<S>(p.w + j, n), g = take<S>(p.g + j, n);
    if (R == Rule::adamw) w = S::mul(w, shrink);
    else if (p.decay != 0) g = S::fma(w, decay, g);
    if constexpr (R == Rule::sgd) {
      w = S::fnma(step, g, w);
    } else if constexpr (adaptive) {
      // As torch's lerp: from the nearer end, so that beta1 = 0 gives g itself.
      const auto old = take<S>(p.first + j, n), far = S::sub(g, old);
      const auto first = o.beta1 > 0.5 ? S::fma(far, one1, old) : S::fnma(far, beta1, g);
      const auto second = S::fma(S::mul(g, g), one2, S::mul(take<S>(p.second + j, n), beta2));
      put<S>(p.first + j, first, n), put<S>(p.second + j, second, n);
      w = S::fnma(step, S::div(first, S::add(S::div(S::sqrt(second), root2), eps)), w);
    } else {
      const auto second = S::fma(g, g, take<S>(p.second + j, n));
      put<S>(p.second + j, second, n);
      const auto root = R == Rule::adagrad ? S::add(S::sqrt(second), eps) : S::sqrt(S::add(second, eps));
      w = S::fnma(step, S::div(g, root), w);
    }
    put<S>(p.w + j, w, n);
  }
}

template <class S>
void update_of(const Trained<typename S::Real>* params, int count, const Optimiser& o, double lr, i64 number, int threads) {
  using Real = typename S::Real;
  each_block(params, count, threads, [&](const Trained<Real>& p, i64 from, i64 to, i64) {
    switch (o.rule) {
      case Rule::sgd: return update_block_of<S, Rule::sgd>(p, from, to, o, lr, number);
      case Rule::adam: return update_block_of<S, Rule::adam>(p, from, to, o, lr, number);
      case Rule::adamw: return update_block_of<S, Rule::adamw>(p, from, to, o, lr, number);
      case Rule::adagrad: return update_block_of<S, Rule::adagrad>(p, from, to, o, lr, number);
      case Rule::adagrad_inside: return update_block_of<S, Rule::adagrad_inside>(p, from, to, o, lr, number);
    }
  });
}

}  // namespace
}  // namespace unrolled

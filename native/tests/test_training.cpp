#include <cmath>
#include <vector>

#include "check.hpp"
#include "unrolled/cpu.hpp"

using namespace unrolled;

namespace {

// A language model with weights, gradients and an optimiser of its own, and a text to learn.
template <class Real>
struct Learner {
  explicit Learner(const LanguageShape& shape) : model(shape), shape_(shape) {
    const i64 GH = gates_of(shape.cell) * shape.H, state = shape.layers * shape.B * shape.H;
    for (i64 l = 0; l < shape.layers; ++l)
      for (i64 n : {GH * (l ? shape.H : shape.E ? shape.E : shape.V), GH * shape.H, GH, GH}) add(n);
    for (i64 n : {shape.V * shape.E, shape.V * shape.H, shape.V}) add(n);
    for (i64 l = 0; l < shape.layers; ++l) {
      LanguageLayer<Real>& p = model.layers[l];
      const std::size_t k = static_cast<std::size_t>(4 * l);
      p.w_ih = w[k].data(), p.w_hh = w[k + 1].data(), p.b_ih = w[k + 2].data(), p.b_hh = w[k + 3].data();
      p.d_w_ih = g[k].data(), p.d_w_hh = g[k + 1].data(), p.d_b_ih = g[k + 2].data(), p.d_b_hh = g[k + 3].data();
    }
    const std::size_t k = w.size() - 3;
    model.embedding = shape.E ? w[k].data() : nullptr, model.d_embedding = shape.E ? g[k].data() : nullptr;
    model.head = w[k + 1].data(), model.d_head = g[k + 1].data();
    model.head_bias = w[k + 2].data(), model.d_head_bias = g[k + 2].data();
    for (std::size_t i = 0; i < w.size(); ++i)
      if (!w[i].empty())
        trained.push_back({static_cast<i64>(w[i].size()), w[i].data(), g[i].data(), first[i].data(), second[i].data(), 0.01});
    model.trained = trained.data(), model.trained_count = static_cast<int>(trained.size());
    h.assign(static_cast<std::size_t>(state), 0), c = h;
  }

  // `n` updates of `steps` steps, `together` in a call; the nats of the last.
  double learn(i64 n, i64 steps, i64 together, double lr, int threads) {
    GuardRule guard;
    Run how;
    how.threads = threads;
    double nats = 0;
    for (i64 at = 0; at < n; at += together) {
      std::vector<Update> updates;
      for (i64 k = at; k < n && k < at + together; ++k) {
        const i64* from = text.data() + k * steps * shape_.B;
        const u64 seed = static_cast<u64>(k);
        updates.push_back({steps, from, from + shape_.B, k == 0, lr, k + 1, 0, 0, false, 11 * seed, 12 * seed, ~seed});
      }
      const i64 count = static_cast<i64>(updates.size());
      CHECK(model.run(updates.data(), count, h.data(), c.data(), guard, how) == count);
      nats = updates.back().nats;
    }
    return nats;
  }

  void add(i64 n) {
    std::vector<Real> made(static_cast<std::size_t>(n));
    // Not above what keeps a vanilla network out of chaos: there the loss after some updates is a matter of rounding.
    const double scale = 1 / std::sqrt(static_cast<double>(shape_.H));
    for (auto& x : made) x = static_cast<Real>(scale * random.next());
    w.push_back(made);
    for (auto* kept : {&g, &first, &second}) kept->emplace_back(static_cast<std::size_t>(n), Real(0));
  }

  Random random{11};
  LanguageTraining<Real> model;
  LanguageShape shape_;
  std::vector<std::vector<Real>> w, g, first, second;
  std::vector<Trained<Real>> trained;
  std::vector<Real> h, c;
  std::vector<i64> text = [] {
    std::vector<i64> ids(600);  // time by batch of 3; each unit says which comes next
    for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<i64>((i / 3 * 5 + i % 3) % 13);
    return ids;
  }();
};

LanguageShape shape_of(Cell cell, i64 layers, i64 H, i64 E, Rule rule, double p) {
  return {cell, layers, H, 13, E, 3, false, Optimiser{rule, 0.9, 0.99, 1e-8}, 0.5, 0.0, p, p / 2};
}

// The gradient against central differences of the loss, dropout's masks staying as they are.
void differences(Cell cell, i64 layers, i64 H, i64 E, double p) {
  LanguageShape shape = shape_of(cell, layers, H, E, Rule::sgd, p);
  shape.clip_norm = 0;  // the gradient as it is
  Learner<double> learner(shape);
  for (auto& p : learner.trained) p.decay = 0;
  const double step = 1e-6;
  learner.learn(1, 6, 1, 0.0, 2);
  const auto found = learner.g;
  for (std::size_t i = 0; i < found.size(); ++i)
    for (std::size_t j = 0; j < found[i].size(); j += 1 + found[i].size() / 3) {
      const double old = learner.w[i][j];
      learner.w[i][j] = old + step;
      const double above = learner.learn(1, 6, 1, 0.0, 1);
      learner.w[i][j] = old - step;
      const double below = learner.learn(1, 6, 1, 0.0, 1);
      learner.w[i][j] = old;
      CHECK(std::fabs((above - below) / (2 * step) - found[i][j]) < 1e-7);
    }
}

template <class Real>
void threads_and_calls(Cell cell, i64 H, i64 E, Rule rule, double p) {
  Learner<Real> one(shape_of(cell, 2, H, E, rule, p));
  const double before = one.learn(1, 7, 1, 0.0, 1);
  Learner<Real> alone(shape_of(cell, 2, H, E, rule, p)), together(shape_of(cell, 2, H, E, rule, p));
  const double lr = rule == Rule::sgd ? 0.1 : 0.005;
  const double after = alone.learn(20, 7, 1, lr, 1);
  CHECK(together.learn(20, 7, 6, lr, 3) == after);
  CHECK(std::isfinite(after) && after < before + p);  // what dropout takes differs between the two
  for (std::size_t i = 0; i < alone.w.size(); ++i)
    for (std::size_t j = 0; j < alone.w[i].size(); ++j) CHECK(alone.w[i][j] == together.w[i][j]);
  for (std::size_t j = 0; j < alone.h.size(); ++j) CHECK(alone.h[j] == together.h[j] && alone.c[j] == together.c[j]);
}

struct Philox {
  u32 words[4];
};

// One counter's ten rounds (Salmon, Moraes, Dror & Shaw 2011), against which the kernels' many at once are checked.
Philox philox(u32 c0, u32 c1, u32 c2, u32 c3, u64 seed) {
  u32 k0 = static_cast<u32>(seed), k1 = static_cast<u32>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const u64 a = static_cast<u64>(c0) * 0xD2511F53u, b = static_cast<u64>(c2) * 0xCD9E8D57u;
    c0 = static_cast<u32>(b >> 32) ^ c1 ^ k0;
    c1 = static_cast<u32>(b);
    c2 = static_cast<u32>(a >> 32) ^ c3 ^ k1;
    c3 = static_cast<u32>(a);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// The kernel's masks, counter by counter; in place as elsewhere; the same for any number of threads.
template <class Real>
void masks(double p, i64 T, i64 B, i64 N) {
  const Dropout drop{p, 0x123456789ABCDEFull, dropout_stream(2)};
  const std::size_t size = static_cast<std::size_t>(T * B * N);
  std::vector<Real> mask(size, 7), x(size), y(size);
  const auto& k = kernels<Real>(chosen());
  k.drop(drop, nullptr, mask.data(), T, B, N, 1);
  Random random{3};
  for (auto& one : x) one = static_cast<Real>(random.next());
  k.drop(drop, x.data(), y.data(), T, B, N, 3);
  i64 lost = 0;
  for (i64 i = 0; i < T * B * N; ++i) {
    const i64 n = i % N, b = i / N % B, t = i / N / B;
    const Philox drawn = philox(static_cast<u32>(n / 4), static_cast<u32>(b), static_cast<u32>(t), drop.stream, drop.seed);
    const Real factor = drawn.words[n % 4] < p * 4294967296.0 ? Real(0) : static_cast<Real>(1 / (1 - p));
    const std::size_t at = static_cast<std::size_t>(i);
    CHECK(mask[at] == factor && y[at] == x[at] * factor);
    lost += factor == 0;
  }
  CHECK(std::fabs(static_cast<double>(lost) - p * static_cast<double>(size)) <= 5 * std::sqrt(p * static_cast<double>(size)));
  k.drop(drop, x.data(), x.data(), T, B, N, 2);
  CHECK(x == y);
}

}  // namespace

// Whole updates: gradients, and the same bits for any number of threads and of updates in a call, without and with dropout.
void test_training() {
  masks<float>(0.3, 3, 2, 1), masks<double>(0.15, 2, 3, 130), masks<float>(0.5, 5, 300, 70), masks<float>(1e-11, 1, 1, 9);
  for (Cell cell : {Cell::lstm, Cell::gru, Cell::rnn_tanh}) {
    differences(cell, 1, 5, 0, 0.0), differences(cell, 2, 19, 4, 0.0);
    differences(cell, 1, 5, 3, 0.4), differences(cell, 3, 6, 4, 0.3);
    for (i64 H : {3, 37}) {
      threads_and_calls<float>(cell, H, 0, Rule::adamw, 0.0);
      threads_and_calls<double>(cell, H, 4, Rule::adagrad, 0.2);
    }
    threads_and_calls<float>(cell, 70, 20, Rule::sgd, 0.2);
  }
}

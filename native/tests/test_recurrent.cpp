// The kernels over random shapes and options: gradients against differences of the forward pass in float64, and the bits
// against another number of threads. (Against the reference engine, an independent program, they are tested from Python.)
#include <cmath>
#include <vector>

#include "check.hpp"
#include "unrolled/cpu.hpp"

using namespace unrolled;

namespace {

struct Problem {
  Layer<double> layer{};
  Gradients<double> grads{};
  std::vector<std::vector<double>> store;
  std::vector<i64> lengths, ids;
  std::vector<u8> resets;
  Random random;

  double* numbers(i64 n, bool drawn = true) {
    store.emplace_back(n > 0 ? n : 1);
    for (auto& x : store.back()) x = drawn ? random.next() * 0.7 : 0.0 / 1.0;
    return store.back().data();
  }

  explicit Problem(int number) : random{static_cast<unsigned long long>(number) * 7919 + 5} {
    store.reserve(64);
    Layer<double>& L = layer;
    L.cell = static_cast<Cell>(number % 6);
    L.T = 1 + random.below(6), L.B = 1 + random.below(9), L.I = 1 + random.below(20), L.H = 1 + random.below(40);
    const bool lstm = L.cell == Cell::lstm, before = L.cell == Cell::gru_reset_before;
    L.P = lstm && random.below(3) == 0 ? 1 + random.below(static_cast<int>(L.H)) : 0;
    L.reverse = random.below(2);
    L.layer_norm = !before && random.below(3) == 0;
    const i64 R = L.P ? L.P : L.H, GH = gates_of(L.cell) * L.H;
    if (random.below(4) == 0) {
      for (i64 i = 0; i < L.T * L.B; ++i) ids.push_back(random.below(static_cast<int>(L.I)));
      L.ids = ids.data(), L.ids_step = L.B, L.ids_row = 1;
    } else {
      L.x = numbers(L.T * L.B * L.I), L.x_row = L.I, L.x_step = L.B * L.I;
    }
    L.w_ih = numbers(GH * L.I), L.w_hh = numbers(GH * R), L.b_ih = numbers(GH), L.b_hh = numbers(GH);
    if (L.P) L.w_hr = numbers(L.P * L.H);
    if (L.layer_norm) {
      L.gain_ih = numbers(GH), L.gain_hh = numbers(GH);
      if (lstm) L.gain_c = numbers(L.H), L.shift_c = numbers(L.H);
    }
    L.h0 = numbers(L.B * R);
    if (lstm) L.c0 = numbers(L.B * L.H);
    if (random.below(3) == 0) {
      for (i64 b = 0; b < L.B; ++b) lengths.push_back(random.below(static_cast<int>(L.T) + 1));
      L.lengths = lengths.data();
    }
    if (random.below(3) == 0) {
      for (i64 i = 0; i < L.T * L.B; ++i) resets.push_back(random.below(3) == 0);
      L.resets = resets.data();
    }
    if (random.below(3) == 0) L.mask = numbers(L.B * R);
    if (random.below(3) == 0) L.zoneout_h = {0.3, random.below(2) == 0, 99, 7};
    if (lstm && random.below(3) == 0) L.zoneout_c = {0.2, random.below(2) == 0, 99, 8};
    L.output = numbers(L.T * L.B * R, false), L.out_row = R, L.out_step = L.B * R;
    L.h_n = numbers(L.B * R, false);
    if (lstm) L.c_n = numbers(L.B * L.H, false);
    if (gates_of(L.cell) > 1) L.gates = numbers(L.T * L.B * taped_of(L.cell) * L.H, false);
    if (lstm || L.zoneout_h.rate > 0) L.cells = numbers(L.T * L.B * L.H, false);
    if (L.layer_norm) L.norms = numbers(L.T * L.B * norms_size(L.cell, L.H), false);
    Gradients<double>& D = grads;
    D.d_output = numbers(L.T * L.B * R), D.out_row = R, D.out_step = L.B * R;
    D.d_h_n = numbers(L.B * R);
    if (lstm) D.d_c_n = numbers(L.B * L.H);
    if (L.x) D.dx = numbers(L.T * L.B * L.I, false), D.dx_row = L.I, D.dx_step = L.B * L.I;
    D.d_w_ih = numbers(GH * L.I, false), D.d_w_hh = numbers(GH * R, false);
    D.d_b_ih = numbers(GH, false), D.d_b_hh = numbers(GH, false);
    if (L.P) D.d_w_hr = numbers(L.P * L.H, false);
    if (L.layer_norm) {
      D.d_gain_ih = numbers(GH, false), D.d_gain_hh = numbers(GH, false);
      if (lstm) D.d_gain_c = numbers(L.H, false), D.d_shift_c = numbers(L.H, false);
    }
    D.d_h0 = numbers(L.B * R, false);
    if (lstm) D.d_c0 = numbers(L.B * L.H, false);
  }

  // The number whose gradient backward() gives: results weighed with the gradients that come in.
  double loss(int threads = 1) {
    CHECK(kernels<double>(chosen()).forward(layer, Run{threads}));
    const i64 R = layer.P ? layer.P : layer.H;
    double sum = 0;
    for (i64 i = 0; i < layer.T * layer.B * R; ++i) sum += layer.output[i] * grads.d_output[i];
    for (i64 i = 0; i < layer.B * R; ++i) sum += layer.h_n[i] * grads.d_h_n[i];
    for (i64 i = 0; layer.c_n && i < layer.B * layer.H; ++i) sum += layer.c_n[i] * grads.d_c_n[i];
    return sum;
  }

  void check(const double* value, const double* gradient, i64 n) {
    if (!value || !gradient || n == 0) return;
    for (int probe = 0; probe < 3; ++probe) {
      double& x = const_cast<double*>(value)[random.below(static_cast<int>(n))];
      const double expected = gradient[&x - value], kept = x, step = 1e-5;
      x = kept + step;
      const double up = loss();
      x = kept - step;
      const double down = loss();
      x = kept;
      const double found = (up - down) / (2 * step);
      // A kink of relu may lie between the two.
      if (layer.cell != Cell::rnn_relu) CHECK(std::fabs(found - expected) < 2e-5 * (1 + std::fabs(expected)));
    }
  }
};

void one(int number) {
  Problem p(number);
  Layer<double>& L = p.layer;
  Gradients<double>& D = p.grads;
  const i64 R = L.P ? L.P : L.H, GH = gates_of(L.cell) * L.H;
  const double first = p.loss();
  CHECK(p.loss(3) == first);
  CHECK(kernels<double>(chosen()).backward(L, D, Run{3}));
  const std::vector<std::vector<double>> three = p.store;
  CHECK(kernels<double>(chosen()).backward(L, D, Run{1}));
  CHECK(three == p.store);
  p.check(L.x, D.dx, L.x ? L.T * L.B * L.I : 0);
  p.check(L.w_ih, D.d_w_ih, GH * L.I), p.check(L.w_hh, D.d_w_hh, GH * R);
  p.check(L.b_ih, D.d_b_ih, GH), p.check(L.b_hh, D.d_b_hh, GH);
  p.check(L.w_hr, D.d_w_hr, L.P * L.H);
  p.check(L.gain_ih, D.d_gain_ih, GH), p.check(L.gain_hh, D.d_gain_hh, GH);
  p.check(L.gain_c, D.d_gain_c, L.H), p.check(L.shift_c, D.d_shift_c, L.H);
  p.check(L.h0, D.d_h0, L.B * R), p.check(L.c0, D.d_c0, L.c0 ? L.B * L.H : 0);
}

}  // namespace

void test_recurrent() {
  for (int number = 0; number < 120; ++number) one(number);
}

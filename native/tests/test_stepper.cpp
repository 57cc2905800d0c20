#include <vector>

#include "check.hpp"
#include "unrolled/cpu.hpp"

using namespace unrolled;

namespace {

// A stepper with weights of its own, every slot with a stream of its own.
template <class Real>
struct Made {
  explicit Made(const StepShape& shape) : data(shape) {
    const i64 GH = gates_of(shape.cell) * shape.H;
    Random random{7};
    const auto numbers = [&](i64 n) {
      std::vector<Real> made(static_cast<std::size_t>(n));
      for (auto& x : made) x = static_cast<Real>(random.next());
      return made;
    };
    std::vector<std::vector<Real>> kept;
    std::vector<StepLayer<Real>> layers;
    for (i64 l = 0; l < shape.layers; ++l)
      for (i64 n : {GH * (l ? shape.H : shape.I), GH * shape.H, GH, GH}) kept.push_back(numbers(n));
    for (std::size_t l = 0; l < kept.size(); l += 4)
      layers.push_back({kept[l].data(), kept[l + 1].data(), kept[l + 2].data(), kept[l + 3].data()});
    const auto head = numbers(shape.V * shape.H), bias = numbers(shape.V);
    kernels<Real>(chosen()).step_pack(data, layers.data(), head.data(), bias.data(), 3);
    for (i64 slot = 0; slot < shape.slots; ++slot) {
      data.samplers[slot].uniforms = Uniforms(1, static_cast<u64>(slot));
      data.samplers[slot].stop = slot % 3 ? 2 : -1;
    }
  }

  // Draws `units` for the slots; what each has drawn, -1 behind its end.
  std::vector<i64> run(const std::vector<i64>& slots, i64 units, int threads) {
    Play<Real> play;
    std::vector<i64> drawn(slots.size() * static_cast<std::size_t>(units), -1), counts(slots.size());
    play.n = static_cast<i64>(slots.size()), play.slots = slots.data(), play.units = units;
    play.drawn = drawn.data(), play.counts = counts.data();
    Run how;
    how.threads = threads;
    CHECK(kernels<Real>(chosen()).step_play(data, play, how));
    CHECK(play.damaged == -1);
    return drawn;
  }

  StepperData<Real> data;
};

template <class Real>
void alone_and_together(Cell cell, i64 H, Store store) {
  StepShape shape;
  shape.cell = cell, shape.layers = 2, shape.I = shape.V = 13, shape.H = H, shape.slots = 7, shape.store = store;
  const i64 units = 9;
  std::vector<i64> slots{5, 0, 1, 2, 6, 4, 3};
  Made<Real> together(shape);
  const auto found = together.run(slots, units, 3);
  for (int threads : {1, 2, 3}) {
    Made<Real> alone(shape);
    for (std::size_t i = 0; i < slots.size(); ++i) {
      const auto row = alone.run({slots[i]}, units, threads);
      for (i64 t = 0; t < units; ++t) CHECK(row[t] == found[i * units + t]);
    }
    for (i64 i = 0; i < shape.slots * shape.layers * H; ++i) {
      CHECK(alone.data.h[i] == together.data.h[i]);
      CHECK(alone.data.c[i] == together.data.c[i]);
    }
    for (i64 i = 0; i < shape.slots * shape.V; ++i) CHECK(alone.data.scores[i] == together.data.scores[i]);
  }
}

}  // namespace

// Rows that end at different steps, alone and together, by lanes and by groups: the same units and states.
void test_stepper() {
  for (Cell cell : {Cell::lstm, Cell::gru, Cell::rnn_tanh})
    for (i64 H : {3, 37, 200}) {
      for (Store store : {Store::full, Store::bf16, Store::int8}) alone_and_together<float>(cell, H, store);
      alone_and_together<double>(cell, H, Store::full);
    }
}

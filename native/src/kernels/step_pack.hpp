// What generation makes of the weights, once: panels, biases beside them, and the table of the first layer's rows.
#pragma once

#include "unrolled/threads.hpp"

#include "kept.hpp"

namespace unrolled {
namespace {

template <class S, Cell C>
struct StepSizes {
  using Real = typename S::Real;
  static constexpr i64 G = gates_of(C);
  const StepperData<Real>& D;

  Panels<S> gates() const { return {D.shape.H, G > 1 ? static_cast<int>(G) : 4, G > 1}; }
  Panels<S> scores() const { return {D.shape.V, 4, false}; }
  Kept<S> hidden(i64 l) const { return {D.hidden[l], gates(), D.shape.H, D.shape.store, D.dot}; }
  Kept<S> input(i64 l) const { return {D.input[l], gates(), D.shape.H, D.shape.store, D.dot}; }
  Kept<S> head() const { return {D.head, scores(), D.shape.H, D.shape.store, D.dot}; }
};

// Packs the weights; everything that depends on them alone.
template <class S, Cell C>
class StepPack {
  using Real = typename S::Real;
  static constexpr i64 G = gates_of(C), W = S::width;

 public:
  StepPack(StepperData<Real>& data, const StepLayer<Real>* layers, const Real* head, const Real* head_bias, int threads)
      : D(data), sizes_{data}, layers_(layers), head_(head), head_bias_(head_bias), threads_(threads), H(data.shape.H) {}

  bool go() {
    if constexpr (sizeof(Real) == 4)
      if (D.shape.store == Store::int8) D.dot = dot_of<S>();
    for (i64 l = 0; l < D.shape.layers; ++l) {
      allocate(D.hidden[l], sizes_.hidden(l));
      biases(D.hidden[l], l, false);
      if (l == 0) continue;
      allocate(D.input[l], sizes_.input(l));
      biases(D.input[l], l, true);
    }
    allocate(D.head, sizes_.head());
    for (i64 v = 0; head_bias_ && v < D.shape.V; ++v) D.head.bias[v] = head_bias_[v];
    if (!D.table.get()) D.table = Array<Real>(static_cast<std::size_t>(D.shape.I * G * H));
    auto task = [this](Member& me) { work(me); };
    parallel(threads_, task);
    return true;
  }

 private:
  static void allocate(StepMatrix<Real>& w, const Kept<S>& kept) {
    const i64 n = kept.panels.count() * kept.panels.step();
    if (!w.data.get()) {
      w.data = Array<unsigned char>(static_cast<std::size_t>(kept.bytes()));
      w.bias = Array<Real>(static_cast<std::size_t>(n));
      w.scale = Array<Real>(static_cast<std::size_t>(n));
      w.sums = Array<int>(static_cast<std::size_t>(n));
    }
    for (i64 j = 0; j < n; ++j) w.bias[j] = 0;
  }

  // What stands beside the input's product, and beside the recurrent one: a GRU's b_hn, behind the reset gate.
  Real bias_of(i64 l, i64 j, bool input) const {
    const auto& w = layers_[l];
    const bool behind = C == Cell::gru && j >= 2 * H;
    if (!w.b_ih) return 0;
    if (input) return behind ? w.b_ih[j] : w.b_ih[j] + w.b_hh[j];
    return behind ? w.b_hh[j] : Real(0);
  }

  void biases(StepMatrix<Real>& w, i64 l, bool input) const {
    const Panels<S> panels = sizes_.gates();
    for (i64 p = 0; p < panels.count(); ++p)
      for (int v = 0; v < panels.nv; ++v)
        for (int n = 0; n < panels.lanes(p, v); ++n)
          w.bias[p * panels.step() + v * W + n] = bias_of(l, panels.start(p, v) + n, input);
  }

  void work(Member& me) const {
    const auto pack = [&](const Kept<S>& kept, const Real* src) {
      kept.pack(src, split(kept.panels.count(), me.size, me.index), split(kept.panels.count(), me.size, me.index + 1));
    };
    for (i64 l = 0; l < D.shape.layers; ++l) {
      pack(sizes_.hidden(l), layers_[l].w_hh);
      if (l) pack(sizes_.input(l), layers_[l].w_ih);
    }
    pack(sizes_.head(), head_);
    const i64 GH = G * H, I = D.shape.I, from = split(I, me.size, me.index), to = split(I, me.size, me.index + 1);
    for (i64 v0 = from; v0 < to; v0 += 16)
      for (i64 j = 0; j < GH; ++j)
        for (i64 v = v0; v < to && v < v0 + 16; ++v) D.table[v * GH + j] = layers_[0].w_ih[j * I + v] + bias_of(0, j, true);
  }

  StepperData<Real>& D;
  StepSizes<S, C> sizes_;
  const StepLayer<Real>* layers_;
  const Real *head_, *head_bias_;
  int threads_;
  i64 H;
};

}  // namespace
}  // namespace unrolled

// Instantiates the kernels for the instruction set whose simd header was included before, and exports them as a table.
#pragma once

#include "unrolled/cpu.hpp"

#include "backward.hpp"
#include "dropout.hpp"
#include "forward.hpp"
#include "head.hpp"
#include "stepper.hpp"
#include "update.hpp"

namespace unrolled {
namespace {

// One kernel for all vanilla networks: their activation is looked at where it is used, a branch that is always guessed right,
// and a third of the code less to compile.
template <template <class, Cell> class Kernel, class S, class... Arguments>
bool by_cell(Cell cell, const Arguments&... arguments) {
  switch (cell) {
    case Cell::rnn_tanh:
    case Cell::rnn_relu:
    case Cell::rnn_identity: return Kernel<S, Cell::rnn_tanh>(arguments...).go();
    case Cell::lstm: return Kernel<S, Cell::lstm>(arguments...).go();
    case Cell::gru: return Kernel<S, Cell::gru>(arguments...).go();
    case Cell::gru_reset_before: return Kernel<S, Cell::gru_reset_before>(arguments...).go();
  }
  return true;
}

template <class S>
bool forward_of(const Layer<typename S::Real>& layer, const Run& run) {
  return by_cell<Forward, S>(layer.cell, layer, run);
}

template <class S>
bool backward_of(const Layer<typename S::Real>& layer, const Gradients<typename S::Real>& grads, const Run& run) {
  return by_cell<Backward, S>(layer.cell, layer, grads, run);
}

template <template <class, Cell> class Kernel, class S, class... Arguments>
bool by_step_cell(Cell cell, Arguments&... arguments) {
  switch (cell) {
    case Cell::rnn_tanh:
    case Cell::rnn_relu:
    case Cell::rnn_identity: return Kernel<S, Cell::rnn_tanh>(arguments...).go();
    case Cell::lstm: return Kernel<S, Cell::lstm>(arguments...).go();
    default: return Kernel<S, Cell::gru>(arguments...).go();
  }
}

template <class S>
void step_pack_of(StepperData<typename S::Real>& data, const StepLayer<typename S::Real>* layers,
                  const typename S::Real* head, const typename S::Real* head_bias, int threads) {
  by_step_cell<StepPack, S>(data.shape.cell, data, layers, head, head_bias, threads);
}

template <class S>
bool step_play_of(StepperData<typename S::Real>& data, Play<typename S::Real>& play, const Run& run) {
  return by_step_cell<StepPlay, S>(data.shape.cell, data, play, run);
}

template <class S>
double head_of(const HeadCall<typename S::Real>& call, const Run& run) {
  return Head<S>(call, run.threads).go();
}

template <class S>
void activate_of(int which, const typename S::Real* x, typename S::Real* y, i64 n) {
  for (i64 i = 0; i < n; i += S::width) {
    const int m = static_cast<int>(n - i < S::width ? n - i : S::width);
    const auto a = take<S>(x + i, m);
    put<S>(y + i, which == 0 ? exp<S>(a) : which == 1 ? sigmoid<S>(a) : tanh<S>(a), m);
  }
}

template <class S>
void product_of(i64 M, i64 N, i64 K, const typename S::Real* a, const typename S::Real* b, typename S::Real* c, int threads) {
  using Real = typename S::Real;
  const Panels<S> panels{N, 4, false, splits<S>(M, K)};
  const i64 room = tall_room(panels, M, K);
  Array<Real> packed(panels.size(K)), left(threads * room);
  auto task = [&](Member& me) {
    [[maybe_unused]] Session<S> session;
    pack_transposed<S>(panels, K, b, K, packed, split(panels.count(), me.size, me.index), split(panels.count(), me.size, me.index + 1));
    me.barrier.wait();
    const i64 m0 = split(M, me.size, me.index), m1 = split(M, me.size, me.index + 1);
    product_tall<S>(m1 - m0, K, a + m0 * K, K, panels, packed, K, 0, Begin::zero, nullptr, c + m0 * N, N, 0, panels.count(),
                    left + me.index * room);
  };
  parallel(threads, task);
}

template <class S>
const Kernels<typename S::Real>& table_of() {
  static constexpr Kernels<typename S::Real> table{
      forward_of<S>, backward_of<S>, activate_of<S>, product_of<S>, drop_of<S>, step_pack_of<S>,
      step_play_of<S>, head_of<S>, norm_of<S>, clip_of<S>, update_of<S>};
  return table;
}

}  // namespace

#define UNROLLED_JOIN2(a, b) a##b
#define UNROLLED_JOIN(a, b) UNROLLED_JOIN2(a, b)
#if defined(UNROLLED_ISA_TILES)  // of float alone
const Kernels<float>& UNROLLED_JOIN(UNROLLED_ISA_NAME, _float)() { return table_of<F32Tiles>(); }
#else
const Kernels<float>& UNROLLED_JOIN(UNROLLED_ISA_NAME, _float)() { return table_of<F32>(); }
const Kernels<double>& UNROLLED_JOIN(UNROLLED_ISA_NAME, _double)() { return table_of<F64>(); }
#endif

}  // namespace unrolled

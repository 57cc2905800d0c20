// Which instructions this machine has, and the kernels made for them.
#pragma once

#include "unrolled/masks.hpp"
#include "unrolled/recurrent.hpp"
#include "unrolled/stepper.hpp"
#include "unrolled/training.hpp"

namespace unrolled {

enum class Isa : int { plain, avx2, avx512, neon, amx };  // amx: the words of avx512, and tiles

const char* name_of(Isa isa);
bool supported(Isa isa);      // compiled in, and this processor has it
Isa chosen();                 // the best one, or what UNROLLED_ISA or set_isa() asked for
void set_isa(Isa isa);        // throws std::invalid_argument where it is not supported

// One table for each instruction set and number type, filled by src/isa/*.cpp.
template <class Real>
struct Kernels {
  bool (*forward)(const Layer<Real>&, const Run&);
  bool (*backward)(const Layer<Real>&, const Gradients<Real>&, const Run&);
  void (*activate)(int which, const Real* x, Real* y, i64 n);  // 0 exp, 1 sigmoid, 2 tanh: for the self-test
  // C (M, N) = A (M, K) B^T (N, K), rows dense: weights A by the rows of a table B. Whether it goes over tiles depends on A
  // alone, so a column's bits do not depend on how many others there are.
  void (*product)(i64 M, i64 N, i64 K, const Real* a, const Real* b, Real* c, int threads);
  // y = x times a mask of (T, B, N), rows dense; x null: the mask itself; x may be y. The same call draws the same mask.
  void (*drop)(const Dropout&, const Real* x, Real* y, i64 T, i64 B, i64 N, int threads);
  // Generation: weights into a stepper's panels, and a call of it.
  void (*step_pack)(StepperData<Real>&, const StepLayer<Real>*, const Real* head, const Real* head_bias, int threads);
  bool (*step_play)(StepperData<Real>&, Play<Real>&, const Run&);
  // Training: the output layer (the sum of its rows' nats), the gradients' norm, clipping, and the optimiser's rule.
  double (*head)(const HeadCall<Real>&, const Run&);
  double (*norm)(const Trained<Real>*, int count, int threads);
  void (*clip)(const Trained<Real>*, int count, double limit, double factor, int threads);
  void (*update)(const Trained<Real>*, int count, const Optimiser&, double lr, i64 number, int threads);
};

template <class Real>
const Kernels<Real>& kernels(Isa isa);

}  // namespace unrolled

#include "unrolled/stepper.hpp"

#include <algorithm>
#include <new>

namespace unrolled {

template <class Real>
StepperData<Real>::StepperData(const StepShape& s)
    : shape(s), h(s.slots * s.layers * s.H), c(s.slots * s.layers * s.H), scores(s.slots * s.V), samplers(s.slots),
      used(s.slots * s.V), entering(2 * s.layers * s.slots * s.H), cells(s.layers * s.slots * s.H),
      x(s.slots * gates_of(s.cell) * s.H), logits(s.slots * s.V), ids(s.slots), slot_of(s.slots), row_of(s.slots) {
  std::fill_n(h.get(), s.slots * s.layers * s.H, Real(0));
  std::fill_n(c.get(), s.slots * s.layers * s.H, Real(0));
  std::fill_n(scores.get(), s.slots * s.V, Real(0));
  std::fill_n(used.get(), s.slots * s.V, u8(0));
  for (i64 i = 0; i < s.slots; ++i) new (samplers.get() + i) Sampler;
}

template <class Real>
StepRoom<Real>::StepRoom(const StepShape& s)
    : draw(s.V), bytes(s.slots * round_up(s.H, 4)), scales(s.slots), product((s.slots + 4) * 64), sums((s.slots + 4) * 64),
      rows(s.slots * step_row_bytes) {}

template <class Real>
StepperData<Real>::~StepperData() {
  for (StepRoom<Real>* room : rooms) delete room;
}

template <class Real>
void StepperData<Real>::reserve(int team) {
  for (int i = 0; i < team; ++i)
    if (!rooms[i]) rooms[i] = new StepRoom<Real>(shape);
}

template struct StepRoom<float>;
template struct StepRoom<double>;
template struct StepperData<float>;
template struct StepperData<double>;

#if !defined(UNROLLED_VNNI)
DotPanel vnni_dot() { return nullptr; }
#else
void vnni_panel(i64 M, i64 K, int nv, const signed char* a, i64 lda, const signed char* b, const int* sums, int* acc);

DotPanel vnni_dot() {
  static const bool there = __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw");
  return there ? vnni_panel : nullptr;
}
#endif

}  // namespace unrolled

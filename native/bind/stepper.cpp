// Generation: a stepper with its slots. Python checks tensors; slots, ids and sizes are checked here, since they index.
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <string>
#include <vector>

#include "bind.hpp"
#include "interrupt.hpp"
#include "unrolled/cpu.hpp"

using namespace unrolled;

namespace {

template <class T>
T* at(std::size_t pointer) {
  return reinterpret_cast<T*>(pointer);
}

template <class Real>
class Stepper {
 public:
  Stepper(int cell, i64 layers, i64 I, i64 H, i64 V, i64 slots, int store, double zoneout_h, double zoneout_c)
      : kernels_(kernels<Real>(chosen())),
        data_(StepShape{static_cast<Cell>(cell), layers, I, H, V, slots, static_cast<Store>(store), zoneout_h, zoneout_c}),
        seen_(static_cast<std::size_t>(slots), 0) {}

  // Pointers w_ih, w_hh, b_ih, b_hh of every layer; the head's weight (V, H) and bias (V).
  void refresh(const std::vector<std::size_t>& weights, std::size_t head, std::size_t head_bias, int threads) {
    if (weights.size() != static_cast<std::size_t>(data_.shape.layers * 4)) throw std::invalid_argument("weights: four a layer");
    std::vector<StepLayer<Real>> layers;
    for (std::size_t l = 0; l < weights.size(); l += 4)
      layers.push_back({at<Real>(weights[l]), at<Real>(weights[l + 1]), at<Real>(weights[l + 2]), at<Real>(weights[l + 3])});
    Busy busy(busy_);
    nb::gil_scoped_release release;
    kernels_.step_pack(data_, layers.data(), at<Real>(head), at<Real>(head_bias), threads);
  }

  // Slots and ids (n) int64. ids = 0: only the scores of the states. logits (n, V) or 0.
  void step(i64 n, std::size_t slots, std::size_t ids, std::size_t logits, int threads) {
    Busy busy(busy_);
    feed(n, at<i64>(slots), at<i64>(ids), at<Real>(logits), threads);
  }

  // The same from lists of Python's own numbers: a step of one stream then touches nothing of torch, whose way through an
  // operator displaces as much from the caches as a small step reads.
  void step_listed(nb::list slots, nb::list ids, std::size_t logits, int threads) {
    Busy busy(busy_);
    read(slots, slots_, "slots");
    read(ids, ids_, "ids");
    if (slots_.size() != ids_.size())
      throw nb::value_error(("slots has " + std::to_string(slots_.size()) + " numbers, ids " + std::to_string(ids_.size())).c_str());
    feed(static_cast<i64>(slots_.size()), slots_.data(), ids_.data(), at<Real>(logits), threads);
  }

  // Draws up to `units` for each slot; a slot whose scores are not finite is returned, else -1.
  i64 run(i64 n, std::size_t slots, i64 units, std::size_t drawn, std::size_t counts, int threads) {
    Busy busy(busy_);
    Play<Real> play;
    play.n = n, play.slots = at<i64>(slots), play.units = units, play.drawn = at<i64>(drawn), play.counts = at<i64>(counts);
    if (units < 0) throw nb::value_error("units: below 0");
    if (data_.shape.V > data_.shape.I) throw nb::value_error("run: more scores than ids, so a drawn unit could not be fed");
    check_slots(play);
    for (i64 i = 0; i < n; ++i) play.counts[i] = 0;
    if (units > 0) finish(play, threads);
    return play.damaged;
  }

  // A slot's state (layers, H) in or out; c is 0 for a cell without one.
  void set_state(i64 slot, std::size_t h, std::size_t c) {
    Busy busy(busy_);
    const i64 n = data_.shape.layers * data_.shape.H, from = checked(slot) * n;
    for (i64 i = 0; i < n; ++i) data_.h[from + i] = h ? at<Real>(h)[i] : 0, data_.c[from + i] = c ? at<Real>(c)[i] : 0;
  }
  void get_state(i64 slot, std::size_t h, std::size_t c) {
    Busy busy(busy_);
    const i64 n = data_.shape.layers * data_.shape.H, from = checked(slot) * n;
    for (i64 i = 0; i < n; ++i) {
      at<Real>(h)[i] = data_.h[from + i];
      if (c) at<Real>(c)[i] = data_.c[from + i];
    }
  }

  void set_sampler(i64 slot, double temperature, i64 top_k, double top_p, double min_p, double penalty, u64 seed, u64 index, i64 stop) {
    Busy busy(busy_);
    Sampler& s = data_.samplers[checked(slot)];
    s.temperature = temperature, s.top_k = top_k, s.top_p = top_p, s.min_p = min_p, s.penalty = penalty, s.stop = stop;
    s.uniforms = Uniforms(seed, index);
    u8* used = data_.used + slot * data_.shape.V;
    for (i64 v = 0; v < data_.shape.V; ++v) used[v] = 0;
  }
  void mark_used(i64 slot, i64 unit) {
    Busy busy(busy_);
    if (unit < 0 || unit >= data_.shape.V) throw nb::index_error("used: not a unit");
    data_.used[checked(slot) * data_.shape.V + unit] = 1;
  }

 private:
  // One call at a time: the arrays that a call works in are the stepper's own.
  struct Busy {
    explicit Busy(std::atomic<bool>& flag) : flag_(flag) {
      if (flag_.exchange(true)) throw std::runtime_error("this Stepper is at work in another thread; give each thread its own");
    }
    ~Busy() { flag_.store(false); }
    std::atomic<bool>& flag_;
  };

  void feed(i64 n, const i64* slots, const i64* ids, Real* logits, int threads) {
    Play<Real> play;
    play.n = n, play.slots = slots, play.ids = ids, play.logits = logits;
    check_slots(play);
    for (i64 i = 0; ids && i < n; ++i)
      if (ids[i] < 0 || ids[i] >= data_.shape.I)
        throw nb::index_error(("ids[" + std::to_string(i) + "] is " + std::to_string(ids[i]) + ": not in 0 to " +
                               std::to_string(data_.shape.I - 1)).c_str());
    finish(play, threads);
  }

  static void read(nb::list from, std::vector<i64>& to, const char* name) {
    to.clear();
    for (nb::handle number : from) {
      const nb::object whole = nb::steal(PyNumber_Index(number.ptr()));  // numpy's numbers too, and none with a fraction
      i64 value;
      if (!whole.is_valid() || !nb::try_cast<i64>(whole, value)) {
        PyErr_Clear();
        throw nb::type_error((std::string(name) + ": whole numbers of 64 bits, not " + nb::cast<std::string>(nb::repr(number))).c_str());
      }
      to.push_back(value);
    }
  }

  i64 checked(i64 slot) const {
    if (slot < 0 || slot >= data_.shape.slots)
      throw nb::index_error(("slot " + std::to_string(slot) + ": not in 0 to " + std::to_string(data_.shape.slots - 1)).c_str());
    return slot;
  }

  void check_slots(const Play<Real>& play) {
    if (play.n < 0 || play.n > data_.shape.slots) throw nb::value_error("slots: more than the stepper has");
    ++round_;
    for (i64 i = 0; i < play.n; ++i) {
      std::uint64_t& seen = seen_[static_cast<std::size_t>(checked(play.slots[i]))];
      if (seen == round_) throw nb::value_error(("slots: " + std::to_string(play.slots[i]) + " stands there twice").c_str());
      seen = round_;
    }
  }

  void finish(Play<Real>& play, int threads) {
    if (play.n == 0) return;
    guarded(threads, [&](const Run& run) { return kernels_.step_play(data_, play, run); });
  }

  const Kernels<Real>& kernels_;
  StepperData<Real> data_;
  std::vector<std::uint64_t> seen_;
  std::vector<i64> slots_, ids_;  // of a call with lists
  std::uint64_t round_ = 0;
  std::atomic<bool> busy_{false};
};

template <class Real>
void bind_as(nb::module_& m, const char* name) {
  using Self = Stepper<Real>;
  nb::class_<Self>(m, name)
      .def(nb::init<int, i64, i64, i64, i64, i64, int, double, double>(), nb::arg("cell"), nb::arg("layers"), nb::arg("I"), nb::arg("H"),
           nb::arg("V"), nb::arg("slots"), nb::arg("store"), nb::arg("zoneout_h"), nb::arg("zoneout_c"))
      .def("refresh", &Self::refresh)
      .def("step", &Self::step)
      .def("step_listed", &Self::step_listed)
      .def("run", &Self::run)
      .def("set_state", &Self::set_state)
      .def("get_state", &Self::get_state)
      .def("set_sampler", &Self::set_sampler)
      .def("mark_used", &Self::mark_used);
}

}  // namespace

void bind_stepper(nb::module_& m) {
  bind_as<float>(m, "Stepper32");
  bind_as<double>(m, "Stepper64");
}

// Whole training steps of a language model. Python checks tensors and keeps them alive; ids are checked here, since they index.
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bind.hpp"
#include "interrupt.hpp"
#include "unrolled/cpu.hpp"

using namespace unrolled;

namespace {

using Addresses = std::vector<std::size_t>;

template <class Real>
class Training {
 public:
  Training(int cell, i64 layers, i64 H, i64 V, i64 E, i64 B, bool sum, int rule, double beta1, double beta2, double eps,
           double clip_norm, double clip_value, double dropout, double embedding_dropout)
      : model_(LanguageShape{static_cast<Cell>(cell), layers, H, V, E, B, sum,
                             Optimiser{static_cast<Rule>(rule), beta1, beta2, eps}, clip_norm, clip_value, dropout,
                             embedding_dropout}) {
    if (layers < 1 || layers > 64) throw std::invalid_argument("layers: 1 to 64");
  }

  // Weight and gradient of w_ih, w_hh, b_ih, b_hh of every layer, of the embedding (0 for one-hot input), of the head and
  // its bias; and of every trained parameter its length, weight, gradient, and the optimiser's two arrays, and its decay.
  void set(const Addresses& weights, const Addresses& trained, const std::vector<double>& decays) {
    const std::size_t L = static_cast<std::size_t>(model_.shape_.layers);
    if (weights.size() != 8 * L + 6 || trained.size() != 5 * decays.size()) throw std::invalid_argument("weights: their number");
    const std::size_t* a = weights.data();
    const auto next = [&] { return reinterpret_cast<Real*>(*a++); };
    for (std::size_t l = 0; l < L; ++l) {
      LanguageLayer<Real>& p = model_.layers[l];
      p.w_ih = next(), p.d_w_ih = next(), p.w_hh = next(), p.d_w_hh = next();
      p.b_ih = next(), p.d_b_ih = next(), p.b_hh = next(), p.d_b_hh = next();
    }
    model_.embedding = next(), model_.d_embedding = next(), model_.head = next(), model_.d_head = next();
    model_.head_bias = next(), model_.d_head_bias = next();
    trained_.clear();
    for (std::size_t i = 0; i < decays.size(); ++i) {
      const std::size_t* t = trained.data() + 5 * i;
      trained_.push_back({static_cast<i64>(t[0]), reinterpret_cast<Real*>(t[1]), reinterpret_cast<Real*>(t[2]),
                          reinterpret_cast<Real*>(t[3]), reinterpret_cast<Real*>(t[4]), decays[i]});
    }
    model_.trained = trained_.data(), model_.trained_count = static_cast<int>(trained_.size());
  }

  void guard(bool on, double spike, bool has_mean, double mean, i64 seen, double decay, i64 settled) {
    guard_ = GuardRule{on, has_mean, spike, mean, decay, seen, settled};
  }

  // Updates as (ids, targets, fresh, rate, number, seeds): arrays of int64, (steps, B), dense; the seeds are those of the
  // masks of the embedding, between layers, and behind the top one. Returns how many were applied, and (nats, norm,
  // clipped) of each, and of one more where the guard refused it.
  std::tuple<i64, std::vector<std::tuple<double, double, bool>>> run(
      const std::vector<std::tuple<nb::handle, nb::handle, bool, double, i64, std::tuple<u64, u64, u64>>>& given,
      std::size_t h, std::size_t c, int threads) {
    done_ = 0;
    std::vector<Update> updates;
    for (const auto& [x, y, fresh, lr, number, seeds] : given) {
      const auto [table, layers, output] = seeds;
      const auto [ids, count] = units(x);
      const auto [targets, as_many] = units(y);
      const i64 steps = count / model_.shape_.B;
      if (count != as_many || steps * model_.shape_.B != count) throw std::invalid_argument("ids and targets: (steps, B)");
      updates.push_back({steps, ids, targets, fresh, lr, number, 0, 0, false, table, layers, output});
    }
    const i64 n = static_cast<i64>(updates.size());
    guarded(threads, [&](const Run& run) {
      done_ = model_.run(updates.data(), n, reinterpret_cast<Real*>(h), reinterpret_cast<Real*>(c), guard_, run);
      return true;
    });
    if (PyErr_Occurred()) throw nb::python_error();  // a second Ctrl-C
    std::vector<std::tuple<double, double, bool>> found;
    for (i64 i = 0; i < n && i <= done_; ++i) found.emplace_back(updates[i].nats, updates[i].norm, updates[i].clipped);
    return {done_, found};
  }

  // Updates that the last call applied, also where it ended in an exception.
  i64 done() const { return done_; }

 private:
  // Where an array of ids lies, and how many there are. The caller keeps it alive.
  std::pair<const i64*, i64> units(nb::handle array) const {
    Py_buffer view;
    if (PyObject_GetBuffer(array.ptr(), &view, PyBUF_C_CONTIGUOUS)) throw nb::python_error();
    const i64* ids = static_cast<const i64*>(view.buf);
    const i64 n = view.itemsize == sizeof(i64) ? static_cast<i64>(view.len) / view.itemsize : -1;
    PyBuffer_Release(&view);
    if (n < 0) throw std::invalid_argument("ids: not int64");
    for (i64 i = 0; i < n; ++i)
      if (ids[i] < 0 || ids[i] >= model_.shape_.V)
        throw nb::index_error(("id " + std::to_string(ids[i]) + ": not in 0 to " + std::to_string(model_.shape_.V - 1)).c_str());
    return {ids, n};
  }

  LanguageTraining<Real> model_;
  i64 done_ = 0;
  std::vector<Trained<Real>> trained_;
  GuardRule guard_;
};

template <class Real>
void bind_one(nb::module_& m, const char* name) {
  using Self = Training<Real>;
  nb::class_<Self>(m, name)
      .def(nb::init<int, i64, i64, i64, i64, i64, bool, int, double, double, double, double, double, double, double>())
      .def("set", &Self::set)
      .def("guard", &Self::guard)
      .def("run", &Self::run)
      .def_prop_ro("done", &Self::done);
}

}  // namespace

void bind_training(nb::module_& m) {
  bind_one<float>(m, "Training32");
  bind_one<double>(m, "Training64");
}

// A call of the recurrent kernels. Everything that a call needs is one list of integers in the order of `fields`: pointers,
// sizes and strides; setting them one by one would cost more than a short call computes.
#include <nanobind/stl/string.h>

#include <array>
#include <cstring>
#include <string>

#include "bind.hpp"
#include "interrupt.hpp"
#include "unrolled/cpu.hpp"

using namespace unrolled;

namespace {

template <class Real>
struct Call {
  Layer<Real> layer{};
  Gradients<Real> grads{};
};

// Every field by its name and its place in a Call.
template <class Real, class Visit>
void each_field(Call<Real>& c, Visit visit) {
  Layer<Real>& L = c.layer;
  Gradients<Real>& D = c.grads;
#define UNROLLED_L(name) visit(#name, L.name)
#define UNROLLED_D(name) visit(#name, D.name)
  UNROLLED_L(cell), UNROLLED_L(T), UNROLLED_L(B), UNROLLED_L(I), UNROLLED_L(H), UNROLLED_L(P), UNROLLED_L(reverse),
      UNROLLED_L(layer_norm), UNROLLED_L(x), UNROLLED_L(x_step), UNROLLED_L(x_row), UNROLLED_L(ids), UNROLLED_L(ids_step),
      UNROLLED_L(ids_row), UNROLLED_L(w_ih), UNROLLED_L(w_hh), UNROLLED_L(b_ih), UNROLLED_L(b_hh), UNROLLED_L(w_hr),
      UNROLLED_L(gain_ih), UNROLLED_L(gain_hh), UNROLLED_L(gain_c), UNROLLED_L(shift_c), UNROLLED_L(h0), UNROLLED_L(c0),
      UNROLLED_L(lengths), UNROLLED_L(resets), UNROLLED_L(mask), UNROLLED_L(output), UNROLLED_L(out_step),
      UNROLLED_L(out_row), UNROLLED_L(h_n), UNROLLED_L(c_n), UNROLLED_L(gates), UNROLLED_L(cells), UNROLLED_L(norms);
  UNROLLED_D(d_output), visit("d_out_step", D.out_step), visit("d_out_row", D.out_row), UNROLLED_D(d_h_n),
      UNROLLED_D(d_c_n), UNROLLED_D(d_gates_in), UNROLLED_D(d_cells_in), UNROLLED_D(dx), UNROLLED_D(dx_step),
      UNROLLED_D(dx_row), UNROLLED_D(d_w_ih), UNROLLED_D(d_w_hh), UNROLLED_D(d_b_ih), UNROLLED_D(d_b_hh),
      UNROLLED_D(d_w_hr), UNROLLED_D(d_gain_ih), UNROLLED_D(d_gain_hh), UNROLLED_D(d_gain_c), UNROLLED_D(d_shift_c),
      UNROLLED_D(d_h0), UNROLLED_D(d_c0), UNROLLED_D(d_h), UNROLLED_D(d_gates);
#undef UNROLLED_L
#undef UNROLLED_D
}

template <class Field>
void assign(Field& field, unsigned long long value) {
  if constexpr (std::is_pointer_v<Field>)
    field = reinterpret_cast<Field>(static_cast<std::uintptr_t>(value));
  else
    field = static_cast<Field>(value);
}

template <class Field>
unsigned long long read(const Field& field) {
  if constexpr (std::is_pointer_v<Field>)
    return static_cast<unsigned long long>(reinterpret_cast<std::uintptr_t>(field));
  else
    return static_cast<unsigned long long>(field);
}

template <class Real>
void bind_call(nb::module_& m, const char* name) {
  using Self = Call<Real>;
  nb::class_<Self> type(m, name);
  type.def(nb::init<>());
  type.def(
      "set",
      [](Self& self, nb::list values) {
        std::size_t i = 0;
        const std::size_t n = values.size();
        each_field(self, [&](const char*, auto& field) {
          if (i < n) assign(field, nb::cast<unsigned long long>(values[i++]));
        });
      },
      nb::arg("values"), "All fields, in the order of `fields`; a shorter list leaves the rest as they were.");
  type.def("set_zoneout", [](Self& self, int which, double rate, bool drawn, u64 seed, u32 stream) {
    (which ? self.layer.zoneout_c : self.layer.zoneout_h) = Zoneout{rate, drawn, seed, stream};
  });
  type.def("forward", [](const Self& self, int threads) {
    guarded(threads, [&](const Run& run) { return kernels<Real>(chosen()).forward(self.layer, run); });
  });
  type.def("backward", [](const Self& self, int threads) {
    guarded(threads, [&](const Run& run) { return kernels<Real>(chosen()).backward(self.layer, self.grads, run); });
  });
  type.def("__getattr__", [](Self& self, const std::string& wanted) {
    unsigned long long value = 0;
    bool found = false;
    each_field(self, [&](const char* field_name, auto& field) {
      if (wanted == field_name) value = read(field), found = true;
    });
    if (!found) throw nb::attribute_error(wanted.c_str());
    return value;
  });
  Self blank;
  nb::list names;
  each_field(blank, [&](const char* field_name, auto&) { names.append(nb::str(field_name)); });
  type.attr("fields") = nb::tuple(names);
}

}  // namespace

void bind_recurrent(nb::module_& m) {
  bind_call<float>(m, "Call32");
  bind_call<double>(m, "Call64");
}

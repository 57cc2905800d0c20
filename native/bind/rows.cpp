// A stack of layers and directions at one T and B. What a call says of each of its rows beside a few addresses is kept
// here, the rest is arithmetic on them: said from Python, row by row, it takes as long as a small network computes. Nothing
// in here changes after it is made, so that several threads may call the same.
#include <nanobind/stl/vector.h>

#include <array>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "bind.hpp"
#include "interrupt.hpp"
#include "unrolled/cpu.hpp"

using namespace unrolled;

namespace {

using Places = std::vector<i64>;

// The addresses of a call, in the order in which Python lists them; of a backward call those of the forward one.
enum Given { x, x_step, x_row, tokens, h0, c0, lengths, resets, output, h_n, c_n, tape, keep, given_count };
constexpr const char* given_names[] = {"x", "x_step", "x_row", "tokens", "h0", "c0", "lengths", "resets", "output", "h_n",
                                       "c_n", "tape", "keep"};
// What a backward call of one layer says besides; behind these, for each direction, dx, and d_gates_in and d_cells_in.
enum Back { d_output, d_step, d_row, d_h_n, d_c_n, d_h0, d_c0, d_h, d_gates, back_count };
constexpr const char* back_names[] = {"d_output", "d_step", "d_row", "d_h_n", "d_c_n", "d_h0", "d_c0", "d_h", "d_gates"};

template <class Real>
Real* at(i64 address, i64 offset = 0) {
  return address ? reinterpret_cast<Real*>(static_cast<std::uintptr_t>(address)) + offset : nullptr;
}

// A list is read without a look at its end: so it is looked at before.
void expect(nb::list list, std::size_t n, const char* name) {
  if (list.size() != n) throw std::invalid_argument(std::string(name) + ": " + std::to_string(list.size()) + " entries, expected " + std::to_string(n));
}

template <std::size_t N>
std::array<i64, N> numbers(nb::list from, const char* name) {
  expect(from, N, name);
  std::array<i64, N> found;
  for (std::size_t i = 0; i < N; ++i) found[i] = nb::cast<i64>(from[i]);
  return found;
}

i64 number(nb::list from, i64 i) { return nb::cast<i64>(from[static_cast<std::size_t>(i)]); }

template <class Real>
class Rows {
 public:
  Rows(int cell, i64 T, i64 B, i64 H, i64 P, bool layer_norm, i64 directions, Places inputs, Places reverse, Places slots, Places gates,
       Places cells, Places norms, Places outputs, Places dropped)
      : D_(directions), R_(P ? P : H), slots_(std::move(slots)), gates_(std::move(gates)), cells_(std::move(cells)),
        norms_(std::move(norms)), outputs_(std::move(outputs)), dropped_(std::move(dropped)), B_(B), H_(H) {
    for (std::size_t k = 0; k < inputs.size(); ++k) {
      Layer<Real> row{};
      row.cell = static_cast<Cell>(cell), row.T = T, row.B = B, row.I = inputs[k], row.H = H, row.P = P;
      row.reverse = reverse[k] != 0, row.layer_norm = layer_norm;
      rows_.push_back(row);
    }
  }

  // Layers from `first` to before `stop`. `masks`: of recurrent dropout, an address for each row, or none;
  // `zoneouts`: (row, state, rate, drawn, seed, stream).
  void forward(i64 first, i64 stop, nb::list given, nb::list weights, nb::list masks, nb::list zoneouts, int threads) const {
    const auto said = looked_at(given, weights, masks);
    for (i64 k = first * D_; k < stop * D_; ++k) {
      Layer<Real> L = row(k, said, weights, masks, zoneouts);
      L.h_n = at<Real>(said[h_n], k * B_ * R_), L.c_n = at<Real>(said[c_n], k * B_ * H_);
      guarded(threads, [&](const Run& run) { return kernels<Real>(chosen()).forward(L, run); });
    }
  }

  void backward(i64 layer, nb::list given, nb::list weights, nb::list masks, nb::list zoneouts, nb::list back, nb::list d_weights,
                int threads) const {
    const auto said = looked_at(given, weights, masks);
    expect(back, static_cast<std::size_t>(back_count + 3 * D_), "back");
    expect(d_weights, rows_.size() * slots_.size(), "d_weights");
    for (i64 d = 0; d < D_; ++d) {
      const i64 k = layer * D_ + d;
      const Layer<Real> L = row(k, said, weights, masks, zoneouts);
      const Gradients<Real> G = gradients(k, d, back, d_weights);
      guarded(threads, [&](const Run& run) { return kernels<Real>(chosen()).backward(L, G, run); });
    }
  }

 private:
  std::array<i64, given_count> looked_at(nb::list given, nb::list weights, nb::list masks) const {
    expect(weights, rows_.size() * slots_.size(), "weights");
    if (masks.size()) expect(masks, rows_.size(), "masks");
    return numbers<given_count>(given, "given");
  }

  Layer<Real> row(i64 k, const std::array<i64, given_count>& said, nb::list weights, nb::list masks, nb::list zoneouts) const {
    const i64 layer = k / D_, direction = k % D_, width = D_ * R_, layers = static_cast<i64>(rows_.size()) / D_;
    Layer<Real> L = rows_.at(static_cast<std::size_t>(k));
    if (layer > 0) {
      const Places& below = dropped_[static_cast<std::size_t>(layer - 1)] >= 0 ? dropped_ : outputs_;
      L.x = at<Real>(said[tape], below[static_cast<std::size_t>(layer - 1)]), L.x_step = B_ * width, L.x_row = width;
    } else if (said[tokens]) {
      L.ids = at<i64>(said[x]), L.ids_step = said[x_step], L.ids_row = said[x_row];
    } else {
      L.x = at<Real>(said[x]), L.x_step = said[x_step], L.x_row = said[x_row];
    }
    const Real** places[] = {&L.w_ih, &L.w_hh, &L.b_ih, &L.b_hh, &L.w_hr, &L.gain_ih, &L.gain_hh, &L.gain_c, &L.shift_c};
    for (std::size_t i = 0; i < slots_.size(); ++i) *places[slots_[i]] = at<Real>(number(weights, k * per_row() + static_cast<i64>(i)));
    L.h0 = at<Real>(said[h0], k * B_ * R_), L.c0 = at<Real>(said[c0], k * B_ * H_);
    L.lengths = at<i64>(said[lengths]), L.resets = at<u8>(said[resets]);
    if (masks.size()) L.mask = at<Real>(number(masks, k));
    for (nb::handle z : zoneouts) zone(L, k, nb::cast<nb::tuple>(z));
    L.output = layer + 1 == layers ? at<Real>(said[output], direction * R_)
                                   : at<Real>(said[tape], outputs_[static_cast<std::size_t>(layer)] + direction * R_);
    L.out_step = B_ * width, L.out_row = width;
    if (said[keep]) L.gates = taped(said[tape], gates_, k), L.cells = taped(said[tape], cells_, k), L.norms = taped(said[tape], norms_, k);
    return L;
  }

  Gradients<Real> gradients(i64 k, i64 d, nb::list back, nb::list d_weights) const {
    Gradients<Real> G{};
    G.d_output = at<Real>(number(back, d_output), d * R_), G.out_step = number(back, d_step), G.out_row = number(back, d_row);
    G.d_h_n = at<Real>(number(back, d_h_n), k * B_ * R_), G.d_c_n = at<Real>(number(back, d_c_n), k * B_ * H_);
    G.d_h0 = at<Real>(number(back, d_h0), k * B_ * R_), G.d_c0 = at<Real>(number(back, d_c0), k * B_ * H_);
    G.d_h = at<Real>(number(back, d_h)), G.d_gates = at<Real>(number(back, d_gates));
    const i64 I = rows_.at(static_cast<std::size_t>(k)).I, own = back_count + 3 * d;
    G.dx = at<Real>(number(back, own)), G.dx_step = B_ * I, G.dx_row = I;
    G.d_gates_in = at<Real>(number(back, own + 1)), G.d_cells_in = at<Real>(number(back, own + 2));
    Real** places[] = {&G.d_w_ih, &G.d_w_hh, &G.d_b_ih, &G.d_b_hh, &G.d_w_hr, &G.d_gain_ih, &G.d_gain_hh, &G.d_gain_c, &G.d_shift_c};
    for (std::size_t i = 0; i < slots_.size(); ++i) *places[slots_[i]] = at<Real>(number(d_weights, k * per_row() + static_cast<i64>(i)));
    return G;
  }

  static void zone(Layer<Real>& L, i64 k, nb::tuple z) {
    if (nb::cast<i64>(z[0]) != k) return;
    const Zoneout made{nb::cast<double>(z[2]), nb::cast<bool>(z[3]), nb::cast<u64>(z[4]), nb::cast<u32>(z[5])};
    (nb::cast<int>(z[1]) ? L.zoneout_c : L.zoneout_h) = made;
  }

  static Real* taped(i64 tape, const Places& places, i64 k) {
    const i64 place = places[static_cast<std::size_t>(k)];
    return place < 0 ? nullptr : at<Real>(tape, place);
  }

  i64 per_row() const { return static_cast<i64>(slots_.size()); }

  i64 D_, R_;
  Places slots_, gates_, cells_, norms_, outputs_, dropped_;
  i64 B_, H_;
  std::vector<Layer<Real>> rows_;
};

template <class Real>
void bind_as(nb::module_& m, const char* name) {
  using Self = Rows<Real>;
  nb::class_<Self> type(m, name);
  type.def(nb::init<int, i64, i64, i64, i64, bool, i64, Places, Places, Places, Places, Places, Places, Places, Places>())
      .def("forward", &Self::forward)
      .def("backward", &Self::backward);
  nb::list given, back;
  for (const char* field : given_names) given.append(nb::str(field));
  for (const char* field : back_names) back.append(nb::str(field));
  type.attr("given") = nb::tuple(given), type.attr("back") = nb::tuple(back);
}

}  // namespace

void bind_rows(nb::module_& m) {
  bind_as<float>(m, "Rows32");
  bind_as<double>(m, "Rows64");
}

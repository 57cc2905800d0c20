// What the machine offers, memory that is recycled, and the entry points of the self-test.
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "bind.hpp"
#include "unrolled/cpu.hpp"
#include "unrolled/masks.hpp"
#include "unrolled/memory.hpp"
#include "unrolled/threads.hpp"

using namespace unrolled;

namespace {

template <class T>
T* at(std::size_t pointer) {
  return reinterpret_cast<T*>(pointer);
}

// Recycled memory behind the buffer protocol: torch.frombuffer() makes a tensor of it, whose end gives it back.
struct Tape {
  explicit Tape(std::size_t n) : bytes(n), data(acquire(n)) {}
  ~Tape() { release(data); }
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;
  std::size_t bytes;
  void* data;
};

int tape_buffer(PyObject* self, Py_buffer* view, int flags) {
  Tape* tape = nb::inst_ptr<Tape>(nb::handle(self));
  return PyBuffer_FillInfo(view, self, tape->data, static_cast<Py_ssize_t>(tape->bytes), 0, flags);
}

PyType_Slot tape_slots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(tape_buffer)}, {0, nullptr}};

std::vector<Isa> all() { return {Isa::amx, Isa::avx512, Isa::avx2, Isa::neon, Isa::plain}; }

template <class Real>
void bind_tests(nb::module_& m, const std::string& bits) {
  m.def(("activate" + bits).c_str(), [](int which, std::size_t x, std::size_t y, i64 n) {
    kernels<Real>(chosen()).activate(which, at<Real>(x), at<Real>(y), n);
  });
  m.def(("product" + bits).c_str(),
        [](i64 M, i64 N, i64 K, std::size_t a, std::size_t b, std::size_t c, bool chains, int threads) {
          const Isa isa = chains && chosen() == Isa::amx ? Isa::avx512 : chosen();  // a Stepper's products are chains
          kernels<Real>(isa).product(M, N, K, at<Real>(a), at<Real>(b), at<Real>(c), threads);
        },
        nb::call_guard<nb::gil_scoped_release>());
  m.def(("fill_dropout" + bits).c_str(),
        [](std::size_t out, double p, u64 seed, u32 stream, i64 T, i64 B, i64 N, int threads) {
          kernels<Real>(chosen()).drop({p, seed, stream}, nullptr, at<Real>(out), T, B, N, threads);
        },
        nb::call_guard<nb::gil_scoped_release>());
}

}  // namespace

void bind_machine(nb::module_& m) {
  m.def("isa", [] { return std::string(name_of(chosen())); });
  m.def("supported_isas", [] {
    std::vector<std::string> names;
    for (Isa isa : all())
      if (supported(isa)) names.emplace_back(name_of(isa));
    return names;
  });
  m.def("set_isa", [](const std::string& name) {
    for (Isa isa : all())
      if (name == name_of(isa)) return set_isa(isa);
    throw std::invalid_argument(name + ": not an instruction set; see supported_isas()");
  });
  m.def("available_threads", &available_threads);
  m.def("borrow_threads", [](std::size_t run, std::size_t index, std::size_t size, std::size_t most, std::size_t procs) {
    borrow({reinterpret_cast<decltype(Lender::run)>(run), reinterpret_cast<decltype(Lender::index)>(index),
            reinterpret_cast<decltype(Lender::size)>(size), reinterpret_cast<decltype(Lender::most)>(most),
            reinterpret_cast<decltype(Lender::procs)>(procs), 0});
  });
  m.def("borrowed_threads", &borrowed);
  m.def("idle_bytes", &idle_bytes);
  m.def("idle_cap", &idle_cap);
  m.def("set_idle_cap", &set_idle_cap);
  nb::class_<Tape>(m, "Tape", nb::type_slots(tape_slots)).def_ro("nbytes", &Tape::bytes);
  m.def("tape", [](std::size_t bytes) { return new Tape(bytes); }, nb::rv_policy::take_ownership);
  bind_tests<float>(m, "32");
  bind_tests<double>(m, "64");
}

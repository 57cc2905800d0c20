// Ctrl-C during a call of the core: asked by the kernel between blocks, on the thread that called, at most every 50 ms.
#pragma once

#include <nanobind/nanobind.h>

#include <chrono>

#include "unrolled/recurrent.hpp"

struct Interrupt {
  std::chrono::steady_clock::time_point next = std::chrono::steady_clock::now() + std::chrono::milliseconds(50);
  static bool asked(void* context) {
    auto* self = static_cast<Interrupt*>(context);
    const auto now = std::chrono::steady_clock::now();
    if (now < self->next) return false;
    self->next = now + std::chrono::milliseconds(50);
    nanobind::gil_scoped_acquire gil;
    return PyErr_CheckSignals() != 0;  // does nothing outside the main thread
  }
};

// Runs a kernel without the GIL; one that was interrupted ends in the signal's exception.
template <class Kernel>
void guarded(int threads, Kernel kernel) {
  Interrupt interrupt;
  bool finished;
  {
    nanobind::gil_scoped_release release;
    finished = kernel(unrolled::Run{threads < 1 ? 1 : threads, &Interrupt::asked, &interrupt});
  }
  if (!finished) throw nanobind::python_error();
}

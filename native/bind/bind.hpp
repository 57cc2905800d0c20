// The parts of the Python module; each lives in a file of its own.
#pragma once

#include <nanobind/nanobind.h>

namespace nb = nanobind;

void bind_machine(nb::module_& m);
void bind_recurrent(nb::module_& m);
void bind_rows(nb::module_& m);
void bind_stepper(nb::module_& m);
void bind_training(nb::module_& m);

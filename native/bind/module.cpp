#include "bind.hpp"

NB_MODULE(_native, m) {
  m.doc() = "The compiled core of unrolled. Pointers are integers; sizes and dtypes are checked by the callers in Python.";
  nb::set_leak_warnings(false);  // tensors that live until the interpreter ends hold their tapes: no fault
  bind_machine(m);
  bind_recurrent(m);
  bind_rows(m);
  bind_stepper(m);
  bind_training(m);
}

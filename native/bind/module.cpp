#include "bind.hpp"

NB_MODULE(_native, m) {
  m.doc() = "The compiled core of unrolled. Pointers are integers; sizes and dtypes are checked by the callers in Python.";
  bind_machine(m);
  bind_recurrent(m);
  bind_stepper(m);
}

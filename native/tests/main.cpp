#include "check.hpp"
#include "unrolled/cpu.hpp"

using namespace unrolled;

// Everything, once for each instruction set that this machine has.
int main() {
  test_threads();
  test_memory();
  for (Isa isa : {Isa::amx, Isa::avx512, Isa::avx2, Isa::neon, Isa::plain}) {
    if (!supported(isa)) continue;
    set_isa(isa);
    std::printf("%s\n", name_of(isa));
    test_product();
    test_recurrent();
    test_stepper();
    test_training();
  }
  std::printf("all good\n");
}

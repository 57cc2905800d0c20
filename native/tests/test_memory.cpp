#include <cstdint>
#include <cstring>

#include "check.hpp"
#include "unrolled/memory.hpp"

using namespace unrolled;

void test_memory() {
  set_idle_cap(std::size_t{64} << 20);
  for (std::size_t bytes : {std::size_t{1}, std::size_t{4000}, std::size_t{5} << 20}) {
    void* a = acquire(bytes);
    CHECK(reinterpret_cast<std::uintptr_t>(a) % 64 == 0);
    std::memset(a, 1, bytes);
    release(a);
    CHECK(acquire(bytes) == a);  // the warm block comes back
    release(a);
  }
  CHECK(idle_bytes() <= idle_cap());
  void* large = acquire(std::size_t{100} << 20);
  release(large);  // beyond the cap: given up at once
  CHECK(idle_bytes() <= idle_cap());
  set_idle_cap(0);
  CHECK(idle_bytes() == 0);
  set_idle_cap(std::size_t{512} << 20);
  release(nullptr);
}

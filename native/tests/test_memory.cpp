#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <thread>

#if defined(__unix__)
#include <sys/wait.h>
#include <unistd.h>
#endif

#include "check.hpp"
#include "unrolled/memory.hpp"

using namespace unrolled;

namespace {

// A child whose parent had a thread inside the store when it was forked finds it open.
void beside_forks() {
#if defined(__unix__) && !defined(__SANITIZE_THREAD__)  // its runtime forbids more than one thread around a fork
  if (std::getenv("UNROLLED_TEST_NO_FORK")) return;  // qemu's user mode cannot fork a program with threads
  std::atomic<bool> enough{false};
  std::thread busy([&] {
    while (!enough) release(acquire(std::size_t{5} << 20));
  });
  for (int n = 0; n < 200; ++n) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(20);  // a child that hangs ends by this signal
      release(acquire(1));
      _exit(0);
    }
    int status = 1;
    waitpid(child, &status, 0);
    CHECK(status == 0);
  }
  enough = true;
  busy.join();
#endif
}

}  // namespace

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
  set_idle_cap(std::size_t{64} << 20);  // what was idle longest makes room, not what is largest
  void *before = acquire(std::size_t{20} << 20), *tape = acquire(std::size_t{30} << 20), *dx = acquire(std::size_t{15} << 20);
  release(before), release(tape), release(dx);
  CHECK(idle_bytes() < std::size_t{50} << 20);
  CHECK(acquire(std::size_t{30} << 20) == tape);
  release(tape);
  set_idle_cap(std::size_t{512} << 20);
  release(nullptr);
  beside_forks();
}

#include <atomic>
#include <thread>
#include <vector>

#if defined(__unix__)
#include <sys/wait.h>
#include <unistd.h>
#endif

#include "check.hpp"
#include "unrolled/threads.hpp"

using namespace unrolled;

namespace {

// Every member adds its number between two meetings; nobody sees a half-made sum.
void meet(int threads) {
  std::atomic<int> sum{0};
  int size = 0;
  auto task = [&](Member& me) {
    for (int round = 1; round <= 20; ++round) {
      sum += me.index + 1;
      me.barrier.wait();
      CHECK(sum == round * me.size * (me.size + 1) / 2);
      me.barrier.wait();
    }
    if (me.index == 0) size = me.size;
  };
  parallel(threads, task);
  CHECK(size == threads || size == 1);  // 1 where another caller had the pool
}

thread_local int lent_index = 0;
int lent_size = 0, lent_most = 3;

// A lender in the manner of an OpenMP runtime; it never gives more than three members, whatever it says.
void lend(void (*task)(void*), void* context, unsigned threads, unsigned) {
  lent_size = threads < 3 ? static_cast<int>(threads) : 3;
  std::vector<std::thread> members;
  for (int i = 1; i < lent_size; ++i)
    members.emplace_back([=] {
      lent_index = i;
      task(context);
    });
  task(context);
  for (auto& member : members) member.join();
}

void meet_on_lent_threads() {
  const Lender lender{lend, [] { return lent_index; }, [] { return lent_size; }, [] { return lent_most; }, [] { return 3; }, 4};
  borrow(lender);
  CHECK(borrowed());
  CHECK(available_threads() <= 3);  // what the lender says, not this thread's affinity
  for (int threads : {1, 2, 3}) {
    lent_size = 0;
    meet(threads);
    CHECK(lent_size == (threads > 1 ? 3 : 0));  // always all of it, though not all have work
  }
  lent_most = 4;
  int runs = 0;
  auto task = [&](Member& me) {
    CHECK(me.size == 1 && me.index == 0);
    ++runs;
  };
  parallel(4, task);  // fewer came than were asked for: one does it all, once
  CHECK(runs == 1);
  lent_most = 5, lent_size = 0;
  meet(2);
  CHECK(lent_size == 0);  // more members than processors: our own
  borrow({});
  CHECK(!borrowed());
}

}  // namespace

void test_threads() {
  meet_on_lent_threads();
  CHECK(available_threads() >= 1);
  for (int round = 0; round < 50; ++round)
    for (int threads : {1, 2, 3, 4}) meet(threads);
  std::vector<std::thread> callers;
  for (int i = 0; i < 3; ++i)
    callers.emplace_back([] {
      for (int round = 0; round < 30; ++round) meet(2);
    });
  for (auto& caller : callers) caller.join();
#if defined(__unix__) && !defined(__SANITIZE_THREAD__)  // its runtime forbids new threads behind a fork
  if (std::getenv("UNROLLED_TEST_NO_FORK")) return;  // qemu's user mode cannot fork a program with threads
  const pid_t child = fork();
  if (child == 0) {
    meet(2);
    _exit(0);
  }
  int status = 1;
  waitpid(child, &status, 0);
  CHECK(status == 0);
#endif
}

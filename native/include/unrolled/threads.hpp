// The core's own threads. One call runs one task on a team; its members meet at the team's barrier.
#pragma once

#include <atomic>
#include <cstdint>

namespace unrolled {

// Members meet here as often as they like. Spins a little, then yields: beside other work nobody burns a core.
class Barrier {
 public:
  explicit Barrier(int members) : members_(members) {}
  void wait();

 private:
  const int members_;
  std::atomic<int> arrived_{0};
  std::atomic<std::uint32_t> round_{0};
};

// What a member of a team knows: its number, the team's size, and where to meet the others.
struct Member {
  int index;
  int size;
  Barrier& barrier;
};

// Processors this process may use: affinity and the cgroup's quota, at least 1.
int available_threads();

// The team of another runtime in this process, by the entry points that OpenMP's runtimes share on Linux: run(task,
// context, threads, 0) is GOMP_parallel, index, size, most and procs are omp_get_thread_num, omp_get_num_threads,
// omp_get_max_threads and omp_get_num_procs. A program that computes with such a runtime should lend it: its threads spin for milliseconds after
// their work, and a second pool would wait for the processors that they hold.
struct Lender {
  void (*run)(void (*task)(void*), void* context, unsigned threads, unsigned flags);
  int (*index)();
  int (*size)();
  int (*most)();
  int (*procs)();  // it may bind threads to processors: then the caller's own affinity tells nothing. Or null
  int processors;  // 0: those of available_threads(). Its team is not borrowed where it has more members than so many
};

// From here on teams are the lender's, in this process though not behind a fork; an empty lender ends it. Not while a
// call is under way.
void borrow(const Lender& lender);
bool borrowed();

// Between two looks of a member that has nothing else to do: spins at first, then sleeps for half a millisecond.
void wait_a_little(int tries);

namespace detail {
void run_team(int threads, void (*task)(void*, Member&), void* context);
}

// Runs task(Member&) on `threads` members, the caller being member 0, and returns when all are done. Re-entrant from
// several threads (each caller gets a team of its own, or runs alone where the pool is taken), safe after fork (the
// child starts its own workers), denormals flushed in every member and the caller's state restored. `task` must not throw.
template <class Task>
void parallel(int threads, Task& task) {
  detail::run_team(threads, [](void* context, Member& me) { (*static_cast<Task*>(context))(me); }, &task);
}

}  // namespace unrolled

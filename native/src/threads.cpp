#include "unrolled/threads.hpp"

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif
#if defined(__linux__)
#include <sched.h>
#endif
#if !defined(_WIN32)
#include <unistd.h>
#endif

namespace unrolled {
namespace {

void relax() {
#if defined(__x86_64__) || defined(_M_X64)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Numbers too small for the type's exponent become zero in this scope: they are up to a hundred times slower.
class FlushDenormals {
 public:
#if defined(__x86_64__) || defined(_M_X64)
  FlushDenormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | 0x8040); }
  ~FlushDenormals() { _mm_setcsr(saved_); }

 private:
  unsigned saved_;
#elif defined(__aarch64__) && !defined(_MSC_VER)
  FlushDenormals() {
    asm volatile("mrs %0, fpcr" : "=r"(saved_));
    asm volatile("msr fpcr, %0" ::"r"(saved_ | (1ull << 24)));
  }
  ~FlushDenormals() { asm volatile("msr fpcr, %0" ::"r"(saved_)); }

 private:
  unsigned long long saved_;
#endif
};

struct Job {
  void (*task)(void*, Member&);
  void* context;
  Barrier* barrier;
  int size;
};

constexpr int spins = 4000;  // some 50 microseconds: longer than between two calls of a loop, shorter than anyone notices

// A worker waits for its number to be called: spins a little, then sleeps, so that torch's own threads get the core.
class Worker {
 public:
  explicit Worker(int index) : index_(index), thread_([this] { work(); }) { thread_.detach(); }

  void start(const Job& job) {
    job_ = job;
    {
      std::lock_guard lock(mutex_);
      called_.fetch_add(1, std::memory_order_release);
    }
    if (asleep_.load(std::memory_order_acquire)) wake_.notify_one();
  }

  void join() const {
    const std::uint32_t expected = called_.load(std::memory_order_relaxed);
    for (int n = 0; done_.load(std::memory_order_acquire) != expected;)
      if (++n > spins) std::this_thread::yield();
      else relax();
  }

 private:
  void work() {
    FlushDenormals flush;
    for (std::uint32_t seen = 0;;) {
      for (int n = 0; n < spins && called_.load(std::memory_order_acquire) == seen; ++n) relax();
      if (called_.load(std::memory_order_acquire) == seen) {
        std::unique_lock lock(mutex_);
        asleep_.store(true, std::memory_order_release);
        wake_.wait(lock, [&] { return called_.load(std::memory_order_acquire) != seen; });
        asleep_.store(false, std::memory_order_release);
      }
      ++seen;
      Member me{index_, job_.size, *job_.barrier};
      job_.task(job_.context, me);
      done_.store(seen, std::memory_order_release);
    }
  }

  const int index_;
  Job job_{};
  std::atomic<std::uint32_t> called_{0}, done_{0};
  std::atomic<bool> asleep_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::thread thread_;  // last: it uses the rest
};

// The workers of this process. Never destroyed: a thread may still sleep in it when the process ends.
struct Pool {
  std::atomic<bool> taken{false};
  std::vector<std::unique_ptr<Worker>> workers;
  // False where the system gives no more threads, or no memory for them.
  bool grow(int n) {
    try {
      while (static_cast<int>(workers.size()) < n) workers.push_back(std::make_unique<Worker>(static_cast<int>(workers.size()) + 1));
    } catch (const std::exception&) {
      return false;
    }
    return true;
  }
#if !defined(_WIN32)
  pid_t owner = getpid();
#endif
};

Pool& pool() {
  static std::atomic<Pool*> instance{new Pool};
  Pool* found = instance.load(std::memory_order_acquire);
#if !defined(_WIN32)
  if (found->owner != getpid()) {  // a fork copies the pool, not its threads
    Pool* fresh = new Pool;
    if (instance.compare_exchange_strong(found, fresh))
      found = fresh;
    else
      delete fresh;
  }
#endif
  return *found;
}

struct Lent {
  Lender lender{};
#if !defined(_WIN32)
  pid_t borrower = 0;
#endif
} lent;

#if defined(__linux__)
// Processors' worth of time that a cgroup grants, or 0 where it sets no bound.
int quota() {
  long long limit = 0, period = 0;
  if (std::FILE* f = std::fopen("/sys/fs/cgroup/cpu.max", "r")) {
    const int n = std::fscanf(f, "%lld %lld", &limit, &period);
    std::fclose(f);
    return n == 2 && limit > 0 && period > 0 ? static_cast<int>((limit + period - 1) / period) : 0;
  }
  const auto read = [](const char* path) {
    long long value = -1;
    if (std::FILE* f = std::fopen(path, "r")) {
      if (std::fscanf(f, "%lld", &value) != 1) value = -1;
      std::fclose(f);
    }
    return value;
  };
  limit = read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), period = read("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  return limit > 0 && period > 0 ? static_cast<int>((limit + period - 1) / period) : 0;
}
#endif

}  // namespace

void Barrier::wait() {
  if (members_ < 2) return;
  const std::uint32_t round = round_.load(std::memory_order_acquire);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == members_) {
    arrived_.store(0, std::memory_order_relaxed);
    round_.store(round + 1, std::memory_order_release);
    return;
  }
  for (int n = 0; round_.load(std::memory_order_acquire) == round;)
    if (++n > spins) std::this_thread::yield();  // another program has the core: let it end
    else relax();
}

int available_threads() {
  int n = static_cast<int>(std::thread::hardware_concurrency());
#if defined(__linux__)
  cpu_set_t set;
  if (lent.lender.procs) n = lent.lender.procs();
  else if (sched_getaffinity(0, sizeof set, &set) == 0) n = CPU_COUNT(&set);
  const int granted = quota();
  if (granted > 0 && granted < n) n = granted;
#endif
  return n < 1 ? 1 : n;
}

namespace {

// Runs the job on a lent team; false where there is none for this call.
bool run_lent(const Job& job) {
  const Lender& lender = lent.lender;
  if (!lender.run || job.size < 2) return false;
  // The whole team each time, though fewer may be needed: libgomp ends a member that one call has no use for, and starts
  // another for the next. More of them than there are processors would spin at our cost: then the core's own pool.
  const int most = lender.most();
  if (most < job.size || most > lender.processors) return false;
#if !defined(_WIN32)
  if (lent.borrower != getpid()) return false;  // a fork copies the lender's records, not its threads
#endif
  auto member = [](void* context) {
    const Job& job = *static_cast<const Job*>(context);
    FlushDenormals flush;
    const int index = lent.lender.index();
    if (lent.lender.size() >= job.size) {
      Member me{index, job.size, *job.barrier};
      if (index < job.size) job.task(job.context, me);
    } else if (index == 0) {  // fewer than asked for: within another team, or under a limit
      Barrier alone(1);
      Member me{0, 1, alone};
      job.task(job.context, me);
    }
  };
  lender.run(member, const_cast<Job*>(&job), static_cast<unsigned>(most), 0);
  return true;
}

}  // namespace

void borrow(const Lender& lender) {
  lent.lender = lender;
  if (lender.processors == 0) lent.lender.processors = available_threads();
#if !defined(_WIN32)
  lent.borrower = getpid();
#endif
}

void wait_a_little(int tries) {
  if (tries < spins) relax();
  else std::this_thread::sleep_for(std::chrono::microseconds(500));
}

bool borrowed() { return lent.lender.run != nullptr; }

void detail::run_team(int threads, void (*task)(void*, Member&), void* context) {
  Barrier barrier(threads);
  const Job job{task, context, &barrier, threads};
  if (run_lent(job)) return;
  Pool* shared = nullptr;
  if (threads > 1) {
    shared = &pool();
    if (shared->taken.exchange(true, std::memory_order_acquire)) shared = nullptr;  // another caller has it
  }
  if (shared && !shared->grow(threads - 1)) {
    shared->taken.store(false, std::memory_order_release);
    shared = nullptr;
  }
  FlushDenormals flush;
  if (!shared) {
    Barrier alone(1);
    Member me{0, 1, alone};
    task(context, me);
    return;
  }
  for (int i = 1; i < threads; ++i) shared->workers[i - 1]->start(job);
  Member me{0, threads, barrier};
  task(context, me);
  for (int i = 1; i < threads; ++i) shared->workers[i - 1]->join();
  shared->taken.store(false, std::memory_order_release);
}

}  // namespace unrolled

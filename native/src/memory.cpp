#include "unrolled/memory.hpp"

#include <cstdlib>
#include <map>
#include <mutex>
#include <new>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif
#if defined(_WIN32)
#include <malloc.h>
#endif

namespace unrolled {
namespace {

constexpr std::size_t header = 64, huge = std::size_t{2} << 20;

// Stands in front of every block: its size class.
struct Header {
  std::size_t bytes;
};

void* fresh(std::size_t bytes) {
  const std::size_t align = bytes >= huge ? huge : 64;
#if defined(_WIN32)
  void* block = _aligned_malloc(bytes, align);
#else
  void* block = nullptr;
  if (posix_memalign(&block, align, bytes) != 0) block = nullptr;
#endif
  if (!block) throw std::bad_alloc();
#if defined(__linux__)
  if (bytes >= huge) madvise(block, bytes, MADV_HUGEPAGE);  // a wish: no answer is needed
#endif
  return block;
}

void give_up(void* block) {
#if defined(_WIN32)
  _aligned_free(block);
#else
  std::free(block);
#endif
}

// An eighth of waste at most, and few classes, so that the next call finds a block of its size.
std::size_t size_class(std::size_t bytes) {
  std::size_t step = 4096;
  while (step * 16 < bytes) step *= 2;
  return (bytes + step - 1) / step * step;
}

struct Idle {
  void* block;
  unsigned long long since;
};

struct Store {
  std::mutex mutex;
  std::map<std::size_t, std::vector<Idle>> idle;  // by size class, each in the order in which they came
  std::size_t idle_bytes = 0, cap = std::size_t{512} << 20;
  unsigned long long now = 0;
  Store() {
    if (const char* set = std::getenv("UNROLLED_KEEP_BYTES")) cap = std::strtoull(set, nullptr, 10);
  }
  // What was idle longest goes first: what a process worked with before, not what the next call wants again. Called with
  // the lock held.
  void shrink(std::size_t to) {
    while (idle_bytes > to && !idle.empty()) {
      auto oldest = idle.begin();
      for (auto each = idle.begin(); each != idle.end(); ++each)
        if (each->second.front().since < oldest->second.front().since) oldest = each;
      give_up(oldest->second.front().block);
      idle_bytes -= oldest->first;
      oldest->second.erase(oldest->second.begin());
      if (oldest->second.empty()) idle.erase(oldest);
    }
  }
};

Store& store() {
  static Store* instance = new Store;  // outlives every thread and every tensor
  return *instance;
}

}  // namespace

void* acquire(std::size_t bytes) {
  const std::size_t size = size_class(bytes + header);
  Store& s = store();
  {
    std::lock_guard lock(s.mutex);
    auto found = s.idle.find(size);
    if (found != s.idle.end()) {
      void* block = found->second.back().block;
      found->second.pop_back();
      if (found->second.empty()) s.idle.erase(found);
      s.idle_bytes -= size;
      return static_cast<char*>(block) + header;
    }
  }
  void* block = fresh(size);
  new (block) Header{size};
  return static_cast<char*>(block) + header;
}

void release(void* data) noexcept {
  if (!data) return;
  void* block = static_cast<char*>(data) - header;
  const std::size_t size = static_cast<Header*>(block)->bytes;
  Store& s = store();
  std::lock_guard lock(s.mutex);
  if (size > s.cap) return give_up(block);
  if (s.idle_bytes + size > s.cap) s.shrink(s.cap - size);
  try {
    s.idle[size].push_back(Idle{block, s.now++});
    s.idle_bytes += size;
  } catch (...) {
    give_up(block);
  }
}

std::size_t idle_cap() {
  std::lock_guard lock(store().mutex);
  return store().cap;
}

std::size_t idle_bytes() {
  std::lock_guard lock(store().mutex);
  return store().idle_bytes;
}

void set_idle_cap(std::size_t bytes) {
  std::lock_guard lock(store().mutex);
  store().cap = bytes;
  store().shrink(bytes);
}

}  // namespace unrolled

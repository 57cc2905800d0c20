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
#else
#include <pthread.h>
#endif

namespace unrolled {
namespace {

constexpr std::size_t header = 64, huge = std::size_t{2} << 20;

// Stands in front of every block: its size class, and the next block of a list of those to give up.
struct Header {
  std::size_t bytes;
  Header* next;
};

// Null where there is none to be had.
void* fresh(std::size_t bytes) {
  const std::size_t align = bytes >= huge ? huge : 64;
#if defined(_WIN32)
  void* block = _aligned_malloc(bytes, align);
#else
  void* block = nullptr;
  if (posix_memalign(&block, align, bytes) != 0) block = nullptr;
#endif
#if defined(__linux__)
  if (block && bytes >= huge) madvise(block, bytes, MADV_HUGEPAGE);  // a wish: no answer is needed
#endif
  return block;
}

// Never with the lock held: giving pages back to the system takes long.
void give_up(Header* block) {
  while (block) {
    Header* next = block->next;
#if defined(_WIN32)
    _aligned_free(block);
#else
    std::free(block);
#endif
    block = next;
  }
}

// An eighth of waste at most, and few classes, so that the next call finds a block of its size.
std::size_t size_class(std::size_t bytes) {
  std::size_t step = 4096;
  while (step * 16 < bytes) step *= 2;
  return (bytes + step - 1) / step * step;
}

struct Idle {
  Header* block;
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
  // Takes blocks out, until no more than so many bytes are idle, and lists them. What was idle longest goes first: what a
  // process worked with before, not what the next call wants again. Called with the lock held.
  Header* shrink(std::size_t to) {
    Header* out = nullptr;
    while (idle_bytes > to && !idle.empty()) {
      auto oldest = idle.begin();
      for (auto each = idle.begin(); each != idle.end(); ++each)
        if (each->second.front().since < oldest->second.front().since) oldest = each;
      Header* block = oldest->second.front().block;
      block->next = out, out = block;
      idle_bytes -= oldest->first;
      oldest->second.erase(oldest->second.begin());
      if (oldest->second.empty()) idle.erase(oldest);
    }
    return out;
  }
};

// Outlives every thread and every tensor.
Store& store() {
  static Store* instance = [] {
#if !defined(_WIN32)  // a fork waits until nobody is inside: the child has no thread that would ever leave
    pthread_atfork([] { store().mutex.lock(); }, [] { store().mutex.unlock(); }, [] { store().mutex.unlock(); });
#endif
    return new Store;
  }();
  return *instance;
}

Header* shrunk(std::size_t to) {
  std::lock_guard lock(store().mutex);
  return store().shrink(to);
}

}  // namespace

void* acquire(std::size_t bytes) {
  const std::size_t size = size_class(bytes + header);
  Store& s = store();
  {
    std::lock_guard lock(s.mutex);
    auto found = s.idle.find(size);
    if (found != s.idle.end()) {
      Header* block = found->second.back().block;
      found->second.pop_back();
      if (found->second.empty()) s.idle.erase(found);
      s.idle_bytes -= size;
      return reinterpret_cast<char*>(block) + header;
    }
  }
  void* block = fresh(size);
  if (!block) {  // what lies idle may be what is missing
    give_up(shrunk(0));
    block = fresh(size);
  }
  if (!block) throw std::bad_alloc();
  new (block) Header{size, nullptr};
  return static_cast<char*>(block) + header;
}

void release(void* data) noexcept {
  if (!data) return;
  Header* block = reinterpret_cast<Header*>(static_cast<char*>(data) - header);
  Header* out = nullptr;
  {
    const std::size_t size = block->bytes;
    Store& s = store();
    std::lock_guard lock(s.mutex);
    if (size <= s.cap && s.idle_bytes + size > s.cap) out = s.shrink(s.cap - size);
    bool kept = size <= s.cap;
    try {
      if (kept) s.idle[size].push_back(Idle{block, s.now++});
    } catch (...) {
      kept = false;
      if (const auto made = s.idle.find(size); made != s.idle.end() && made->second.empty()) s.idle.erase(made);
    }
    if (kept) s.idle_bytes += size;
    else block->next = out, out = block;
  }
  give_up(out);
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
  {
    std::lock_guard lock(store().mutex);
    store().cap = bytes;
  }
  give_up(shrunk(bytes));
}

}  // namespace unrolled

// Recycled memory for tapes and workspaces: a fresh page costs several times a warm one.
#pragma once

#include <cstddef>

namespace unrolled {

// 64-byte aligned, contents undefined; blocks of 2 MiB and more ask for huge pages. Throws std::bad_alloc.
void* acquire(std::size_t bytes);
void release(void* block) noexcept;

// At most so many bytes stay idle for the next call (UNROLLED_KEEP_BYTES, or the default of 512 MiB).
std::size_t idle_cap();
std::size_t idle_bytes();
void set_idle_cap(std::size_t bytes);

// An array of a call's workspace, given back at the end of the scope.
template <class Real>
class Array {
 public:
  Array() = default;
  explicit Array(std::size_t n) : data_(n ? static_cast<Real*>(acquire(n * sizeof(Real))) : nullptr) {}
  ~Array() { release(data_); }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;
  Array(Array&& other) noexcept : data_(other.data_) { other.data_ = nullptr; }
  Array& operator=(Array&& other) noexcept {
    Real* mine = data_;
    data_ = other.data_;
    other.data_ = mine;
    return *this;
  }
  Real* get() const { return data_; }
  operator Real*() const { return data_; }

 private:
  Real* data_ = nullptr;
};

}  // namespace unrolled

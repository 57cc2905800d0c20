// What compilers have different words for, and C's functions: the kernels' files are compiled for different processors, so that
// no template of the standard library, of which the linker keeps one copy for all, may be in them.
#pragma once

#include <math.h>
#include <string.h>

#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
#endif

// For a function that does nothing but prefetch: gcc takes it for one without effect and leaves its calls out, unless it has
// become part of its callers before gcc looks.
#if defined(__GNUC__)
#define UNROLLED_INLINE [[gnu::always_inline]]
#else
#define UNROLLED_INLINE
#endif

namespace unrolled {
namespace {  // one for each translation unit: they are compiled for different processors

// Asks for the line of `p`, to be read or to be written soon.
inline void prefetch(const void* p) {
#if !defined(_MSC_VER) || defined(__clang__)
  __builtin_prefetch(p);
#elif defined(_M_X64)
  _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0);
#else
  __prefetch(p);
#endif
}
// Into the second cache alone: for what is read only after the first one's content has changed.
inline void prefetch_second(const void* p) {
#if !defined(_MSC_VER) || defined(__clang__)
  __builtin_prefetch(p, 0, 2);
#elif defined(_M_X64)
  _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1);
#else
  __prefetch(p);
#endif
}
inline void prefetch_to_write(const void* p) {
#if !defined(_MSC_VER) || defined(__clang__)
  __builtin_prefetch(p, 1);
#else
  prefetch(p);
#endif
}

}  // namespace
}  // namespace unrolled

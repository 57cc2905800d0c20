#include "unrolled/cpu.hpp"

#include <atomic>
#include <cstdlib>
#include <initializer_list>
#include <stdexcept>
#include <string>

#if defined(_MSC_VER) && defined(_M_X64)
#include <intrin.h>
#endif

namespace unrolled {

#define UNROLLED_DECLARE(isa)          \
  const Kernels<float>& isa##_float(); \
  const Kernels<double>& isa##_double();
UNROLLED_DECLARE(plain)
UNROLLED_DECLARE(avx2)
UNROLLED_DECLARE(avx512)
UNROLLED_DECLARE(neon)
#undef UNROLLED_DECLARE

namespace {

#if defined(_MSC_VER) && defined(_M_X64) && !defined(__clang__)
bool leaf7(int bit) {
  int r[4];
  __cpuidex(r, 7, 0);
  return r[1] >> bit & 1;
}
bool state(unsigned long long mask) { return (_xgetbv(0) & mask) == mask; }
bool has_avx2() {
  int r[4];
  __cpuid(r, 1);
  return (r[2] >> 12 & 1) && (r[2] >> 27 & 1) && leaf7(5) && state(6);
}
bool has_avx512() { return has_avx2() && leaf7(16) && leaf7(17) && leaf7(30) && leaf7(31) && state(0xE6); }
#elif defined(__x86_64__) || defined(_M_X64)
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#endif

Isa best() {
  for (Isa isa : {Isa::avx512, Isa::avx2, Isa::neon})
    if (supported(isa)) return isa;
  return Isa::plain;
}

Isa first() {
  const char* wish = std::getenv("UNROLLED_ISA");
  if (!wish || !*wish) return best();
  for (Isa isa : {Isa::plain, Isa::avx2, Isa::avx512, Isa::neon})
    if (std::string(wish) == name_of(isa) && supported(isa)) return isa;
  throw std::invalid_argument("UNROLLED_ISA=" + std::string(wish) +
                              ": this machine or build does not have it; unset it, or use plain");
}

std::atomic<int>& choice() {
  static std::atomic<int> value{static_cast<int>(first())};
  return value;
}

}  // namespace

const char* name_of(Isa isa) {
  switch (isa) {
    case Isa::avx2: return "avx2";
    case Isa::avx512: return "avx512";
    case Isa::neon: return "neon";
    default: return "plain";
  }
}

bool supported(Isa isa) {
  switch (isa) {
    case Isa::plain: return true;
#if defined(__x86_64__) || defined(_M_X64)
    case Isa::avx2: return has_avx2();
    case Isa::avx512: return has_avx512();
#elif defined(__aarch64__) || defined(_M_ARM64)
    case Isa::neon: return true;
#endif
    default: return false;
  }
}

Isa chosen() { return static_cast<Isa>(choice().load(std::memory_order_relaxed)); }

void set_isa(Isa isa) {
  if (!supported(isa)) throw std::invalid_argument(std::string(name_of(isa)) + ": this machine or build does not have it");
  choice().store(static_cast<int>(isa), std::memory_order_relaxed);
}

#if defined(__x86_64__) || defined(_M_X64)
#define UNROLLED_TABLE(type)                                 \
  template <>                                                \
  const Kernels<type>& kernels<type>(Isa isa) {              \
    return isa == Isa::avx512 ? avx512_##type() : isa == Isa::avx2 ? avx2_##type() : plain_##type(); \
  }
#elif defined(__aarch64__) || defined(_M_ARM64)
#define UNROLLED_TABLE(type)                    \
  template <>                                   \
  const Kernels<type>& kernels<type>(Isa isa) { \
    return isa == Isa::neon ? neon_##type() : plain_##type(); \
  }
#else
#define UNROLLED_TABLE(type)                \
  template <>                               \
  const Kernels<type>& kernels<type>(Isa) { \
    return plain_##type();                  \
  }
#endif
UNROLLED_TABLE(float)
UNROLLED_TABLE(double)

}  // namespace unrolled

#include "unrolled/cpu.hpp"

#include <atomic>
#include <cstdlib>
#include <initializer_list>
#include <stdexcept>
#include <string>

#if defined(_MSC_VER) && defined(_M_X64)
#include <intrin.h>
#endif
#if defined(UNROLLED_AMX)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace unrolled {

#define UNROLLED_DECLARE(isa)          \
  const Kernels<float>& isa##_float(); \
  const Kernels<double>& isa##_double();
UNROLLED_DECLARE(plain)
UNROLLED_DECLARE(avx2)
UNROLLED_DECLARE(avx512)
UNROLLED_DECLARE(neon)
const Kernels<float>& amx_float();
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

#if defined(UNROLLED_AMX)
// The processor's tile unit, and the kernel's leave to use it: a process asks once, for all its threads.
bool ask_for_amx() {
  constexpr unsigned bf16 = 1u << 22, tile = 1u << 24;
  constexpr long ask_for_state = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!has_avx512() || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & bf16) == 0 || (d & tile) == 0) return false;
  return syscall(SYS_arch_prctl, ask_for_state, tile_data) == 0;
}
bool has_amx() {
  static const bool there = ask_for_amx();
  return there;
}
#endif

Isa best() {
  for (Isa isa : {Isa::amx, Isa::avx512, Isa::avx2, Isa::neon})
    if (supported(isa)) return isa;
  return Isa::plain;
}

Isa first() {
  const char* wish = std::getenv("UNROLLED_ISA");
  if (!wish || !*wish) return best();
  for (Isa isa : {Isa::plain, Isa::avx2, Isa::avx512, Isa::amx, Isa::neon})
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
    case Isa::amx: return "amx";
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
#if defined(UNROLLED_AMX)
    case Isa::amx: return has_amx();
#endif
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
template <>
const Kernels<double>& kernels<double>(Isa isa) {  // tiles multiply nothing as exact as double: amx is avx512
  return isa == Isa::avx512 || isa == Isa::amx ? avx512_double() : isa == Isa::avx2 ? avx2_double() : plain_double();
}
template <>
const Kernels<float>& kernels<float>(Isa isa) {
#if defined(UNROLLED_AMX)
  if (isa == Isa::amx) return amx_float();
#endif
  return isa == Isa::avx512 ? avx512_float() : isa == Isa::avx2 ? avx2_float() : plain_float();
}
#else
#if defined(__aarch64__) || defined(_M_ARM64)
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
#endif

}  // namespace unrolled

#include "unrolled/masks.hpp"

#include "unrolled/threads.hpp"

namespace unrolled {

template <class Real>
void fill_dropout(Real* out, double p, u64 seed, u32 stream, i64 T, i64 B, i64 N, int threads) {
  const u64 threshold = static_cast<u64>(p * 4294967296.0 + 0.5);
  const Real kept = static_cast<Real>(1.0 / (1.0 - p));
  auto task = [&](Member& me) {
    const i64 from = T * B * me.index / me.size, to = T * B * (me.index + 1) / me.size;
    for (i64 m = from; m < to; ++m) {
      Real* row = out + m * N;
      for (i64 n = 0; n < N; n += 4) {
        const Philox drawn = philox(static_cast<u32>(n / 4), static_cast<u32>(m % B), static_cast<u32>(m / B), stream, seed);
        for (i64 k = 0; k < 4 && n + k < N; ++k) row[n + k] = drawn.words[k] < threshold ? 0 : kept;
      }
    }
  };
  parallel(T * B * N < 20000 ? 1 : threads, task);
}

template void fill_dropout<float>(float*, double, u64, u32, i64, i64, i64, int);
template void fill_dropout<double>(double*, double, u64, u32, i64, i64, i64, int);

}  // namespace unrolled

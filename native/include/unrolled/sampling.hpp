// Drawing a unit from a row of scores: what unrolled/decoding/sampling.py says, unit for unit.
#pragma once

#include "unrolled/memory.hpp"
#include "unrolled/types.hpp"

namespace unrolled {

// Uniform numbers in [0, 1) with 53 bits: NumPy's Philox4x64-10 with the key (seed, index), from its first number on.
class Uniforms {
 public:
  Uniforms() : Uniforms(0, 0) {}
  Uniforms(u64 seed, u64 index) : key_{seed, index} {}
  double next();

 private:
  u64 key_[2];
  u64 counter_ = 0;  // NumPy counts in 256 bits; nobody draws 2^66 numbers
  u64 block_[4] = {};
  int used_ = 4;
};

// Controls in the order in which they act; see SampleConfig.
struct Sampler {
  double penalty = 1.0;
  double temperature = 1.0;
  i64 top_k = 0;       // 0: all
  double top_p = 1.0;  // 1: all
  double min_p = -1.0; // below 0: all
  i64 stop = -1;       // this unit ends the row
  Uniforms uniforms;
};

// Room for one row of V scores, so that a draw allocates nothing.
struct DrawRoom {
  explicit DrawRoom(i64 V) : weights(static_cast<std::size_t>(V)), order(static_cast<std::size_t>(V)) {}
  Array<double> weights;
  Array<u32> order;
};

// The unit drawn, or -1 where the scores are not finite (a NaN, +inf, or -inf throughout). `used` (V) marks the units that
// the penalty acts on, or is null. One uniform number is spent.
template <class Real>
i64 draw(const Real* scores, i64 V, Sampler& sampler, const u8* used, DrawRoom& room);

}  // namespace unrolled

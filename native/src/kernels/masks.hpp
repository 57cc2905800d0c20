// Masks from counters: Philox4x32-10 over (unit / 4, row, step, stream), as unrolled/engines/masks.py draws them.
#pragma once

#include <cstdint>

#include "unrolled/masks.hpp"
#include "unrolled/memory.hpp"
#include "unrolled/recurrent.hpp"

namespace unrolled {
namespace {

// Words of the counters (block, row, step, stream), (block + 1, ...), ... at words[4 * i + k]. Plain loops over lanes of 64
// bits, which compilers turn into the instruction set's own words; over lanes of 32 they do not.
struct PhiloxLanes {
  static constexpr int lanes = 16;
  static constexpr i64 wide = 4 * lanes;
  u32 words[wide];

  void draw(u32 block, u32 row, u32 step, u32 stream, u64 seed) {
    u64 c0[lanes], c1[lanes], c2[lanes], c3[lanes];
    constexpr u64 low = 0xFFFFFFFF;
    for (int i = 0; i < lanes; ++i) c0[i] = block + static_cast<u32>(i), c1[i] = row, c2[i] = step, c3[i] = stream;
    u32 k0 = static_cast<u32>(seed), k1 = static_cast<u32>(seed >> 32);
    for (int round = 0; round < 10; ++round) {
      for (int i = 0; i < lanes; ++i) {
        const u64 a = (c0[i] & low) * 0xD2511F53, b = (c2[i] & low) * 0xCD9E8D57;
        c0[i] = (b >> 32) ^ c1[i] ^ k0;
        c1[i] = b & low;
        c2[i] = (a >> 32) ^ c3[i] ^ k1;
        c3[i] = a & low;
      }
      k0 += 0x9E3779B9;
      k1 += 0xBB67AE85;
    }
    for (int i = 0; i < lanes; ++i) {
      words[4 * i] = static_cast<u32>(c0[i]), words[4 * i + 1] = static_cast<u32>(c1[i]);
      words[4 * i + 2] = static_cast<u32>(c2[i]), words[4 * i + 3] = static_cast<u32>(c3[i]);
    }
  }
};

// Zoneout's bits for the rows of one step, drawn once a row and state: bit u % 16 of word u / 16 says that unit u keeps its
// old value.
class Zones {
 public:
  using Bits = std::uint16_t;
  Zones() = default;
  // Room for `rows` rows of a layer whose h has R units; none where nothing is drawn.
  template <class Real>
  Zones(const Layer<Real>& L, i64 R, i64 rows)
      : R_(R), words_(round_up(L.H > R ? L.H : R, PhiloxLanes::wide) / 16),
        store_(L.zoneout_h.drawn || L.zoneout_c.drawn ? rows * 2 * words_ : 0) {}

  // The bits of units [from, to) at least of h and c, as far as there are such units, into place `at` of the room;
  // null where nothing is drawn. What is past its length takes none.
  template <class Real, class AnyRow>
  void draw(const Layer<Real>& L, AnyRow& row, i64 at, i64 from, i64 to) const {
    row.zone_h = row.zone_c = nullptr;
    if (!store_.get() || !row.valid) return;
    Bits* const room = store_ + 2 * at * words_;
    row.zone_h = drawn(L.zoneout_h, row, room, from, to < R_ ? to : R_);
    row.zone_c = drawn(L.zoneout_c, row, room + words_, from, to < L.H ? to : L.H);
  }

 private:
  template <class AnyRow>
  static const Bits* drawn(const Zoneout& z, const AnyRow& row, Bits* bits, i64 from, i64 to) {
    if (!z.drawn || z.rate == 0) return nullptr;
    const u64 threshold = static_cast<u64>(z.rate * 4294967296.0 + 0.5);
    PhiloxLanes many;
    for (i64 u = from / PhiloxLanes::wide * PhiloxLanes::wide; u < to; u += PhiloxLanes::wide) {
      many.draw(static_cast<u32>(u / 4), static_cast<u32>(row.b), static_cast<u32>(row.t), z.stream, z.seed);
      for (i64 w = 0; w < PhiloxLanes::wide / 16; ++w) {
        u32 word = 0;
        for (u32 j = 0; j < 16; ++j) word |= static_cast<u32>(many.words[16 * w + j] < threshold) << j;
        bits[u / 16 + w] = static_cast<Bits>(word);
      }
    }
    return bits;
  }

  i64 R_ = 0, words_ = 0;
  Array<Bits> store_;
};

// Lane j: unit u + j keeps its old value. u is a multiple of the register's width.
template <class S>
typename S::Mask zoned_out(const Zones::Bits* bits, i64 u, int n) {
  return S::from_bits(static_cast<u32>(bits[u / 16]) >> u % 16 & ((1u << n) - 1u));
}

}  // namespace
}  // namespace unrolled

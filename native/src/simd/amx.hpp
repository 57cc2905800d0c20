// AMX beside AVX-512: products of float32 on the tile unit, which multiplies bfloat16 alone.
//
// A float32 is the exact sum of three bfloat16 (8 bits of mantissa each, 24 in all). Of the nine products of two such sums
// the six largest are made; the three left out lie below 2^-24 of the whole, where float32 itself rounds. Each is exact, and
// they are summed in float32. (Henry, Tang, Heinecke, "Leveraging the bfloat16 artificial intelligence datatype for
// higher-precision computations", 2019.) The unit flushes subnormal numbers; an infinity, having no remainder, gives NaN.
#pragma once

#include "avx512.hpp"

namespace unrolled {
namespace {

// The words of AVX-512, and those of tiles of 16 rows of 64 bytes. A split operand lies in blocks of 32 along K: three tiles,
// of high, middle and low parts, each 1024 bytes; on the left [row][k], on the right [k / 2][column][k % 2], two columns of tiles
// side by side.
struct F32Tiles : F32 {
  static constexpr i64 tile_bytes = 1024;

  // The thread's tiles while this lives; what it had configured before comes back.
  class Session {
   public:
    Session() {
      _tile_storeconfig(before_);
      configure(16);
    }
    ~Session() {
      if (before_[0]) _tile_loadconfig(before_);
      else _tile_release();
    }
    void resume() { configure(16); }
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

   private:
    alignas(64) unsigned char before_[64];
  };

  // Tiles for a left side of so many rows: the unit's time goes with them. multiply<1, N> alone takes fewer than 16.
  static void configure(int rows) {
    alignas(64) unsigned char config[64] = {1};
    for (int t = 0; t < 8; ++t) config[16 + 2 * t] = 64, config[48 + t] = static_cast<unsigned char>(t < 5 ? rows : 16);
    _tile_loadconfig(config);
    configured() = rows;
  }
  static int& configured() {
    static thread_local int rows = 0;
    return rows;
  }

  // Each part in the upper half of its lane, to the nearest: what is left under the low one is nothing.
  static void parts(Vec x, __m512i (&p)[3]) {
    const __m512i half = _mm512_set1_epi32(0x8000), upper = _mm512_set1_epi32(static_cast<int>(0xFFFF0000u));
    p[0] = _mm512_add_epi32(_mm512_castps_si512(x), half);
    const Vec rest = sub(x, _mm512_castsi512_ps(_mm512_and_si512(p[0], upper)));
    p[1] = _mm512_add_epi32(_mm512_castps_si512(rest), half);
    p[2] = _mm512_castps_si512(sub(rest, _mm512_castsi512_ps(_mm512_and_si512(p[1], upper))));
  }

  // 32 numbers of a row, to a row of three tiles.
  static void split_row(Vec first, Vec second, unsigned char* to) {
    __m512i a[3], b[3];
    parts(first, a), parts(second, b);
    alignas(64) static constexpr short odd[32] = {1,  3,  5,  7,  9,  11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31,
                                                  33, 35, 37, 39, 41, 43, 45, 47, 49, 51, 53, 55, 57, 59, 61, 63};
    const __m512i which = _mm512_load_si512(odd);
    for (int i = 0; i < 3; ++i) _mm512_storeu_si512(to + i * tile_bytes, _mm512_permutex2var_epi16(a[i], which, b[i]));
  }

  // 16 columns of two rows that follow one another in k, to a row of three tiles `apart` bytes from one another.
  static void split_pair(Vec even, Vec odd, unsigned char* to, i64 apart) {
    __m512i a[3], b[3];
    parts(even, a), parts(odd, b);
    for (int i = 0; i < 3; ++i)
      _mm512_storeu_si512(to + i * apart, _mm512_mask_mov_epi16(_mm512_srli_epi32(a[i], 16), 0xAAAAAAAAu, b[i]));
  }

  // A tile of the left, [n][k], to one of the right, [k / 2][n][k % 2].
  static void turn(const unsigned char* from, unsigned char* to) {
    Vec r[16];
    for (int i = 0; i < 16; ++i) r[i] = load(reinterpret_cast<const float*>(from + 64 * i));
    transpose(r);
    for (int i = 0; i < 16; ++i) store(reinterpret_cast<float*>(to + 64 * i), r[i]);
  }

  // C += A B over `blocks` blocks of K, for MR tiles of rows and NV of columns (1 or 2). A's tiles of rows lie `a_apart` bytes
  // apart, B's blocks follow one another. c_in (null: zeros) and c_out are corners of 16 x 16, row by row of tiles, whose rows
  // lie in_apart and out_apart bytes apart. `next`: next_step bytes for each block, wanted soon in the second cache.
  template <int MR, int NV>
  static void multiply(i64 blocks, const unsigned char* a, i64 a_apart, const unsigned char* b, const float* const* c_in,
                       i64 in_apart, float* const* c_out, i64 out_apart, const unsigned char* next, i64 next_step) {
    begin<MR * NV>(c_in, in_apart);
    for (i64 k = 0; k < blocks; ++k, a += 3 * tile_bytes, b += 3 * NV * tile_bytes, next += next_step) {
      // One order for every shape: low x high, middle x high, high x high, high x low, high x middle, middle x middle.
      if constexpr (MR == 1) { _tile_loadd(2, a, 64); _tile_loadd(3, a + tile_bytes, 64); _tile_loadd(4, a + 2 * tile_bytes, 64); }
      right<NV>(b, 0);
      left<MR>(a, a_apart, 2), times<MR, NV, 2>();
      left<MR>(a, a_apart, 1), times<MR, NV, 1>();
      left<MR>(a, a_apart, 0), times<MR, NV, 0>();
      for (i64 i = 0; i < next_step; i += 64) prefetch_second(next + i);
      right<NV>(b, 2), times<MR, NV, 0>();
      right<NV>(b, 1), times<MR, NV, 0>();
      left<MR>(a, a_apart, 1), times<MR, NV, 1>();
    }
    end<MR * NV>(c_out, out_apart);
  }

 private:
  // Tiles 0 to 3 are C's. The compiler is told that they are loaded from memory that it may have in mind to write only later.
  template <int count>
  [[gnu::always_inline]] static void begin(const float* const* c, i64 apart) {
    __asm__ volatile("" ::: "memory");
    if (!c) {
      _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);
      return;
    }
    _tile_loadd(0, c[0], apart);
    if constexpr (count > 1) _tile_loadd(1, c[1], apart);
    if constexpr (count > 2) { _tile_loadd(2, c[2], apart); _tile_loadd(3, c[3], apart); }
  }

  template <int count>
  [[gnu::always_inline]] static void end(float* const* c, i64 apart) {
    _tile_stored(0, c[0], apart);
    if constexpr (count > 1) _tile_stored(1, c[1], apart);
    if constexpr (count > 2) { _tile_stored(2, c[2], apart); _tile_stored(3, c[3], apart); }
  }

  // A part of B in tiles 6 and 7, and of A's two tiles of rows in 4 and 5; of one tile of rows all three parts stay in 2 to 4.
  template <int NV>
  [[gnu::always_inline]] static void right(const unsigned char* b, int part) {
    _tile_loadd(6, b + part * NV * tile_bytes, 64);
    if constexpr (NV == 2) _tile_loadd(7, b + (part * NV + 1) * tile_bytes, 64);
  }
  template <int MR>
  [[gnu::always_inline]] static void left(const unsigned char* a, i64 a_apart, int part) {
    if constexpr (MR == 2) { _tile_loadd(4, a + part * tile_bytes, 64); _tile_loadd(5, a + a_apart + part * tile_bytes, 64); }
  }
  template <int MR, int NV, int part>
  [[gnu::always_inline]] static void times() {
    if constexpr (MR == 2 && NV == 2) { _tile_dpbf16ps(0, 4, 6); _tile_dpbf16ps(2, 5, 6); _tile_dpbf16ps(1, 4, 7); _tile_dpbf16ps(3, 5, 7); }
    else if constexpr (MR == 2) { _tile_dpbf16ps(0, 4, 6); _tile_dpbf16ps(1, 5, 6); }
    else {
      if constexpr (part == 0) _tile_dpbf16ps(0, 2, 6);
      if constexpr (part == 1) _tile_dpbf16ps(0, 3, 6);
      if constexpr (part == 2) _tile_dpbf16ps(0, 4, 6);
      if constexpr (NV == 2 && part == 0) _tile_dpbf16ps(1, 2, 7);
      if constexpr (NV == 2 && part == 1) _tile_dpbf16ps(1, 3, 7);
      if constexpr (NV == 2 && part == 2) _tile_dpbf16ps(1, 4, 7);
    }
  }
};

}  // namespace
}  // namespace unrolled

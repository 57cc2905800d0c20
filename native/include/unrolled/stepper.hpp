// Generation: N slots of recurrent state over weights that are packed once; a token in, the scores of the next one out.
#pragma once

#include "unrolled/memory.hpp"
#include "unrolled/recurrent.hpp"
#include "unrolled/sampling.hpp"

namespace unrolled {

// How weights are kept: as they are; their upper 16 bits; or 8 bits a weight with a scale for each row of the matrix.
enum class Store : int { full, bf16, int8 };

// Weights as torch keeps them. Layer 0 reads ids: its w_ih is (G*H, I), a column for each id.
template <class Real>
struct StepLayer {
  const Real *w_ih, *w_hh, *b_ih, *b_hh;
};

// A matrix as its products read it, in panels, with what is added to a product's columns and, for int8, their scales.
template <class Real>
struct StepMatrix {
  Array<unsigned char> data;
  Array<Real> bias, scale;
  Array<int> sums;  // of the integers of a column
};

struct StepShape {
  Cell cell = Cell::lstm;
  i64 layers = 1, I = 1, H = 1, V = 1, slots = 1;
  Store store = Store::full;
  double zoneout_h = 0, zoneout_c = 0;  // of an evaluation: the expectation is taken
};

constexpr i64 max_step_layers = 64;
constexpr int max_step_team = 64;
constexpr i64 step_row_bytes = 256;  // room for what a kernel notes of a row

// What a member of the team works in.
template <class Real>
struct StepRoom {
  explicit StepRoom(const StepShape& shape);
  DrawRoom draw;
  Array<signed char> bytes;  // (slots, H) activations in 8 bits, rows padded to a multiple of 4
  Array<Real> scales;   // (slots)
  Array<Real> product;  // (2 panels, or slots, of 64 columns)
  Array<int> sums;      // the same in whole numbers
  Array<unsigned char> rows;
  bool backwards = false;  // the order in which the next step goes through its panels
};

// One product of 8-bit activations and weights: see kernels/dot.hpp.
using DotPanel = void (*)(i64 M, i64 K, int nv, const signed char* a, i64 lda, const signed char* b, const int* sums, int* acc);

// That of AVX-512 VNNI, over columns of 16; null where the processor lacks it.
DotPanel vnni_dot();

// Owned by the binding; filled by the kernels of the instruction set that was chosen when it was made.
template <class Real>
struct StepperData {
  explicit StepperData(const StepShape& shape);
  ~StepperData();
  StepperData(const StepperData&) = delete;
  StepperData& operator=(const StepperData&) = delete;
  void reserve(int team);  // rooms for so many; they stay

  StepShape shape;
  DotPanel dot = nullptr;  // where weights are kept in 8 bits
  Array<Real> table;  // (I, G*H): an id's column of w_ih, with the biases
  StepMatrix<Real> input[max_step_layers], hidden[max_step_layers], head;

  // What a slot keeps.
  Array<Real> h, c, scores;   // (slots, layers, H) twice, (slots, V)
  Array<Sampler> samplers;    // (slots)
  Array<u8> used;             // (slots, V)

  // What a call works in, a row for each of its slots, one after another.
  Array<Real> entering, cells, x, logits;  // (2, layers, slots, H), (layers, slots, H), (slots, G*H), (slots, V)
  Array<i64> ids, slot_of, row_of;         // (slots)
  StepRoom<Real>* rooms[max_step_team] = {};
};

// A call for `n` slots, all different. With `ids` these are fed, one to each slot. Without, up to `units` are drawn for each
// slot from its scores and fed; a row ends before its stop unit. units = 0 without ids only makes the scores of the states.
template <class Real>
struct Play {
  i64 n = 0;
  const i64 *slots = nullptr, *ids = nullptr;
  i64 units = 0;
  i64 *drawn = nullptr, *counts = nullptr;  // (n, units), (n)
  Real* logits = nullptr;                   // (n, V): a copy of the last scores, or null
  i64 damaged = -1;                         // out: a slot whose scores are not finite
};

}  // namespace unrolled

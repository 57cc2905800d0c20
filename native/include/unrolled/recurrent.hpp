// One layer in one direction over time, forward and backward: what the core computes.
//
// Arrays are dense in their last dimension; where strides are given they count elements. Nothing is allocated that the
// caller sees, nothing is kept between calls. Sizes are the caller's to check: the binding does.
#pragma once

#include "unrolled/types.hpp"

namespace unrolled {

// A mask from a counter, the bits of unrolled/engines/masks.py: True with probability threshold / 2^32.
struct Zoneout {
  double rate = 0.0;       // in evaluation the expectation is taken
  bool drawn = false;      // in training bits are drawn
  u64 seed = 0;
  u32 stream = 0;
};

template <class Real>
struct Layer {
  Cell cell;
  i64 T, B, I, H;
  i64 P = 0;               // size of the projection (LSTM), 0 for none
  bool reverse = false;
  bool layer_norm = false;

  // The input: rows x (T, B, I), or ids (T, B) that stand for rows of a table. Never both.
  const Real* x = nullptr;
  i64 x_step = 0, x_row = 0;
  const i64* ids = nullptr;  // 0 <= id < I
  i64 ids_step = 0, ids_row = 0;

  // Weights as torch keeps them, dense: (G*H, I), (G*H, R), (G*H) twice, (P, H); null where there is none.
  const Real *w_ih = nullptr, *w_hh = nullptr, *b_ih = nullptr, *b_hh = nullptr, *w_hr = nullptr;
  const Real *gain_ih = nullptr, *gain_hh = nullptr, *gain_c = nullptr, *shift_c = nullptr;

  const Real *h0 = nullptr, *c0 = nullptr;  // (B, R), (B, H)
  const i64* lengths = nullptr;             // (B), or null
  const u8* resets = nullptr;               // (T, B), or null
  const Real* mask = nullptr;               // (B, R), multiplies h in the recurrent product, or null
  Zoneout zoneout_h, zoneout_c;

  // Results.
  Real* output = nullptr;    // output[t * out_step + b * out_row + r], zero past a length
  i64 out_step = 0, out_row = 0;
  Real *h_n = nullptr, *c_n = nullptr;  // (B, R), (B, H)

  // The tape, dense, or null where no backward will come. Forward fills it, backward only reads it (and `output`).
  Real* gates = nullptr;     // (T, B, taped*H): activated gates in torch's order; zero past a length
  Real* cells = nullptr;     // (T, B, H): c after each step (LSTM); h before zoneout (RNN with zoneout); else null
  Real* norms = nullptr;     // layer norm only: (T, B, norms_of): see norms_size()
};

// Numbers a step of one row leaves in `norms`: the two normalised rows, their 1/sigma, and for an LSTM mean and 1/sigma of c.
constexpr i64 norms_size(Cell cell, i64 H) { return 2 * gates_of(cell) * H + 4; }

template <class Real>
struct Gradients {
  // Given: of the output (strides of their own), of the last states, and (for a trace that is differentiated) of the
  // taped gates and cells; null is zero.
  const Real* d_output = nullptr;
  i64 out_step = 0, out_row = 0;
  const Real *d_h_n = nullptr, *d_c_n = nullptr;
  const Real *d_gates_in = nullptr, *d_cells_in = nullptr;  // (T, B, G*H), (T, B, H)

  // Wanted; null is not wanted. Weights' gradients are overwritten, not added to.
  Real* dx = nullptr;        // (T, B, I) with strides
  i64 dx_step = 0, dx_row = 0;
  Real *d_w_ih = nullptr, *d_w_hh = nullptr, *d_b_ih = nullptr, *d_b_hh = nullptr, *d_w_hr = nullptr;
  Real *d_gain_ih = nullptr, *d_gain_hh = nullptr, *d_gain_c = nullptr, *d_shift_c = nullptr;
  Real *d_h0 = nullptr, *d_c0 = nullptr;
  Real* d_h = nullptr;       // (T, B, R): the whole gradient that reaches h_t
  Real* d_gates = nullptr;   // (T, B, G*H): of the pre-activations X_bar
};

// How a call runs: its threads, and a question asked now and then on the calling thread. Where the answer is true the
// call ends and returns false; its results are then unfinished.
struct Run {
  int threads = 1;
  bool (*stop)(void*) = nullptr;
  void* context = nullptr;
};

}  // namespace unrolled

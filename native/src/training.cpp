#include "unrolled/training.hpp"

#include <cmath>

#include "unrolled/cpu.hpp"

namespace unrolled {

bool GuardRule::wrong(double nats, double norm) const {
  if (!on) return false;
  return !std::isfinite(nats) || !std::isfinite(norm) || (has_mean && seen >= settled && nats > mean + spike);
}

void GuardRule::passed(double nats) {
  ++seen;
  const double early = 1.0 - 1.0 / static_cast<double>(seen), d = decay < early ? decay : early;
  mean = has_mean ? d * mean + (1.0 - d) * nats : nats;
  has_mean = true;
}

namespace {

// to (N, M) = from (M, N) transposed.
template <class Real>
void turn(i64 M, i64 N, const Real* from, Real* to) {
  for (i64 m0 = 0; m0 < M; m0 += 16)
    for (i64 n = 0; n < N; ++n)
      for (i64 m = m0; m < m0 + 16 && m < M; ++m) to[n * M + m] = from[m * N + n];
}

}  // namespace

template <class Real>
void LanguageTraining<Real>::reserve(i64 steps) {
  if (steps <= room_) return;
  const LanguageShape& s = shape_;
  const i64 rows = steps * s.B, state = s.layers * s.B * s.H, GH = gates_of(s.cell) * s.H;
  outputs_ = Array<Real>(s.layers * rows * s.H);
  gates_ = Array<Real>(s.layers * rows * taped_of(s.cell) * s.H);
  cells_ = Array<Real>(s.cell == Cell::lstm ? s.layers * rows * s.H : 0);
  d_h_ = Array<Real>(rows * s.H);
  dx_ = Array<Real>(s.layers > 1 ? rows * s.H : 0);
  dropped_ = Array<Real>(s.dropout > 0 ? s.layers * rows * s.H : 0);
  if (!room_) {
    h_n_ = Array<Real>(state), c_n_ = Array<Real>(state), zeros_ = Array<Real>(state);
    for (i64 i = 0; i < state; ++i) zeros_[i] = 0;
    if (s.E) {
      table_ = Array<Real>(GH * s.V), d_table_ = Array<Real>(GH * s.V), embedded_ = Array<Real>(s.V * s.E);
      turned_ = Array<Real>(GH * (s.V > s.E ? s.V : s.E));
      thinned_ = Array<Real>(s.embedding_dropout > 0 ? s.V * s.E : 0);
    }
  }
  room_ = steps;
}

template <class Real>
Dropout LanguageTraining<Real>::behind(i64 l, const Update& u) const {
  return {shape_.dropout, l == shape_.layers - 1 ? u.output_seed : u.layers_seed, dropout_stream(l)};
}

// What layer l hands to the next one or to the head.
template <class Real>
const Real* LanguageTraining<Real>::passed_on(i64 l, const Update& u) const {
  return (shape_.dropout > 0 ? dropped_ : outputs_) + l * u.steps * shape_.B * shape_.H;
}

template <class Real>
Layer<Real> LanguageTraining<Real>::layer_at(i64 l, const Update& u, const Real* h, const Real* c) const {
  const LanguageShape& s = shape_;
  const i64 state = s.B * s.H, rows = u.steps * s.B;
  Layer<Real> L;
  L.cell = s.cell, L.T = u.steps, L.B = s.B, L.H = s.H;
  if (l == 0) {
    L.I = s.V, L.ids = u.ids, L.ids_step = s.B, L.ids_row = 1;
  } else {
    L.I = s.H, L.x = passed_on(l - 1, u), L.x_step = state, L.x_row = s.H;
  }
  L.w_ih = l == 0 && s.E ? table_.get() : layers[l].w_ih, L.w_hh = layers[l].w_hh;
  L.b_ih = layers[l].b_ih, L.b_hh = layers[l].b_hh;
  L.h0 = h + l * state, L.c0 = s.cell == Cell::lstm ? c + l * state : nullptr;
  L.output = outputs_ + l * rows * s.H, L.out_step = state, L.out_row = s.H;
  L.h_n = h_n_ + l * state, L.c_n = s.cell == Cell::lstm ? c_n_ + l * state : nullptr;
  L.gates = gates_ + l * rows * taped_of(s.cell) * s.H;
  L.cells = s.cell == Cell::lstm ? cells_ + l * rows * s.H : nullptr;
  return L;
}

// W_ih E^T: the embedding's part of the input product, once for each unit of the vocabulary.
template <class Real>
void LanguageTraining<Real>::embed(const Update& u, const Run& run) {
  const i64 GH = gates_of(shape_.cell) * shape_.H, V = shape_.V, E = shape_.E;
  const double p = shape_.embedding_dropout;
  const auto& k = kernels<Real>(chosen());
  if (p > 0) k.drop({p, u.table_seed, embedding_stream}, embedding, thinned_, 1, V, E, run.threads);
  k.product(GH, V, E, layers[0].w_ih, p > 0 ? thinned_.get() : embedding, table_, run.threads);
}

template <class Real>
void LanguageTraining<Real>::embed_backward(const Update& u, const Run& run) {
  const i64 GH = gates_of(shape_.cell) * shape_.H, V = shape_.V, E = shape_.E;
  const double p = shape_.embedding_dropout;
  const auto& k = kernels<Real>(chosen());
  turn(V, E, p > 0 ? thinned_.get() : embedding, embedded_.get());
  k.product(GH, E, V, d_table_, embedded_, layers[0].d_w_ih, run.threads);
  turn(GH, E, layers[0].w_ih, turned_.get());
  turn(GH, V, d_table_.get(), table_.get());  // the table is made anew by the next update
  k.product(V, E, GH, table_, turned_, d_embedding, run.threads);
  if (p > 0) k.drop({p, u.table_seed, embedding_stream}, d_embedding, d_embedding, 1, V, E, run.threads);
}

template <class Real>
void LanguageTraining<Real>::forward(const Update& u, const Real* h, const Real* c, const Run& run) {
  const LanguageShape& s = shape_;
  const auto& k = kernels<Real>(chosen());
  const i64 size = u.steps * s.B * s.H;
  if (s.E) embed(u, run);
  for (i64 l = 0; l < s.layers; ++l) {
    k.forward(layer_at(l, u, h, c), run);
    if (s.dropout > 0) k.drop(behind(l, u), outputs_ + l * size, dropped_ + l * size, u.steps, s.B, s.H, run.threads);
  }
}

// The sum of the nats, and the gradient of the top layer's output and of the head.
template <class Real>
double LanguageTraining<Real>::losses(const Update& u, const Run& run) {
  const LanguageShape& s = shape_;
  const i64 rows = u.steps * s.B;
  const double scale = 1.0 / static_cast<double>(s.sum ? s.B : rows);
  const HeadCall<Real> call{rows, s.H, s.V, passed_on(s.layers - 1, u), head, head_bias, u.targets, scale,
                            d_h_, d_head, d_head_bias};
  return kernels<Real>(chosen()).head(call, run);
}

template <class Real>
void LanguageTraining<Real>::backward(const Update& u, const Real* h, const Real* c, const Run& run) {
  const LanguageShape& s = shape_;
  const auto& k = kernels<Real>(chosen());
  Real *d_output = d_h_, *d_input = dx_;
  for (i64 l = s.layers - 1; l >= 0; --l) {
    const LanguageLayer<Real>& p = layers[l];
    if (s.dropout > 0) k.drop(behind(l, u), d_output, d_output, u.steps, s.B, s.H, run.threads);
    Gradients<Real> D;
    D.d_output = d_output, D.out_step = s.B * s.H, D.out_row = s.H;
    if (l > 0) D.dx = d_input, D.dx_step = s.B * s.H, D.dx_row = s.H;
    D.d_w_ih = l == 0 && s.E ? d_table_.get() : p.d_w_ih, D.d_w_hh = p.d_w_hh;
    D.d_b_ih = p.d_b_ih, D.d_b_hh = p.d_b_hh;
    k.backward(layer_at(l, u, h, c), D, run);
    Real* last = d_output;
    d_output = d_input, d_input = last;
  }
  if (s.E) embed_backward(u, run);
}

template <class Real>
i64 LanguageTraining<Real>::run(Update* updates, i64 n, Real* h, Real* c, GuardRule& guard, const Run& run) {
  const auto& k = kernels<Real>(chosen());
  const i64 state = shape_.layers * shape_.B * shape_.H;
  const Run whole{run.threads, nullptr, nullptr};  // Ctrl-C is heard between updates, none of which is left half done
  for (i64 i = 0; i < n; ++i) {
    Update& u = updates[i];
    if (run.stop && run.stop(run.context)) return i;
    reserve(u.steps);
    const Real *h0 = u.fresh ? zeros_.get() : h, *c0 = u.fresh ? zeros_.get() : c;
    forward(u, h0, c0, whole);
    u.nats = losses(u, whole) / static_cast<double>(u.steps * shape_.B);
    backward(u, h0, c0, whole);
    u.norm = k.norm(trained, trained_count, run.threads);
    if (guard.wrong(u.nats, u.norm)) return i;
    if (guard.on) guard.passed(u.nats);
    double norm = u.norm;
    u.clipped = false;
    if (shape_.clip_value > 0 && norm > shape_.clip_value) {  // no element is larger than the norm
      k.clip(trained, trained_count, shape_.clip_value, 1.0, run.threads);
      norm = k.norm(trained, trained_count, run.threads);
      u.clipped = norm < u.norm;
    }
    if (shape_.clip_norm > 0 && norm > shape_.clip_norm) {
      k.clip(trained, trained_count, 0.0, shape_.clip_norm / (norm + 1e-6), run.threads);
      u.clipped = true;
    }
    k.update(trained, trained_count, shape_.optimiser, u.lr, u.count, run.threads);
    for (i64 j = 0; j < state; ++j) h[j] = h_n_[j];
    for (i64 j = 0; shape_.cell == Cell::lstm && j < state; ++j) c[j] = c_n_[j];
  }
  return n;
}

template class LanguageTraining<float>;
template class LanguageTraining<double>;

}  // namespace unrolled

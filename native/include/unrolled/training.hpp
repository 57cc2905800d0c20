// A language model's whole update: forward, loss, backward, clipping and the optimiser's rule, several in one call.
#pragma once

#include "unrolled/masks.hpp"
#include "unrolled/memory.hpp"
#include "unrolled/recurrent.hpp"

namespace unrolled {

// The output layer under cross-entropy. Rows m = t * B + b.
template <class Real>
struct HeadCall {
  i64 M, H, V;
  const Real *h, *w, *bias;  // (M, H), (V, H), (V)
  const i64* targets;        // (M), 0 <= target < V
  double scale;              // the objective is scale times the sum of the rows' nats
  Real *d_h, *d_w, *d_bias;  // gradients of the objective
};

// A parameter, its gradient, and what its optimiser keeps (null where the rule has none).
template <class Real>
struct Trained {
  i64 n;
  Real *w, *g, *first, *second;
  double decay;  // weight decay
};

// p by its gradient g, as PyTorch's optimisers and Karpathy's min-char-rnn do it.
enum class Rule : int {
  sgd,             // p -= lr (g + decay p)
  adam,            // Kingma & Ba 2015; decay is added to g
  adamw,           // Loshchilov & Hutter 2019; decay acts on p
  adagrad,         // Duchi et al. 2011: second += g^2; p -= lr g / (sqrt(second) + eps)
  adagrad_inside,  // p -= lr g / sqrt(second + eps)
};

struct Optimiser {
  Rule rule;
  double beta1, beta2, eps;
};

// When an update counts as gone wrong: unrolled/training/guard.py says what the numbers mean.
struct GuardRule {
  bool on = false, has_mean = false;
  double spike = 0, mean = 0, decay = 0;
  i64 seen = 0, settled = 0;
  bool wrong(double nats, double norm) const;
  void passed(double nats);
};

struct LanguageShape {
  Cell cell;
  i64 layers, H, V, E, B;  // E: width of the embedding, 0 for one-hot input
  bool sum;                // the objective is the sum over steps, averaged over the rows; else the mean
  Optimiser optimiser;
  double clip_norm, clip_value;  // 0: off
  // Rates, 0: off. Behind each layer a mask drawn anew for each step and row; of the embedding one mask an update, on the
  // elements of its table (V, E), so that the input product stays one for each unit.
  double dropout = 0, embedding_dropout = 0;
};

// A weight that is not trained has no gradient.
template <class Real>
struct LanguageLayer {
  const Real *w_ih, *w_hh, *b_ih, *b_hh;
  Real *d_w_ih, *d_w_hh, *d_b_ih, *d_b_hh;
};

// One update of a call.
struct Update {
  i64 steps;
  const i64 *ids, *targets;  // (steps, B), dense
  bool fresh;                // from a state of zeros
  double lr;
  i64 count;                 // the update's number in the optimiser, from 1
  double nats, norm;         // out: mean nats a unit, the gradient's norm before clipping
  bool clipped;              // out
  u64 table_seed = 0, layers_seed = 0, output_seed = 0;  // of the masks of the embedding, between layers, behind the top one
};

// Owned by the binding. Weights, their gradients and the optimiser's numbers stay the caller's.
template <class Real>
class LanguageTraining {
 public:
  explicit LanguageTraining(const LanguageShape& shape) : shape_(shape) {}
  LanguageShape shape_;
  LanguageLayer<Real> layers[64];
  const Real *embedding = nullptr, *head = nullptr, *head_bias = nullptr;
  Real *d_embedding = nullptr, *d_head = nullptr, *d_head_bias = nullptr;
  Trained<Real>* trained = nullptr;
  int trained_count = 0;

  // Updates 0, 1, ... until all are done or the guard refuses one, which is then not applied. h, c: (layers, B, H), the
  // state before the first and after the last. Returns how many were applied.
  i64 run(Update* updates, i64 n, Real* h, Real* c, GuardRule& guard, const Run& run);

 private:
  void reserve(i64 steps);
  void forward(const Update& u, const Real* h, const Real* c, const Run& run);
  double losses(const Update& u, const Run& run);
  void backward(const Update& u, const Real* h, const Real* c, const Run& run);
  void embed(const Update& u, const Run& run);
  void embed_backward(const Update& u, const Run& run);
  Dropout behind(i64 l, const Update& u) const;
  const Real* passed_on(i64 l, const Update& u) const;
  Layer<Real> layer_at(i64 l, const Update& u, const Real* h, const Real* c) const;

  i64 room_ = 0;
  Array<Real> outputs_, gates_, cells_, d_h_, dx_, h_n_, c_n_, zeros_, table_, d_table_, turned_, embedded_,
      dropped_, thinned_;
};

}  // namespace unrolled

// The part of the backward pass that needs no order in time: gradients of weights, biases and gains, and dx, made for a
// block of steps from the gradients of its pre-activations.
#pragma once

#include "cells_backward.hpp"
#include "columns.hpp"

namespace unrolled {
namespace {

// What the steps of a block left, row m = (t - low) B + b.
template <class Real>
struct Block {
  Real* d_bar;        // (rows, Q H)
  Real* d_u;          // layer norm: (rows, G H) of the recurrent product, behind it as many of the input's; else null
  Real* d_projected;  // (rows, P), or null
  Real* made;         // (rows, H): o tanh c, or r h; or null
  Real* d_scaled;     // (rows, 2 H): layer norm of c; or null
};

template <class S, Cell C>
class Outer {
  using Real = typename S::Real;
  static constexpr i64 G = gates_of(C), Q = taped_of(C);
  // Rows packed at a time, and columns of A: together they fit L2.
  static constexpr i64 depth = 512, chunk = has_tiles<S> ? 192 : 96;

 public:
  Outer(const Layer<Real>& layer, const Gradients<Real>& grads, const Sequence<Real>& sequence, i64 rows, int threads)
      : L(layer), D(grads), q(sequence), GH(G * L.H), QH(Q * L.H), rows_(rows), threads_(threads),
        table_(L.ids && D.d_w_ih && L.I <= L.T * L.B), input_{L.I, 4, false, splits<S>(GH, L.I)},
        x_{L.I, 4, false, input_.split && L.T * L.B > few_rows}, h_{q.R, 4, false, splits<S>(GH, q.R) && L.T * L.B > few_rows},
        inner_{L.H, 4, false, splits<S>(L.P ? L.P : L.H, L.H) && h_.split},
        direct_(L.T * L.B <= few_rows && L.I % S::width == 0 && !input_.split ? L.I : 0), passing_(input_.split && (L.T == 1 ? L.B <= passing_rows : L.T * L.B <= few_rows)) {}

  void allocate() {
    const i64 K = rows_ < depth ? rows_ : depth;
    packed_ih_ = Array<Real>(!D.dx || direct_ ? 0 : passing_ ? threads_ * input_.size_of_one(GH) : input_.size(GH));
    packed_x_ = Array<Real>(D.d_w_ih && !L.ids ? x_.size(K) : 0);
    packed_h_ = Array<Real>(D.d_w_hh ? h_.size(K) : 0);
    left_row_ = !D.dx ? 0 : passing_ ? left_room(input_, rows_, GH) : tall_room(input_, rows_, GH);
    left_ = Array<Real>(threads_ * left_row_);
    packed_2_ = Array<Real>(L.P || C == Cell::gru_reset_before ? inner_.size(K) : 0);
    tiles_ = Array<Real>(threads_ * tiles_size<S>(K, chunk));
    by_id_ = Array<Real>(table_ ? L.I * GH : 0);
  }

  void prepare(Member& me) {
    if (D.dx && !direct_ && !passing_)
      pack_rows<S>(input_, GH, me, [this](i64 k) { return Source<Real>{L.w_ih + k * L.I}; }, packed_ih_);
    if (table_)
      for (i64 i = from(L.I, me) * GH; i < to(L.I, me) * GH; ++i) by_id_[i] = 0;
    else if (L.ids && D.d_w_ih)
      for (i64 i = from(GH, me) * L.I; i < to(GH, me) * L.I; ++i) D.d_w_ih[i] = 0;
  }

  void block(Member& me, i64 low, i64 steps, bool fresh, const Block<Real>& k) {
    const i64 M = steps * L.B;
    const Real* d_x = k.d_bar;
    i64 ld = QH;
    if (D.d_gates)
      for (i64 m = from(M, me); m < to(M, me); ++m)
        for (i64 j = 0; j < GH; ++j) D.d_gates[(low * L.B + m) * GH + j] = k.d_bar[m * QH + j];
    sums(me, low, M, fresh, k);
    if (L.layer_norm) d_x = k.d_u + rows_ * GH, ld = GH;
    if (D.dx) through_input(me, low, M, d_x, ld);
    if (L.ids && D.d_w_ih) scatter(me, low, M, d_x, ld);
    const bool any = packed_x_.get() || packed_h_.get() || D.d_w_hr;
    for (i64 m0 = 0; m0 < M && any; m0 += depth) {
      const i64 K = M - m0 < depth ? M - m0 : depth;
      pack(me, low, m0, K, k);
      me.barrier.wait();
      weights(me, m0, K, fresh && m0 == 0, k, d_x, ld);
      me.barrier.wait();
    }
    if (!any) me.barrier.wait();
  }

  void finish(Member& me) {
    if (table_)
      for (i64 j = from(GH, me); j < to(GH, me); ++j)
        for (i64 i = 0; i < L.I; ++i) D.d_w_ih[j * L.I + i] = by_id_[i * GH + j];
    me.barrier.wait();
  }

 private:
  static i64 from(i64 n, const Member& me) { return split(n, me.size, me.index); }
  static i64 to(i64 n, const Member& me) { return split(n, me.size, me.index + 1); }

  void sums(Member& me, i64 low, i64 M, bool fresh, const Block<Real>& k) const {
    const i64 H = L.H, c0 = from(GH, me), c1 = to(GH, me), two = 2 * H, ld = norms_size(C, H);
    const Real* norms = L.norms ? L.norms + low * L.B * ld : nullptr;
    const Columns<Real> input{k.d_bar, QH, D.d_b_ih, norms, ld, D.d_gain_ih};
    Columns<Real> hidden{k.d_bar, QH, D.d_b_hh, norms ? norms + GH : nullptr, ld, D.d_gain_hh};
    // [c0, c1) as far as it lies before a GRU's n, and from there on, shifted
    const i64 mid = C != Cell::gru || c1 < two ? c1 : c0 > two ? c0 : two;
    column_sums<S>(M, {input, hidden}, c0, mid, fresh);
    hidden.a += H;
    column_sums<S>(M, {input, hidden}, mid, c1, fresh);
    if (k.d_scaled)
      column_sums<S>(M, {Columns<Real>{k.d_scaled, two, D.d_shift_c, k.d_scaled + H, two, D.d_gain_c}}, from(H, me), to(H, me), fresh);
  }

  // dx = d_bar W_ih: each member a share of the rows, or of the panels where rows are few.
  void through_input(Member& me, i64 low, i64 M, const Real* d_x, i64 ld) const {
    const bool few = passing_ || M < 24 * me.size;
    const i64 m0 = few ? 0 : from(M, me), m1 = few ? M : to(M, me), count = input_.count();
    const i64 p0 = few ? from(count, me) : 0, p1 = few ? to(count, me) : count;
    Real *left = left_ + me.index * left_row_, *dx = D.dx + low * D.dx_step;
    if constexpr (has_tiles<S>)
      if (passing_) {  // a panel of the weight is split, used and forgotten
        Real* room = packed_ih_ + me.index * input_.size_of_one(GH);
        const Real* split = left_of<S>(input_, M, GH, d_x, ld, left);
        for (i64 p = p0; p < p1; ++p) {
          split_rows<S>(input_, GH, 0, GH, [this](i64 k) { return Source<Real>{L.w_ih + k * L.I}; }, room, p, p + 1, p);
          product_tiles<S>(M, GH, split, input_, p, room, GH, 0, Begin::zero, nullptr, dx + p * input_.step(), D.dx_row);
        }
        return;
      }
    product_tall<S>(m1 - m0, GH, d_x + m0 * ld, ld, input_, direct_ ? L.w_ih : packed_ih_.get(), GH, 0, Begin::zero, nullptr,
                    dx + m0 * D.dx_row, D.dx_row, p0, p1, left, direct_);
  }

  // Token input: rows of d_x are added to their id's, each member a share of the columns, in the order of the rows.
  void scatter(Member& me, i64 low, i64 M, const Real* d_x, i64 ld) {
    const i64 c0 = from(GH, me), c1 = to(GH, me);
    for (i64 m = 0; m < M; ++m) {
      const i64 t = low + m / L.B, b = m % L.B;
      if (!q.valid(t, b)) continue;
      const i64 id = L.ids[t * L.ids_step + b * L.ids_row];
      if (table_)
        for (i64 j = c0; j < c1; ++j) by_id_[id * GH + j] += d_x[m * ld + j];
      else
        for (i64 j = c0; j < c1; ++j) D.d_w_ih[j * L.I + id] += d_x[m * ld + j];
    }
  }

  // Rows [m0, m0 + K) of what stands on the other side of d_bar: x, h as the product read it, and the inner h.
  void pack(Member& me, i64 low, i64 m0, i64 K, const Block<Real>& block) {
    // What stands in the padding must reach nothing, NaN included.
    const auto x = [&](i64 k) {
      const i64 m = m0 + k, t = low + m / L.B, b = m % L.B;
      return Source<Real>{q.valid(t, b) ? L.x + t * L.x_step + b * L.x_row : nullptr};
    };
    const auto h = [&](i64 k) {
      const i64 m = m0 + k, t = low + m / L.B, b = m % L.B;
      return Source<Real>{q.valid(t, b) && !q.cut(t, b) ? q.h_before(t, b) : nullptr, L.mask ? L.mask + b * q.R : nullptr};
    };
    if (packed_x_.get()) pack_rows<S>(x_, K, me, x, packed_x_);
    if (packed_h_.get()) pack_rows<S>(h_, K, me, h, packed_h_);
    if (packed_2_.get()) pack_rows<S>(inner_, K, me, [&](i64 k) { return Source<Real>{block.made + (m0 + k) * L.H}; }, packed_2_);
  }

  void weights(Member& me, i64 m0, i64 K, bool fresh, const Block<Real>& k, const Real* d_x, i64 ld) {
    Real* tiles = tiles_ + me.index * tiles_size<S>(K_max(), chunk);
    // Shares in whole tiles of rows; those in front of a GRU's n, and n.
    const i64 H = L.H, c0 = share(GH, me.index, me.size), c1 = share(GH, me.index + 1, me.size);
    const Target<S> x{x_, packed_x_, D.d_w_ih, L.I}, h{h_, packed_h_, D.d_w_hh, q.R};
    const Real* d_h = L.layer_norm ? k.d_u + m0 * GH : k.d_bar + m0 * QH;
    const Real* d_in = d_x + m0 * ld;
    const auto part = [&](i64 a, i64 b) {  // the share as far as it lies in [a, b)
      struct {
        i64 a, b;
      } found{c0 > a ? c0 : a, c1 < b ? c1 : b};
      return found;
    };
    const bool apart = (C == Cell::gru && !L.layer_norm) || C == Cell::gru_reset_before;  // n's rows meet something else
    const auto both = part(0, apart ? 2 * H : GH), last = part(apart ? 2 * H : GH, GH);
    if (packed_x_.get() && packed_h_.get() && !L.layer_norm && x_.split == h_.split) {
      const Target<S> targets[] = {x, h};
      product_outer<S>(K, d_in, ld, both.a, both.b, tiles, chunk, targets, 2, fresh);
    } else {
      if (packed_x_.get()) product_outer<S>(K, d_in, ld, both.a, both.b, tiles, chunk, &x, 1, fresh);
      if (packed_h_.get()) product_outer<S>(K, d_h, L.layer_norm ? GH : QH, both.a, both.b, tiles, chunk, &h, 1, fresh);
    }
    if (packed_x_.get()) product_outer<S>(K, d_in, ld, last.a, last.b, tiles, chunk, &x, 1, fresh);
    if (packed_h_.get() && apart) {
      const Target<S> inner{inner_, packed_2_, D.d_w_hh, q.R};
      const bool before = C == Cell::gru_reset_before;
      product_outer<S>(K, d_h + (before ? 0 : H), QH, last.a, last.b, tiles, chunk, before ? &inner : &h, 1, fresh);
    }
    if (D.d_w_hr) {
      const Target<S> r{inner_, packed_2_, D.d_w_hr, H};
      product_outer<S>(K, k.d_projected + m0 * L.P, L.P, share(L.P, me.index, me.size), share(L.P, me.index + 1, me.size),
                       tiles, chunk, &r, 1, fresh);
    }
  }

  i64 K_max() const { return rows_ < depth ? rows_ : depth; }
  i64 share(i64 n, int i, int size) const {
    const i64 whole = h_.split ? 32 : tile_rows<S>(4), at = (split(n, size, i) + whole / 2) / whole * whole;
    return i == size || at > n ? n : at;
  }

  const Layer<Real>& L;
  const Gradients<Real>& D;
  const Sequence<Real>& q;
  i64 GH, QH, rows_;
  int threads_;
  bool table_;
  Panels<S> input_, x_, h_, inner_;  // of W_ih for dx; of what the weights' gradients take
  i64 direct_, left_row_ = 0;        // direct_ and passing_ as in Backward, for dx
  bool passing_;
  Array<Real> left_, packed_ih_, packed_x_, packed_h_, packed_2_, tiles_, by_id_;
};

}  // namespace
}  // namespace unrolled

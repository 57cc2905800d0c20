#include "unrolled/sampling.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#if defined(_MSC_VER) && defined(_M_X64)
#include <intrin.h>
#endif

namespace unrolled {
namespace {

// The two halves of a 128-bit product.
u64 multiply(u64 a, u64 b, u64& high) {
#if defined(__SIZEOF_INT128__)
  __extension__ using wide = unsigned __int128;
  const wide product = static_cast<wide>(a) * b;
  high = static_cast<u64>(product >> 64);
  return static_cast<u64>(product);
#else
  const u64 a0 = a & 0xFFFFFFFFu, a1 = a >> 32, b0 = b & 0xFFFFFFFFu, b1 = b >> 32;
  const u64 low = a0 * b0, mid = a1 * b0 + (low >> 32), other = a0 * b1 + (mid & 0xFFFFFFFFu);
  high = a1 * b1 + (mid >> 32) + (other >> 32);
  return (other << 32) | (low & 0xFFFFFFFFu);
#endif
}

constexpr double nothing = -std::numeric_limits<double>::infinity();

// Scores as doubles, penalised; their maximum, or a NaN if there is one.
template <class Real>
double scores_of(const Real* scores, i64 V, const Sampler& sampler, const u8* used, double* out) {
  double best = nothing;
  for (i64 v = 0; v < V; ++v) {
    out[v] = static_cast<double>(scores[v]);
    if (out[v] > best || out[v] != out[v]) best = out[v];
    if (best != best) return best;
  }
  if (!std::isfinite(best) || !used || sampler.penalty == 1.0) return best;
  best = nothing;
  for (i64 v = 0; v < V; ++v) {
    if (used[v]) out[v] = out[v] > 0 ? out[v] / sampler.penalty : out[v] * sampler.penalty;
    if (out[v] > best) best = out[v];
  }
  return best;
}

// Drops, by -inf, what top-k and top-p do not keep. Equal scores keep the order of their numbers, as a stable sort does.
void keep_ranked(double* scores, i64 V, const Sampler& sampler, u32* order) {
  const bool cut = sampler.top_k > 0 && sampler.top_k < V;
  const i64 k = cut ? sampler.top_k : V;
  const auto better = [scores](u32 a, u32 b) { return scores[a] > scores[b] || (scores[a] == scores[b] && a < b); };
  for (i64 v = 0; v < V; ++v) order[v] = static_cast<u32>(v);
  if (cut) {
    std::nth_element(order, order + (k - 1), order + V, better);
    for (i64 i = k; i < V; ++i) scores[order[i]] = nothing;
  }
  if (sampler.top_p >= 1.0) return;
  std::sort(order, order + k, better);
  const double best = scores[order[0]];
  double total = 0.0, passed = 0.0;
  for (i64 i = 0; i < k; ++i) total += std::exp(scores[order[i]] - best);
  for (i64 i = 0; i < k; ++i) {
    // A unit stays if the better ones before it do not hold enough yet; the best one always stays.
    const double p = std::exp(scores[order[i]] - best) / total;
    passed += p;
    if (!(passed - p < sampler.top_p)) scores[order[i]] = nothing;
  }
}

}  // namespace

double Uniforms::next() {
  if (used_ == 4) {
    u64 c[4] = {++counter_, 0, 0, 0}, k0 = key_[0], k1 = key_[1];
    for (int round = 0; round < 10; ++round) {
      u64 high0, high1;
      const u64 low0 = multiply(0xD2E7470EE14C6C93u, c[0], high0), low1 = multiply(0xCA5A826395121157u, c[2], high1);
      c[0] = high1 ^ c[1] ^ k0;
      c[1] = low1;
      c[2] = high0 ^ c[3] ^ k1;
      c[3] = low0;
      k0 += 0x9E3779B97F4A7C15u;
      k1 += 0xBB67AE8584CAA73Bu;
    }
    for (int j = 0; j < 4; ++j) block_[j] = c[j];
    used_ = 0;
  }
  return static_cast<double>(block_[used_++] >> 11) * 0x1p-53;
}

// Probabilities are never divided by their sum: the unit drawn is the first whose running sum passes u times the whole. The
// Python twin normalises, so the two differ in the last places of the running sums: they part where u falls into that gap,
// of the order of V * 2^-53 of all draws.
template <class Real>
i64 draw(const Real* scores, i64 V, Sampler& sampler, const u8* used, DrawRoom& room) {
  double* w = room.weights;
  const double best = scores_of(scores, V, sampler, used, w);
  if (!std::isfinite(best)) return -1;
  const double u = sampler.uniforms.next();
  if (sampler.temperature == 0) return std::max_element(w, w + V) - w;
  for (i64 v = 0; v < V; ++v) w[v] = (w[v] - best) / sampler.temperature;
  if ((sampler.top_k > 0 && sampler.top_k < V) || sampler.top_p < 1.0) keep_ranked(w, V, sampler, room.order);
  double total = 0.0;
  for (i64 v = 0; v < V; ++v) {
    double p = std::exp(w[v]);
    if (p < sampler.min_p) p = 0.0;  // the best one has 1
    total += p;
    w[v] = total;
  }
  const i64 found = std::upper_bound(w, w + V, u * total) - w;
  return found < V ? found : V - 1;
}

template i64 draw<float>(const float*, i64, Sampler&, const u8*, DrawRoom&);
template i64 draw<double>(const double*, i64, Sampler&, const u8*, DrawRoom&);

}  // namespace unrolled

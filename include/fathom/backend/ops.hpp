// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <fathom/core/config.hpp>
#include <fathom/core/dropout.hpp>
#include <fathom/core/packing.hpp>
#include <fathom/core/parameters.hpp>
#include <fathom/core/precision.hpp>
#include <fathom/core/view.hpp>
#include <span>

/// The op vocabulary: everything a layer asks of a machine.
///
/// An op is a plain struct of views and constants; a layer fills one in by name and hands it to its worker, and a
/// backend is a type with a `run(lane, op)` for each. Decorators (timer, recorder, non-finite finder) are written once
/// for all ops, from the facts that each op states about itself:
///   name         for profiles and messages
///   flops()      floating-point operations, a multiply-add counted as two, causal attention counted once
///   bytes()      bytes that must move when every view is touched once
///   outputs(f)   calls f(matrix) for each result and gradient that is written, if it is there; a vector is one row
///
/// Common rules.
/// - Matrices are row-major, one row per token, packed as the worker's current `Packing` says. There may be no rows.
/// - Every matrix may be strided. An op takes each one's own stride, which is at least its columns, and neither reads
///   nor writes what lies between the rows. No view need be aligned. Vectors and the slabs of a cache have no gaps.
/// - "Overwritten" outputs may hold anything before, also NaN; "added to" outputs must hold a value.
/// - Unless an alias is allowed here, views of one op do not overlap. "May be x" means the very view x: its first
///   element and its stride.
/// - "Null" means without rows or elements, wherever the pointer points. A null view is absent, or not wanted, where
/// the
///   comment allows it.
/// - The rows of dropout count from the start of their sequence, past rows included.
/// - Inputs of ops that add to parameter gradients must stay unchanged until the enclosing frame closes, and no two ops
///   of one frame add to the same gradient, because a backend may put that work off until then and do it in parallel.
namespace fathom::inline FATHOM_ABI {

enum class ActivationKind { relu, gelu, gelu_tanh, silu };
constexpr const char* name_of(ActivationKind kind) {
  return std::array{"relu", "gelu", "gelu_tanh", "silu"}[static_cast<std::size_t>(kind)];
}
enum class NormKind { layer, rms };

/// What an input gradient starts from: `scale * value`; null: zero.
template <class P>
struct Skip {
  Matrix<const typename P::Stream> value;
  double scale = 1;
};

/// Keys and values of earlier tokens, one slab per sequence and head; `Attention` appends to it.
template <class P>
struct KeyValueCache {
  typename P::Activation* keys = nullptr;    ///< (sequences, Hkv, length, K)
  typename P::Activation* values = nullptr;  ///< (sequences, Hkv, length, K)
  int length = 0;                            ///< rows that a slab holds
};

/// Scale of one addend of a join: a constant times an optional learned factor, one for all channels or one each.
template <class P>
struct JoinScale {
  double constant = 1;
  Elements<const typename P::Weight> learned;  ///< empty, or one element, or D
};

/// Sums over the counted targets of one batch.
struct LossSums {
  double cross_entropy = 0;  ///< −log p(target), nats
  double smoothing = 0;      ///< mean over the vocabulary of −log p
  double z = 0;              ///< squared log of the normalizer
  std::int64_t targets = 0;  ///< targets that count
  std::int64_t correct = 0;  ///< targets whose logit no other exceeds

  constexpr LossSums& operator+=(const LossSums& other) {
    cross_entropy += other.cross_entropy;
    smoothing += other.smoothing;
    z += other.z;
    targets += other.targets;
    correct += other.correct;
    return *this;
  }
  /// Mean cross-entropy of a counted target, in nats; 0 when none counts.
  constexpr double mean() const { return targets > 0 ? cross_entropy / double(targets) : 0; }
};

/// What is minimized: per counted target (1 − smoothing) · ce + smoothing · mean_v(−log p_v) + z_loss · log² Z.
/// Sources: Szegedy et al. 2016, arXiv:1512.00567, section 7; PaLM, arXiv:2204.02311, section 5.
struct LossOptions {
  double smoothing = 0, z_loss = 0;

  constexpr double total(const LossSums& sums) const {
    return (1 - smoothing) * sums.cross_entropy + smoothing * sums.smoothing + z_loss * sums.z;
  }
};

/// What the elementwise optimizer updates share. All have n elements.
///
/// g = gradient · gradient_scale (clipping, and averaging over micro-batches); the gradient is cleared in the same
/// pass.
template <class P>
struct UpdateTarget {
  Elements<typename P::Master> weights;
  Elements<typename P::Gradient> gradient;
  double gradient_scale = 1;
  double learning_rate;
  double weight_decay = 0;
};

namespace op {

template <class T>
constexpr double bytes_of(const Matrix<T>& m) {
  return double(m.rows) * m.columns * sizeof(T);
}
template <class T>
constexpr double bytes_of(Elements<T> s) {
  return double(s.size()) * sizeof(T);
}
/// A vector as the only row of a matrix; without rows when it is empty.
template <class T>
constexpr Matrix<T> as_row(Elements<T> vector) {
  return {vector.data(), vector.empty() ? 0 : 1, int(vector.size())};
}

/// y = x Wᵀ + b.   x (N, In); weight (Out, In); bias (Out) or empty; y (N, Out) overwritten.
template <class P>
struct Linear {
  static constexpr const char* name = "linear";
  Matrix<const typename P::Activation> x;
  Matrix<const typename P::Weight> weight;
  Elements<const typename P::Weight> bias;
  Matrix<typename P::Activation> y;

  constexpr double flops() const { return 2.0 * x.rows * weight.rows * weight.columns; }
  constexpr double bytes() const { return bytes_of(x) + bytes_of(weight) + bytes_of(y); }
  constexpr void outputs(auto&& f) const { f(y); }
};

/// dx = skip.scale · skip.value + dy W.   dy (N, Out); weight (Out, In); dx (N, In) overwritten; skip.value (N, In) may
/// be null, and may be dx itself.
template <class P>
struct LinearBackwardInput {
  static constexpr const char* name = "linear dx";
  Matrix<const typename P::Activation> dy;
  Matrix<const typename P::Weight> weight;
  Skip<P> skip;
  Matrix<typename P::Activation> dx;

  constexpr double flops() const { return 2.0 * dy.rows * weight.rows * weight.columns; }
  constexpr double bytes() const { return bytes_of(dy) + bytes_of(weight) + bytes_of(skip.value) + bytes_of(dx); }
  constexpr void outputs(auto&& f) const { f(dx); }
};

/// dweight += dyᵀ x;  dbias += column sums of dy.   x (N, In); dy (N, Out); dweight (Out, In); dbias (Out) or empty.
template <class P>
struct LinearBackwardWeight {
  static constexpr const char* name = "linear dw";
  Matrix<const typename P::Activation> x;
  Matrix<const typename P::Activation> dy;
  Matrix<typename P::Gradient> dweight;
  Elements<typename P::Gradient> dbias;

  constexpr double flops() const { return 2.0 * x.rows * dweight.rows * dweight.columns; }
  constexpr double bytes() const { return bytes_of(x) + bytes_of(dy) + 2 * bytes_of(dweight); }
  constexpr void outputs(auto&& f) const {
    f(dweight);
    f(as_row(dbias));
  }
};

/// y = dropout(act(x)), or with a gate y = dropout(act(x[:, :F]) ⊙ x[:, F:]).   x (N, F) or gated (N, 2F); y (N, F)
/// overwritten.
template <class P>
struct Activation {
  static constexpr const char* name = "activation";
  ActivationKind kind;
  bool gated = false;
  Dropout dropout;
  Matrix<const typename P::Activation> x;
  Matrix<typename P::Activation> y;

  constexpr double flops() const { return 0; }
  constexpr double bytes() const { return bytes_of(x) + bytes_of(y); }
  constexpr void outputs(auto&& f) const { f(y); }
};

/// Backward of `Activation`.   dy (N, F); dx as x, overwritten, without a gate it may be dy; y (N, F): the output of
/// the forward op once more, overwritten.
template <class P>
struct ActivationBackward {
  static constexpr const char* name = "activation dx";
  ActivationKind kind;
  bool gated = false;
  Dropout dropout;
  Matrix<const typename P::Activation> x;
  Matrix<const typename P::Activation> dy;
  Matrix<typename P::Activation> dx, y;

  constexpr double flops() const { return 0; }
  constexpr double bytes() const { return bytes_of(x) + bytes_of(dy) + bytes_of(dx) + bytes_of(y); }
  constexpr void outputs(auto&& f) const {
    f(dx);
    f(y);
  }
};

/// o = softmax(scale · q kᵀ + mask) v for every sequence and head; the T×T matrix is never stored.
///
/// q, o (N, H·K); k, v (M, Hkv·K), H a multiple of Hkv: query head h reads key/value head h / (H / Hkv). Sequence s of
/// `packing`, of T rows, attends to sequence s of `key_packing`, of S rows, and to no other. With `causal` the queries
/// are the last T of the S positions: S >= T, and row i of T sees keys j <= i + (S − T). With a cache, k and v are
/// appended behind the past rows of each sequence of `key_packing` first, and the keys, S of them, are all that the
/// cache then holds; without one, past rows are no keys.
/// lse (H, N): natural log of the sum of exponentials, overwritten. Dropout acts on the probabilities: its row is the
/// query's, past rows of `packing` included, its column is j. o overwritten. A sequence that has queries has keys.
template <class P>
struct Attention {
  static constexpr const char* name = "attention";
  int heads, kv_heads, head_width;
  bool causal;
  double scale;
  Dropout dropout;
  const Packing* packing;      ///< of q and o: the worker's current one
  const Packing* key_packing;  ///< of k and v
  Matrix<const typename P::Activation> q, k, v;
  KeyValueCache<P> cache;
  Matrix<typename P::Activation> o;
  Matrix<typename P::Statistic> lse;

  constexpr double flops() const { return 4.0 * visible_pairs(*packing, *key_packing, causal) * heads * head_width; }
  constexpr double bytes() const { return bytes_of(q) + bytes_of(k) + bytes_of(v) + bytes_of(o); }
  constexpr void outputs(auto&& f) const {
    f(o);
    f(lse);
  }
};

/// Backward of `Attention` (without a cache), probabilities recomputed from lse.   dO as o; dq, dk, dv as q, k, v, all
/// overwritten. o is what forward gave; or it has no rows, and `restored` is overwritten with it, up to rounding, which
/// takes one product more than the five of backward.
template <class P>
struct AttentionBackward {
  static constexpr const char* name = "attention backward";
  int heads, kv_heads, head_width;
  bool causal;
  double scale;
  Dropout dropout;
  const Packing* packing;
  const Packing* key_packing;
  Matrix<const typename P::Activation> q, k, v;
  Matrix<const typename P::Activation> o;
  Matrix<typename P::Activation> restored;
  Matrix<const typename P::Activation> d_o;
  Matrix<const typename P::Statistic> lse;
  Matrix<typename P::Activation> dq, dk, dv;

  constexpr double flops() const {
    return (restored ? 12.0 : 10.0) * visible_pairs(*packing, *key_packing, causal) * heads * head_width;
  }
  constexpr double bytes() const {
    return 2 * bytes_of(q) + 2 * bytes_of(k) + 2 * bytes_of(v) + bytes_of(o) + bytes_of(restored) + bytes_of(d_o);
  }
  constexpr void outputs(auto&& f) const {
    f(restored);
    f(dq);
    f(dk);
    f(dv);
  }
};

/// Rotates neighbouring pairs (2i, 2i+1) of each head of x (N, heads·K), in place, by position · base^(−2i/K); backward
/// rotates the other way. The position counts from the start of the sequence, past rows included.
/// Source: Su et al. 2021, arXiv:2104.09864, eq. 34.
template <class P>
struct Rotary {
  static constexpr const char* name = "rotary";
  int head_width;
  double base;
  bool backward = false;
  Matrix<typename P::Activation> x;

  constexpr double flops() const { return 3.0 * x.rows * x.columns; }
  constexpr double bytes() const { return 2 * bytes_of(x); }
  constexpr void outputs(auto&& f) const { f(x); }
};

/// y = (x − mean) · rstd · gain + bias over each row, or for `rms` y = x · rstd · gain.
///
/// x (N, D); gain (D); bias (D) or empty; y (N, D) overwritten. mean (empty for rms), rstd (N): overwritten.
/// Source: Ba et al. 2016, arXiv:1607.06450; Zhang and Sennrich 2019, arXiv:1910.07467.
template <class P>
struct Norm {
  static constexpr const char* name = "norm";
  NormKind kind;
  double epsilon;
  Matrix<const typename P::Stream> x;
  Elements<const typename P::Weight> gain, bias;
  Matrix<typename P::Activation> y;
  Elements<typename P::Statistic> mean, rstd;

  constexpr double flops() const { return 8.0 * x.rows * x.columns; }
  constexpr double bytes() const { return bytes_of(x) + bytes_of(y); }
  constexpr void outputs(auto&& f) const { f(y); }
};

/// Backward of `Norm`.   dx = skip.scale · skip.value + Jᵀ dy, overwritten; skip may be null, and may be dx. dgain (D),
/// and dbias (D) or empty, added to. dx may be dy.
template <class P>
struct NormBackward {
  static constexpr const char* name = "norm backward";
  NormKind kind;
  Matrix<const typename P::Stream> x;
  Elements<const typename P::Statistic> mean, rstd;
  Elements<const typename P::Weight> gain;
  Matrix<const typename P::Activation> dy;
  Skip<P> skip;
  Matrix<typename P::Stream> dx;
  Elements<typename P::Gradient> dgain, dbias;

  constexpr double flops() const { return 13.0 * x.rows * x.columns; }
  constexpr double bytes() const { return bytes_of(x) + bytes_of(dy) + bytes_of(skip.value) + bytes_of(dx); }
  constexpr void outputs(auto&& f) const {
    f(dx);
    f(as_row(dgain));
    f(as_row(dbias));
  }
};

/// y = a ⊙ x + b ⊙ dropout(f).   x, f, y (N, D); y overwritten, may be x or f. Without x, y = b ⊙ dropout(f).
template <class P>
struct Join {
  static constexpr const char* name = "join";
  Matrix<const typename P::Stream> x;
  Matrix<const typename P::Activation> f;
  JoinScale<P> a, b;
  Dropout dropout;
  Matrix<typename P::Stream> y;

  constexpr double flops() const { return 3.0 * y.rows * y.columns; }
  constexpr double bytes() const { return bytes_of(x) + bytes_of(f) + bytes_of(y); }
  constexpr void outputs(auto&& g) const { g(y); }
};

/// Backward of `Join`.   dx = a ⊙ dy, df = b ⊙ dropout'(dy), each overwritten, each null when not wanted. da, db are
/// the gradients of the learned factors, as many, added to, or empty when not wanted (x is read for da, f for db; null
/// otherwise; db takes df, which must then be wanted).
template <class P>
struct JoinBackward {
  static constexpr const char* name = "join backward";
  Matrix<const typename P::Stream> x;
  Matrix<const typename P::Activation> f;
  JoinScale<P> a, b;
  Dropout dropout;
  Matrix<const typename P::Stream> dy;
  Matrix<typename P::Stream> dx;
  Matrix<typename P::Activation> df;
  Elements<typename P::Gradient> da, db;

  constexpr double flops() const { return 3.0 * dy.rows * dy.columns; }
  constexpr double bytes() const { return bytes_of(dy) + bytes_of(dx) + bytes_of(df) + bytes_of(x) + bytes_of(f); }
  constexpr void outputs(auto&& g) const {
    g(dx);
    g(df);
    g(as_row(da));
    g(as_row(db));
  }
};

/// The DeepNorm op, one pass over a row: z = a ⊙ x + b ⊙ dropout(f);  y = norm(z).
///
/// As `Join` then `Norm`. z (N, D) overwritten, may be f; y (N, D) overwritten, overlaps nothing.
/// Source: Wang et al. 2022, arXiv:2203.00555, section 4.
template <class P>
struct JoinNorm {
  static constexpr const char* name = "join + norm";
  Matrix<const typename P::Stream> x;
  Matrix<const typename P::Activation> f;
  JoinScale<P> a, b;
  Dropout dropout;
  NormKind kind;
  double epsilon;
  Elements<const typename P::Weight> gain, bias;
  Matrix<typename P::Stream> z;
  Elements<typename P::Statistic> mean, rstd;
  Matrix<typename P::Stream> y;

  constexpr double flops() const { return 11.0 * x.rows * x.columns; }
  constexpr double bytes() const { return bytes_of(x) + bytes_of(f) + bytes_of(z) + bytes_of(y); }
  constexpr void outputs(auto&& g) const {
    g(z);
    g(y);
  }
};

/// y = Σ_k w[k] · x_k over `count` streams that lie `pitch` elements apart, all with the stride of the first.   x_k, y
/// (N, D); w (>= count); y overwritten, 0 for a count of 0. Source: Wang et al. 2019, arXiv:1906.01787, eq. 6.
template <class P>
struct WeightedSum {
  static constexpr const char* name = "weighted sum";
  Matrix<const typename P::Stream> first;
  std::int64_t pitch;
  int count;
  Elements<const typename P::Weight> weights;
  Matrix<typename P::Stream> y;

  constexpr double flops() const { return 2.0 * count * y.rows * y.columns; }
  constexpr double bytes() const { return bytes_of(y) * (count + 1); }
  constexpr void outputs(auto&& f) const { f(y); }
};

/// Backward of `WeightedSum`.   dx_k += w[k] · dy, streams `pitch` apart from `dfirst`; dweights[k] += <dy, x_k>.
template <class P>
struct WeightedSumBackward {
  static constexpr const char* name = "weighted sum backward";
  Matrix<const typename P::Stream> first;
  std::int64_t pitch;
  int count;
  Elements<const typename P::Weight> weights;
  Matrix<const typename P::Stream> dy;
  Matrix<typename P::Stream> dfirst;
  Elements<typename P::Gradient> dweights;

  constexpr double flops() const { return 4.0 * count * dy.rows * dy.columns; }
  constexpr double bytes() const { return bytes_of(dy) * (3.0 * count + 1); }
  constexpr void outputs(auto&& f) const {
    f(dfirst);
    f(as_row(dweights));
  }
};

/// y = dropout(scale · table[token] + position row).   tokens (N); table (V, D); positions (L, D), row = place in the
/// sequence, past rows included, or null; with `sinusoidal` the position row is computed: channel 2i is
/// sin(p / 10000^(2i/D)), 2i+1 the cosine. y (N, D) overwritten.
template <class P>
struct Embedding {
  static constexpr const char* name = "embedding";
  std::span<const int> tokens;
  Matrix<const typename P::Weight> table, positions;
  bool sinusoidal = false;
  double scale = 1;
  Dropout dropout;
  Matrix<typename P::Stream> y;

  constexpr double flops() const { return 2.0 * y.rows * y.columns; }
  constexpr double bytes() const { return 2 * bytes_of(y); }
  constexpr void outputs(auto&& f) const { f(y); }
};

/// Backward of `Embedding`.   dtable[token] += scale · dropout'(dy); dpositions += dropout'(dy), its rows as those of
/// `positions`; each null when not wanted. Summed in the order of the rows.
template <class P>
struct EmbeddingBackward {
  static constexpr const char* name = "embedding backward";
  std::span<const int> tokens;
  double scale = 1;
  Dropout dropout;
  Matrix<const typename P::Stream> dy;
  Matrix<typename P::Gradient> dtable, dpositions;

  constexpr double flops() const { return 2.0 * dy.rows * dy.columns; }
  constexpr double bytes() const { return 3 * bytes_of(dy); }
  constexpr void outputs(auto&& f) const {
    f(dtable);
    f(dpositions);
  }
};

/// Linear layer and cross-entropy in one, chunked over rows: all logits never live at once.
///
/// x (N, D); weight (V, D); bias (V) or empty; targets (N), negative: ignored. sums: overwritten, once for all lanes.
/// With dx (N, D), overwritten, the gradients of normalizer · loss are computed in the same pass: dweight (V, D) and
/// dbias (V) added to. Without dx only the loss.
template <class P>
struct LinearCrossEntropy {
  static constexpr const char* name = "linear + cross-entropy";
  Matrix<const typename P::Activation> x;
  Matrix<const typename P::Weight> weight;
  Elements<const typename P::Weight> bias;
  std::span<const int> targets;
  LossOptions options;
  double normalizer = 1;
  LossSums* sums = nullptr;
  Matrix<typename P::Activation> dx;
  Matrix<typename P::Gradient> dweight;
  Elements<typename P::Gradient> dbias;

  constexpr double flops() const { return (dx ? 6.0 : 2.0) * x.rows * weight.rows * weight.columns; }
  constexpr double bytes() const { return bytes_of(x) + bytes_of(weight) + bytes_of(dx) + 2 * bytes_of(dweight); }
  constexpr void outputs(auto&& f) const {
    f(dx);
    f(dweight);
    f(as_row(dbias));
  }
};

/// *result = population variance of all elements of x (N, D), which has rows; every lane names a result of its own. For
/// Admin's profiling pass.
template <class P>
struct Variance {
  static constexpr const char* name = "variance";
  Matrix<const typename P::Activation> x;
  double* result;

  constexpr double flops() const { return 3.0 * x.rows * x.columns; }
  constexpr double bytes() const { return bytes_of(x); }
  constexpr void outputs(auto&&) const {}
};

/// y = x, or y += x when `add`.   x, y (N, D).
template <class P>
struct Copy {
  static constexpr const char* name = "copy";
  Matrix<const typename P::Stream> x;
  Matrix<typename P::Stream> y;
  bool add = false;

  constexpr double flops() const { return add ? double(x.rows) * x.columns : 0; }
  constexpr double bytes() const { return bytes_of(x) + bytes_of(y) * (add ? 2 : 1); }
  constexpr void outputs(auto&& f) const { f(y); }
};

/// y = 0.   y (N, D).
template <class P>
struct Zero {
  static constexpr const char* name = "zero";
  Matrix<typename P::Stream> y;

  constexpr double flops() const { return 0; }
  constexpr double bytes() const { return bytes_of(y); }
  constexpr void outputs(auto&& f) const { f(y); }
};

/// *result = Σ x², summed in shards of a fixed size in a fixed order; every lane names a result of its own.   x (n).
template <class P>
struct SumOfSquares {
  static constexpr const char* name = "sum of squares";
  Elements<const typename P::Gradient> x;
  double* result;

  constexpr double flops() const { return 2.0 * double(x.size()); }
  constexpr double bytes() const { return bytes_of(x); }
  constexpr void outputs(auto&&) const {}
};

/// x *= factor, elementwise; factor 0 clears, also NaN.   x (n).
template <class P>
struct Scale {
  static constexpr const char* name = "scale";
  Elements<typename P::Gradient> x;
  double factor;

  constexpr double flops() const { return double(x.size()); }
  constexpr double bytes() const { return 2 * bytes_of(x); }
  constexpr void outputs(auto&&) const {}
};

/// average = decay · average + (1 − decay) · x.   Both (n).
template <class P>
struct Average {
  static constexpr const char* name = "average";
  Elements<const typename P::Master> x;
  Elements<typename P::Master> average;
  double decay;

  constexpr double flops() const { return 3.0 * double(x.size()); }
  constexpr double bytes() const { return bytes_of(x) + 2 * bytes_of(average); }
  constexpr void outputs(auto&&) const {}
};

/// SGD with momentum m, as PyTorch's without dampening. With d = g + weight_decay · w:
///   m = factor · m + d;   w −= learning_rate · m, with `nesterov` w −= learning_rate · (d + factor · m).
/// momentum: m (n); or empty, which takes a factor of 0: m is not kept then.
template <class P>
struct Sgd {
  static constexpr const char* name = "sgd";
  UpdateTarget<P> target;
  Elements<typename P::Master> momentum;
  double momentum_factor;
  bool nesterov;

  constexpr double flops() const { return 6.0 * double(target.weights.size()); }
  constexpr double bytes() const {
    return 2 * (bytes_of(target.weights) + bytes_of(target.gradient) + bytes_of(momentum));
  }
  constexpr void outputs(auto&&) const {}
};

/// Adam and AdamW: m = β₁ m + (1 − β₁) g;  v = β₂ v + (1 − β₂) g²;
/// w −= learning_rate · (m / (1 − β₁ᵗ)) / (sqrt(v / (1 − β₂ᵗ)) + ε), after w *= 1 − learning_rate · weight_decay when
/// `decoupled`, else with g += weight_decay · w.   Sources: arXiv:1412.6980, algorithm 1; arXiv:1711.05101,
/// algorithm 2.
template <class P>
struct Adam {
  static constexpr const char* name = "adam";
  UpdateTarget<P> target;
  Elements<typename P::Master> first, second;
  double beta1, beta2, epsilon;
  bool decoupled;
  std::int64_t step;  ///< of this update, from 1

  constexpr double flops() const { return 14.0 * double(target.weights.size()); }
  constexpr double bytes() const {
    return 2 * (bytes_of(target.weights) + bytes_of(target.gradient) + bytes_of(first) + bytes_of(second));
  }
  constexpr void outputs(auto&&) const {}
};

/// Lion: w −= learning_rate · (sign(β₁ m + (1 − β₁) g) + weight_decay · w);  m = β₂ m + (1 − β₂) g.
/// Source: Chen et al. 2023, arXiv:2302.06675, algorithm 2.
template <class P>
struct Lion {
  static constexpr const char* name = "lion";
  UpdateTarget<P> target;
  Elements<typename P::Master> momentum;
  double beta1, beta2;

  constexpr double flops() const { return 8.0 * double(target.weights.size()); }
  constexpr double bytes() const {
    return 2 * (bytes_of(target.weights) + bytes_of(target.gradient) + bytes_of(momentum));
  }
  constexpr void outputs(auto&&) const {}
};

/// Adafactor without momentum, on each tensor of `table` by itself. With t = step, β = 1 − t^(−decay_exponent):
///   matrix (R, C)   r = β r + (1 − β) (row means of g² + ε₁);  c likewise of columns;  v = r cᵀ / mean(r)
///   vector (n)      v = β v + (1 − β) (g² + ε₁)
///   u = g / sqrt(v);  w −= learning_rate · weight_decay · w + max(ε₂, rms(w)) · min(learning_rate, 1 / sqrt(t)) · u /
///   max(1, rms(u) / clip_threshold), every w on the right the old one
/// The target's spans are whole flat buffers; weight decay acts on tensors that decay. moments: r then c, or v, tensor
/// after tensor in the order of the table.   Source: Shazeer and Stern 2018, arXiv:1804.04235, algorithms 4 and 5; the
/// decoupled weight decay: torch.optim.Adafactor.
template <class P>
struct Adafactor {
  static constexpr const char* name = "adafactor";
  UpdateTarget<P> target;
  Elements<typename P::Master> moments;
  std::span<const ParameterInfo> table;
  double decay_exponent, epsilon1, epsilon2, clip_threshold;
  std::int64_t step;  ///< of this update, from 1

  constexpr double flops() const { return 16.0 * double(target.weights.size()); }
  constexpr double bytes() const {
    return 2 * (bytes_of(target.weights) + bytes_of(target.gradient) + bytes_of(moments));
  }
  constexpr void outputs(auto&&) const {}
};

}  // namespace op
}  // namespace fathom::inline FATHOM_ABI

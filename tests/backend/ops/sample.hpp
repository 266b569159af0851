// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "backend/ops/operands.hpp"

/// One maker for each op of the vocabulary: the op with operands of its own, for the choices that its contract leaves.
namespace fathom_test::sample {

/// The view that an output may be besides one of its own.
enum class Into { own, x, f, dy, skip };

template <class P>
op::Linear<P> linear(Operands<P>& o, int in, int out, bool bias) {
  return {
      .x = o.rows_of(in), .weight = o.values(out, in), .bias = o.values(bias ? out : 0), .y = o.poisoned_rows_of(out)};
}

/// A skip with a gradient that starts from it, or no skip.
template <class P>
Skip<P> skip(Operands<P>& o, bool present, int width, Matrix<typename P::Stream>& value) {
  value = o.values(present ? o.count() : 0, width);
  return {value, present ? -1.5 : std::numeric_limits<double>::quiet_NaN()};
}

template <class P>
op::LinearBackwardInput<P> linear_backward_input(Operands<P>& o, int in, int out, bool has_skip,
                                                 Into into = Into::own) {
  Matrix<typename P::Stream> value;
  op::LinearBackwardInput<P> op{
      .dy = o.rows_of(out), .weight = o.values(out, in), .skip = skip(o, has_skip, in, value), .dx = {}};
  if (into == Into::skip)
    op.dx = value;
  else
    op.dx = o.poisoned_rows_of(in);
  return op;
}

template <class P>
op::LinearBackwardWeight<P> linear_backward_weight(Operands<P>& o, int in, int out, bool bias) {
  return {.x = o.rows_of(in), .dy = o.rows_of(out), .dweight = o.values(out, in), .dbias = o.values(bias ? out : 0)};
}

template <class P>
op::Activation<P> activation(Operands<P>& o, ActivationKind kind, bool gated, int width) {
  return {.kind = kind,
          .gated = gated,
          .dropout = o.dropout,
          .x = o.rows_of(gated ? 2 * width : width),
          .y = o.poisoned_rows_of(width)};
}

template <class P>
op::ActivationBackward<P> activation_backward(Operands<P>& o, ActivationKind kind, bool gated, int width,
                                              Into into = Into::own) {
  const int x_width = gated ? 2 * width : width;
  const Matrix<typename P::Activation> dy = o.rows_of(width);
  op::ActivationBackward<P> op{.kind = kind,
                               .gated = gated,
                               .dropout = o.dropout,
                               .x = o.rows_of(x_width),
                               .dy = dy,
                               .dx = dy,
                               .y = o.poisoned_rows_of(width)};
  if (into != Into::dy) op.dx = o.poisoned_rows_of(x_width);
  return op;
}

struct Heads {
  int count, groups, width;
};
/// The rows that k and v are: those of q, rows of other lengths, rows of which there are at least as many.
enum class Keys { own, other, longer };

template <class P>
const Packing& key_packing(const Operands<P>& o, Keys keys) {
  return keys == Keys::own ? o.rows.packing : keys == Keys::other ? o.rows.other : o.rows.longer;
}

/// q, k and v, or their gradients, as columns of one matrix, as a fused projection leaves them, or of two.
template <class P>
struct Projections {
  Matrix<typename P::Activation> q, k, v;

  Projections(Operands<P>& o, const Heads& heads, Keys from, bool outputs) {
    const int queries = heads.count * heads.width, width = heads.groups * heads.width, all = queries + 2 * width;
    const int rows = o.count(), key_rows = key_packing(o, from).rows();
    const auto take = [&](int row_count) -> Matrix<typename P::Activation> {
      if (outputs) return o.poison(row_count, all);
      return o.values(row_count, all);
    };
    const auto own = take(rows), other = from == Keys::own ? own : take(key_rows);
    const auto columns = [](const auto& of, int first, int count) {
      return Matrix<typename P::Activation>(of.data + first, of.rows, count, of.stride);
    };
    q = columns(own, 0, queries), k = columns(other, queries, width), v = columns(other, queries + width, width);
  }
};

/// A bias of a few buckets, the last of which begins before the longest distance; or none.
template <class P>
RelativeBias<P> relative_bias(Operands<P>& o, const Heads& heads, bool causal, bool biased) {
  static constexpr std::array starts{0, 1, 2, 4, 4, 9, 30};
  RelativeBias<P> bias{.table = {}, .starts = std::span<const int>(starts)};
  bias.table = o.values(biased ? heads.count * bias.buckets(causal) : 0);
  return bias;
}

/// With a cache, it holds what stands behind the past rows as NaN.
template <class P>
op::Attention<P> attention(Operands<P>& o, const Heads& heads, bool causal, Keys keys, bool cached, bool biased) {
  const Projections<P> in(o, heads, keys, false);
  const Packing& key_rows = key_packing(o, keys);
  KeyValueCache<P> cache;
  if (cached) {
    for (int s = 0; s < key_rows.sequences(); ++s)
      cache.length = std::max(cache.length, key_rows.past_of(s) + key_rows.length(s) + 3);
    for (auto** slabs : {&cache.keys, &cache.values}) {
      const int slab = cache.length * heads.width;
      const Elements<typename P::Activation> all = o.values(key_rows.sequences() * heads.groups * slab);
      *slabs = all.data();
      for (int i = 0; i < key_rows.sequences() * heads.groups; ++i) {
        const int past = key_rows.past_of(i / heads.groups) * heads.width;
        std::fill_n(*slabs + i * slab + past, slab - past, std::numeric_limits<typename P::Activation>::quiet_NaN());
      }
    }
  }
  return {.heads = heads.count,
          .kv_heads = heads.groups,
          .head_width = heads.width,
          .causal = causal,
          .scale = 0.3,
          .dropout = o.dropout,
          .packing = &o.rows.packing,
          .key_packing = &key_rows,
          .q = in.q,
          .k = in.k,
          .v = in.v,
          .bias = relative_bias(o, heads, causal, biased),
          .cache = cache,
          .o = o.poisoned_rows_of(heads.count * heads.width),
          .lse = o.poison(heads.count, o.count())};
}

template <class P>
op::AttentionBackward<P> attention_backward(Operands<P>& o, const Heads& heads, bool causal, Keys keys, bool restores,
                                            bool biased) {
  const Projections<P> in(o, heads, keys, false), d(o, heads, keys, true);
  const int width = heads.count * heads.width;
  const double lse = restores ? 6 : 4;  // any makes "probabilities"; a large one keeps them as small as real ones
  return {.heads = heads.count,
          .kv_heads = heads.groups,
          .head_width = heads.width,
          .causal = causal,
          .scale = 0.3,
          .dropout = o.dropout,
          .packing = &o.rows.packing,
          .key_packing = &key_packing(o, keys),
          .q = in.q,
          .k = in.k,
          .v = in.v,
          .bias = relative_bias(o, heads, causal, biased),
          .o = o.values(restores ? 0 : o.count(), width),
          .restored = o.poison(restores ? o.count() : 0, width),
          .d_o = o.rows_of(width),
          .lse = o.uniform({lse, lse}, heads.count, o.count()),
          .dq = d.q,
          .dk = d.k,
          .dv = d.v,
          .dbias = o.values(biased ? int(relative_bias(o, heads, causal, true).table.size()) : 0)};
}

/// Copies of several lengths, between sequences of a cache that has nothing to do with the rows.
template <class P>
op::CopyCache<P> copy_cache(Operands<P>& o, const Heads& heads, std::span<const CacheCopy> copies) {
  constexpr int sequences = 5, length = 9;
  const Elements<typename P::Activation> slabs = o.values(sequences * heads.groups * length * heads.width);
  return {.heads = heads.groups, .length = length, .width = heads.width, .slabs = slabs.data(), .copies = copies};
}

template <class P>
op::Rotary<P> rotary(Operands<P>& o, int heads, int head_width, bool backward) {
  return {.head_width = head_width, .base = 10000, .backward = backward, .x = o.rows_of(heads * head_width)};
}

template <class P>
op::Norm<P> norm(Operands<P>& o, NormKind kind, int width, bool bias) {
  return {.kind = kind,
          .epsilon = 1e-5,
          .x = o.rows_of(width),
          .gain = o.values(width),
          .bias = o.values(bias ? width : 0),
          .y = o.poisoned_rows_of(width),
          .mean = o.poison(kind == NormKind::rms ? 0 : o.count()),
          .rstd = o.poison(o.count())};
}

template <class P>
op::NormBackward<P> norm_backward(Operands<P>& o, NormKind kind, int width, bool bias, bool has_skip,
                                  Into into = Into::own) {
  const Matrix<typename P::Stream> dy = o.rows_of(width);
  Matrix<typename P::Stream> value;
  op::NormBackward<P> op{.kind = kind,
                         .x = o.rows_of(width),
                         .mean = o.values(kind == NormKind::rms ? 0 : o.count()),
                         .rstd = o.uniform({0.5, 1.5}, 1, o.count()),  // any positive ones will do
                         .gain = o.values(width),
                         .dy = dy,
                         .skip = skip(o, has_skip, width, value),
                         .dx = {},
                         .dgain = o.values(width),
                         .dbias = o.values(bias ? width : 0)};
  if (into == Into::skip)
    op.dx = value;
  else if (into == Into::dy)
    op.dx = dy;
  else
    op.dx = o.poisoned_rows_of(width);
  return op;
}

/// How many factors are learned in the scales of a residual add, and whether their gradients are wanted.
struct Learned {
  int a = 0, b = 0;
  bool gradients = true;
};

template <class P>
ResidualScale<P> residual_scale(Operands<P>& o, double constant, int learned) {
  return {constant, o.values(learned)};
}

template <class P>
op::ResidualAdd<P> residual_add(Operands<P>& o, int width, const Learned& learned, Into into = Into::own) {
  const Matrix<typename P::Stream> x = o.rows_of(width);
  const Matrix<typename P::Activation> f = o.rows_of(width);
  op::ResidualAdd<P> op{.x = x,
                 .f = f,
                 .a = residual_scale(o, 1.5, learned.a),
                 .b = residual_scale(o, learned.b == 0 ? 1 : 0.75, learned.b),
                 .dropout = o.dropout,
                 .y = into == Into::x ? StreamResult<P>(x) : StreamResult<P>(f)};
  if (into == Into::own) op.y = o.poisoned_rows_of(width);
  return op;
}

template <class P>
op::ResidualAddBackward<P> residual_add_backward(Operands<P>& o, int width, const Learned& learned, bool dx, bool df) {
  const int da = learned.gradients ? learned.a : 0, db = learned.gradients ? learned.b : 0;
  return {.x = o.values(da > 0 ? o.count() : 0, width),
          .f = o.values(db > 0 ? o.count() : 0, width),
          .a = residual_scale(o, 1.5, learned.a),
          .b = residual_scale(o, 0.75, learned.b),
          .dropout = o.dropout,
          .dy = o.rows_of(width),
          .dx = o.poison(dx ? o.count() : 0, width),
          .df = o.poison(df ? o.count() : 0, width),
          .da = o.values(da),
          .db = o.values(db)};
}

template <class P>
op::Shift<P> shift(Operands<P>& o, int width, Into into = Into::own) {
  const Matrix<typename P::Activation> x = o.rows_of(width);
  op::Shift<P> op{.x = x, .shift = o.values(1), .y = x};
  if (into == Into::own) op.y = o.poisoned_rows_of(width);
  return op;
}

template <class P>
op::ShiftBackward<P> shift_backward(Operands<P>& o, int width) {
  const Matrix<typename P::Activation> dy = o.rows_of(width);
  return {.dy = dy, .dshift = o.values(1)};
}

template <class P>
op::ResidualAddNorm<P> residual_add_norm(Operands<P>& o, NormKind kind, int width, const Learned& learned, Into into = Into::own) {
  const Matrix<typename P::Activation> f = o.rows_of(width);
  op::ResidualAddNorm<P> op{.x = o.rows_of(width),
                     .f = f,
                     .a = residual_scale(o, 2.5, learned.a),
                     .b = residual_scale(o, 1, learned.b),
                     .dropout = o.dropout,
                     .kind = kind,
                     .epsilon = 1e-5,
                     .gain = o.values(width),
                     .bias = o.values(kind == NormKind::layer ? width : 0),
                     .z = {},
                     .mean = o.poison(kind == NormKind::rms ? 0 : o.count()),
                     .rstd = o.poison(o.count()),
                     .y = o.poisoned_rows_of(width)};
  if (into == Into::own) op.z = o.poisoned_rows_of(width);
  if constexpr (branches_read_stream<P>)
    if (into == Into::f) op.z = f;
  return op;
}

/// Elements from one of several streams to the next, with something between them.
template <class P>
std::int64_t pitch_of(const Operands<P>& o, int width) {
  return std::int64_t(o.count() + 1) * (width + 2 * o.rows.layout.gap);
}
/// The first of `count` streams.
template <class P>
Matrix<typename P::Stream> streams(Operands<P>& o, int width, int count, int gap) {
  const Elements<typename P::Stream> all = o.values(count * int(pitch_of(o, width)));
  return {all.data(), o.count(), width, width + gap};
}

template <class P>
op::WeightedSum<P> weighted_sum(Operands<P>& o, int width, int count) {
  return {.first = streams(o, width, count, o.rows.layout.gap),
          .pitch = pitch_of(o, width),
          .count = count,
          .weights = o.values(count),
          .y = o.poisoned_rows_of(width)};
}

template <class P>
op::WeightedSumBackward<P> weighted_sum_backward(Operands<P>& o, int width, int count) {
  return {.first = streams(o, width, count, o.rows.layout.gap),
          .pitch = pitch_of(o, width),
          .count = count,
          .weights = o.values(count),
          .dy = o.rows_of(width),
          .dfirst = streams(o, width, count, 2 * o.rows.layout.gap),
          .dweights = o.values(count)};
}

enum class Positions { none, learned, neighbours, halves };

/// Rows that a table of positions needs: the last place of any sequence, past rows included, and one more.
template <class P>
int positions_of(const Operands<P>& o, Positions kind) {
  int places = 0;
  for (int s = 0; s < o.rows.packing.sequences(); ++s)
    places = std::max(places, o.rows.packing.past_of(s) + o.rows.packing.length(s));
  return kind == Positions::learned ? places + 1 : 0;
}

inline Sinusoids sinusoids_of(Positions kind) {
  if (kind == Positions::neighbours) return {Sinusoids::Order::neighbours};
  if (kind == Positions::halves) return {Sinusoids::Order::halves, 3};
  return {};
}

template <class P>
op::Embedding<P> embedding(Operands<P>& o, int width, int vocabulary, Positions positions) {
  return {.tokens = o.integers(0, vocabulary),
          .table = o.values(vocabulary, width),
          .positions = o.values(positions_of(o, positions), width),
          .sinusoids = sinusoids_of(positions),
          .scale = 6,
          .dropout = o.dropout,
          .y = o.poisoned_rows_of(width)};
}

template <class P>
op::EmbeddingBackward<P> embedding_backward(Operands<P>& o, int width, int vocabulary, Positions positions,
                                            bool table = true) {
  return {.tokens = o.integers(0, vocabulary),
          .scale = 6,
          .dropout = o.dropout,
          .dy = o.rows_of(width),
          .dtable = o.values(table ? vocabulary : 0, width),
          .dpositions = o.values(positions_of(o, positions), width)};
}

template <class P>
op::LinearCrossEntropy<P> linear_cross_entropy(Operands<P>& o, int width, int vocabulary, bool bias, bool gradients,
                                               const LossOptions& options) {
  return {.x = o.rows_of(width),
          .weight = o.values(vocabulary, width),
          .bias = o.values(bias ? vocabulary : 0),
          .targets = o.integers(-2, vocabulary),
          .options = options,
          .target_weight = 0.25,
          .sums = &o.sums,
          .dx = o.poison(gradients ? o.count() : 0, width),
          .dweight = o.values(gradients ? vocabulary : 0, width),
          .dbias = o.values(bias && gradients ? vocabulary : 0)};
}

/// `result` is for whoever runs the op to set.
template <class P>
op::RankLogits<P> rank_logits(Operands<P>& o, int vocabulary, int count, bool equal) {
  using T = typename P::Activation;
  using Interval = typename Operands<P>::Interval;
  const Matrix<T> logits = o.uniform(equal ? Interval{0.5, 0.5} : Interval{-1.7, 1.7}, o.count(), vocabulary);
  for (int row = 0; row < logits.rows; ++row)  // some that are never among the largest
    for (int v = row % 3; v < vocabulary; v += 5) logits.row(row)[v] = T(-std::numeric_limits<double>::infinity());
  return {.logits = logits,
          .values = o.poisoned_rows_of(count),
          .indices = o.uniform({-7, -7}, o.count(), count),
          .log_sum = o.poison(o.count())};
}

template <class P>
op::Variance<P> variance(Operands<P>& o, int width) {
  return {.x = o.rows_of(width), .result = nullptr};
}

template <class P>
op::Copy<P> copy(Operands<P>& o, int width, bool add) {
  op::Copy<P> op{.x = o.rows_of(width), .y = {}, .add = add};
  if (add)
    op.y = o.rows_of(width);
  else
    op.y = o.poisoned_rows_of(width);
  return op;
}

template <class P>
op::Zero<P> zero(Operands<P>& o, int width) {
  return {.y = o.poisoned_rows_of(width)};
}

/// As `variance`.
template <class P>
op::SumOfSquares<P> sum_of_squares(Operands<P>& o, int size) {
  return {.x = o.values(size), .result = nullptr};
}

template <class P>
op::Round<P> round(Operands<P>& o, int size) {
  return {.x = o.values(size), .y = o.poison(size)};
}

/// A factor of 0 clears NaNs.
template <class P>
op::Scale<P> scale(Operands<P>& o, int size, double factor) {
  if (factor == 0) return {.x = o.poison(size), .factor = factor};
  return {.x = o.values(size), .factor = factor};
}

template <class P>
op::Average<P> average(Operands<P>& o, int size, double decay) {
  return {.x = o.values(size), .average = o.values(size), .decay = decay};
}

template <class P>
UpdateTarget<P> update_target(Operands<P>& o, int size, double weight_decay) {
  return {.weights = o.values(size),
          .gradient = o.values(size),
          .gradient_scale = 0.5,
          .learning_rate = 0.01,
          .weight_decay = weight_decay};
}

template <class P>
op::Sgd<P> sgd(Operands<P>& o, int size, bool momentum, double factor, bool nesterov) {
  return {.target = update_target(o, size, 0.1),
          .momentum = o.values(momentum ? size : 0),
          .momentum_factor = factor,
          .nesterov = nesterov};
}

template <class P>
op::Adam<P> adam(Operands<P>& o, int size, bool decoupled) {
  return {.target = update_target(o, size, 0.1),
          .first = o.values(size),
          .second = o.uniform({0.5, 1.5}, 1, size),
          .beta1 = 0.9,
          .beta2 = 0.999,
          .epsilon = 1e-8,
          .decoupled = decoupled,
          .step = 3};
}

template <class P>
op::Lion<P> lion(Operands<P>& o, int size) {
  return {.target = update_target(o, size, 0.1), .momentum = o.values(size), .beta1 = 0.9, .beta2 = 0.99};
}

/// Tensors of these shapes, one behind another, with gaps between them as in a parameter buffer.
struct TensorShape {
  int rows, columns;
  Role role;
};
inline std::vector<TensorPlace> table_of(const std::vector<TensorShape>& shapes) {
  std::vector<ParameterInfo> table;
  std::int64_t offset = 0;
  for (const auto& [rows, columns, role] : shapes) {
    table.push_back({.name = std::to_string(table.size()),
                     .role = role,
                     .init = {},
                     .gain = 1,
                     .block = {},
                     .offset = offset,
                     .rows = rows,
                     .columns = columns});
    offset += (table.back().size() + 15) / 16 * 16;
  }
  return places_of(table);
}

/// `table` must outlive the op.
template <class P>
op::Adafactor<P> adafactor(Operands<P>& o, const std::vector<TensorPlace>& table, std::int64_t step) {
  const int size = int(table.back().offset + table.back().size());
  int moments = 0;
  for (const TensorPlace& place : table) moments += place.vector ? place.columns : place.rows + place.columns;
  return {.target = update_target(o, size, 0.1),
          .moments = o.uniform({0.5, 1.5}, 1, moments),
          .table = table,
          .decay_exponent = 0.8,
          .epsilon1 = 1e-30,
          .epsilon2 = 1e-3,
          .clip_threshold = 1,
          .step = step};
}

}  // namespace fathom_test::sample

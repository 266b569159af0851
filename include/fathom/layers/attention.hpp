// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/core/config.hpp>
#include <fathom/core/options.hpp>
#include <fathom/core/root.hpp>
#include <fathom/layers/attention_options.hpp>
#include <fathom/layers/layer.hpp>
#include <fathom/layers/linear.hpp>

namespace fathom::inline FATHOM_ABI {

/// Multi-head self-attention: o = softmax(q kᵀ / sqrt K + bias + mask) v per head, y = o W_outputᵀ + b.
///
/// Shapes     x, y (N, Width); q (N, H·K); k, v (N, Hkv·K), products with rows of one fused weight.
/// Options    KeyValueHeads<n>, Rotary<base> or RelativePositions<buckets, furthest>, NoBias; SaveQueriesAndKeys
///            (default) or SaveAll; what W_output reads in place of o: InnerNorm, a norm of it; HeadScales, a learned
///            factor a head.
/// Gradients  op::AttentionBackward between two linear layers; q and k rotated back before the weights see them.
/// Saves      q and k (rotated), log-sum-exp; with SaveAll, InnerNorm or HeadScales, and where the backend wants it
///            (`Capacity::saves_all`), v and o. Never the T×T matrix.
/// Source     Vaswani et al. 2017, arXiv:1706.03762, section 3.2; Dao et al. 2022, arXiv:2205.14135.
template <int Width, int Heads, class Mask = Causal, class... Options>
struct Attention {
  static_assert(CheckMask<Mask>::value);
  using Shape = AttentionWidths<Width, Heads, Options...>;
  static constexpr const char* name = "attention";
  static constexpr int input_width = Width, output_width = Width;
  static constexpr Sees sees = Mask::causal ? Sees::earlier : Sees::all;
  static constexpr bool caches = true;
  static constexpr int kv_width = Shape::kv_width, fused_width = Width + 2 * kv_width;
  using Relative = RelativeBuckets<typename Shape::Relative, Mask::causal>;
  using Inner = typename Shape::Inner;
  template <class OptionType>
  static constexpr bool has = Shape::template has<OptionType>;

  static constexpr void describe(auto&& fact) {
    Shape::describe(fact);
    fact("mask", Mask::causal ? "causal" : "full");
    fact("rotary", Shape::rotary_base);
    if constexpr (Relative::present) fact("relative_furthest", Relative::furthest);
  }

  template <class T>
  struct Params {
    WeightMatrix<T, fused_width, Width> qkv_weight;  // (query rows, key rows, value rows)
    OptionalVector<T, fused_width, Shape::biased> qkv_bias;
    typename Relative::template Table<T, Heads> relative;
    LinearParams<T, Width, Width, Shape::biased, Role::attention_output> output;
    typename Inner::template Params<T> inner;

    constexpr void each(auto& visitor) {
      visitor.fused(qkv_weight, {Part{"query.weight", Width, Role::query, init::xavier},
                                 Part{"key.weight", kv_width, Role::key, init::xavier},
                                 Part{"value.weight", kv_width, Role::value, init::xavier}});
      if constexpr (Shape::biased)
        visitor.fused(qkv_bias, {Part{"query.bias", Width, Role::bias, init::zeros},
                                 Part{"key.bias", kv_width, Role::bias, init::zeros},
                                 Part{"value.bias", kv_width, Role::bias, init::zeros}});
      if constexpr (Relative::present)
        visitor.tensor("relative.weight", relative, Role::position, init::normal(1 / square_root(Width)));
      visitor.nested("output", output);
      inner.each(visitor);
    }
  };

  template <class P>
  struct Saved {
    Matrix<typename P::Activation> projected;  // q, k and, if it is saved, v
    Rows<typename P::Activation, Width> o;     // if v is
    typename P::Statistic* lse = nullptr;      // (Heads, N)
    typename Inner::template Saved<P> inner;

    static constexpr Saved take(Arena& arena, const Capacity& capacity) {
      const bool values = Option<SaveQueriesAndKeys, Options...>::values || Inner::present || capacity.saves_all ||
                          capacity.forward_only;
      const int columns = values ? fused_width : Width + kv_width;
      Saved saved{};
      saved.projected = {arena.take<typename P::Activation>(std::int64_t(capacity.rows) * columns), capacity.rows,
                         columns};
      if (values) saved.o = arena.rows<typename P::Activation, Width>(capacity.rows);
      saved.lse = arena.take<typename P::Statistic>(std::int64_t(Heads) * capacity.rows);
      saved.inner = Inner::template Saved<P>::take(arena, capacity);
      return saved;
    }
    constexpr bool has_values() const { return projected.columns == fused_width; }
    constexpr Matrix<typename P::Statistic> by_head(int count) const { return {lse, Heads, count}; }
  };

  template <class W, class P = PrecisionOf<W>>
  static constexpr void forward(W& worker, const Params<const typename P::Weight>& p, const Flow<P>& flow,
                                Rows<const typename P::Activation, Width> x, Rows<typename P::Activation, Width> y,
                                Saved<P>& saved) {
    const auto projected = saved.projected.block(0, x.count);
    const auto o = output(worker, saved, x.count);
    worker(product<P>(p, x, 0, projected));
    const auto v = values(worker, p, saved, x);
    if constexpr (Shape::rotates) worker(rotary<P>(projected, false));
    worker(op::AttentionForward<P>{.heads = Heads,
                                   .kv_heads = Shape::kv_heads,
                                   .head_width = Shape::head_width,
                                   .causal = Mask::causal,
                                   .scale = Shape::scale,
                                   .dropout = worker.dropout("attention", worker.dropout_rates().attention),
                                   .packing = &worker.packing(),
                                   .key_packing = &worker.packing(),
                                   .q = query<P>(projected),
                                   .k = key<P>(projected),
                                   .v = v,
                                   .bias = Relative::template bias<P>(p.relative),
                                   .cache = {.keys = flow.take_cache(worker, Shape::kv_heads, Shape::head_width),
                                             .values = flow.take_cache(worker, Shape::kv_heads, Shape::head_width),
                                             .length = flow.cache_length},
                                   .o = o,
                                   .lse = saved.by_head(x.count)});
    const auto read = Shape::inner_output(worker, p.inner, flow, o, saved.inner);
    worker(op::LinearForward<P>{.x = read, .weight = p.output.weight, .bias = p.output.bias, .y = y});
  }

  template <class W, class P = PrecisionOf<W>>
  static constexpr void backward(W& worker, const Params<const typename P::Weight>& p,
                                 const Params<typename P::Gradient>& dp, const Flow<P>& flow,
                                 Rows<const typename P::Activation, Width> x, const Saved<P>& saved,
                                 Rows<const typename P::Activation, Width> dy, Rows<typename P::Stream, Width> dx,
                                 Skip<P> skip) {
    const auto projected = saved.projected.block(0, x.count);
    const auto o = output(worker, saved, x.count);
    const auto v = values(worker, p, saved, x);
    const auto d_o = worker.template rows<typename P::Activation, Width>(x.count);
    const auto dqkv = worker.template rows<typename P::Activation, fused_width>(x.count);
    if constexpr (Inner::present)
      Shape::output_backward(worker, p, dp, flow, o, saved.inner, dy, d_o);
    else
      worker(op::LinearBackwardInput<P>{.dy = dy, .weight = p.output.weight, .skip = {}, .dx = d_o});
    const Matrix<typename P::Activation> output_rows = o, none;
    worker(op::AttentionBackward<P>{.heads = Heads,
                                    .kv_heads = Shape::kv_heads,
                                    .head_width = Shape::head_width,
                                    .causal = Mask::causal,
                                    .scale = Shape::scale,
                                    .dropout = worker.dropout("attention", worker.dropout_rates().attention),
                                    .packing = &worker.packing(),
                                    .key_packing = &worker.packing(),
                                    .q = query<P>(projected),
                                    .k = key<P>(projected),
                                    .v = v,
                                    .bias = Relative::template bias<P>(p.relative),
                                    .o = saved.has_values() ? output_rows : none,
                                    .restored = saved.has_values() ? none : output_rows,
                                    .d_o = d_o,
                                    .lse = saved.by_head(x.count),
                                    .dq = query<P>(dqkv),
                                    .dk = key<P>(dqkv),
                                    .dv = value<P>(dqkv),
                                    .dbias = Relative::elements(dp.relative)});
    if constexpr (!Inner::present)
      worker(op::LinearBackwardWeight<P>{.x = o, .dy = dy, .dweight = dp.output.weight, .dbias = dp.output.bias});
    if constexpr (Shape::rotates) worker(rotary<P>(dqkv, true));
    worker(op::LinearBackwardInput<P>{.dy = dqkv, .weight = p.qkv_weight, .skip = skip, .dx = dx});
    worker(op::LinearBackwardWeight<P>{.x = x, .dy = dqkv, .dweight = dp.qkv_weight, .dbias = dp.qkv_bias});
  }

 private:
  template <class P>
  using Projected = Matrix<typename P::Activation>;
  template <class P>
  static constexpr Projected<P> query(Projected<P> qkv) {
    return qkv.columns_at(0, Width);
  }
  template <class P>
  static constexpr Projected<P> key(Projected<P> qkv) {
    return qkv.columns_at(Width, kv_width);
  }
  template <class P>
  static constexpr Projected<P> value(Projected<P> qkv) {
    return qkv.columns_at(Width + kv_width, kv_width);
  }

  /// Those columns of q, k and v, from `first` on, that y has.
  template <class P>
  static constexpr op::LinearForward<P> product(const Params<const typename P::Weight>& p,
                                                Rows<const typename P::Activation, Width> x, int first,
                                                Projected<P> y) {
    const Matrix<const typename P::Weight> weight = p.qkv_weight;
    const Elements<const typename P::Weight> bias = p.qkv_bias;
    return {.x = x,
            .weight = weight.block(first, y.columns),
            .bias = bias.empty() ? bias : bias.part(first, std::size_t(y.columns)),
            .y = y};
  }
  /// v of the rows x: saved with q and k, or multiplied into workspace.
  template <class W, class P = PrecisionOf<W>>
  static constexpr Projected<P> values(W& worker, const Params<const typename P::Weight>& p, const Saved<P>& saved,
                                       Rows<const typename P::Activation, Width> x) {
    if (saved.has_values()) return value<P>(saved.projected.block(0, x.count));
    const Projected<P> v = worker.template rows<typename P::Activation, kv_width>(x.count);
    worker(product<P>(p, x, Width + kv_width, v));
    return v;
  }
  /// Where o is, or is to be.
  template <class P>
  static constexpr auto output(auto& worker, const Saved<P>& saved, int count) {
    return saved.has_values() ? resized(saved.o, count) : worker.template rows<typename P::Activation, Width>(count);
  }

  template <class P>
  static constexpr op::Rotate<P> rotary(Projected<P> qkv, bool backward) {
    return {.head_width = Shape::head_width,
            .base = Shape::rotary_base,
            .backward = backward,
            .x = qkv.columns_at(0, Width + kv_width)};
  }
};

/// Cross-attention: queries from x, keys and values from the encoder's output `flow.memory` (S, MemoryWidth).
///
/// Gradients  flow.memory_gradient is ADDED TO, because every decoder layer reads one memory.
/// Cache      keys and values of the memory, multiplied in the pass that brings it, and attended to in all others.
/// Otherwise as `Attention`, always full. Options: KeyValueHeads<n>, NoBias, InnerNorm or HeadScales.
template <int Width, int Heads, int MemoryWidth = Width, class... Options>
struct CrossAttention {
  using Shape = AttentionWidths<Width, Heads, Options...>;
  static_assert((!option_is_one_of<Options, SavedTag> && ...),
                "CrossAttention: it saves q, k, v and o; leave SaveAll and SaveQueriesAndKeys out");
  static_assert(!Shape::rotates, "CrossAttention: rotary positions relate tokens of one sequence; leave Rotary out");
  static_assert(!Shape::Relative::present,
                "CrossAttention: relative positions relate tokens of one sequence; leave RelativePositions out");
  static constexpr const char* name = "cross_attention";
  static constexpr int input_width = Width, output_width = Width;
  static constexpr int memory_width = MemoryWidth;
  static constexpr Sees sees = Sees::itself;  // and all of the memory
  static constexpr int kv_width = Shape::kv_width;
  using Inner = typename Shape::Inner;
  template <class OptionType>
  static constexpr bool has = Shape::template has<OptionType>;

  static constexpr void describe(auto&& fact) { Shape::describe(fact); }

  template <class T>
  struct Params {
    WeightMatrix<T, Width, Width> query_weight;
    OptionalVector<T, Width, Shape::biased> query_bias;
    WeightMatrix<T, 2 * kv_width, MemoryWidth> kv_weight;  // (key rows, value rows)
    OptionalVector<T, 2 * kv_width, Shape::biased> kv_bias;
    LinearParams<T, Width, Width, Shape::biased, Role::attention_output> output;
    typename Inner::template Params<T> inner;

    constexpr void each(auto& visitor) {
      visitor.tensor("query.weight", query_weight, Role::query, init::xavier);
      visitor.fused(kv_weight, {Part{"key.weight", kv_width, Role::key, init::xavier},
                                Part{"value.weight", kv_width, Role::value, init::xavier}});
      if constexpr (Shape::biased) {
        visitor.tensor("query.bias", query_bias, Role::bias, init::zeros);
        visitor.fused(kv_bias, {Part{"key.bias", kv_width, Role::bias, init::zeros},
                                Part{"value.bias", kv_width, Role::bias, init::zeros}});
      }
      visitor.nested("output", output);
      inner.each(visitor);
    }
  };

  template <class P>
  struct Saved {
    Rows<typename P::Activation, Width> q, o;
    Rows<typename P::Activation, 2 * kv_width> kv;  // (S, 2 Hkv K)
    typename P::Statistic* lse = nullptr;           // (Heads, N)
    typename Inner::template Saved<P> inner;

    static constexpr Saved take(Arena& arena, const Capacity& capacity) {
      return {arena.rows<typename P::Activation, Width>(capacity.rows),
              arena.rows<typename P::Activation, Width>(capacity.rows),
              arena.rows<typename P::Activation, 2 * kv_width>(capacity.memory_rows),
              arena.take<typename P::Statistic>(std::int64_t(Heads) * capacity.rows),
              Inner::template Saved<P>::take(arena, capacity)};
    }
    constexpr Matrix<typename P::Statistic> by_head(int count) const { return {lse, Heads, count}; }
  };

  template <class W, class P = PrecisionOf<W>>
  static constexpr void forward(W& worker, const Params<const typename P::Weight>& p, const Flow<P>& flow,
                                Rows<const typename P::Activation, Width> x, Rows<typename P::Activation, Width> y,
                                Saved<P>& saved) {
    const auto q = resized(saved.q, x.count);
    const auto o = resized(saved.o, x.count);
    const auto kv = resized(saved.kv, flow.memory.rows);
    if (kv.count > 0) {
      const auto source = worker.on(*flow.memory_packing);
      worker(op::LinearForward<P>{.x = flow.memory, .weight = p.kv_weight, .bias = p.kv_bias, .y = kv});
    }
    worker(op::LinearForward<P>{.x = x, .weight = p.query_weight, .bias = p.query_bias, .y = q});
    const KeyValueCache<P> cache{.keys = flow.take_memory_cache(Shape::kv_heads, Shape::head_width),
                                 .values = flow.take_memory_cache(Shape::kv_heads, Shape::head_width),
                                 .length = flow.memory_cache_length};
    const auto attend = [&] {
      worker(op::AttentionForward<P>{.heads = Heads,
                                     .kv_heads = Shape::kv_heads,
                                     .head_width = Shape::head_width,
                                     .causal = false,
                                     .scale = Shape::scale,
                                     .dropout = worker.dropout("attention", worker.dropout_rates().attention),
                                     .packing = &worker.packing(),
                                     .key_packing = flow.memory_packing,
                                     .q = q,
                                     .k = kv.template columns<0, kv_width>(),
                                     .v = kv.template columns<kv_width, kv_width>(),
                                     .bias = {},
                                     .cache = cache,
                                     .o = o,
                                     .lse = saved.by_head(x.count)});
    };
    if (flow.memory_readers == nullptr) {
      attend();
    } else {
      const auto by_memory = worker.on(*flow.memory_readers);
      attend();
    }
    const auto read = Shape::inner_output(worker, p.inner, flow, o, saved.inner);
    worker(op::LinearForward<P>{.x = read, .weight = p.output.weight, .bias = p.output.bias, .y = y});
  }

  template <class W, class P = PrecisionOf<W>>
  static constexpr void backward(W& worker, const Params<const typename P::Weight>& p,
                                 const Params<typename P::Gradient>& dp, const Flow<P>& flow,
                                 Rows<const typename P::Activation, Width> x, const Saved<P>& saved,
                                 Rows<const typename P::Activation, Width> dy, Rows<typename P::Stream, Width> dx,
                                 Skip<P> skip) {
    const auto q = resized(saved.q, x.count);
    const auto o = resized(saved.o, x.count);
    const auto kv = resized(saved.kv, flow.memory.rows);
    const auto d_o = worker.template rows<typename P::Activation, Width>(x.count);
    const auto dq = worker.template rows<typename P::Activation, Width>(x.count);
    const auto dkv = worker.template rows<typename P::Activation, 2 * kv_width>(kv.count);
    Shape::output_backward(worker, p, dp, flow, o, saved.inner, dy, d_o);
    worker(op::AttentionBackward<P>{.heads = Heads,
                                    .kv_heads = Shape::kv_heads,
                                    .head_width = Shape::head_width,
                                    .causal = false,
                                    .scale = Shape::scale,
                                    .dropout = worker.dropout("attention", worker.dropout_rates().attention),
                                    .packing = &worker.packing(),
                                    .key_packing = flow.memory_packing,
                                    .q = q,
                                    .k = kv.template columns<0, kv_width>(),
                                    .v = kv.template columns<kv_width, kv_width>(),
                                    .bias = {},
                                    .o = o,
                                    .restored = {},
                                    .d_o = d_o,
                                    .lse = saved.by_head(x.count),
                                    .dq = dq,
                                    .dk = dkv.template columns<0, kv_width>(),
                                    .dv = dkv.template columns<kv_width, kv_width>(),
                                    .dbias = {}});
    worker(op::LinearBackwardInput<P>{.dy = dq, .weight = p.query_weight, .skip = skip, .dx = dx});
    worker(op::LinearBackwardWeight<P>{.x = x, .dy = dq, .dweight = dp.query_weight, .dbias = dp.query_bias});
    const auto source = worker.on(*flow.memory_packing);
    worker(op::LinearBackwardInput<P>{
        .dy = dkv, .weight = p.kv_weight, .skip = {flow.memory_gradient, 1}, .dx = flow.memory_gradient});
    worker(op::LinearBackwardWeight<P>{.x = flow.memory, .dy = dkv, .dweight = dp.kv_weight, .dbias = dp.kv_bias});
  }
};

}  // namespace fathom::inline FATHOM_ABI

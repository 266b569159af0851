// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <fathom/core/config.hpp>
#include <fathom/core/options.hpp>
#include <fathom/layers/layer.hpp>
#include <fathom/layers/norm.hpp>
#include <fathom/layers/repeat.hpp>
#include <type_traits>

namespace fathom::inline FATHOM_ABI {

/// Where the norm of a block stands: behind its output, on the way into the history, or behind the sum that the next
/// block reads.
enum class DlclForm { pre, post };

/// A block and that norm.
template <class Block, class NormLayer>
struct HistoryBlock {
  template <class T>
  struct Params {
    typename Block::template Params<T> block;
    typename NormLayer::template Params<T> norm;

    constexpr void each(auto& visitor) {
      block.each(visitor);
      visitor.nested("history", norm);
    }
  };
};

/// The run-time loops of `Dlcl`, instantiated once whatever the depth.
template <class BlockType, class NormLayer, DlclForm Form>
struct DlclLoop {
  using Block = BlockType;
  using Layers = HistoryBlock<Block, NormLayer>;
  static constexpr int width = Block::output_width;
  static constexpr bool post = Form == DlclForm::post;

  /// What one block leaves for its backward, whether stored for all blocks or computed again for one: its input and
  /// output, and, in the post form, the sum whose norm is its input.
  template <class P>
  struct Step {
    StreamOut<P, width> x, y;
    Rows<typename P::Stream, width> sum;
    typename Block::template Saved<P> block;
    typename NormLayer::template Saved<P> norm;

    static constexpr Step take(Arena& arena, const Capacity& capacity) {
      Step step{};
      step.x = take_stream<P, width>(arena, capacity.rows);
      step.y = take_stream<P, width>(arena, capacity.rows);
      if constexpr (post) step.sum = arena.rows<typename P::Stream, width>(capacity.rows);
      step.block = Block::template Saved<P>::take(arena, capacity);
      step.norm = NormLayer::template Saved<P>::take(arena, capacity);
      return step;
    }
  };
  /// `Step` as a layer's `Saved`, so that an array of them is laid out like an array of blocks.
  struct StepLayer {
    template <class P>
    using Saved = Step<P>;
  };

  template <class P>
  struct Saved {
    int depth = 0, recomputed = 0;                 // the first ones
    bool saves_all = false;                        // they too
    RowsArray<typename P::Stream, width> history;  // x, then the output of every block, in the pre form normed
    SavedArray<StepLayer, P> steps;
    Rows<typename P::Stream, width> sum;  // over all of them, in the post form
    typename NormLayer::template Saved<P> norm;

    static constexpr Saved take(Arena& arena, const Capacity& capacity, int depth, int recomputed) {
      Saved saved{};
      saved.depth = depth, saved.recomputed = recomputed, saved.saves_all = capacity.saves_all;
      saved.history = RowsArray<typename P::Stream, width>::take(arena, depth + 1, capacity.rows);
      if constexpr (post) {
        saved.sum = arena.rows<typename P::Stream, width>(capacity.rows);
        saved.norm = NormLayer::template Saved<P>::take(arena, capacity);
      }
      if (recomputed < depth) saved.steps = SavedArray<StepLayer, P>::take(arena, depth - recomputed, capacity);
      return saved;
    }
    /// For the recomputed ones, one after another.
    constexpr Step<P> scratch(auto& worker) const {
      if (recomputed == 0) return {};
      return SavedArray<StepLayer, P>::take(worker.workspace(), 1, saving(worker.packing().capacity, saves_all))[0];
    }
    constexpr Step<P> step(int index, const Step<P>& again) const {
      return index < recomputed ? again : steps[index - recomputed];
    }
  };

  template <class W, class Blocks, class P = PrecisionOf<W>>
  static constexpr void forward(W& worker, Elements<const typename P::Weight> weights, const Blocks& p, Flow<P> flow,
                                StreamIn<P, width> x, StreamOut<P, width> y, Saved<P>& saved) {
    const auto frame = worker.frame();
    const auto again = saved.scratch(worker);
    worker(op::Copy<P>{.x = as_stream(x), .y = saved.history.at(0, x.count)});
    for (int index = 0; index < saved.depth; ++index) {
      auto step = saved.step(index, again);
      forward_block(worker, weights, p, flow, index, saved, step, x.count);
    }
    if constexpr (post) {
      const auto sum = resized(saved.sum, x.count);
      combine(worker, weights, saved, saved.depth, only_stream<P>(sum));
      NormLayer::forward(worker, p[saved.depth - 1].norm, flow, sum, y, saved.norm);
    } else {
      combine(worker, weights, saved, saved.depth, y);
    }
  }

  template <class W, class Blocks, class Gradients, class P = PrecisionOf<W>>
  static constexpr void backward(W& worker, Elements<const typename P::Weight> weights, const Blocks& p,
                                 Elements<typename P::Gradient> dweights, const Gradients& dp, Flow<P> flow,
                                 const Saved<P>& saved, Rows<const typename P::Stream, width> dy,
                                 Rows<typename P::Stream, width> dx, Skip<P> skip) {
    const auto frame = worker.frame();
    const int rows = dy.count;
    const auto again = saved.scratch(worker);
    const auto dhistory =
        RowsArray<typename P::Stream, width>::take(worker.workspace(), saved.depth + 1, worker.packing().capacity.rows);
    for (int index = 0; index <= saved.depth; ++index) worker(op::Zero<P>{.y = dhistory.at(index, rows)});
    if constexpr (post) {
      const auto d_sum = worker.template rows<typename P::Stream, width>(rows);
      NormLayer::backward(worker, p[saved.depth - 1].norm, dp[saved.depth - 1].norm, flow, resized(saved.sum, rows),
                          saved.norm, dy, d_sum, {});
      combine_backward(worker, weights, dweights, saved, saved.depth, d_sum, dhistory);
    } else {
      combine_backward(worker, weights, dweights, saved, saved.depth, dy, dhistory);
    }
    for (int index = saved.depth - 1; index >= 0; --index) {
      const auto inner = worker.frame();
      auto step = saved.step(index, again);
      if (index < saved.recomputed) {
        const auto forward = worker.frame();
        forward_block(worker, weights, p, flow, index, saved, step, rows);
      }
      const auto scope = worker.scope("blocks", index);
      flow.block = {index, saved.depth};
      const auto d_in = worker.template rows<typename P::Stream, width>(rows);
      const auto d_norm = worker.template rows<typename P::Stream, width>(rows);
      Rows<const typename P::Stream, width> d_out = dhistory.at(index + 1, rows), d_sum = d_in;
      if constexpr (!post) {
        NormLayer::backward(worker, p[index].norm, dp[index].norm, flow, as_stream(resized(step.y, rows)), step.norm,
                            d_out, d_norm, {});
        d_out = d_norm;
      }
      Block::backward(worker, p[index].block, dp[index].block, flow, resized(step.x, rows), step.block, d_out, d_in,
                      {});
      if (post && index > 0) {
        NormLayer::backward(worker, p[index - 1].norm, dp[index - 1].norm, flow, resized(step.sum, rows), step.norm,
                            d_in, d_norm, {});
        d_sum = d_norm;
      }
      combine_backward(worker, weights, dweights, saved, index, d_sum, dhistory);
    }
    worker(op::Copy<P>{.x = dhistory.at(0, rows), .y = dx});
    if (skip.value)
      worker(op::ResidualAdd<P>{.x = skip.value, .f = dx, .a = {skip.scale, {}}, .b = {}, .dropout = {}, .y = dx});
  }

 private:
  /// Row l of the triangle: the weights of x and of the first l blocks in the input of block l.
  template <class T>
  static constexpr Elements<T> row(Elements<T> weights, int index) {
    return weights.part(std::int64_t(index) * (index + 1) / 2, std::size_t(index) + 1);
  }

  template <class W, class Blocks, class P = PrecisionOf<W>>
  static constexpr void forward_block(W& worker, Elements<const typename P::Weight> weights, const Blocks& p,
                                      Flow<P>& flow, int index, const Saved<P>& saved, Step<P>& step, int rows) {
    const auto turn = worker.turn();
    const auto scope = worker.scope("blocks", index);
    flow.block = {index, saved.depth};
    const auto x = resized(step.x, rows), y = resized(step.y, rows);
    if (post && index > 0) {
      const auto sum = resized(step.sum, rows);
      combine(worker, weights, saved, index, only_stream<P>(sum));
      NormLayer::forward(worker, p[index - 1].norm, flow, sum, x, step.norm);
    } else {
      combine(worker, weights, saved, index, x);
    }
    Block::forward(worker, p[index].block, flow, x, y, step.block);
    const auto kept = saved.history.at(index + 1, rows);
    if constexpr (post)
      worker(op::Copy<P>{.x = as_stream(y), .y = kept});
    else
      NormLayer::forward(worker, p[index].norm, flow, as_stream(y), only_stream<P>(kept), step.norm);
  }

  template <class W, class P = PrecisionOf<W>>
  static constexpr void combine(W& worker, Elements<const typename P::Weight> weights, const Saved<P>& saved, int index,
                                StreamOut<P, width> y) {
    worker(op::WeightedSum<P>{.first = saved.history.at(0, y.count),
                              .pitch = saved.history.pitch,
                              .count = index + 1,
                              .weights = row(weights, index),
                              .y = y});
  }

  template <class W, class P = PrecisionOf<W>>
  static constexpr void combine_backward(W& worker, Elements<const typename P::Weight> weights,
                                         Elements<typename P::Gradient> dweights, const Saved<P>& saved, int index,
                                         Rows<const typename P::Stream, width> dy,
                                         const RowsArray<typename P::Stream, width>& dhistory) {
    worker(op::WeightedSumBackward<P>{.first = saved.history.at(0, dy.count),
                                      .pitch = saved.history.pitch,
                                      .count = index + 1,
                                      .weights = row(weights, index),
                                      .dy = dy,
                                      .dfirst = dhistory.at(0, dy.count),
                                      .dweights = row(dweights, index)});
  }
};

/// Dynamic linear combination of layers: a stack like `Repeat`, but block l reads Σ_{k<=l} W[l, k] h_k with h_0 = x and
/// h_k = norm_k(output of block k − 1); the output is one more such sum over all of them. That is the pre form, for
/// blocks with a pre-norm. In the post form, for those with a post-norm, h_k is the output itself, and norms stand
/// behind the sums of two and more: norm_l(Σ_{k<=l} W[l, k] h_k).
///
/// Parameters history.weight, the rows of the lower triangle W one after another, row l starting at 1 / (l + 1); for
///            every block a norm `history`, norm_k of block k − 1 in either form.
/// Gradients  of h_k: the sum over all later rows.
/// Memory     O(depth) rows even with Recompute<1>, which keeps the h_k alone.
/// Source     Wang et al. 2019, arXiv:1906.01787, section 3.
template <int N, class BlockType, class RecomputePolicy = StoreAll,
          class NormLayer = LayerNorm<BlockType::output_width>, DlclForm Form = DlclForm::pre>
struct Dlcl : Composition<BlockType, NormLayer> {
  static_assert(N > 0, "Dlcl: the number of blocks must be positive");
  static_assert(CheckChain<0, BlockType::output_width, BlockType::input_width>::value);
  static_assert(CheckChain<0, BlockType::output_width, NormLayer::input_width>::value);
  using Block = BlockType;
  using Loop = DlclLoop<Block, NormLayer, Form>;
  static constexpr const char* name = "stack";
  static constexpr int depth = N;
  static constexpr int input_width = Block::input_width, output_width = Block::output_width;
  static constexpr bool stores = RecomputePolicy::segment(N) == 0;

  static constexpr void describe(auto&& fact) {
    fact("kind", Form == DlclForm::pre ? "dlcl" : "dlcl_post");
    fact("history_norm", std::type_identity<NormLayer>{});
  }

  template <class T>
  struct Params {
    Vector<T, (N + 1) * (N + 2) / 2> history;
    BlockParams<T, N, typename Loop::Layers> blocks;

    constexpr void each(auto& visitor) {
      visitor.tensor("history.weight", history, Role::history, init::triangle);
      visitor.blocks("blocks", blocks);
    }
  };
  template <class P>
  struct Saved : Loop::template Saved<P> {
    static constexpr Saved take(Arena& arena, const Capacity& capacity) {
      const bool all = !stores || capacity.forward_only;
      return {Loop::template Saved<P>::take(arena, capacity, N, all ? N : std::min(capacity.recomputed, N))};
    }
  };

  template <class W, class P = PrecisionOf<W>>
  static constexpr void forward(W& worker, const Params<const typename P::Weight>& p, const Flow<P>& flow,
                                StreamIn<P, input_width> x, StreamOut<P, output_width> y, Saved<P>& saved) {
    Loop::forward(worker, p.history, p.blocks.any_count(), flow, x, y, saved);
  }
  template <class W, class P = PrecisionOf<W>>
  static constexpr void backward(W& worker, const Params<const typename P::Weight>& p,
                                 const Params<typename P::Gradient>& dp, const Flow<P>& flow,
                                 StreamIn<P, input_width>, const Saved<P>& saved,
                                 Rows<const typename P::Stream, output_width> dy,
                                 Rows<typename P::Stream, input_width> dx, Skip<P> skip) {
    Loop::backward(worker, p.history, p.blocks.any_count(), dp.history, dp.blocks.any_count(), flow, saved, dy, dx,
                   skip);
  }
};

/// The post form of `Dlcl`.
template <int N, class BlockType, class RecomputePolicy = StoreAll,
          class NormLayer = LayerNorm<BlockType::output_width>>
using DlclPost = Dlcl<N, BlockType, RecomputePolicy, NormLayer, DlclForm::post>;

}  // namespace fathom::inline FATHOM_ABI

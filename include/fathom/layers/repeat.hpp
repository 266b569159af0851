// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <fathom/core/config.hpp>
#include <fathom/core/options.hpp>
#include <fathom/core/root.hpp>
#include <fathom/layers/layer.hpp>

namespace fathom::inline FATHOM_ABI {

struct RecomputeTag {};
/// Every block's activations stay until its backward; but for the first blocks, where `Capacity::recomputed` says so.
struct StoreAll {
  using tag = RecomputeTag;
  static constexpr int segment(int) { return 0; }
};
/// Only the input of every `Every`-th block stays; the blocks between are computed again, one segment at a time.
template <int Every>
struct Recompute {
  static_assert(Every > 0, "Recompute: name the number of blocks of a segment, at least 1");
  using tag = RecomputeTag;
  static constexpr int segment(int) { return Every; }
};
/// Segments of about sqrt(N) blocks: activations grow with sqrt(N).   Source: Chen et al. 2016, arXiv:1604.06174.
struct RecomputeSqrt {
  using tag = RecomputeTag;
  static constexpr int segment(int depth) {
    const int root = int(square_root(depth));
    return root * root < depth ? root + 1 : root;
  }
};

/// `count` equal buffers of rows, one behind another.
template <class T, int Width>
struct RowsArray {
  T* data = nullptr;
  std::int64_t pitch = 0;

  static constexpr RowsArray take(Arena& arena, int count, int rows) {
    const std::int64_t pitch = align_up(std::int64_t(rows) * Width * std::int64_t(sizeof(T))) / std::int64_t(sizeof(T));
    return {arena.take<T>(count * pitch), pitch};
  }
  constexpr Rows<T, Width> at(int index, int rows) const { return {offset(data, index * pitch), rows}; }
  constexpr RowsArray from(int index) const { return {offset(data, index * pitch), pitch}; }
};

/// The same of a stream.
template <class P, int Width>
struct BothRowsArray {
  RowsArray<typename P::Stream, Width> stream;
  RowsArray<typename P::Activation, Width> branch;

  static constexpr BothRowsArray take(Arena& arena, int count, int rows) {
    return {decltype(stream)::take(arena, count, rows), decltype(branch)::take(arena, count, rows)};
  }
  constexpr StreamOut<P, Width> at(int index, int rows) const { return {stream.at(index, rows), branch.at(index, rows)}; }
  constexpr BothRowsArray from(int index) const { return {stream.from(index), branch.from(index)}; }
};
template <class P, int Width>
using StreamArray =
    std::conditional_t<branches_read_stream<P>, RowsArray<typename P::Stream, Width>, BothRowsArray<P, Width>>;

/// What `count` equal blocks save, one behind another, bound on demand.
template <class Block, class P>
struct SavedArray {
  using Saved = typename Block::template Saved<P>;
  std::byte* data = nullptr;
  std::int64_t pitch = 0;
  Capacity capacity;

  static constexpr SavedArray take(Arena& arena, int count, const Capacity& capacity) {
    const std::int64_t pitch = saved_bytes<Block, P>(capacity);
    return {arena.take<std::byte>(count * pitch), pitch, capacity};
  }
  constexpr Saved operator[](int index) const {
    Arena arena(offset(data, index * pitch), pitch);
    return Saved::take(arena, capacity);
  }
};

/// The run-time loops of a stack: instantiated once per block, whatever the depth, which comes as an ordinary integer.
template <class BlockType>
struct BlockLoop {
  using Block = BlockType;
  static constexpr int width = Block::output_width;
  static constexpr bool keeps_outputs = !restores_output<Block>;

  template <class P>
  using Streams = StreamArray<P, width>;

  /// The first `recomputed` blocks come in segments, of which the inputs alone stay; of all others everything does.
  template <class P>
  struct Saved {
    int depth = 0, segment = 1, recomputed = 0;
    bool saves_all = false;       // what a block does that is computed again, too
    SavedArray<Block, P> blocks;  // of the blocks behind the recomputed ones
    Streams<P> inputs;            // of segments 1, 2, …; of block `recomputed`, unless it is the first; of those behind
                                  // it, unless they are restored

    constexpr int segments() const { return (recomputed + segment - 1) / segment; }
    /// For blocks that are computed again.
    constexpr SavedArray<Block, P> take_again(auto& worker, int count) const {
      return SavedArray<Block, P>::take(worker.workspace(), count, saving(worker.packing().capacity, saves_all));
    }

    static constexpr Saved take(Arena& arena, const Capacity& capacity, int depth, int segment, int recomputed) {
      Saved saved{depth, segment, recomputed, capacity.saves_all, {}, {}};
      const int stored = depth - recomputed;
      if (stored > 0) saved.blocks = SavedArray<Block, P>::take(arena, stored, capacity);
      const int behind = stored > 0 && keeps_outputs ? stored - 1 : 0;
      const int kept = (stored > 0 ? saved.segments() : saved.segments() - 1) + behind;
      saved.inputs = Streams<P>::take(arena, kept, capacity.rows);
      return saved;
    }
  };

  template <class W, class Blocks, class P = PrecisionOf<W>>
  static constexpr void forward(W& worker, const Blocks& p, Flow<P> flow, StreamIn<P, width> x,
                                StreamOut<P, width> y, const Saved<P>& saved) {
    const auto frame = worker.frame();
    const int stored = saved.depth - saved.recomputed;
    const auto streams = take_streams<P>(worker, saved.recomputed > 0 || !keeps_outputs ? 2 : 0);
    // Block `index` reads x and writes `out`, or y if it is the last.
    const auto forward_to = [&](int index, StreamOut<P, width> out, typename Block::template Saved<P> block) {
      if (index + 1 == saved.depth) out = y;
      forward_block(worker, p, flow, index, saved.depth, x, out, block);
      x = out;
    };
    if (saved.recomputed > 0) {
      const auto again = saved.take_again(worker, 1);
      worker.repeat(saved.recomputed, flow.cache, [&](int index) {
        const int end = index + 1;
        const bool stays = end < saved.depth && (end == saved.recomputed || end % saved.segment == 0);
        forward_to(index, stays ? saved.inputs.at(index / saved.segment, x.count) : streams.at(index % 2, x.count),
                   again[0]);
      });
    }
    const auto outputs = saved.inputs.from(saved.segments());
    worker.repeat(stored, flow.cache, [&](int place) {
      const bool stays = keeps_outputs && place + 1 < stored;
      forward_to(saved.recomputed + place, stays ? outputs.at(place, x.count) : streams.at(place % 2, x.count),
                 saved.blocks[place]);
    });
  }

  template <class W, class Blocks, class Gradients, class P = PrecisionOf<W>>
  static constexpr void backward(W& worker, const Blocks& p, const Gradients& dp, Flow<P> flow,
                                 StreamIn<P, width> x, const Saved<P>& saved,
                                 Rows<const typename P::Stream, width> dy, Rows<typename P::Stream, width> dx,
                                 Skip<P> skip) {
    const auto frame = worker.frame();
    const auto gradients = RowsArray<typename P::Stream, width>::take(worker.workspace(), 2,
                                                                      worker.packing().capacity.rows);
    // The blocks [begin, end): `first` is the input of the first one, `blocks` what they saved, `outputs` theirs if
    // kept.
    const auto backward_range = [&](int begin, int end, StreamIn<P, width> first,
                                    const SavedArray<Block, P>& blocks, const Streams<P>& outputs) {
      worker.repeat(end - begin, [&](int done) {
        const int index = end - 1 - done, place = index - begin;
        const auto inner = worker.frame();
        const StreamIn<P, width> input =
            place == 0 ? first : output<P>(worker, p, flow, index - 1, blocks, outputs, place - 1, x.count);
        const auto scope = worker.scope("blocks", index);
        flow.block = {index, saved.depth};
        const auto d = index == 0 ? dx : gradients.at(index % 2, x.count);
        Block::backward(worker, p[index], dp[index], flow, input, blocks[place], dy, d, index == 0 ? skip : Skip<P>{});
        dy = d;
      });
    };
    const int segments = saved.segments();
    if (saved.recomputed < saved.depth)
      backward_range(saved.recomputed, saved.depth, segments == 0 ? x : saved.inputs.at(segments - 1, x.count),
                     saved.blocks, saved.inputs.from(segments));
    if (segments == 0) return;
    const int longest = std::min(saved.segment, saved.recomputed);
    const auto blocks = saved.take_again(worker, longest);
    const auto outputs = take_streams<P>(worker, keeps_outputs ? longest : 2);
    worker.repeat(segments, [&](int done) {
      const int segment = segments - 1 - done, begin = segment * saved.segment;
      const int end = std::min(begin + saved.segment, saved.recomputed);
      const StreamIn<P, width> first = segment == 0 ? x : saved.inputs.at(segment - 1, x.count);
      {
        const auto inner = worker.frame();
        auto input = first;
        worker.repeat(end - begin, [&](int place) {
          const auto out = outputs.at(keeps_outputs ? place : place % 2, x.count);
          auto block = blocks[place];
          forward_block(worker, p, flow, begin + place, saved.depth, input, out, block);
          input = out;
        });
      }
      backward_range(begin, end, first, blocks, outputs);
    });
  }

 private:
  /// What block `index` put out, which is at `place` of the arrays.
  template <class P>
  static constexpr StreamIn<P, width> output(auto& worker, const auto& p, const Flow<P>& flow, int index,
                                             const SavedArray<Block, P>& blocks, const Streams<P>& outputs, int place,
                                             int rows) {
    if constexpr (keeps_outputs) {
      return outputs.at(place, rows);
    } else {
      const auto scope = worker.scope("blocks", index);
      const auto y = take_stream<P, width>(worker.workspace(), rows);
      Block::restore(worker, p[index], flow, blocks[place], y);
      return y;
    }
  }

  template <class P>
  static constexpr auto take_streams(auto& worker, int count) {
    return Streams<P>::take(worker.workspace(), count, worker.packing().capacity.rows);
  }

  template <class W, class Blocks, class P = PrecisionOf<W>>
  static constexpr void forward_block(W& worker, const Blocks& p, Flow<P>& flow, int index, int depth,
                                      StreamIn<P, width> x, StreamOut<P, width> y,
                                      typename Block::template Saved<P>& saved) {
    const auto turn = worker.turn();
    const auto scope = worker.scope("blocks", index);
    flow.block = {index, depth};
    Block::forward(worker, p[index], flow, x, y, saved);
  }
};

/// `N` copies of one block, one after another: N times the parameters, one instantiation of the code.
///
/// Shapes     x, y (width) rows.
/// Options    what backward finds stored: StoreAll (default), Recompute<every>, RecomputeSqrt; gradients are bit-equal.
/// Saves      StoreAll: what every block saves, and its output unless it restores that; of the first
///            `Capacity::recomputed` blocks their inputs alone. Otherwise the inputs of segments.
template <int N, class BlockType, class... Options>
struct Repeat : Composition<BlockType> {
  static_assert(N > 0, "Repeat: the number of blocks must be positive");
  static_assert((option_is_one_of<Options, RecomputeTag> && ...),
                "Repeat: an option that it does not know; it takes StoreAll, Recompute<every>, RecomputeSqrt");
  static_assert(CheckChain<0, BlockType::output_width, BlockType::input_width>::value);
  using Block = BlockType;
  using Loop = BlockLoop<Block>;
  static constexpr const char* name = "stack";
  static constexpr int depth = N;
  static constexpr int input_width = Block::input_width, output_width = Block::output_width;
  static constexpr int segment = Option<StoreAll, Options...>::segment(N);

  template <class T>
  struct Params {
    BlockParams<T, N, Block> blocks;
    constexpr void each(auto& visitor) { visitor.blocks("blocks", blocks); }
  };
  template <class P>
  struct Saved : Loop::template Saved<P> {
    static constexpr Saved take(Arena& arena, const Capacity& capacity) {
      const int every = capacity.forward_only ? N : segment;
      return {Loop::template Saved<P>::take(arena, capacity, N, std::max(every, 1),
                                            every > 0 ? N : std::min(capacity.recomputed, N))};
    }
  };

  template <class W, class P = PrecisionOf<W>>
  static constexpr void forward(W& worker, const Params<const typename P::Weight>& p, const Flow<P>& flow,
                                StreamIn<P, input_width> x, StreamOut<P, output_width> y, Saved<P>& saved) {
    Loop::forward(worker, p.blocks.any_count(), flow, x, y, saved);
  }
  template <class W, class P = PrecisionOf<W>>
  static constexpr void backward(W& worker, const Params<const typename P::Weight>& p,
                                 const Params<typename P::Gradient>& dp, const Flow<P>& flow,
                                 StreamIn<P, input_width> x, const Saved<P>& saved,
                                 Rows<const typename P::Stream, output_width> dy,
                                 Rows<typename P::Stream, input_width> dx, Skip<P> skip) {
    Loop::backward(worker, p.blocks.any_count(), dp.blocks.any_count(), flow, x, saved, dy, dx, skip);
  }
};

}  // namespace fathom::inline FATHOM_ABI

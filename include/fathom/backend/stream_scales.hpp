// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <fathom/backend/observed.hpp>
#include <fathom/backend/ops.hpp>
#include <fathom/backend/worker.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/precision.hpp>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace fathom::inline FATHOM_ABI {

/// What the residual stream of one block looked like in a forward pass. All are standard deviations over all elements
/// of a batch, or ratios of such.
struct BlockScales {
  std::string stack;        ///< the scopes around the block, such as encoder; empty: none
  int block = 0;            ///< its index there
  double activation = 0;    ///< of the last sum in the block, behind its norm where it has one
  double norm_input = 0;    ///< mean over the norms in the block of what they read; 0 without norms
  std::vector<double> norm_inputs = {};  ///< of each of them, in the order in which they run
  double branch_share = 0;  ///< mean over the sums in the block: the added branch by the scaled skip
};

/// What an observer begins with that watches the blocks of forward passes.
class BlockObserver {
 public:
  void start() {}
  void stop() {}
  void leave() {
    if (scopes_.back().name == "forward") forward_ = false;
    scopes_.pop_back();
  }
  void begin(const auto& /*op*/) {}

 protected:
  /// Whether a block of a forward pass begins with this scope.
  bool begins_block(std::string_view name, int index) {
    scopes_.push_back({std::string(name), index});
    if (name == "forward") forward_ = true;
    return forward_ && name == "blocks";
  }
  bool in_block() const {
    return forward_ && std::ranges::any_of(scopes_, [](const Scope& scope) { return scope.name == "blocks"; });
  }
  /// Whether an op adds a branch to the stream of its block, or the input of its layer to one.
  template <class P>
  bool adds_branch(const op::ResidualAdd<P>& op) const {
    return in_block() && op.x && scopes_.back().name != layer_input_scope;
  }
  /// The scopes between the pass and the block, such as encoder; empty: none.
  std::string around() const {
    std::string text;
    bool inside = false;
    for (const Scope& scope : scopes_) {
      if (inside && scope.name != "blocks")
        text += (text.empty() ? "" : ".") + scope.name + (scope.index < 0 ? "" : "." + std::to_string(scope.index));
      inside = inside || scope.name == "forward";
    }
    return text;
  }

 private:
  struct Scope {
    std::string name;
    int index;
  };

  std::vector<Scope> scopes_;
  bool forward_ = false;
};

/// Watches the sums and norms of forward passes, one op at a time. A stream whose type is not that of activations is
/// rounded to it before it is measured.
template <class B>
class StreamScales : public BlockObserver {
  using P = typename B::Precision;
  using Stream = Matrix<const typename P::Stream>;
  using Rounded = typename P::Activation;

 public:
  void enter(std::string_view name, int index) {
    if (begins_block(name, index)) blocks_.push_back({.scales = {.stack = around(), .block = index}});
  }
  /// The same of every op: what they need does not hang on extents.
  static constexpr void each_own(const auto& /*op*/, auto&& f) {
    f(op::Variance<P>{});
    f(op::ResidualAdd<P>{});
  }
  template <class Op>
  void end(const Op& op, typename B::Lane& lane) {
    if (!in_block()) return;
    if constexpr (std::is_same_v<Op, op::ResidualAdd<P>>) {
      if (adds_branch(op)) sum(lane, op.x, op.a, stream_of(op.y), op.y);
    } else if constexpr (std::is_same_v<Op, op::ResidualAddNorm<P>>) {
      sum(lane, op.x, op.a, op.z, op.y);
      norm(lane, op.z);
    } else if constexpr (std::is_same_v<Op, op::Norm<P>>) {
      norm(lane, op.x);
    }
  }

  /// Of each block, in the order in which they ran.
  std::vector<BlockScales> blocks() const {
    std::vector<BlockScales> result;
    for (const Block& block : blocks_) {
      result.push_back(block.scales);
      if (const std::size_t norms = block.scales.norm_inputs.size(); norms > 0)
        result.back().norm_input /= double(norms);
      if (block.sums > 0) result.back().branch_share /= block.sums;
    }
    return result;
  }

 private:
  struct Block {
    BlockScales scales;
    int sums = 0;
  };

  /// z = a ⊙ x + branch, and y behind it.
  void sum(typename B::Lane& lane, const Stream& x, const ResidualScale<P>& a, const Stream& z,
           const StreamResult<P>& y) {
    const double skip = deviation(lane, {}, x, a);
    Block& block = blocks_.back();
    block.scales.branch_share += deviation(lane, z, x, {-a.constant, a.learned}) / skip;
    block.scales.activation = deviation(lane, stream_of(y) ? stream_of(y) : z);
    ++block.sums;
  }
  void norm(typename B::Lane& lane, const Stream& x) {
    BlockScales& scales = blocks_.back().scales;
    scales.norm_inputs.push_back(deviation(lane, x));
    scales.norm_input += scales.norm_inputs.back();
  }

  static Stream stream_of(const StreamResult<P>& y) {
    if constexpr (branches_read_stream<P>)
      return y;
    else
      return y.stream;
  }
  double deviation(typename B::Lane& lane, const Stream& x) {
    if constexpr (branches_read_stream<P>)
      return deviation_of(lane, x);
    else
      return deviation(lane, {}, x, {});
  }
  /// Of base + factor ⊙ x.
  double deviation(typename B::Lane& lane, const Stream& base, const Stream& x, const ResidualScale<P>& factor) {
    const std::int64_t size = std::int64_t(x.rows) * x.columns;
    if (size > spare_.size()) spare_ = typename B::template Buffer<Rounded>(size);
    const Matrix<Rounded> spare(spare_.data(), x.rows, x.columns);
    if constexpr (branches_read_stream<P>)
      B::run(lane, op::ResidualAdd<P>{.x = base, .f = x, .a = {}, .b = factor, .dropout = {}, .y = spare});
    else
      B::run(lane, op::ResidualAdd<P>{.x = base, .f = {x, {}}, .a = {}, .b = factor, .dropout = {}, .y = {{}, spare}});
    return deviation_of(lane, spare);
  }
  double deviation_of(typename B::Lane& lane, const Matrix<const Rounded>& x) {
    double variance = 0;
    B::run(lane, op::Variance<P>{.x = x, .result = variance_.data()});
    lane.read(&variance, variance_.data(), sizeof variance);
    return std::sqrt(variance);
  }

  std::vector<Block> blocks_;
  typename B::template Buffer<Rounded> spare_;
  typename B::template Buffer<double> variance_{1};
};

/// Backend `B`, on one lane, that tells the scales of the streams that it has computed.
template <class B>
struct WatchStreams : Observed<B, StreamScales<B>> {
  struct Machine : Observed<B, StreamScales<B>>::Machine {
    using Observed<B, StreamScales<B>>::Machine::Machine;
    std::vector<BlockScales> blocks() const { return this->observers().front().blocks(); }
  };
};

}  // namespace fathom::inline FATHOM_ABI

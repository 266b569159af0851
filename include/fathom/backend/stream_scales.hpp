// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <fathom/backend/observed.hpp>
#include <fathom/backend/ops.hpp>
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

/// Watches the sums and norms of forward passes, one op at a time.
template <class B>
class StreamScales {
  using P = typename B::Precision;
  static_assert(branches_read_stream<P>, "StreamScales: it watches streams that have the type of activations");
  using T = typename P::Stream;

 public:
  void start() {}
  void stop() {}
  void enter(std::string_view name, int index) {
    scopes_.push_back({std::string(name), index});
    if (name == "forward") forward_ = true;
    if (name == "blocks" && forward_) blocks_.push_back({.scales = {.stack = around(), .block = index}});
  }
  void leave() {
    if (scopes_.back().name == "forward") forward_ = false;
    scopes_.pop_back();
  }
  void begin(const auto& /*op*/) {}
  /// The same of every op: what they need does not hang on extents.
  static constexpr void each_own(const auto& /*op*/, auto&& f) {
    f(op::Variance<P>{});
    f(op::ResidualAdd<P>{});
  }
  template <class Op>
  void end(const Op& op, typename B::Lane& lane) {
    if (!in_block()) return;
    if constexpr (std::is_same_v<Op, op::ResidualAdd<P>>) {
      if (op.x) sum(lane, op.x, op.a, op.y, op.y);
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
  struct Scope {
    std::string name;
    int index;
  };
  struct Block {
    BlockScales scales;
    int sums = 0;
  };

  bool in_block() const {
    return forward_ && std::ranges::any_of(scopes_, [](const Scope& scope) { return scope.name == "blocks"; });
  }
  /// The scopes between the pass and the block.
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

  /// z = a ⊙ x + branch, and y behind it.
  void sum(typename B::Lane& lane, const Matrix<const T>& x, const ResidualScale<P>& a, const Matrix<const T>& z,
           const Matrix<const T>& y) {
    const std::int64_t size = std::int64_t(z.rows) * z.columns;
    if (size > spare_.size()) spare_ = typename B::template Buffer<T>(size);
    const Matrix<T> spare(spare_.data(), z.rows, z.columns);
    const auto scaled = [&](double constant, const ResidualScale<P>& scale) {
      return ResidualScale<P>{constant * scale.constant, scale.learned};
    };
    B::run(lane, op::ResidualAdd<P>{.x = {}, .f = x, .a = {}, .b = a, .dropout = {}, .y = spare});
    const double skip = deviation(lane, spare);
    B::run(lane, op::ResidualAdd<P>{.x = z, .f = x, .a = {}, .b = scaled(-1, a), .dropout = {}, .y = spare});
    Block& block = blocks_.back();
    block.scales.branch_share += deviation(lane, spare) / skip;
    block.scales.activation = deviation(lane, y);
    ++block.sums;
  }
  void norm(typename B::Lane& lane, const Matrix<const T>& x) {
    BlockScales& scales = blocks_.back().scales;
    scales.norm_inputs.push_back(deviation(lane, x));
    scales.norm_input += scales.norm_inputs.back();
  }
  double deviation(typename B::Lane& lane, const Matrix<const T>& x) {
    double variance = 0;
    B::run(lane, op::Variance<P>{.x = x, .result = variance_.data()});
    lane.read(&variance, variance_.data(), sizeof variance);
    return std::sqrt(variance);
  }

  std::vector<Scope> scopes_;
  bool forward_ = false;
  std::vector<Block> blocks_;
  typename B::template Buffer<T> spare_;
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

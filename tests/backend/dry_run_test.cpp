// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/models/language_model.hpp>

namespace dry_run_test {

using namespace fathom;

constexpr Capacity capacity{.rows = 96, .sequences = 3, .longest = 32};
constexpr DropoutRates dropout{.residual = 0.1};

template <int Depth, class... Options>
using Model = LanguageModel<
    Vocabulary<37>, ContextLength<32>,
    Repeat<Depth, Sequence<Residual<PostNorm, Attention<16, 2>>, Residual<PreNorm, FeedForward<16, 32>>>, Options...>>;

/// A dry run that goes through every block of a stack.
template <class B>
struct OfEveryBlock {
  using Precision = typename B::Precision;
  struct Lane : DryRun<B>::Lane {
    void repeat();  // hides the one that leaves blocks out
  };
  static void run(Lane& lane, const auto& op) { DryRun<B>::run(lane, op); }
};

template <class M, class B>
PassCost cost_of_every_block() {
  using P = typename B::Precision;
  typename OfEveryBlock<B>::Lane lane;
  Arena saved_memory, workspace;
  const Packing packing{capacity, {}, {}, {}, {}};
  Worker<OfEveryBlock<B>> worker(lane, workspace, packing, Pass{{}, dropout});
  auto saved = M::template Saved<P>::take(saved_memory, capacity);
  const TokenBatch batch{packing, {}, {}};
  M::forward(worker, {}, Flow<P>{}, batch, saved);
  M::backward(worker, {}, {}, Flow<P>{}, batch, saved, LossOptions{}, 1);
  return {{.workspace = workspace.peak(), .scratch = lane.scratch}, lane.flops};
}

template <class M>
void require_cost_of_every_block() {
  const PassCost dry = training_cost<M, Cpu<>>(capacity, dropout), all = cost_of_every_block<M, Cpu<>>();
  CHECK(dry.flops == all.flops);
  CHECK(dry.size.workspace == all.size.workspace);
  CHECK(dry.size.scratch == all.size.scratch);
}

TEST_CASE("a dry run of a few blocks counts what one of all blocks counts", "[dry_run]") {
  require_cost_of_every_block<Model<1>>();
  require_cost_of_every_block<Model<2>>();
  require_cost_of_every_block<Model<3>>();
  require_cost_of_every_block<Model<4>>();
  require_cost_of_every_block<Model<9>>();
  require_cost_of_every_block<Model<1, RecomputeSqrt>>();
  require_cost_of_every_block<Model<9, RecomputeSqrt>>();
  require_cost_of_every_block<Model<10, RecomputeSqrt>>();
  require_cost_of_every_block<Model<9, Recompute<1>>>();
  require_cost_of_every_block<Model<9, Recompute<4>>>();
  require_cost_of_every_block<Model<9, Recompute<20>>>();
}

/// Workspace of blocks of three layers, in that of blocks of one.
template <int Width>
constexpr double workspace_of_three() {
  using Layer = FeedForward<Width, 4 * Width>;
  const auto workspace = []<class Block>(std::type_identity<Block>) {
    using M = LanguageModel<Vocabulary<2>, ContextLength<32>, Repeat<2, Block>>;
    return double(training_cost<M, Cpu<>>(capacity).size.workspace);
  };
  return workspace(std::type_identity<Sequence<Layer, Layer, Layer>>{}) / workspace(std::type_identity<Layer>{});
}
static_assert(workspace_of_three<64>() > 2);
static_assert(workspace_of_three<256>() < 2, "the layers of a wide block share their workspace");

// 10,000 layers are within what compilers evaluate.
static_assert(training_cost<Model<10000, RecomputeSqrt>, Cpu<>>(capacity).flops > 0);

}  // namespace dry_run_test

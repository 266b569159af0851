// SPDX-License-Identifier: Apache-2.0
#include <fathom/testing/row_check.hpp>

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <fathom/backend/cpu/cpu.hpp>
#include <tuple>
#include <type_traits>

#include "support/convolution.hpp"
#include "support/layer_lists.hpp"
#include "support/temporary_directory.hpp"

namespace row_check_test {

using namespace fathom_test;
using Catch::Matchers::ContainsSubstring;

template <class... Layers>
void require_facts(std::type_identity<std::tuple<Layers...>>, const testing::LayerRows& batch = {}) {
  const auto check = [&]<class L>(std::type_identity<L>) {
    INFO(L::name << " of " << parameter_count<L>() << " parameters");
    REQUIRE(testing::seen_rows<L>(batch) == L::sees);
    if constexpr (reads_in_pieces<L>) REQUIRE(testing::check_cache<L>(batch).error <= 1e-12);
  };
  (check(std::type_identity<Layers>{}), ...);
}

TEST_CASE("rows see what their layer says, also in pieces with a cache", "[testing]") {
  require_facts(std::type_identity<LinearLayers>{});
  require_facts(std::type_identity<NormLayers>{});
  require_facts(std::type_identity<AttentionLayers>{});
  require_facts(std::type_identity<MemoryLayers>{}, {.memory_lengths = {2, 3, 1}, .memory_width = memory_width});
  require_facts(std::type_identity<SmoothFeedForwardLayers>{});
  require_facts(std::type_identity<KinkedFeedForwardLayers>{});
  require_facts(std::type_identity<ResidualLayers>{});
  require_facts(std::type_identity<CompositionLayers>{});
  require_facts(std::type_identity<std::tuple<Convolution<4>, Repeat<2, Residual<PreNorm, Convolution<4>>>>>{});
}

template <Sees Said>
struct Says : Linear<4, 4> {
  static constexpr Sees sees = Said;
};
TEST_CASE("rows do not see as much as a layer says", "[testing]") {
  CHECK(testing::seen_rows<Says<Sees::all>>() == Sees::itself);
}
static_assert(Sequence<Says<Sees::itself>, Says<Sees::itself>>::sees == Sees::itself);
static_assert(Sequence<Says<Sees::earlier>, Says<Sees::itself>>::sees == Sees::earlier);
static_assert(Residual<PreNorm, Sequence<Says<Sees::earlier>, Says<Sees::all>>>::sees == Sees::all);
static_assert(Repeat<3, Says<Sees::all>>::sees == Sees::all && Dlcl<3, Says<Sees::earlier>>::sees == Sees::earlier);

static_assert(reads_in_pieces<Says<Sees::itself>> && !reads_in_pieces<Says<Sees::earlier>>);
static_assert(reads_in_pieces<Block<PreNorm>> && reads_in_pieces<Convolution<4>>);
static_assert(!reads_in_pieces<Attention<4, 2, Full>> && reads_in_pieces<CrossAttention<8, 2>>);
static_assert(!reads_in_pieces<Repeat<2, Sequence<Attention<4, 2>, Residual<PreNorm, Says<Sees::earlier>>>>>);

/// Sees what is before it in the batch, whosever it is.
struct Leaks : Convolution<4, 2> {
  static constexpr void forward(auto& worker, const auto& p, const auto& flow, auto x, auto y, auto& saved) {
    const PackedRows one = PackedRows::uniform(1, x.count);
    const Packing packing = worker.packing().sequences() > 0 ? one.view() : worker.packing();
    const auto elsewhere = worker.on(packing);
    Convolution<4, 2>::forward(worker, p, flow, x, y, saved);
  }
};
TEST_CASE("a layer that mixes sequences is refused", "[testing]") {
  CHECK_THAT(message_of<Error>([] { testing::seen_rows<Leaks>(); }), ContainsSubstring("row 4 changes with row 3 of"));
}

/// Says that it caches and does not.
struct Forgets : Convolution<4> {
  template <class W, class P = PrecisionOf<W>>
  static constexpr void forward(W& worker, const auto& p, Flow<P> flow, auto x, auto y, auto& saved) {
    flow.cache = nullptr;
    const Packing& packing = worker.packing();
    const Packing fresh{packing.capacity, packing.offsets, packing.shards, packing.sequence_shard, {}};
    const auto elsewhere = worker.on(fresh);
    Convolution<4>::forward(worker, p, flow, x, y, saved);
  }
};
TEST_CASE("a cache that holds nothing is found out", "[testing]") {
  CHECK(testing::check_cache<Forgets>().error > 0.1);
}

TEST_CASE("a layer of one's own caches on all cores", "[testing][threads]") {
  const testing::LayerRows batch{.lengths = {9, 14, 1}};
  CHECK(testing::check_cache<Convolution<4>, Cpu<Double>>(batch, {.threads = 2}).error <= 1e-14);
}

}  // namespace row_check_test

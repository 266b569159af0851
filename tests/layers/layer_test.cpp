// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include "support/layer_lists.hpp"

namespace layer_test {

using namespace fathom_test;

template <class... Layers>
constexpr bool all_are_layers(std::type_identity<std::tuple<Layers...>>) {
  return (Layer<Layers> && ...) && (std::is_empty_v<Layers> && ...);
}
static_assert(all_are_layers(std::type_identity<LinearLayers>{}) && all_are_layers(std::type_identity<NormLayers>{}));
static_assert(all_are_layers(std::type_identity<AttentionLayers>{}));
static_assert(all_are_layers(std::type_identity<MemoryLayers>{}));
static_assert(all_are_layers(std::type_identity<SmoothFeedForwardLayers>{}));
static_assert(all_are_layers(std::type_identity<KinkedFeedForwardLayers>{}));
static_assert(all_are_layers(std::type_identity<ResidualLayers>{}));
static_assert(all_are_layers(std::type_identity<CompositionLayers>{}));

struct NoName : Linear<4, 4> {
  struct name {};
};
struct NoWidth {
  [[maybe_unused]] static constexpr const char* name = "no width";
  template <class T>
  using Params = NoParams<T>;
  template <class P>
  using Saved = NothingSaved<P>;
};
struct NoSees : Linear<4, 4> {
  struct sees {};
};
struct NoList : Linear<4, 4> {
  template <class T>
  struct Params {};
};
struct NoLayout : Linear<4, 4> {
  template <class P>
  struct Saved {};
};
static_assert(!Layer<int> && !Layer<NoName> && !Layer<NoWidth> && !Layer<NoList> && !Layer<NoLayout> && !Layer<NoSees>);
static_assert(!HasShapes<NoName> && !HasShapes<NoWidth> && !HasParams<NoList> && !HasSaved<NoLayout> &&
              !HasSees<NoSees>);

TEST_CASE("tensors are named by the path to them", "[layers]") {
  const auto named = [](const auto& table, const std::string& name) {
    return std::ranges::count(table, name, &ParameterInfo::name) == 1;
  };
  const auto block = describe<Repeat<2, Block<PreNorm>>>();
  REQUIRE(named(block, "blocks.1.attention.query.weight"));
  REQUIRE(named(block, "blocks.1.attention.norm.gain"));
  REQUIRE(named(block, "blocks.0.feed_forward.output.bias"));
  const auto siblings = describe<Sequence<Linear<4, 4>, LayerNorm<4>, Linear<4, 4>>>();
  REQUIRE(named(siblings, "linear.0.weight"));
  REQUIRE(named(siblings, "linear.1.bias"));
  REQUIRE(named(siblings, "norm.gain"));
}

TEST_CASE("decayed tensors come first, none over another", "[layers]") {
  using L = Repeat<3, Block<Admin>>;
  std::vector<char> owner(std::size_t(parameter_extent<L>().total()));
  std::int64_t count = 0;
  for (const ParameterInfo& info : describe<L>()) {
    INFO(info.name);
    REQUIRE((info.offset < parameter_extent<L>().decayed) == decays(info.role));
    for (std::int64_t i = info.offset; i < info.offset + info.size(); ++i) REQUIRE(owner.at(std::size_t(i))++ == 0);
    count += info.size();
  }
  REQUIRE(count == parameter_count<L>());
}

}  // namespace layer_test

// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <fathom/core/buffer.hpp>
#include <fathom/core/parameters.hpp>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace parameters_test {

using namespace fathom;

// A made-up model of which only the parameters matter: stacks in a stack, a gap behind each tensor.
template <class T>
struct Leaf {
  WeightMatrix<T, 3, 5> weight;
  Vector<T, 17> bias;
  constexpr void each(auto& visitor) {
    visitor.tensor("weight", weight, Role::linear, init::normal(0.5));
    visitor.tensor("bias", bias, Role::bias, init::constant(2));
  }
};
double inner(Role, BlockIndex) { return 0.25; }
template <class T>
struct Branch {
  Leaf<T> leaf;
  WeightMatrix<T, 6, 4> weight;
  Vector<T, 6> bias;
  constexpr void each(auto& visitor) {
    visitor.scaled(&inner, leaf);
    visitor.fused(weight, {Part{"query", 3, Role::query, init::xavier}, Part{"key", 1, Role::key, init::ones},
                           Part{"value", 2, Role::value, init::xavier}});
    visitor.fused(bias, {Part{"query_b", 4, Role::bias, init::zeros}, Part{"value_b", 2, Role::bias, init::ones}});
  }
};
double outer(Role role, BlockIndex at) { return role == Role::value ? 10 + at.index : at.depth; }
struct Block {
  template <class T>
  struct Params {
    Branch<T> branch;
    Leaf<T> first, second;
    constexpr void each(auto& visitor) {
      visitor.scaled(&outer, branch);
      visitor.nested("leaf", first, 0);
      visitor.nested("leaf", second, 1);
    }
  };
};
template <int Count, class Inner>
struct Stack {
  template <class T>
  struct Params {
    WeightMatrix<T, 7, 3> embedding, logits;
    BlockParams<T, Count, Inner> blocks;
    constexpr void each(auto& visitor) {
      visitor.tensor("embedding", embedding, Role::embedding, init::zeros);
      visitor.blocks("blocks", blocks);
      visitor.tensor("logits", logits, Role::logits, init::zeros);
    }
  };
};
using Model = Stack<3, Block>;
using Tower = Stack<2, Model>;

// Sizes by hand: the layout rounds tensors up to 16 elements each, the count leaves the gaps out.
constexpr bool equal(Extent a, Extent b) { return a.decayed == b.decayed && a.plain == b.plain; }
static_assert(equal(parameter_extent<Block>(), {80, 112}) && equal(BlockArray<float, Block>::stride, {80, 112}));
static_assert(equal(parameter_extent<Model>(), {3 * 80 + 32, 32 + 3 * 112}));
static_assert(equal(parameter_extent<Tower>(), 2 * parameter_extent<Model>() + Extent{32, 32}));
static_assert(parameter_count<Block>() == 3 * (15 + 17) + 24 + 6);
static_assert(parameter_count<Tower>() == 2 * 21 + 2 * (2 * 21 + 3 * parameter_count<Block>()));
static_assert(bind_parameters<Model, float>(nullptr).blocks[2].second.bias.data == nullptr, "a dry run's are null");

static_assert([] {
  Extent at{0, 160};
  const bool decayed = at.take(true, 1) == 0 && at.take(true, 16) == 16 && at.take(true, 17) == 32;
  return decayed && at.take(false, 5) == 160 && equal(at, {64, 176}) && at.total() == 240;
}());
static_assert(equal(Extent{1, 2} + 3 * Extent{10, 20}, {31, 62}));

constexpr bool all_decay(auto... roles) { return (decays(roles) && ...); }
constexpr bool none_decays(auto... roles) { return (!decays(roles) && ...); }
static_assert(all_decay(Role::query, Role::key, Role::value, Role::attention_output, Role::linear, Role::logits));
static_assert(all_decay(Role::decayed_embedding, Role::decayed_position));
static_assert(all_decay(Role::feed_forward_input, Role::feed_forward_gate, Role::feed_forward_output));
static_assert(none_decays(Role::embedding, Role::position, Role::bias, Role::norm_gain));
static_assert(none_decays(Role::skip_scale, Role::branch_scale, Role::logit_scale, Role::history));

/// Another visitor: the elements of every named tensor, as the views of a `Params` reach them.
struct NamedTensors : ParameterVisitor<NamedTensors> {
  std::vector<std::span<float>> tensors;

  void tensor(std::string_view, auto& view, Role, Init) {
    tensors.push_back({view.data, std::size_t(view.rows) * view.columns});
  }
  void fused(auto& view, std::initializer_list<Part> parts) {
    float* data = view.data;
    for (const Part& part : parts) {
      tensors.push_back({data, std::size_t(view.rows == 1 ? part.rows : part.rows * view.columns)});
      data += tensors.back().size();
    }
  }
  void blocks(std::string_view, auto& blocks) {
    for (int index = 0; index < blocks.count; ++index) {
      auto block = blocks.any_count()[index];
      block.each(*this);
    }
  }
};

TEST_CASE("the table says where the bound views are, and they leave the gaps alone", "[core]") {
  Buffer<float> buffer(parameter_extent<Tower>().total());
  NamedTensors elements;
  bind_parameters<Tower>(buffer.data()).each(elements);
  const auto table = describe<Tower>();
  REQUIRE(table.size() == elements.tensors.size());
  for (std::size_t i = 0; i < table.size(); ++i) {
    INFO(table[i].name);
    CHECK(table[i].offset == elements.tensors[i].data() - buffer.data());
    CHECK(table[i].size() == std::int64_t(elements.tensors[i].size()));
    for (float& element : elements.tensors[i]) element += 1;
  }
  CHECK(std::ranges::count(buffer.span(), 1.0f) == parameter_count<Tower>());
  CHECK(std::ranges::count(buffer.span(), 0.0f) == buffer.size() - parameter_count<Tower>());
}

TEST_CASE("tensors are named in the order of the layout, siblings and blocks by number", "[core]") {
  std::vector<std::string> names, expected = {"embedding"};
  for (const ParameterInfo& info : describe<Model>()) names.push_back(info.name);
  for (const std::string block : {"blocks.0.", "blocks.1.", "blocks.2."})
    for (const char* const name : {"weight", "bias", "query", "key", "value", "query_b", "value_b", "leaf.0.weight",
                                   "leaf.0.bias", "leaf.1.weight", "leaf.1.bias"})
      expected.push_back(block + name);
  expected.push_back("logits");
  CHECK(names == expected);
}

template <class L>
std::map<std::string, ParameterInfo> described() {
  std::map<std::string, ParameterInfo> result;
  for (const ParameterInfo& info : describe<L>()) result.emplace(info.name, info);
  return result;
}

TEST_CASE("block i is i strides behind the first, a part of a fused tensor behind the parts before it", "[core]") {
  const auto table = described<Model>();
  CHECK(table.at("logits").offset == 3 * 80);  // the last that decays; behind it those that do not
  CHECK(table.at("embedding").offset == 3 * 80 + 32);
  const ParameterInfo& key = table.at("blocks.1.key");
  CHECK((key.offset == 80 + 16 + 3 * 4 && key.rows == 1 && key.columns == 4));
  CHECK((key.role == Role::key && !key.is_vector()));  // a matrix of one row
  const ParameterInfo& bias = table.at("blocks.2.value_b");
  CHECK((bias.offset == 272 + 32 + 2 * 112 + 32 + 4 && bias.rows == 1 && bias.columns == 2));
  CHECK((bias.role == Role::bias && bias.is_vector()));
}

TEST_CASE("initial values come through, the gain is that of the innermost policy around a tensor", "[core]") {
  const auto table = described<Tower>();
  const auto check = [&](const std::string& name, Init init, double gain, int index, int depth) {
    INFO(name);
    const ParameterInfo& info = table.at(name);
    CHECK((info.init.kind == init.kind && info.init.value == init.value && info.gain == gain));
    CHECK((info.block.index == index && info.block.depth == depth));
  };
  check("blocks.1.embedding", init::zeros, 1, 1, 2);
  check("blocks.1.blocks.2.weight", init::normal(0.5), 0.25, 2, 3);
  check("blocks.1.blocks.2.query", init::xavier, 3, 2, 3);  // the outer policy again; its answer here is the depth
  check("blocks.1.blocks.2.value", init::xavier, 12, 2, 3);
  check("blocks.1.blocks.2.key", init::ones, 3, 2, 3);
  check("blocks.1.blocks.2.leaf.1.bias", init::constant(2), 1, 2, 3);
  check("blocks.1.logits", init::zeros, 1, 1, 2);  // the outer stack's place again
  check("logits", init::zeros, 1, 0, 0);
}

}  // namespace parameters_test

// SPDX-License-Identifier: Apache-2.0
#include "backend/ops/check_op.hpp"

namespace mixed_test {

/// Every op of a mixed precision computes what Ref<float> computes from the same numbers, and rounds each result once:
/// the two differ by half a unit in the last place of the result's type, and by what floats leave open.
using namespace fathom_test;
using sample::Into;
using sample::Keys;

/// A stream of 16 bits whose branches are floats, and gradients of 16 bits: everything the other way round.
struct Reversed {
  using Weight = float;
  using Activation = float;
  using Stream = Bf16;
  using Statistic = F16;
  using Gradient = Bf16;
  using Master = float;
};
#if defined(FATHOM_TEST_CUDA)
using MixedBackends = std::tuple<Cuda<Mixed>>;
#else
using MixedBackends = std::tuple<Ref<Mixed>, Ref<MixedOf<F16>>, Ref<MixedOf<Bf16, Bf16>>, Ref<Reversed>, Cpu<Mixed>>;
#endif

/// What a machine may be off by, absolutely, because its products read the gradient of logits as bf16: half a unit of
/// each, times an operand below 1.7, summed up over 37 words or some of 150 rows, of a loss that counts a quarter.
template <class B>
constexpr double rounded_logits = std::is_same_v<B, Ref<typename B::Precision>> ? 0 : 0.0075;

/// Where a machine rounds what its second product reads, as tensor cores want probabilities, the relative errors of all
/// terms are below a unit of their type, as is the result's and that of what terms are made of. So a sum of some of
/// them is off by little of the largest sum, and all sums together are off by less than three units of their size.
template <class B>
constexpr bool rounds_probabilities = !std::is_same_v<B, Ref<typename B::Precision>> && has_own_memory<B>;

/// The largest of a block's numbers, and the root of the mean of their squares; NaNs do not count.
struct Size {
  double largest = 0, mean = 0;
};
template <class F>
Size size_of(std::int64_t count, F&& number) {
  Size size;
  std::int64_t numbers = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const double x = number(i);
    if (std::isnan(x)) continue;
    size.largest = std::max(size.largest, std::abs(x));
    size.mean += x * x;
    ++numbers;
  }
  if (numbers > 0) size.mean = std::sqrt(size.mean / double(numbers));
  return size;
}

template <class B, class Make>
void check_rounding(Make make, double slack = 0, bool rounds_terms = false, const std::deque<OpRows>& all = all_rows(),
                    const std::vector<double>& rates = {0.0, 0.3}) {
  for (const OpRows& rows : all)
    for (const double dropout : rates) {
      INFO("rows " << rows.name << ", dropout " << dropout);
      Context<Ref<float>> reference;
      choose_machine(0);
      const auto actual = run_op(machines<B>().front(), rows, dropout, 1, make, true);
      for (std::size_t i = 1; i < machines<B>().size(); ++i) {
        choose_machine(i);
        require_equal_bits(actual, run_op(machines<B>()[i], rows, dropout, 1, make, true));
      }
      const auto expected = run_op(reference, rows, dropout, 1, make, true);
      const auto& blocks = expected.operands.blocks();
      const auto require_rounded = [slack, rounds_terms](const auto& block, const auto& floats) {
        REQUIRE(block.count == floats.count);
        testing::Difference worst;
        double of_terms = 0;
        if (rounds_terms) {
          const Size floats_size = size_of(floats.count, [&](std::int64_t i) { return floats[i]; });
          const Size error = size_of(floats.count, [&](std::int64_t i) { return block[i] - floats[i]; });
          REQUIRE(error.mean <= 3 * block.unit * floats_size.mean);
          of_terms = 4 * block.unit * floats_size.largest;
        }
        for (std::int64_t i = 0; i < block.count; ++i) {
          const double allowed =
              block.unit * std::abs(floats[i]) + 1e-5 * std::max(1.0, std::abs(floats[i])) + slack + of_terms;
          if (std::abs(block[i] - floats[i]) <= allowed) continue;
          worst.add(block[i], floats[i], 0, 0, i);
        }
        INFO("element " << worst.column << ": " << worst.actual << ", expected " << worst.expected << ", rounded");
        REQUIRE(worst.error == 0);
      };
      REQUIRE(actual.operands.blocks().size() == blocks.size());
      for (std::size_t n = 0; n < blocks.size(); ++n) {
        INFO("operand " << n);
        require_rounded(actual.operands.blocks()[n], blocks[n]);
      }
      for (const auto& twin : actual.operands.twins()) {
        INFO("operand " << twin.index << ", as branches have it");
        require_rounded(twin.block, blocks[twin.index]);
      }
      REQUIRE(testing::relative_error(actual.result, expected.result, 1) <= 1e-5);
      REQUIRE(testing::relative_error(actual.operands.sums.cross_entropy, expected.operands.sums.cross_entropy, 1) <=
              1e-5);
    }
}

TEMPLATE_LIST_TEST_CASE("mixed: products", "[ops][mixed]", MixedBackends) {
  for (const bool some : {false, true}) {
    check_rounding<TestType>([=](auto& o) { return sample::linear(o, 36, 20, some); });
    check_rounding<TestType>([=](auto& o) { return sample::linear_backward_input(o, 36, 20, some); });
    check_rounding<TestType>([=](auto& o) { return sample::linear_backward_weight(o, 36, 20, some); });
    for (const LossOptions& options : {LossOptions{}, LossOptions{.smoothing = 0.1, .z_loss = 1e-2}})
      check_rounding<TestType>([=](auto& o) { return sample::linear_cross_entropy(o, 20, 37, some, some, options); },
                               some ? rounded_logits<TestType> : 0);
  }
  check_rounding<TestType>([=](auto& o) { return sample::linear_backward_input(o, 36, 20, true, Into::skip); });
}

#if !defined(FATHOM_TEST_CUDA)
TEST_CASE("mixed: threads deal the columns of wide products of few rows", "[ops][mixed][threads]") {
  std::deque<OpRows> few;
  few.emplace_back("one", Layout{}, std::vector(1, 1));
  few.emplace_back("four", Layout{}, std::vector(4, 1));
  few.emplace_back("seven", Layout{}, std::vector(7, 1));
  few.emplace_back("sixteen", Layout{}, std::vector(16, 1));
  few.emplace_back("two sequences", Layout{}, std::vector{5, 7});
  for (const bool bias : {false, true})
    check_rounding<Cpu<Mixed>>([=](auto& o) { return sample::linear(o, 712, 301, bias); }, 1e-4, false, few, {0.0});
}
#endif

TEMPLATE_LIST_TEST_CASE("mixed: ranks of logits", "[ops][mixed]", MixedBackends) {
  check_rounding<TestType>([](auto& o) { return sample::rank_logits(o, 37, 6, false); });
}

TEMPLATE_LIST_TEST_CASE("mixed: attention", "[ops][mixed]", MixedBackends) {
  const auto check = [](const sample::Heads& heads, bool causal, Keys keys, bool biased) {
    constexpr bool rounds = rounds_probabilities<TestType>;
    const bool restores = keys == Keys::longer;  // what is restored is rounded, and then read
    check_rounding<TestType>([=](auto& o) { return sample::attention(o, heads, causal, keys, false, biased); }, 0,
                             rounds);
    check_rounding<TestType>(
        [=](auto& o) { return sample::attention_backward(o, heads, causal, keys, restores, biased); }, 0,
        rounds || restores);
  };
  check({6, 2, 8}, true, Keys::own, false);
  check({6, 2, 8}, true, Keys::longer, false);
  check({4, 4, 8}, false, Keys::other, true);
  check({2, 1, 20}, true, Keys::own, true);
  check_rounding<TestType>([](auto& o) { return sample::attention(o, {6, 2, 8}, true, Keys::longer, true, false); }, 0,
                           rounds_probabilities<TestType>);
  for (const bool backward : {false, true})
    check_rounding<TestType>([=](auto& o) { return sample::rotary(o, 3, 12, backward); });
  const std::vector<CacheCopy> copies{{1, 0, 9}, {1, 3, 4}, {2, 4, 0}};
  check_rounding<TestType>([&copies](auto& o) { return sample::copy_cache(o, {6, 3, 8}, copies); });
}

/// Operands as libraries want them: aligned, without gaps. Without dropout, for which a library may have other masks.
TEMPLATE_LIST_TEST_CASE("mixed: attention of aligned rows", "[ops][mixed]", MixedBackends) {
  std::deque<OpRows> aligned;
  aligned.emplace_back("few", Layout{}, std::vector{3, 1, 4});
  aligned.emplace_back("long", Layout{}, std::vector{70});
  aligned.emplace_back("ragged", Layout{}, std::vector{20, 5, 33, 1});
  const auto check = [&](const sample::Heads& heads, bool causal, Keys keys) {
    constexpr bool rounds = rounds_probabilities<TestType>;
    check_rounding<TestType>([=](auto& o) { return sample::attention(o, heads, causal, keys, false, false); }, 0,
                             rounds, aligned, {0.0});
    for (const bool restores : {false, true})
      check_rounding<TestType>(
          [=](auto& o) { return sample::attention_backward(o, heads, causal, keys, restores, false); }, 0,
          rounds || restores, aligned, {0.0});
  };
  check({4, 4, 8}, true, Keys::own);
  check({2, 2, 16}, false, Keys::own);
  check({2, 2, 8}, false, Keys::other);
  check({1, 1, 64}, true, Keys::own);
}

/// As wide as tiles of 16 bits are on a GPU, and wider.
TEMPLATE_LIST_TEST_CASE("mixed: attention of wide heads", "[ops][mixed]", MixedBackends) {
  constexpr bool rounds = rounds_probabilities<TestType>;
  for (const int width : {72, 136}) {
    check_rounding<TestType>(
        [=](auto& o) { return sample::attention(o, {1, 1, width}, true, Keys::own, false, false); }, 0, rounds);
    check_rounding<TestType>(
        [=](auto& o) { return sample::attention_backward(o, {1, 1, width}, true, Keys::own, true, false); }, 0, true);
  }
}

TEMPLATE_LIST_TEST_CASE("mixed: activations, norms and residual adds", "[ops][mixed]", MixedBackends) {
  constexpr int width = 20;
  for (const auto kind : {ActivationKind::gelu, ActivationKind::silu}) {
    check_rounding<TestType>([=](auto& o) { return sample::activation(o, kind, kind == ActivationKind::silu, width); });
    check_rounding<TestType>(
        [=](auto& o) { return sample::activation_backward(o, kind, kind == ActivationKind::silu, width); });
  }
  check_rounding<TestType>(
      [](auto& o) { return sample::activation_backward(o, ActivationKind::relu, false, width, Into::dy); });
  for (const auto kind : {NormKind::layer, NormKind::rms}) {
    check_rounding<TestType>([=](auto& o) { return sample::norm(o, kind, width, kind == NormKind::layer); });
    for (const auto into : {Into::own, Into::dy, Into::skip})
      check_rounding<TestType>([=](auto& o) { return sample::norm_backward(o, kind, width, true, true, into); });
    if constexpr (std::is_same_v<typename TestType::Precision::Stream,
                                 float>) {  // else the norm is that of a rounded sum, the branch that of a rounded dz
      check_rounding<TestType>(
          [=](auto& o) { return sample::residual_add_norm(o, kind, width, {.a = width, .b = 1}); });
      for (const auto into : {Into::own, Into::dy})
        check_rounding<TestType>(
            [=](auto& o) { return sample::residual_add_norm_backward(o, kind, width, 0.75, true, into); });
    }
  }
  for (const auto into : {Into::own, Into::x, Into::f})
    check_rounding<TestType>([=](auto& o) { return sample::residual_add(o, width, {.a = 1, .b = width}, into); });
  check_rounding<TestType>([](auto& o) { return sample::residual_add_backward(o, width, {1, width}, true, true); });
  check_rounding<TestType>([](auto& o) { return sample::shift(o, width); });
  check_rounding<TestType>([](auto& o) { return sample::shift_backward(o, width); });
}

TEMPLATE_LIST_TEST_CASE("mixed: streams, embeddings and updates", "[ops][mixed]", MixedBackends) {
  constexpr int width = 12;
  for (const bool add : {false, true}) check_rounding<TestType>([=](auto& o) { return sample::copy(o, width, add); });
  check_rounding<TestType>([](auto& o) { return sample::zero(o, width); });
  check_rounding<TestType>([](auto& o) { return sample::variance(o, width); });
  check_rounding<TestType>([](auto& o) { return sample::weighted_sum(o, width, 3); });
  check_rounding<TestType>([](auto& o) { return sample::weighted_sum_backward(o, width, 3); });
  for (const auto positions : {sample::Positions::learned, sample::Positions::neighbours}) {
    check_rounding<TestType>([=](auto& o) { return sample::embedding(o, width, 7, positions); });
    check_rounding<TestType>([=](auto& o) { return sample::embedding_backward(o, width, 7, positions); });
  }
  check_rounding<TestType>([](auto& o) { return sample::sum_of_squares(o, 99); });
  check_rounding<TestType>([](auto& o) { return sample::round(o, 99); });
  check_rounding<TestType>([](auto& o) { return sample::average(o, 99, 0.9); });
  check_rounding<TestType>([](auto& o) { return sample::sgd(o, 99, true, 0.9, true); });
  check_rounding<TestType>([](auto& o) { return sample::adam(o, 99, true); });
  check_rounding<TestType>([](auto& o) { return sample::lion(o, 99); });
  const auto table = sample::table_of({{40, 30, Role::linear}, {1, 7, Role::bias}});
  check_rounding<TestType>([&table](auto& o) { return sample::adafactor(o, table, 2); });
}

}  // namespace mixed_test

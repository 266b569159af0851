// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <fathom/backend/cuda/cuda.hpp>
#include <fathom/models/translator.hpp>
#include <fathom/text/packed_pairs.hpp>
#include <vector>

#include "precision/deep/gradient_error.hpp"
#include "support/following_tokens.hpp"
#include "support/policy_lists.hpp"
#include "train/translator_models.hpp"

namespace precision_test {

/// `Cuda<Mixed>` rounds to 16 bits where `Ref<Mixed>` does, and a little elsewhere; its gradients are as far off as
/// such roundings may put them.
using namespace fathom_test;

constexpr int vocabulary = 31, length = 8, sequences = 4;
constexpr cuda::Options device{.workspace = 1_MiB}, without_cudnn{.cudnn = false, .workspace = 1_MiB};

template <class Model>
void check_gradients(const GradientErrors<Model>& errors, const std::vector<double>& bound,
                     const cuda::Options& options) {
  const std::vector<double> measured = errors.template of<Cuda<Mixed>>(options);
  const auto worst = errors.worst(measured, bound);
  const double ratio = errors.relative(measured) / errors.relative(bound);
  INFO("relative error " << errors.relative(measured) << ", bound " << errors.relative(bound) << ", ratio " << ratio
                         << "; of a tensor " << worst.ratio << ", " << worst.name);
  CHECK(ratio < 2);
  CHECK(ratio > 0.5);
  CHECK(worst.ratio < 4);
}
template <class Model>
void check_gradients(const typename Model::Capacity& capacity, const typename Model::Batch& batch, double spread) {
  const GradientErrors<Model> errors(capacity, batch, some_masters<Model>(spread));
  const std::vector<double> bound = errors.template bound<MixedOf<Loose>>();
  for (const cuda::Options& options : {device, without_cudnn}) check_gradients(errors, bound, options);
}

template <class Stack>
void check_stack(double spread) {
  using Model = LanguageModel<Vocabulary<vocabulary>, ContextLength<length>, Stack>;
  const FollowingTokens<vocabulary> tokens(1, sequences, length);
  check_gradients<Model>({sequences * length, sequences, length}, tokens, spread);
}

TEST_CASE("cuda: gradients in mixed precision are as far off as their roundings", "[cuda]") {
  check_stack<deepnet::DecoderOnly<6, 32, 2, 64>>(0);
}

TEMPLATE_LIST_TEST_CASE("cuda: in mixed precision too, under each kind of policy", "[cuda]", PolicyKinds) {
  INFO(TestType::InStack::name);
  check_stack<DecoderOnlyStack<TestType, 16>>(0.3);
}

TEST_CASE("cuda: and of a translator", "[cuda]") {
  using Pairs = ReversedPairs;
  using Model = PairModel<deepnet::EncoderStack<2, 2, 32, 2, 64>, deepnet::DecoderStack<2, 2, 32, 2, 64>>;
  const PairCapacity capacity{{32, 8, Pairs::longest}, {40, 8, Pairs::longest + 1}};
  text::PackedPairs packed(capacity);
  Pairs(capacity).fill(0, packed);
  check_gradients<Model>(capacity, packed, 0);
}

}  // namespace precision_test

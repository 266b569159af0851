// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cstdint>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/backend/ref/ref.hpp>
#include <fathom/models/language_model.hpp>
#include <fathom/testing/verify.hpp>
#include <string>
#include <type_traits>

#include "support/following_tokens.hpp"

namespace verify_test {

using namespace fathom_test;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::StartsWith;

constexpr int vocabulary = 31, length = 8;
constexpr Capacity capacity{2 * length, 2, length};
using Model = LanguageModel<Vocabulary<vocabulary>, ContextLength<length>, deepnet::DecoderOnly<4, 16, 2, 32>>;

FollowingTokens<vocabulary> batch(std::int64_t step) { return {std::uint64_t(step), 2, length}; }

/// The reference with one element wrong of what its `count`-th op of the type writes.
template <template <class> class WrongOp>
struct Faulty : Ref<float> {
  static inline int count = 0;  ///< ops of that type until the fault

  template <class Op>
    requires Runs<Ref<float>, Op>
  static void run(Ref<float>::Lane& lane, const Op& op) {
    Ref<float>::run(lane, op);
    if constexpr (std::is_same_v<Op, WrongOp<Single>>)
      if (count-- == 0)
        op.outputs([](const auto& matrix) {
          if (matrix) matrix.row(matrix.rows - 1)[1] += 1;
        });
  }
};

TEST_CASE("backends that compute the same agree in every op", "[verify]") {
  testing::VerifyOptions options{.steps = 3};
  options.trainer.dropout = {0.1, 0.1, 0.1, 0.1};
  const auto found = testing::verify<Model, Ref<float>, Cpu<Single>>(capacity, batch, options);
  INFO(found.where << ": " << found.disagreement);
  CHECK(found.agrees());
  CHECK(found.ops > 3 * 4 * 20);
  CHECK(found.worst.error > 0);
  CHECK(found.worst.error < 5e-5);
  CHECK_FALSE(found.where.empty());
}

TEST_CASE("backends of 16 bits agree within their roundings, and not within those of floats", "[verify]") {
  CHECK(testing::verify<Model, Ref<Mixed>, Cpu<Mixed>>(capacity, batch, {.tolerance = 0.1}).agrees());
  CHECK_FALSE(testing::verify<Model, Ref<Mixed>, Cpu<Mixed>>(capacity, batch, {.tolerance = 1e-4}).agrees());
}

TEST_CASE("the first layer and op that differ are named", "[verify]") {
  Faulty<op::Activation>::count = 2;
  const auto forward = testing::verify<Model, Ref<float>, Faulty<op::Activation>>(capacity, batch);
  CHECK(forward.where == "batch.0.forward.blocks.2.feed_forward (activation)");
  CHECK_THAT(forward.disagreement, StartsWith("row 15, column 1 is "));

  Faulty<op::AttentionBackward>::count = 1;  // from the last block on
  const auto backward = testing::verify<Model, Faulty<op::AttentionBackward>, Ref<float>>(capacity, batch);
  CHECK(backward.where == "batch.0.backward.blocks.2.attention (attention backward)");

  Faulty<op::LinearBackwardWeight>::count = 0;
  const auto gradient = testing::verify<Model, Cpu<Single>, Faulty<op::LinearBackwardWeight>>(capacity, batch);
  CHECK_THAT(gradient.where, ContainsSubstring("(linear dw)"));
}

/// A backend on which updates do nothing.
struct Unmoved : Ref<float> {
  template <class Op>
    requires Runs<Ref<float>, Op>
  static void run(Ref<float>::Lane& lane, const Op& op) {
    if constexpr (!std::is_same_v<Op, op::AdamUpdate<Single>>) Ref<float>::run(lane, op);
  }
};

TEST_CASE("what an update does wrong shows in the pass behind it", "[verify]") {
  const auto found = testing::verify<Model, Ref<float>, Unmoved>(capacity, batch);
  CHECK_THAT(found.where, StartsWith("batch.0.forward.embedding"));
  CHECK(testing::verify<Model, Ref<float>, Unmoved>(capacity, batch, {.steps = 1}).agrees());
}

TEST_CASE("an error on either backend ends both", "[verify]") {
  const auto too_long = [](std::int64_t) { return FollowingTokens<vocabulary>(1, 3, length); };
  CHECK_THROWS_AS((testing::verify<Model, Ref<float>, Cpu<Single>>(capacity, too_long)), ShapeError);
  CHECK_THROWS_AS((testing::verify<Model, Ref<float>, Cpu<Single>>(capacity, batch, {}, {}, {.threads = 2})), Error);
}

}  // namespace verify_test

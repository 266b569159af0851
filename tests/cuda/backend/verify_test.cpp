// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/backend/cuda/cuda.hpp>
#include <fathom/models/language_model.hpp>
#include <fathom/testing/verify.hpp>
#include <type_traits>

#include "support/following_tokens.hpp"

namespace verify_test {

using namespace fathom_test;

constexpr int vocabulary = 31, length = 16;
constexpr Capacity capacity{2 * length, 2, length};
using Model = LanguageModel<Vocabulary<vocabulary>, ContextLength<length>, deepnet::DecoderOnly<4, 32, 2, 64>>;

TEMPLATE_TEST_CASE("cuda: every op of training agrees with the CPU's", "[cuda]", Single, Mixed) {
  constexpr bool floats = std::is_same_v<TestType, Single>;
  testing::VerifyOptions options{.steps = 3, .tolerance = floats ? 1e-4 : 0.1};
  const double rate = 0.1;
  options.trainer.dropout = {rate, floats ? rate : 0, rate, rate};  // cuDNN's attention draws masks of its own
  const auto batch = [](std::int64_t step) { return FollowingTokens<vocabulary>(std::uint64_t(step), 2, length); };
  const auto found = testing::verify<Model, Cpu<TestType>, Cuda<TestType>>(capacity, batch, options, {.threads = 1},
                                                                           {.workspace = 1_MiB});
  INFO(found.where << ": " << found.disagreement);
  CHECK(found.agrees());
  CHECK(found.ops > 100);
}

}  // namespace verify_test

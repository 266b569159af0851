// SPDX-License-Identifier: Apache-2.0
#include <fathom/train/initial_deviations.hpp>

#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <fathom/backend/ref/ref.hpp>
#include <fathom/models/language_model.hpp>
#include <fathom/models/weights.hpp>
#include <string>
#include <vector>

namespace initial_deviations_test {

using namespace fathom;

using Model = LanguageModel<Vocabulary<64>, ContextLength<8>, deepnet::DecoderOnly<4, 16, 2>>;

TEST_CASE("initial weights have the deviations that a model says, by role", "[initial]") {
  const Weights<Model, Ref<double>> weights(3);
  const auto table = describe<Model>();
  const auto deviations = initial_deviations(table, weights.flat());
  REQUIRE(deviations.size() == 9);  // six of sublayers, output, tokens, positions
  for (const RoleDeviation& one : deviations) {
    INFO(name_of(one.role));
    CHECK(one.agrees());
    CHECK(one.error > 0);
    CHECK(one.error < 0.1 * one.expected);
  }
  CHECK(deviations[0].role == Role::query);
  CHECK(std::abs(deviations[0].expected - 0.25) < 1e-12);
  CHECK(deviations[2].role == Role::value);
  CHECK(std::abs(deviations[2].expected - 0.25 * deepnorm::decoder_only(4).beta) < 1e-12);
  CHECK(checked_text(deviations).find("value: initial deviation") != std::string::npos);
}

TEST_CASE("initial weights that another gain gave are refused, and the role is named", "[initial]") {
  Weights<Model, Ref<double>> weights(3);
  const auto table = describe<Model>();
  for (const ParameterInfo& info : table)
    if (info.role == Role::value) {
      auto values = read_tensor(weights.flat(), info);
      for (double& value : values) value /= info.gain;  // as if beta were missing
      write_tensor(weights.flat(), info, values);
    }
  const auto deviations = initial_deviations(table, weights.flat());
  std::string message;
  try {
    checked_text(deviations);
  } catch (const Error& error) {
    message = error.what();
  }
  CHECK(message.starts_with("initial weights: value: initial deviation 0.2"));
}

}  // namespace initial_deviations_test

// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/backend/ref/ref.hpp>
#include <fathom/models/language_model.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/train/trainer.hpp>
#include <string>
#include <type_traits>
#include <vector>

#include "support/near.hpp"
#include "support/reference.hpp"
#include "support/temporary_directory.hpp"
#include "train/translator_models.hpp"

namespace profile_test {

/// Admin's skip scales as a trainer sets them.
using namespace fathom_test;

constexpr int depth = 6, width = 8, vocabulary = 37, context = 12;
template <class Policy>
using SixLayers = LanguageModel<
    Vocabulary<vocabulary>, ContextLength<context>,
    Repeat<depth, Sequence<Residual<Policy, Attention<width, 2>>, Residual<Policy, FeedForward<width, 16>>>>>;

/// The skip scale of each sublayer, in their order; each has one value for all channels.
std::vector<double> scales_of(auto& trainer) {
  std::vector<double> scales;
  for (const ParameterInfo& info : trainer.table()) {
    if (info.role != Role::skip_scale) continue;
    const auto values = read_tensor(trainer.weights().flat(), info);
    REQUIRE(std::ranges::count(values, values.front()) == std::ssize(values));
    scales.push_back(values.front());
  }
  return scales;
}

/// The model of the reference after a profiling pass over its batch.
template <class Policy, class B>
std::vector<double> profiled(const Reference& reference, const TrainerOptions& options = {}) {
  PackedRows rows({40, 4, context});
  rows.assign(reference.lengths("offsets"));
  const auto tokens = reference.integers("input.tokens");
  Trainer<SixLayers<Policy>, B, AdamW> trainer(rows.capacity(), options);
  for (const ParameterInfo& info : trainer.table())
    if (reference.has("parameter." + info.name))
      write_tensor(trainer.weights().flat(), info, reference.values("parameter." + info.name));
  trainer.profile({rows, tokens, tokens});
  return scales_of(trainer);
}

TEST_CASE("Admin's scales of six layers are those of its authors' rule", "[trainer]") {
  const Reference reference("admin_profile");
  const auto expected = reference.values("output.scales");
  REQUIRE(expected.size() == 2 * depth);
  REQUIRE(expected[0] == 1);
  require_near(profiled<Admin, Ref<double>>(reference), expected, "scales");
  require_near(profiled<Admin, Cpu<Double>>(reference), expected, "scales");
}

TEST_CASE("the embedded input's variance is in all scales but the first, unless it is taken for 1", "[trainer]") {
  const Reference reference("admin_profile");
  const auto measured = profiled<Admin, Ref<double>>(reference);
  const auto ideal = profiled<AdminOfUnitInput, Ref<double>>(reference);
  REQUIRE(ideal[0] == 1);
  // Tokens and positions have variance 1 each, so the sum has about 2, and a sample of 20 rows not much else.
  const double more = measured[1] * measured[1] - ideal[1] * ideal[1];
  INFO(more);
  REQUIRE((more > 0.6 && more < 1.4));
}

TEST_CASE("Admin's branches are profiled with the dropout of the run", "[trainer]") {
  const Reference reference("admin_profile");
  const auto without = profiled<AdminOfUnitInput, Ref<double>>(reference);
  const auto with = profiled<AdminOfUnitInput, Ref<double>>(reference, {.dropout = {.residual = 0.5}});
  // What is not dropped is doubled, and so is the mean square of the branch; 160 elements are a small sample of that.
  const double ratio = (with[1] * with[1] - 1) / (without[1] * without[1] - 1);
  INFO(ratio);
  REQUIRE((ratio > 1.4 && ratio < 3.5));
}

/// One policy for attention, the other for feed-forward layers.
template <class Policy, class Other>
using Both =
    LanguageModel<Vocabulary<vocabulary>, ContextLength<context>,
                  Repeat<2, Sequence<Residual<Policy, Attention<width, 2>>, Residual<Other, FeedForward<width, 16>>>>>;

TEST_CASE("learned skips that no policy profiles stay as they are", "[trainer]") {
  const auto profile = []<class Model>(std::type_identity<Model>) {
    const PackedRows rows = PackedRows::uniform(2, context);
    const std::vector<int> tokens(2 * context, 1);
    Trainer<Model, Ref<double>, AdamW> trainer(rows.capacity(), {});
    const auto before = scales_of(trainer);
    trainer.profile({rows, tokens, tokens});
    REQUIRE(before.size() > 0);
    REQUIRE(scales_of(trainer) == before);
  };
  profile(std::type_identity<SixLayers<AdminClosedForm<2 * depth>>>{});
  profile(std::type_identity<Both<PostNorm, AdminClosedForm<4>>>{});
  CHECK(message_of<Error>([&] { profile(std::type_identity<Both<Admin, AdminClosedForm<4>>>{}); }) ==
        "Trainer::profile: 2 of the model's 4 learned skip scales are profiled; give all sublayers that have one a "
        "policy that is");
}

TEST_CASE("Admin's scales begin with 1 in the encoder and in the decoder", "[trainer]") {
  using Model = PairModel<Repeat<encoder_depth, EncoderBlock<Admin>>, Repeat<decoder_depth, DecoderBlock<Admin>>>;
  Trainer<Model, Ref<double>, AdamW> trainer(pair_capacity, {});
  text::PackedPairs batch(pair_capacity);
  ReversedPairs(pair_capacity).fill(0, batch);
  trainer.profile(batch);
  const auto scales = scales_of(trainer);
  REQUIRE(scales.size() == 2 * encoder_depth + 3 * decoder_depth);
  for (std::size_t i = 0; i < scales.size(); ++i) {
    INFO(i << ": " << scales[i]);
    if (i == 0 || i == 2 * encoder_depth)
      REQUIRE(scales[i] == 1);
    else
      REQUIRE(scales[i] > 1.01);
  }
}

}  // namespace profile_test

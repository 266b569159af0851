// SPDX-License-Identifier: Apache-2.0
#include <fathom/train/options_json.hpp>

#include <bit>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <fathom/train/checkpoint.hpp>
#include <limits>

#include "support/temporary_directory.hpp"
#include "train/models.hpp"

namespace options_json_test {

using namespace fathom_test;
using Json = nlohmann::json;
using Limits = std::numeric_limits<double>;

const double doubles[]{Limits::infinity(),
                       -Limits::infinity(),
                       Limits::quiet_NaN(),
                       Limits::max(),
                       Limits::min(),
                       5e-324,
                       1 - Limits::epsilon() / 2,
                       1 + Limits::epsilon(),
                       1e22,
                       0.1,
                       0.1 + 0.2,
                       1e-17,
                       -0.0,
                       0.0,
                       1.0,
                       -1.0,
                       123456789012345680.0,
                       1 - 0x1p-16,
                       0x1.fffffffffffffp-1023};
const std::uint64_t seeds[]{0, 1, (1ull << 53) + 1, 1ull << 63, std::numeric_limits<std::uint64_t>::max()};

/// The values as they are, also those that no text holds.
bool same_bits(const Json& a, const Json& b) {
  if (a.is_number_float() && b.is_number_float())
    return std::bit_cast<std::uint64_t>(a.get<double>()) == std::bit_cast<std::uint64_t>(b.get<double>());
  return a.type() == b.type() && a == b;
}

/// Gives each option each value. What `check` accepts has to come back from the text of a checkpoint with the same
/// bits. Returns how many were accepted.
template <class Options, class Check>
int accepted_come_back(Check&& check) {
  int accepted = 0;
  const Json all = Json(Options{}).flatten();
  for (const auto& [name, original] : all.items()) {
    std::vector<Json> values;
    if (original.is_number_float())
      values.assign(std::begin(doubles), std::end(doubles));
    else if (original.is_boolean())
      values = {false, true};
    else
      values.assign(std::begin(seeds), std::end(seeds));
    for (const Json& value : values) {
      Json changed = all;
      changed[name] = value;
      const Options options = changed.unflatten().get<Options>();
      CAPTURE(name, value.dump());
      REQUIRE(same_bits(Json(options).flatten()[name], value));
      try {
        check(options);
      } catch (const Error&) {
        continue;
      }
      ++accepted;
      const Json back = detail::parse_json(detail::checked_config(options));
      CHECK(same_bits(Json(back.get<Options>()).flatten()[name], value));
    }
  }
  return accepted;
}

TEMPLATE_TEST_CASE("an optimizer's options that are accepted are read back", "[options_json]", Sgd, MomentumSgd, Adam,
                   AdamW, Lion, Adafactor) {
  const auto check = [](const typename TestType::Options& options) { TestType::check(options); };
  CHECK(accepted_come_back<typename TestType::Options>(check) > 0);
  typename TestType::Options options;
  for (const double rate : {Limits::infinity(), Limits::quiet_NaN(), -1.0}) {
    options.learning_rate = rate;
    CHECK_THROWS_AS(TestType::check(options), Error);
  }
}

using Tiny =
    LanguageModel<Vocabulary<2>, ContextLength<1>,
                  Repeat<1, Sequence<Residual<PreNorm, Attention<2, 1>>, Residual<PreNorm, FeedForward<2, 2>>>>,
                  NoPositions>;
template <class Optimizer = AdamW>
using TinyTrainer = Trainer<Tiny, Cpu<Single>, Optimizer>;

TEST_CASE("a trainer's options that are accepted are read back", "[options_json]") {
  CHECK(accepted_come_back<TrainerOptions>([](const TrainerOptions& options) {
          TinyTrainer<>({1, 1, 1}, options, {}, {.threads = 1});
        }) > 0);
  const auto refusal = [](const TrainerOptions& options) {
    return message_of<Error>([&] { TinyTrainer<>({1, 1, 1}, options); });
  };
  CHECK(refusal({.clip_norm = Limits::infinity()}) ==
        "TrainerOptions: clip_norm must be finite and not negative; 0 does not clip");
  CHECK(refusal({.spike_factor = Limits::infinity()}) ==
        "TrainerOptions: spike_factor must be finite and not negative; 0 takes nothing for a spike");
}

TEST_CASE("a run with options at their limits goes on", "[options_json]") {
  const TemporaryDirectory folder;
  const TrainerOptions options{.seed = std::numeric_limits<std::uint64_t>::max(),
                               .loss = {.smoothing = 5e-324, .z_loss = 5e-324},
                               .dropout = {.residual = 1 - 0x1p-16},
                               .clip_norm = -0.0,
                               .spike_factor = Limits::max(),
                               .average = 1};
  TinyTrainer<> saved({1, 1, 1}, options, {.beta1 = 1 - Limits::epsilon() / 2, .epsilon = 5e-324}, {.threads = 1});
  TinyTrainer<> loaded({1, 1, 1}, options, {.beta1 = 1 - Limits::epsilon() / 2, .epsilon = 5e-324}, {.threads = 1});
  CheckpointInfo info{.cursor = CheckpointInfo::largest_cursor};
  save_checkpoint(folder / "last", saved, info);
  CHECK(load_checkpoint(folder / "last", loaded).cursor == info.cursor);
  ++info.cursor;
  CHECK_THROWS_AS(save_checkpoint(folder / "next", saved, info), Error);
}

/// A user's optimizer whose check forgets something.
struct Forgetful : Sgd {
  struct Options : Sgd::Options {
    double power = Limits::infinity();
  };
  static constexpr void check(const Options&) {}
};
void to_json(Json& json, const Forgetful::Options& options) { json = {{"power", options.power}}; }

TEST_CASE("an option that a checkpoint cannot hold is named when it is saved", "[options_json]") {
  const TemporaryDirectory folder;
  TinyTrainer<Forgetful> trainer({1, 1, 1}, {}, {}, {.threads = 1});
  CHECK(message_of<Error>([&] { save_checkpoint(folder / "last", trainer); }) ==
        "save_checkpoint: config.json cannot hold '/optimizer/options/power'; give a finite number");
}

}  // namespace options_json_test

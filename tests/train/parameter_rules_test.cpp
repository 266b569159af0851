// SPDX-License-Identifier: Apache-2.0
#include <fathom/optim/parameter_rules.hpp>

#include <algorithm>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cstdint>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/optim/adafactor.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/optim/lion.hpp>
#include <fathom/optim/sgd.hpp>
#include <fathom/train/checkpoint.hpp>
#include <fathom/train/trainer.hpp>
#include <limits>
#include <string>
#include <vector>

#include "support/temporary_directory.hpp"
#include "train/models.hpp"

namespace parameter_rules_test {

using namespace fathom_test;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;

constexpr Capacity capacity{4 * context, 4, context};

/// A trainer behind some steps.
template <class Optimizer>
struct Trained : Trainer<SmallModel, Cpu<Double>, Optimizer> {
  explicit Trained(const std::vector<ParameterRule>& rules, double rate, double weight_decay = 0, int threads = 1,
                   int steps = 3)
      : Trainer<SmallModel, Cpu<Double>, Optimizer>(capacity, with(rules), decaying(weight_decay),
                                                    {.threads = threads}) {
    for (int step = 0; step < steps; ++step) this->step(SomeBatch(std::uint64_t(step)), rate);
  }

 private:
  static TrainerOptions with(const std::vector<ParameterRule>& rules) {
    TrainerOptions options;
    options.rules = rules;
    return options;
  }
  static typename Optimizer::Options decaying(double weight_decay) {
    typename Optimizer::Options options;
    options.weight_decay = weight_decay;
    return options;
  }
};
template <class Optimizer>
struct Initial : Trained<Optimizer> {
  Initial() : Trained<Optimizer>({}, 0, 0, 1, 0) {}
};

/// The names of tensors that differ.
template <class A, class B>
std::vector<std::string> changed(A& a, B& b) {
  std::vector<std::string> names;
  for (const ParameterInfo& info : a.table())
    if (read_tensor(a.masters(), info) != read_tensor(b.masters(), info)) names.push_back(info.name);
  return names;
}

static_assert(detail::matches("*", "") && detail::matches("a*c", "abc") && detail::matches("a*c*", "ac"));
static_assert(detail::matches("*.bias", "x.bias.bias") && !detail::matches("*.bias", "bias"));
static_assert(!detail::matches("a", "ab") && !detail::matches("", "a") && detail::matches("", ""));

TEST_CASE("rates by gain are the policy's gains of matrices, and 1 of all else", "[rules]") {
  std::vector<ParameterInfo> table = describe<SmallModel>();
  const auto matrix = std::ranges::find(table, true, [](const ParameterInfo& info) { return decays(info.role); });
  const auto vector = std::ranges::find(table, false, [](const ParameterInfo& info) { return decays(info.role); });
  REQUIRE((matrix != table.end() && vector != table.end()));
  matrix->gain = 0;
  vector->gain = 1e-5;  // a learned scale, as some policies have
  const ParameterRates rates(rates_by_gain(table), parameter_extent<SmallModel>(), table);
  REQUIRE(rates.tensors.size() == table.size());
  for (std::size_t i = 0; i < table.size(); ++i) {
    INFO(table[i].name);
    CHECK(rates.tensors[i].rate == (table[i].gain == 0 || !decays(table[i].role) ? 1 : table[i].gain));
    CHECK(rates.tensors[i].decay == 1);
  }
  CHECK(std::ranges::count_if(table, [](const ParameterInfo& info) { return info.gain < 1 && info.gain > 0; }) > 1);
}

TEMPLATE_TEST_CASE("frozen tensors stay, all others are trained", "[rules]", Sgd, MomentumSgd, Adam, AdamW, Lion,
                   Adafactor) {
  const std::vector<ParameterRule> rules{{.names = "blocks.1.*", .rate = 0}, {.role = "norm gain", .rate = 0}};
  Initial<TestType> initial;
  Trained<TestType> trainer(rules, 1e-3, 0.1);
  const std::vector<std::string> names = changed(initial, trainer);
  for (const ParameterInfo& info : trainer.table()) {
    INFO(info.name);
    const bool frozen = info.name.starts_with("blocks.1.") || info.role == Role::norm_gain;
    CHECK(std::ranges::count(names, info.name) == (frozen ? 0 : 1));
  }
}

TEMPLATE_TEST_CASE("a rule for all is another learning rate and another decay", "[rules]", Sgd, MomentumSgd, Adam,
                   AdamW, Lion, Adafactor) {
  Trained<TestType> ruled({{.rate = 0.5, .decay = 0.25}}, 1e-3, 0.5), plain({}, 0.5e-3, 0.125);
  CHECK(changed(ruled, plain).empty());
  CHECK(values_of(ruled.optimizer_state()) == values_of(plain.optimizer_state()));
}

TEMPLATE_TEST_CASE("rules without effect change no bit, on any number of threads", "[rules][threads]", AdamW,
                   Adafactor) {
  const std::vector<ParameterRule> none{{.names = "blocks.*"}, {.names = "*.bias", .rate = 1}};
  Trained<TestType> plain({}, 1e-3, 0.1);
  for (const int threads : {1, 3}) {
    Trained<TestType> ruled(none, 1e-3, 0.1, threads);
    CHECK(changed(ruled, plain).empty());
  }
  const std::vector<ParameterRule> some{{.names = "blocks.2.*", .rate = 0.1}, {.role = "query", .decay = 0}};
  Trained<TestType> one(some, 1e-3, 0.1), three(some, 1e-3, 0.1, 3);
  CHECK(changed(one, three).empty());
  CHECK(!changed(one, plain).empty());
}

TEST_CASE("the last rule that names a tensor holds", "[rules]") {
  Trained<AdamW> trainer({{.names = "*", .rate = 0}, {.names = "output.weight"}}, 1e-3);
  Initial<AdamW> initial;
  CHECK(changed(initial, trainer) == std::vector<std::string>{"output.weight"});
}

TEST_CASE("ranges have no holes, and as few ends as can be", "[rules]") {
  const auto table = describe<SmallModel>();
  constexpr Extent extent = parameter_extent<SmallModel>();
  const ParameterRates all(std::vector<ParameterRule>{{.rate = 2}}, extent, table);
  REQUIRE(all.ranges.size() == 2);
  CHECK((all.ranges[0].begin == 0 && all.ranges[0].count == extent.decayed && all.ranges[0].decays));
  CHECK((all.ranges[1].count == extent.plain && !all.ranges[1].decays && all.ranges[1].factors.rate == 2));
  const ParameterRates one(std::vector<ParameterRule>{{.names = "blocks.1.feed_forward.input.weight", .rate = 0}},
                           extent, table);
  CHECK(one.ranges.size() == 4);
  std::int64_t end = 0;
  for (const UpdateRange& range : one.ranges) {
    CHECK(range.begin == end);
    end += range.count;
  }
  CHECK(end == extent.total());
  CHECK(ParameterRates({}, extent, table).ranges.empty());
}

TEST_CASE("rules without sense are refused by name", "[rules]") {
  const auto refused = [](const ParameterRule& rule, const std::string& part) {
    CHECK_THROWS_MATCHES(Trained<AdamW>({rule}, 1e-3), Error, MessageMatches(ContainsSubstring(part)));
  };
  refused({.names = "block.*"}, "the rule for 'block.*' names no tensor of the model");
  refused({.names = "blocks.*", .role = "noise"}, "the rule for 'blocks.*', noise, names no tensor");
  refused({.rate = -1}, "negative or not finite");
  refused({.decay = std::numeric_limits<double>::infinity()}, "negative or not finite");
  refused({.rate = std::numeric_limits<double>::quiet_NaN()}, "negative or not finite");
}

TEST_CASE("a checkpoint goes on by the rules that it was trained by, and by no others", "[rules]") {
  const TemporaryDirectory folder;
  const std::vector<ParameterRule> rules{{.names = "blocks.0.*", .rate = 0.5}};
  Trained<AdamW> whole(rules, 1e-3, 0.1, 1, 4), first(rules, 1e-3, 0.1);
  save_checkpoint(folder / "checkpoint", first);
  Trained<AdamW> second(rules, 1e-3, 0.1, 1, 0);
  load_checkpoint(folder / "checkpoint", second);
  second.step(SomeBatch(3), 1e-3);
  CHECK(changed(whole, second).empty());
  Trained<AdamW> other({}, 1e-3, 0.1, 1, 0);
  CHECK_THROWS_MATCHES(load_checkpoint(folder / "checkpoint", other), Error,
                       MessageMatches(ContainsSubstring("rules")));
}

}  // namespace parameter_rules_test

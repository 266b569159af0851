// SPDX-License-Identifier: Apache-2.0
#include <fathom/train/telemetry.hpp>

#include <algorithm>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstddef>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/backend/ref/ref.hpp>
#include <fathom/layers/stacks.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/train/trainer.hpp>
#include <string>
#include <vector>

#include "support/policy_lists.hpp"
#include "train/models.hpp"
#include "train/translator_models.hpp"

namespace telemetry_test {

using namespace fathom_test;

constexpr Capacity capacity{4 * context, 4, context};

template <class Policy>
using Stack = Repeat<3, Sequence<Residual<Policy, Attention<16, 2>>, Residual<Policy, FeedForward<16, 32>>>>;
template <class Policy>
using ModelOf = LanguageModel<Vocabulary<vocabulary>, ContextLength<context>, Stack<Policy>>;
template <class Policy>
using TrainerOf = Trainer<ModelOf<Policy>, Cpu<Double>, AdamW>;
constexpr double alpha = deepnorm::decoder_only(3).alpha;

TEST_CASE("telemetry tells activations, norm inputs and branch shares of every layer", "[telemetry]") {
  const SomeBatch batch(1);
  TrainerOf<DeepNorm<alpha>> deep(capacity, {}, {}, {.threads = 2});
  const auto layers = Telemetry(deep, batch).measure();
  REQUIRE(layers.size() == 3);
  for (std::size_t i = 0; i < 3; ++i) {
    const LayerTelemetry& layer = layers[i];
    INFO(i);
    CHECK(layer.name() == "blocks." + std::to_string(i));
    CHECK(std::abs(layer.activation - 1) < 1e-4);  // a norm stands behind the sum
    CHECK(layer.update == 0);
    CHECK(layer.gradient > 0);
    // z = alpha x + G: x has a deviation of 1, but for the embedding, and G one of about beta², so the share is small.
    CHECK((layer.branch_share > 0.005 && layer.branch_share < 0.5));
    if (i > 0) CHECK((layer.norm_input > 0.9 * alpha && layer.norm_input < 1.3 * alpha));
  }

  TrainerOf<PreNorm> pre(capacity, {}, {}, {.threads = 2});
  const auto rising = Telemetry(pre, batch).measure();
  REQUIRE(rising.size() == 3);
  CHECK(rising[1].activation > rising[0].activation);
  CHECK(rising[2].activation > rising[1].activation);
  CHECK(rising[2].branch_share < rising[0].branch_share);
}

TEMPLATE_TEST_CASE("telemetry of mixed precision is that of floats", "[telemetry]", PreNorm, DeepNorm<alpha>) {
  const SomeBatch batch(1);
  Trainer<ModelOf<TestType>, Cpu<Mixed>, AdamW> mixed(capacity, {}, {}, {.threads = 2});
  Trainer<ModelOf<TestType>, Cpu<Single>, AdamW> floats(capacity, {}, {}, {.threads = 2});
  const auto actual = Telemetry(mixed, batch).measure(), expected = Telemetry(floats, batch).measure();
  REQUIRE(actual.size() == expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const LayerTelemetry &a = actual[i], &e = expected[i];
    CHECK(std::abs(a.activation / e.activation - 1) < 0.01);
    CHECK(std::abs(a.norm_input / e.norm_input - 1) < 0.01);
    CHECK(std::abs(a.branch_share / e.branch_share - 1) < 0.02);
    CHECK(std::abs(a.gradient / e.gradient - 1) < 0.02);
  }
}

TEMPLATE_LIST_TEST_CASE("a branch that gives nothing has no share, under any kind of policy", "[telemetry]",
                        PolicyKinds) {
  using Policy = typename TestType::InStack;
  using Model = LanguageModel<Vocabulary<vocabulary>, ContextLength<context>, DecoderOnlyStack<TestType, 8>>;
  Trainer<Model, Ref<double>, AdamW> trainer(capacity, {});
  for (const ParameterInfo& info : trainer.table())
    if (info.role == Role::attention_output || info.role == Role::feed_forward_output)
      write_tensor(trainer.masters(), info, std::vector<double>(std::size_t(info.size())));
  for (const LayerTelemetry& layer : Telemetry(trainer, SomeBatch(1)).measure()) {
    INFO(Policy::name << ", " << layer.name());
    CHECK(layer.branch_share < 1e-12);
  }
}

template <class Policy>
using Layer = Sequence<Residual<Policy, Attention<16, 2>>, Residual<Policy, FeedForward<16, 32>>>;

TEST_CASE("telemetry tells the stacks of a model apart, and what each norm reads", "[telemetry]") {
  using Model = LanguageModel<Vocabulary<vocabulary>, ContextLength<context>, MixNormStack<4, Layer>>;
  Trainer<Model, Cpu<Double>, AdamW> trainer(capacity, {}, {}, {.threads = 1});
  const SomeBatch batch(1);
  Telemetry telemetry(trainer, batch);
  const auto layers = telemetry.measure();
  const std::vector<std::string> names = telemetry.layers();
  REQUIRE(layers.size() == 4);
  CHECK(layers[0].name() == "stack.0.blocks.0");
  CHECK(layers[1].name() == "stack.1.blocks.0");
  CHECK(std::ranges::equal(layers, names, {}, &LayerTelemetry::name));
  for (const LayerTelemetry& layer : layers) {
    REQUIRE(layer.norm_inputs.size() == 2);
    CHECK(std::abs((layer.norm_inputs[0] + layer.norm_inputs[1]) / 2 - layer.norm_input) < 1e-12);
    CHECK(layer.gradient > 0);
  }
}

TEST_CASE("telemetry tells gradients and updates of every layer", "[telemetry]") {
  const SomeBatch batch(1);
  TrainerOf<PreNorm> trainer(capacity, {.clip_norm = 0}, {}, {.threads = 1});
  const auto before = values_of(trainer.weights().flat());
  trainer.differentiate(batch);
  const auto gradients = values_of(trainer.gradients());
  trainer.clear_gradients();
  Telemetry telemetry(trainer, batch);
  telemetry.remember();
  const auto first = telemetry.measure();
  trainer.step(batch, 1e-2);
  const auto after = values_of(trainer.weights().flat());
  const auto second = telemetry.measure();
  for (int block = 0; block < 3; ++block) {
    double gradient = 0, update = 0, weight = 0;
    for (const ParameterInfo& info : trainer.table())
      if (info.name.starts_with("blocks." + std::to_string(block) + "."))
        for (auto i = std::size_t(info.offset); i < std::size_t(info.offset + info.size()); ++i) {
          gradient += gradients[i] * gradients[i];
          update += (after[i] - before[i]) * (after[i] - before[i]);
          weight += before[i] * before[i];
        }
    INFO("block " << block);
    CHECK(std::abs(first[std::size_t(block)].gradient / std::sqrt(gradient) - 1) < 1e-9);
    CHECK(first[std::size_t(block)].update == 0);
    CHECK(std::abs(second[std::size_t(block)].update / std::sqrt(update / weight) - 1) < 1e-9);
  }
}

TEST_CASE("a training that is measured ends in the bits of one that is not", "[telemetry]") {
  const TrainerOptions options{.dropout = {0.1, 0.1, 0.1, 0.1}};
  TrainerOf<PreNorm> measured(capacity, options, {}, {.threads = 2}), plain(capacity, options, {}, {.threads = 2});
  const SomeBatch probe(9);
  Telemetry telemetry(measured, probe);
  for (std::uint64_t step = 0; step < 4; ++step) {
    telemetry.remember();
    measured.step(SomeBatch(step), 1e-2);
    telemetry.measure();
    telemetry.model_update();
    plain.step(SomeBatch(step), 1e-2);
  }
  CHECK(values_of(measured.weights().flat()) == values_of(plain.weights().flat()));
  CHECK(values_of(measured.optimizer_state()) == values_of(plain.optimizer_state()));
}

/// What the output layer of a model reads of a batch at these weights, by a forward pass on `Ref`.
template <class Model>
std::vector<double> output_at(const std::vector<double>& weights, const typename Model::Batch& batch,
                              const typename Model::Capacity& of_memory) {
  using B = Ref<double>;
  Weights<Model, B> model;
  model.flat().upload(0, weights);
  Buffer<std::byte> memory(saved_bytes<Model, Double>(of_memory));
  Arena arena = arena_of(memory);
  auto saved = Model::template Saved<Double>::take(arena, of_memory);
  Context<B> context;
  context.reserve(training_cost<Model, B>(of_memory).size);
  context.run(batch.output_packing(), Pass{},
              [&](auto& worker) { Model::forward(worker, model.params(), Flow<Double>{}, batch, saved); });
  const Matrix<const double> rows = resized(saved.stack_output(), batch.output_packing().rows());
  return {rows.data, rows.data + std::ptrdiff_t(rows.rows) * rows.columns};
}

/// Holds the update by a step to one that is computed from the weights before and behind it, tensor by tensor.
template <class TrainerType>
void require_model_update(TrainerType& trainer, const typename TrainerType::Batch& batch, int width) {
  using Model = typename TrainerType::Model;
  Telemetry telemetry(trainer, batch);
  CHECK(telemetry.model_update().all == 0);  // nothing is remembered
  telemetry.remember();
  CHECK(telemetry.model_update().all == 0);
  const auto before = values_of(trainer.masters());
  trainer.step(batch, 1e-2);
  const auto after = values_of(trainer.masters());
  const ModelUpdate update = telemetry.model_update();
  CHECK(values_of(trainer.masters()) == after);

  const auto expected = [&](const auto& moves) {
    std::vector<double> weights = before;
    for (const ParameterInfo& info : trainer.table())
      if (moves(info.role)) std::copy_n(after.begin() + info.offset, info.size(), weights.begin() + info.offset);
    const auto start = output_at<Model>(before, batch, trainer.capacity());
    const auto end = output_at<Model>(weights, batch, trainer.capacity());
    double sum = 0;
    for (auto row = std::size_t(0); row < start.size(); row += std::size_t(width)) {
      double squares = 0;
      for (std::size_t i = row; i < row + std::size_t(width); ++i) squares += std::pow(end[i] - start[i], 2);
      sum += std::sqrt(squares);
    }
    return sum / (double(start.size()) / width);
  };
  const auto check = [&](double found, const auto& moves) {
    const double direct = expected(moves);
    CAPTURE(found, direct);
    CHECK(direct > 1e-6);
    CHECK(std::abs(found / direct - 1) < 1e-9);
  };
  using enum UpdateGroup;
  check(update.all, [](Role) { return true; });
  check(update.of(branches), [](Role role) {
    return role == Role::value || role == Role::attention_output || role == Role::feed_forward_input ||
           role == Role::feed_forward_output;
  });
  check(update.of(queries_and_keys), [](Role role) { return role == Role::query || role == Role::key; });
  check(update.of(norms_and_biases), [](Role role) { return role == Role::norm_gain || role == Role::bias; });
  check(update.of(rest), [](Role role) { return role == Role::embedding || role == Role::position; });
}

TEST_CASE("telemetry tells how far a model moved, and by which group of parameters", "[telemetry]") {
  TrainerOf<DeepNorm<alpha>> deep(capacity, {}, {}, {.threads = 2});
  require_model_update(deep, SomeBatch(1), 16);
  TrainerOf<PreNorm> pre(capacity, {}, {}, {.threads = 1});
  require_model_update(pre, SomeBatch(1), 16);
  Trainer<DeepNormPairs<>, Cpu<Double>, AdamW> pairs(pair_capacity, {}, {}, {.threads = 1});
  text::PackedPairs batch(pair_capacity);
  ReversedPairs(pair_capacity).fill(0, batch);
  require_model_update(pairs, PairBatch(batch), target_width);
}

TEST_CASE("telemetry of a translator has the layers of both stacks", "[telemetry]") {
  Trainer<DeepNormPairs<RecomputeSqrt>, Cpu<Double>, AdamW> trainer(pair_capacity, {}, {}, {.threads = 1});
  text::PackedPairs batch(pair_capacity);
  ReversedPairs(pair_capacity).fill(0, batch);
  Telemetry telemetry(trainer, PairBatch(batch));
  const auto layers = telemetry.measure();
  REQUIRE(layers.size() == encoder_depth + decoder_depth);
  const std::vector<std::string> names = telemetry.layers();
  CHECK(std::ranges::equal(layers, names, {}, &LayerTelemetry::name));
  CHECK(layers.front().name() == "encoder.blocks.0");
  CHECK(layers.back().name() == "decoder.blocks.2");
  CHECK(std::ranges::all_of(layers, [](const LayerTelemetry& layer) { return layer.gradient > 0; }));
}

}  // namespace telemetry_test

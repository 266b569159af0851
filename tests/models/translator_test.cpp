// SPDX-License-Identifier: Apache-2.0
#include <fathom/models/translator.hpp>

#include <algorithm>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/backend/ref/ref.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/testing/compare.hpp>
#include <fathom/train/memory_plan.hpp>
#include <fathom/train/trainer.hpp>
#include <string>
#include <tuple>
#include <vector>

#include "train/translator_models.hpp"

namespace translator_test {

using namespace fathom_test;

// What training takes is a compile-time fact of both capacities.
template <class Model>
constexpr MemoryPlan plan(const PairCapacity& capacity) {
  return training_memory<Model, Cpu<>, AdamW>(capacity);
}
constexpr PairCapacity more_sources{{80, 8, ReversedPairs::longest}, {48, 8, ReversedPairs::longest + 1}};
static_assert(plan<DeepNormPairs<>>(more_sources).activations > plan<DeepNormPairs<>>(pair_capacity).activations);
static_assert(plan<DeepNormPairs<>>(more_sources).workspace > plan<DeepNormPairs<>>(pair_capacity).workspace);
static_assert(plan<DeepNormPairs<RecomputeSqrt>>(pair_capacity).activations <
              plan<DeepNormPairs<>>(pair_capacity).activations);

// The encoder's alpha may be the paper's, which is rounded, or the exact one. `Unchecked` is for any depth.
template <class EncoderPolicyType, class DecoderPolicyType>
using Policies =
    PairModel<Repeat<encoder_depth, EncoderBlock<EncoderPolicyType>>,
              Repeat<decoder_depth, DecoderBlock<DecoderPolicyType>>>;
constexpr double exact_alpha = deepnorm::exact::encoder_decoder(encoder_depth, decoder_depth).encoder.alpha;
static_assert(Policies<EncoderPolicy, DecoderPolicy>::parameter_count > 0);
static_assert(Policies<DeepNorm<exact_alpha>, DecoderPolicy>::parameter_count > 0);
static_assert(Policies<Unchecked<DeepNorm<9.0>>, Unchecked<DeepNorm<9.0>>>::parameter_count > 0);

using Models =
    std::tuple<DeepNormPairs<StoreAll, TiedOutput>, DeepNormPairs<Recompute<2>, SinusoidalHalves<1>, BiasedOutput>,
               PreNormPairs<Recompute<1>, TiedOutput, ScaledLogits, BiasedOutput>, OneTablePairs<TiedOutput>,
               OneTablePairs<>, T5Pairs<Recompute<2>>>;

// The paper's stacks in one line are those that are spelled out.
template <class Sublayer>
using OfPaper = Residual<DeepNorm<deepnorm::encoder_decoder(2, 3).decoder.alpha>, Sublayer>;
static_assert(std::is_same_v<deepnet::DecoderStack<2, 3, 8, 2>,
                             Repeat<3, Sequence<OfPaper<Attention<8, 2>>, OfPaper<CrossAttention<8, 2>>,
                                                OfPaper<FeedForward<8, 32, Relu>>>>>);
template <int N, int M>
using Paper = PairModel<deepnet::EncoderStack<N, M, 8, 2>, deepnet::DecoderStack<N, M, 8, 2>>;
static_assert(Paper<2, 3>::parameter_count > 0 && Paper<3, 2>::parameter_count > 0);  // their alphas fit both depths

// A table is counted once, whoever uses it.
constexpr auto table_size = ReversedPairs::target_vocabulary * target_width;
static_assert(OneTablePairs<TiedOutput>::parameter_count + table_size - 1 == OneTablePairs<>::parameter_count);

/// Batch number `cursor`, smaller than its capacity.
text::PackedPairs pairs(std::uint64_t cursor, const PairCapacity& capacity = pair_capacity) {
  text::PackedPairs batch(capacity);
  ReversedPairs(capacity).fill(cursor, batch);
  return batch;
}

TEMPLATE_LIST_TEST_CASE("the gradients of models of two streams agree with central differences", "[models]", Models) {
  Trainer<TestType, Ref<double>, AdamW> trainer(pair_capacity, {.seed = 3});
  for (const ParameterInfo& info : trainer.table()) {  // away from initial zeros and ones, which hide errors
    const Philox random(Key{5}.child(info.name));
    auto values = read_tensor(trainer.weights().flat(), info);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] += 0.2 * normals(random(i))[0];
    write_tensor(trainer.weights().flat(), info, values);
  }
  const auto batch = pairs(7);
  trainer.differentiate(batch);
  const std::vector<double> gradients = values_of(trainer.gradients());
  trainer.differentiate(batch);  // in workspace that the first pass has left
  CHECK(gradients == values_of(trainer.gradients()));
  double worst = 0;
  std::string where;
  for (const ParameterInfo& info : trainer.table()) {
    const auto values = read_tensor(trainer.weights().flat(), info);
    const Permutation entries(Key{1}.child(info.name), values.size());
    for (std::size_t i = 0; i < std::min<std::size_t>(values.size(), 4); ++i) {
      const std::uint64_t entry = entries(i);
      const double center = values[entry], step = 0x1p-10;
      const auto set = [&](double value) {
        trainer.weights().flat().upload(info.offset + std::int64_t(entry), {&value, 1});
      };
      const auto loss_at = [&](double steps) {
        set(center + steps * step);
        return trainer.evaluate(batch).mean();
      };
      const double slope = (8 * (loss_at(1) - loss_at(-1)) - (loss_at(2) - loss_at(-2))) / (12 * step);
      set(center);
      const double found = gradients[std::size_t(info.offset) + entry];
      if (const double error = testing::relative_error(found, slope, 1e-4); error > worst)
        worst = error, where = info.name + ": " + std::to_string(found) + " where " + std::to_string(slope);
    }
  }
  INFO(where);
  CHECK(worst <= 1e-6);
}

template <class B, class Model>
std::vector<double> gradients_on(const typename B::Options& machine, const PairCapacity& capacity) {
  Trainer<Model, B, AdamW> trainer(capacity, {.seed = 3, .dropout = {0.1, 0.1, 0.1, 0.1}}, {}, machine);
  trainer.differentiate(pairs(7, capacity));
  const auto gradients = values_of(trainer.gradients());
  return {gradients.begin(), gradients.end()};
}

// Few rows, many in few sequences, and many sequences: threads deal rows of sources and targets in different ways.
TEMPLATE_LIST_TEST_CASE("gradients of models of two streams agree with Ref, in the same bits on any threads",
                        "[models][threads]", Models) {
  constexpr int longest = ReversedPairs::longest;
  for (const PairCapacity& capacity :
       {pair_capacity, PairCapacity{{6, 1, longest}, {7, 1, longest + 1}},
        PairCapacity{{15, 3, longest}, {40, 3, longest + 1}},
        PairCapacity{{240, 40, longest}, {280, 40, longest + 1}}}) {
    const auto expected = gradients_on<Ref<double>, TestType>({}, capacity);
    const auto alone = gradients_on<Cpu<Double>, TestType>({.threads = 1}, capacity);
    double worst = 0;
    for (std::size_t i = 0; i < expected.size(); ++i)
      worst = std::max(worst, testing::relative_error(alone[i], expected[i], 1e-3));
    CHECK(worst <= 1e-9);
    for (const int threads : {2, 3})
      CHECK(gradients_on<Cpu<Double>, TestType>({.threads = threads}, capacity) == alone);
  }
}

TEST_CASE("recomputed activations give models of two streams the same gradients", "[models]") {
  const auto of = []<class Model>(std::type_identity<Model>) {
    return gradients_on<Cpu<Double>, Model>({.threads = 2}, pair_capacity);
  };
  const auto stored = of(std::type_identity<DeepNormPairs<>>{});
  CHECK(of(std::type_identity<DeepNormPairs<Recompute<1>>>{}) == stored);
  CHECK(of(std::type_identity<DeepNormPairs<RecomputeSqrt>>{}) == stored);
}

TEST_CASE("with all embeddings tied there is one matrix of tokens, and it is the decoder's", "[models]") {
  std::vector<std::string> names;
  for (const ParameterInfo& info : describe<OneTablePairs<TiedOutput>>())
    if (info.rows == ReversedPairs::target_vocabulary) names.push_back(info.name);
  CHECK(names == std::vector<std::string>{"decoder.embedding.token.weight"});
}

TEST_CASE("an encoder's output reaches every row of its own target, and no other", "[models]") {
  using Model = DeepNormPairs<>;
  Trainer<Model, Ref<double>, AdamW> trainer(pair_capacity, {.seed = 3});
  text::PackedPairs owned(pair_capacity);
  const std::vector<int> source{1, 2, 3}, other{1, 2, 4}, target{8, 1, 2};
  const auto loss = [&](const std::vector<int>& first, bool second_alone) {
    owned.clear();
    owned.append<int>(first, target, ReversedPairs::end);
    owned.append<int>(source, target, ReversedPairs::end);
    owned.pack();
    const PairBatch batch = owned;
    std::vector<int> targets(batch.target.targets.begin(), batch.target.targets.end());
    const std::size_t begin = second_alone ? 0 : 3;
    std::fill_n(targets.begin() + std::ptrdiff_t(begin), 3, text::no_target);
    const TokenBatch counted{batch.target.packing, batch.target.tokens, targets};
    return trainer.evaluate(PairBatch(batch.source, counted)).cross_entropy;
  };
  CHECK(loss(source, false) != loss(other, false));
  CHECK(loss(source, true) == loss(other, true));
}

}  // namespace translator_test

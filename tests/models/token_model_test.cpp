// SPDX-License-Identifier: Apache-2.0
#include <fathom/models/token_model.hpp>

#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/layers/dlcl.hpp>
#include <fathom/models/language_model.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/train/trainer.hpp>
#include <set>
#include <string>
#include <vector>

namespace token_model_test {

using namespace fathom;

constexpr int depth = 6, width = 64, context = 16, vocabulary = 256;

template <class Policy>
using Block = Sequence<Residual<Policy, Attention<width, 2>>, Residual<Policy, FeedForward<width, width>>>;
template <class Stack, class... Options>
using ModelOf = LanguageModel<Vocabulary<vocabulary>, ContextLength<context>, Stack, Options...>;
template <class Policy, class... Options>
using Model = ModelOf<Repeat<depth, Block<Policy>>, Options...>;
using Deep = DeepNorm<deepnorm::decoder_only(depth).alpha>;

// The factor is there where the output is tied and the stack ends in a post-norm, and where a model says so.
static_assert(Model<Deep, TiedOutput>::scaled_logits && Model<PostNorm, TiedOutput>::scaled_logits);
static_assert(ModelOf<Dlcl<depth, Block<Deep>>, TiedOutput>::scaled_logits);
static_assert(!Model<Deep>::scaled_logits && !Model<PreNorm, TiedOutput>::scaled_logits);
static_assert(!Model<ReZero, TiedOutput>::scaled_logits && !Model<Deep, TiedOutput, PlainLogits>::scaled_logits);
static_assert(Model<Deep, ScaledLogits>::scaled_logits && Model<PreNorm, ScaledLogits>::scaled_logits);
static_assert(Model<Deep, TiedOutput>::parameter_count == Model<Deep, TiedOutput, PlainLogits>::parameter_count + 1);
static_assert(ends_in_post_norm<Sequence<Block<PreNorm>, Block<PostNorm>>>());
static_assert(!ends_in_post_norm<Sequence<Block<PostNorm>, Block<PreNorm>>>());

struct Text {
  PackedRows rows = PackedRows::uniform(4, context);
  std::vector<int> tokens, targets;

  /// Any tokens, each followed by the next one of the vocabulary.
  explicit Text(std::uint64_t seed = 0) {
    const Philox random(Key{seed});
    for (int i = 0; i < rows.rows(); ++i) {
      tokens.push_back(int(below(vocabulary, low_bits(random(std::uint64_t(i))))));
      targets.push_back((tokens.back() + 1) % vocabulary);
    }
  }
  operator TokenBatch() const { return {rows, tokens, targets}; }
};

template <class ModelType>
using TrainerOf = Trainer<ModelType, Cpu<>, AdamW>;

/// The loss of a new model.
template <class ModelType>
double first_loss() {
  return TrainerOf<ModelType>(Text().rows.capacity(), {}, {}, {.threads = 1}).evaluate(Text()).mean();
}

TEST_CASE("a tied output under DeepNorm starts without a preference", "[models]") {
  const double uniform = std::log(vocabulary);
  CHECK(std::abs(first_loss<Model<Deep, TiedOutput>>() - uniform) < 0.05);
  CHECK(first_loss<Model<Deep, TiedOutput, PlainLogits>>() > uniform + 0.9);  // each token predicts itself
}

/// The loss of a new model after some updates.
template <class ModelType>
double learned_loss() {
  TrainerOf<ModelType> trainer(Text().rows.capacity(), {}, {}, {.threads = 1});
  for (std::uint64_t update = 1; update <= 80; ++update) trainer.step(Text(update), 3e-3);
  return trainer.evaluate(Text()).mean();
}

TEST_CASE("a tied output under DeepNorm learns like a separate one", "[models]") {
  const double separate = learned_loss<Model<Deep>>(), tied = learned_loss<Model<Deep, TiedOutput>>();
  const double plain = learned_loss<Model<Deep, TiedOutput, PlainLogits>>();
  INFO("separate " << separate << ", tied " << tied << ", plain " << plain);
  CHECK(tied < separate + 0.2);
  CHECK(plain > separate + 0.5);
}

/// The names of the tensors that one update with a large decay, at a rate that moves nothing by itself, shrinks.
template <class ModelType>
std::set<std::string> shrunk() {
  TrainerOf<ModelType> trainer(Text().rows.capacity(), {}, {.weight_decay = 1e5}, {.threads = 1});
  const auto& table = trainer.table();
  const std::vector<float> before = values_of(trainer.weights().flat());
  trainer.step(Text(), 1e-6);
  std::set<std::string> names;
  for (const ParameterInfo& info : table) {
    const float first = before[std::size_t(info.offset)];
    if (std::abs(read_tensor(trainer.weights().flat(), info)[0]) < 0.95f * std::abs(first)) names.insert(info.name);
  }
  return names;
}

TEST_CASE("weight decay shrinks the embedding, tied or not, of a model that says so, and no other", "[models]") {
  const auto spared = shrunk<Model<Deep, TiedOutput>>();
  CHECK(spared.size() == depth * 6);  // matrices of attention and feed-forward
  for (const std::string& name : spared) CHECK((name.starts_with("blocks.") && name.ends_with(".weight")));

  auto expected = spared;
  expected.insert({"embedding.token.weight", "embedding.position.weight"});
  CHECK(shrunk<Model<Deep, TiedOutput, DecayedEmbedding>>() == expected);
  expected.insert("output.weight");
  CHECK(shrunk<Model<Deep, DecayedEmbedding>>() == expected);
}

}  // namespace token_model_test

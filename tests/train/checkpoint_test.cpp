// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstring>
#include <fathom/layers/dlcl.hpp>
#include <fathom/optim/lion.hpp>
#include <fathom/train/checkpoint.hpp>
#include <fstream>
#include <limits>
#include <sstream>

#include "support/near.hpp"
#include "support/temporary_directory.hpp"
#include "train/models.hpp"

namespace checkpoint_test {

using namespace fathom_test;

const Capacity capacity{4 * context, 4, context};
TrainerOptions with_seed(std::uint64_t seed) {
  TrainerOptions options;
  options.seed = seed;
  options.dropout.residual = 0.1;
  return options;
}
const TrainerOptions options = with_seed(7);

template <class Model, class Optimizer = AdamW>
using TrainerOf = Trainer<Model, Cpu<Single>, Optimizer>;
using SmallTrainer = TrainerOf<SmallModel>;

template <class Optimizer = AdamW>
TrainerOf<SmallModel, Optimizer> make(const TrainerOptions& chosen = options) {
  return TrainerOf<SmallModel, Optimizer>(capacity, chosen, {}, {.threads = 1});
}

template <class T>
void train(T& trainer, int first, int last) {
  for (int step = first; step < last; ++step) trainer.step(SomeBatch(std::uint64_t(step)));
}
std::string content(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

TEST_CASE("training goes on bit for bit from a checkpoint", "[checkpoint]") {
  const TemporaryDirectory directory;
  SmallTrainer whole = make(), first = make(), second = make();
  train(whole, 0, 6);
  train(first, 0, 3);
  save_checkpoint(directory / "last", first,
                  {.cursor = 1234567890123,
                   .best = {.step = 2, .metric = 0.1 + 0.2, .since = 1},
                   .metadata = {{"text", "any \"thing\""}}});
  train(second, 0, 1);  // whatever it was before
  const CheckpointInfo info = load_checkpoint(directory / "last", second);
  CHECK(info.cursor == 1234567890123);
  CHECK(info.best == BestValidation{.step = 2, .metric = 0.1 + 0.2, .since = 1});
  CHECK(info.metadata.at("text") == "any \"thing\"");
  train(second, 3, 6);
  CHECK(equal_bits(whole.weights().flat(), second.weights().flat()));
  CHECK(equal_bits(whole.optimizer_state(), second.optimizer_state()));
  CHECK(whole.counters().step == second.counters().step);
  CHECK(whole.counters().updates == second.counters().updates);
  CHECK(whole.counters().norms.count == second.counters().norms.count);
  CHECK(whole.counters().norms.mean == second.counters().norms.mean);
}

TEST_CASE("an update that is still to be validated is restored exactly, also a skipped one", "[checkpoint]") {
  const TemporaryDirectory directory;
  SmallTrainer saved = make(), loaded = make();
  saved.restore({.step = 9, .updates = 5, .skipped_in_a_row = 2, .norms = {.mean = 1, .count = 7}});
  save_checkpoint(directory / "last", saved,
                  {.unvalidated = StepReport{.step = 9,
                                             .loss = std::numeric_limits<double>::quiet_NaN(),
                                             .cross_entropy = -std::numeric_limits<double>::infinity(),
                                             .gradient_norm = 0.1 + 0.2,
                                             .learning_rate = 1e-300,
                                             .tokens = 1 << 30,
                                             .skipped = "not finite, first in \"blocks.0\""}});
  const auto unvalidated = load_checkpoint(directory / "last", loaded).unvalidated;
  REQUIRE(unvalidated);
  CHECK(unvalidated->step == 9);
  CHECK(std::isnan(unvalidated->loss));
  CHECK(unvalidated->cross_entropy == -std::numeric_limits<double>::infinity());
  CHECK(unvalidated->gradient_norm == 0.1 + 0.2);
  CHECK(unvalidated->learning_rate == 1e-300);
  CHECK(unvalidated->tokens == 1 << 30);
  CHECK(unvalidated->skipped == "not finite, first in \"blocks.0\"");
  save_checkpoint(directory / "last", saved);
  CHECK(!load_checkpoint(directory / "last", loaded).unvalidated);
}

TEST_CASE("the counters of a checkpoint are restored exactly", "[checkpoint]") {
  const TemporaryDirectory directory;
  SmallTrainer saved = make(), loaded = make();
  saved.restore({.step = 9, .updates = 5, .skipped_in_a_row = 2, .norms = {.mean = 0.1 + 0.2, .count = 7}});
  save_checkpoint(directory / "last", saved);
  load_checkpoint(directory / "last", loaded);
  const auto counters = loaded.counters();
  CHECK(counters.step == 9);
  CHECK(counters.updates == 5);
  CHECK(counters.skipped_in_a_row == 2);
  CHECK(counters.norms.mean == 0.1 + 0.2);
  CHECK(counters.norms.count == 7);
}

TEST_CASE("weights are loaded for inference, also at another precision", "[checkpoint]") {
  const TemporaryDirectory directory;
  SmallTrainer trainer = make();
  train(trainer, 0, 2);
  save_checkpoint(directory / "last", trainer);
  auto single = load_checkpoint_weights<SmallModel, Cpu<Single>>(directory / "last");
  CHECK(equal_bits(single.flat(), trainer.weights().flat()));
  const auto twice = load_checkpoint_weights<SmallModel, Cpu<Double>>(directory / "last");
  CHECK(std::ranges::equal(values_of(twice.flat()), values_of(trainer.weights().flat())));
}

/// The refusal is one line that says all of `parts`, and the trainer is left as it was.
template <class T>
void refuses(const std::filesystem::path& path, T&& trainer, std::initializer_list<const char*> parts) {
  const std::vector before = values_of(trainer.weights().flat());
  const std::string message = message_of<FileError>([&] { load_checkpoint(path, trainer); });
  INFO(message);
  CHECK(message.find('\n') == std::string::npos);
  for (const char* part : parts) {
    INFO("expected: " << part);
    CHECK(message.find(part) != std::string::npos);
  }
  CHECK(before == values_of(trainer.weights().flat()));
  CHECK(trainer.counters().step == 0);
}

TEST_CASE("a checkpoint of something else is refused", "[checkpoint]") {
  const TemporaryDirectory directory;
  const auto path = directory / "last";
  SmallTrainer trainer = make();
  train(trainer, 0, 2);
  save_checkpoint(path, trainer);
  const auto other = [&]<class Model>(std::type_identity<Model>) {
    return TrainerOf<Model>(capacity, options, {}, {.threads = 1});
  };
  refuses(path, other(std::type_identity<PolicyModel<PostNorm>>{}), {"/model/stack/block/layers/0/residual/", "alpha"});
  refuses(path, other(std::type_identity<PolicyModel<Unchecked<DeepNorm<2.0>>>>{}),
          {"/model/stack/block/layers/0/residual/alpha", "2.0"});
  refuses(path, other(std::type_identity<PolicyModel<DeepNorm<deepnorm::decoder_only(depth).alpha>, 4>>{}),
          {"/model/stack/block/layers/0/heads", "is 2 where 4"});
  refuses(path, make<Lion>(), {"/optimizer", "AdamW", "Lion"});
  refuses(path, make(with_seed(8)), {"/seed", "is 7 where 8"});
  refuses(directory / "missing", make(), {"missing", "does not exist"});
  CHECK(message_of<FileError>([&] {
          load_checkpoint_weights<PolicyModel<PreNorm>, Cpu<Single>>(path);
        }).find("/model/") != std::string::npos);
}

template <int Width, class Attention, class FeedForward, class Norm = LayerNorm<Width>, int Depth = depth>
using StackOf = Repeat<Depth, Sequence<Residual<PreNorm, Attention, Norm>, Residual<PreNorm, FeedForward, Norm>>>;
template <class Stack, int Words = vocabulary, int Length = context, class... Options>
using ModelOf = LanguageModel<Vocabulary<Words>, ContextLength<Length>, Stack, PlainEmbedding, Options...>;
using Heads = Attention<width, 2>;
using Hidden = FeedForward<width, 32>;
using PlainStack = StackOf<width, Heads, Hidden>;
using PlainModel = ModelOf<PlainStack>;

/// The plain model's checkpoint in `path` is refused by this one.
template <class Model>
void refuses_for(const std::filesystem::path& path, std::initializer_list<const char*> parts) {
  refuses(path, TrainerOf<Model>(capacity, options, {}, {.threads = 1}), parts);
}

/// A LanguageModel by name, whatever its rows see.
template <class Stack>
struct Namesake : TokenModel<Vocabulary<vocabulary>, ContextLength<context>, Stack, PlainEmbedding> {
  static constexpr const char* name = "LanguageModel";
};

TEST_CASE("a checkpoint is refused where any fact of the model differs", "[checkpoint]") {
  const TemporaryDirectory directory;
  const auto path = directory / "plain";
  TrainerOf<PlainModel> trainer(capacity, options, {}, {.threads = 1});
  train(trainer, 0, 1);
  save_checkpoint(path, trainer);
  refuses_for<ModelOf<StackOf<width, Heads, Hidden, LayerNorm<width>, 4>>>(path, {"/model/depth' is 3 where 4"});
  refuses_for<ModelOf<StackOf<8, Attention<8, 2>, FeedForward<8, 32>>>>(path, {"/model/width' is 16 where 8"});
  refuses_for<ModelOf<PlainStack, 38>>(path, {"/model/vocabulary' is 37 where 38"});
  refuses_for<ModelOf<PlainStack, vocabulary, 13>>(path, {"/model/context' is 12 where 13"});
  refuses_for<ModelOf<PlainStack, vocabulary, context, TiedOutput>>(path,
                                                                    {"/model/output' is \"separate\" where \"tied\""});
  refuses_for<ModelOf<PlainStack, vocabulary, context, ScaledLogits>>(path,
                                                                      {"/model/logits' is \"plain\" where \"scaled\""});
  refuses_for<ModelOf<PlainStack, vocabulary, context, DecayedEmbedding>>(
      path, {"/model/embedding_decays' is false where true"});
  refuses_for<ModelOf<PlainStack, vocabulary, context, NoPositions>>(
      path, {"/model/positions' is \"learned\" where \"none\""});
  refuses_for<ModelOf<PlainStack, vocabulary, context, SinusoidalPositions>>(
      path, {"/model/positions' is \"learned\" where \"sinusoidal\""});
  refuses_for<ModelOf<PlainStack, vocabulary, context, SinusoidalHalves<1>>>(
      path, {"/model/positions' is \"learned\" where \"sinusoidal halves\""});
  refuses_for<ModelOf<PlainStack, vocabulary, context, BiasedOutput>>(path,
                                                                      {"/model/output_bias' is absent where true"});
  refuses_for<LanguageModel<Vocabulary<vocabulary>, ContextLength<context>, PlainStack>>(
      path, {"/model/embedding_scale' is 1.0 where 4.0"});
  using FullStack = StackOf<width, Attention<width, 2, Full>, Hidden>;
  refuses_for<MaskedLanguageModel<Vocabulary<vocabulary>, ContextLength<context>, FullStack, PlainEmbedding>>(
      path, {"/model/name' is \"LanguageModel\" where"});
  refuses_for<Namesake<FullStack>>(path, {"/model/stack/block/layers/0/mask' is \"causal\" where \"full\""});
  refuses_for<ModelOf<StackOf<width, Attention<width, 2, Causal, KeyValueHeads<1>>, Hidden>>>(
      path, {"/model/stack/block/layers/0/kv_heads' is 2 where 1"});
  refuses_for<ModelOf<StackOf<width, Attention<width, 2, Causal, NoBias>, Hidden>>>(
      path, {"tensor 'blocks.0.attention.query.bias'"});
  refuses_for<ModelOf<StackOf<width, Heads, FeedForward<width, 33>>>>(
      path, {"/model/stack/block/layers/1/hidden' is 32 where"});
  refuses_for<ModelOf<StackOf<width, Heads, FeedForward<width, 32, Relu>>>>(
      path, {"/model/stack/block/layers/1/activation' is \"gelu\" where \"relu\""});
  refuses_for<ModelOf<StackOf<width, Heads, FeedForward<width, 32, GeGlu>>>>(
      path, {"/model/stack/block/layers/1/gated' is false where true"});
  refuses_for<ModelOf<StackOf<width, Heads, Hidden, RmsNorm<width>>>>(
      path, {"/residual/norm/kind' is \"LayerNorm\" where \"RmsNorm\""});
  refuses_for<ModelOf<StackOf<width, Heads, Hidden, LayerNorm<width, 1e-6>>>>(
      path, {"/model/stack/block/layers/0/residual/norm/epsilon' is"});
  refuses_for<ModelOf<Dlcl<depth, PlainStack::Block>>>(path, {"/model/stack/"});

  using Turned = ModelOf<StackOf<width, Attention<width, 2, Causal, Rotary<>>, Hidden>>;
  using TurnedMore = ModelOf<StackOf<width, Attention<width, 2, Causal, Rotary<100.0>>, Hidden>>;
  refuses_for<Turned>(path, {"/model/stack/block/layers/0/rotary' is 0.0 where 10000.0"});
  TrainerOf<Turned> turned(capacity, options, {}, {.threads = 1});
  save_checkpoint(directory / "turned", turned);
  refuses_for<TurnedMore>(directory / "turned", {"/model/stack/block/layers/0/rotary' is 10000.0 where 100.0"});
}

TEST_CASE("a checkpoint of a higher precision is refused", "[checkpoint]") {
  const TemporaryDirectory directory;
  Trainer<PlainModel, Cpu<Double>, AdamW> trainer(capacity, options, {}, {.threads = 1});
  save_checkpoint(directory / "double", trainer);
  refuses_for<PlainModel>(directory / "double", {"model.safetensors: tensor 'embedding.token.weight'", "F64"});
}

TEST_CASE("a checkpoint is refused by a trainer with other options", "[checkpoint]") {
  const TemporaryDirectory directory;
  const auto path = directory / "last";
  SmallTrainer trainer = make();
  train(trainer, 0, 2);
  save_checkpoint(path, trainer);
  const auto with = [&](auto change) {
    TrainerOptions other = options;
    change(other);
    return make(other);
  };
  refuses(path, with([](auto& o) { o.clip_norm = 2; }), {"/trainer/clip_norm", "is 1.0 where 2.0"});
  refuses(path, with([](auto& o) { o.spike_factor = 0; }), {"/trainer/spike_factor", "is 20.0 where 0.0"});
  refuses(path, with([](auto& o) { o.loss.smoothing = 0.1; }), {"/trainer/loss/smoothing", "is 0.0 where 0.1"});
  refuses(path, with([](auto& o) { o.loss.z_loss = 0.5; }), {"/trainer/loss/z_loss", "is 0.0 where 0.5"});
  refuses(path, with([](auto& o) { o.dropout.residual = 0; }), {"/trainer/dropout/residual", "is 0.1 where 0.0"});
  refuses(path, with([](auto& o) { o.dropout.attention = 0.2; }), {"/trainer/dropout/attention", "is 0.0 where 0.2"});
  refuses(path, with([](auto& o) { o.average = 0.9; }), {"/trainer/average", "is 0.0 where 0.9"});
  const auto adam = [](const AdamW::Options& chosen) {
    return SmallTrainer(capacity, options, chosen, {.threads = 1});
  };
  refuses(path, adam({.beta2 = 0.99}), {"/optimizer/options/beta2", "is 0.999 where 0.99"});
  refuses(path, adam({.weight_decay = 0.1}), {"/optimizer/options/weight_decay", "is 0.01 where 0.1"});
  // The rate is given to each update, and patience changes no number.
  SmallTrainer same = adam({.learning_rate = 0.5});
  CHECK_NOTHROW(load_checkpoint(path, same));
  SmallTrainer patient = with([](auto& o) { o.patience = 3; });
  CHECK_NOTHROW(load_checkpoint(path, patient));
}

template <class Optimizer>
void goes_on_with(std::initializer_list<const char*> fields) {
  INFO(Optimizer::name);
  const nlohmann::json json = typename Optimizer::Options{};
  CHECK(json.size() == fields.size());
  for (const char* field : fields) CHECK(json.contains(field));
}

TEST_CASE("checkpoints know every optimizer's options but the rate", "[checkpoint]") {
  goes_on_with<Sgd>({"weight_decay"});
  goes_on_with<MomentumSgd>({"momentum", "weight_decay", "nesterov"});
  goes_on_with<Adam>({"beta1", "beta2", "epsilon", "weight_decay"});
  goes_on_with<AdamW>({"beta1", "beta2", "epsilon", "weight_decay"});
  goes_on_with<Lion>({"beta1", "beta2", "weight_decay"});
  goes_on_with<Adafactor>({"decay_exponent", "epsilon1", "epsilon2", "clip_threshold", "weight_decay"});
}

TEST_CASE("the average of the weights is saved, goes on, and is what inference loads", "[checkpoint]") {
  const TemporaryDirectory directory;
  const auto path = directory / "last";
  TrainerOptions averaging = options;
  averaging.average = 0.9;
  SmallTrainer whole = make(averaging), first = make(averaging), second = make(averaging);
  save_checkpoint(path, first);  // before there is an average
  CHECK(equal_bits(load_checkpoint_weights<SmallModel, Cpu<Single>>(path).flat(), first.weights().flat()));
  train(second, 0, 2);
  load_checkpoint(path, second);
  CHECK(second.average()->count() == 0);

  train(whole, 0, 6);
  train(first, 0, 3);
  save_checkpoint(path, first);
  CHECK(equal_bits(load_checkpoint_weights<SmallModel, Cpu<Single>>(path).flat(), first.average()->flat()));
  CHECK(!equal_bits(first.weights().flat(), first.average()->flat()));
  load_checkpoint(path, second);
  train(second, 3, 6);
  CHECK(equal_bits(whole.weights().flat(), second.weights().flat()));
  CHECK(equal_bits(whole.average()->flat(), second.average()->flat()));
  CHECK(second.average()->count() == 6);

  const std::string file = content(path / "average.safetensors");
  directory.write("last/average.safetensors", file.substr(0, file.size() - 10));
  refuses(path, make(averaging), {"average.safetensors"});
  std::filesystem::remove(path / "average.safetensors");
  refuses(path, make(averaging), {"average.safetensors"});
}

TEST_CASE("a damaged checkpoint is refused", "[checkpoint]") {
  const TemporaryDirectory directory;
  const auto path = directory / "last";
  SmallTrainer trainer = make();
  train(trainer, 0, 2);
  save_checkpoint(path, trainer);
  for (const char* name : {"model.safetensors", "state.safetensors", "config.json"}) {
    const std::string file = std::string("last/") + name, whole = content(path / name);
    directory.write(file, whole.substr(0, whole.size() - 10));
    refuses(path, make(), {name});
    directory.write(file, "");
    refuses(path, make(), {name});
    std::filesystem::remove(path / name);
    refuses(path, make(), {name});
    directory.write(file, whole);
  }
  const std::string model = content(path / "model.safetensors");
  std::string flipped = model;
  flipped[flipped.size() - 100] ^= 1;
  directory.write("last/model.safetensors", flipped);
  refuses(path, make(), {"model.safetensors: tensor '", "does not match its checksum"});
  flipped = model;
  flipped[flipped.find("fathom.checksums")] ^= 1;
  directory.write("last/model.safetensors", flipped);
  refuses(path, make(), {"model.safetensors: the checksums are missing"});
  directory.write("last/model.safetensors", model);

  const std::string state = content(path / "state.safetensors");
  flipped = state;
  flipped[flipped.size() - 100] ^= 1;
  directory.write("last/state.safetensors", flipped);
  refuses(path, make(), {"state.safetensors: tensor 'second.", "does not match its checksum"});
  directory.write("last/state.safetensors", state);

  std::string config = content(path / "config.json");
  config[config.find("\"step\": ") + 8] = '5';
  directory.write("last/config.json", config);
  refuses(path, make(), {"config.json", "does not match the checksum in model.safetensors"});
}

TEST_CASE("the files of two checkpoints do not mix", "[checkpoint]") {
  const TemporaryDirectory directory;
  SmallTrainer trainer = make();
  train(trainer, 0, 1);
  save_checkpoint(directory / "a", trainer);
  train(trainer, 1, 2);
  save_checkpoint(directory / "b", trainer);
  directory.write("a/state.safetensors", content(directory / "b/state.safetensors"));
  refuses(directory / "a", make(), {"config.json", "state.safetensors"});
}

}  // namespace checkpoint_test

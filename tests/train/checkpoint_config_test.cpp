// SPDX-License-Identifier: Apache-2.0
#include <fathom/train/checkpoint_config.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <fathom/train/checkpoint.hpp>
#include <fathom/train/run.hpp>
#include <limits>
#include <random>

#include "support/temporary_directory.hpp"
#include "train/batch_stream.hpp"
#include "train/rewrite_checkpoint.hpp"

namespace checkpoint_config_test {

using namespace fathom_test;
using Catch::Matchers::ContainsSubstring;
using Json = nlohmann::json;

namespace tiny {
inline constexpr int width = 8, context = 6, vocabulary = 7;
/// A MaskedLanguageModel, or by name, for it would refuse a causal mask.
template <class Mask, class Act, class Norm = RmsNorm<width, 1e-6>, class... Options>
struct Model
    : TokenModel<
          Vocabulary<vocabulary>, ContextLength<context>,
          Repeat<1,
                 Sequence<Residual<PreNorm, Attention<width, 2, Mask, KeyValueHeads<1>, Rotary<100.0>, NoBias>, Norm>,
                          Residual<PreNorm, FeedForward<width, 4, Act, NoBias>, Norm>>>,
          SinusoidalPositions, PlainEmbedding, Options...> {
  static constexpr const char* name = "MaskedLanguageModel";
};

struct Batch {
  PackedRows rows = PackedRows::uniform(2, context);
  std::vector<int> tokens, targets;

  explicit Batch(std::uint64_t seed) {
    const Philox random(Key{seed});
    for (std::uint64_t i = 0; i <= 2 * context; ++i) tokens.push_back(int(below(vocabulary, low_bits(random(i)))));
    targets.assign(tokens.begin() + 1, tokens.end());
    tokens.pop_back();
  }
  operator TokenBatch() const { return {rows, tokens, targets}; }
};

template <class Model, class Optimizer = AdamW>
auto trainer(const typename Optimizer::Options& optimizer = {}, const TrainerOptions& options = {}) {
  return Trainer<Model, Cpu<Single>, Optimizer>({2 * context, 2, context}, options, optimizer, {.threads = 1});
}
using Plain = Model<Full, SwiGlu>;

template <class T>
std::vector<double> train(T& trainer, std::uint64_t first, std::uint64_t last) {
  std::vector<double> losses;
  for (std::uint64_t step = first; step < last; ++step) losses.push_back(trainer.step(Batch(step), 1e-2).loss);
  return losses;
}
}  // namespace tiny

const std::filesystem::path format_1 = "tests/train/data/checkpoint_1";

/// The trainer of tests/train/data/checkpoint_1, which is behind 3 updates.
template <class Model = tiny::Plain>
auto trainer_of_format_1() {
  TrainerOptions options;
  options.seed = std::numeric_limits<std::uint64_t>::max();
  options.dropout.residual = 0.1;
  options.average = 0.9;
  return tiny::trainer<Model>({.epsilon = 1e-4}, options);
}

TEST_CASE("a checkpoint of format 1 goes on", "[checkpoint]") {
  auto whole = trainer_of_format_1(), resumed = trainer_of_format_1();
  tiny::train(whole, 0, 3);
  const CheckpointInfo info = load_checkpoint(format_1, resumed);
  CHECK(info.cursor == 3);
  CHECK(info.best == BestValidation{.step = 2, .metric = 1.5, .since = 1});
  CHECK(info.metadata.at("text") == "corpus.txt");
  CHECK(resumed.counters().updates == 3);
  CHECK(resumed.average()->count() == 3);
  const auto expected = tiny::train(whole, 3, 6), losses = tiny::train(resumed, 3, 6);
  for (std::size_t i = 0; i < losses.size(); ++i) CHECK(std::abs(losses[i] - expected[i]) < 1e-4);
  CHECK(std::abs(losses.back() - 2.01219469) < 1e-4);
  CHECK_NOTHROW(load_checkpoint_weights<tiny::Plain, Cpu<Double>>(format_1));

  const auto refused = [&]<class Model>(std::type_identity<Model>) {
    auto other = trainer_of_format_1<Model>();
    return message_of<FileError>([&] { load_checkpoint(format_1, other); });
  };
  CHECK_THAT(refused(std::type_identity<tiny::Model<Causal, SwiGlu>>{}), ContainsSubstring(R"("full" where "causal")"));
  CHECK_THAT(refused(std::type_identity<tiny::Model<Full, GeGlu>>{}), ContainsSubstring(R"("silu" where "gelu")"));
  CHECK_THAT(refused(std::type_identity<tiny::Model<Full, SwiGlu, LayerNorm<tiny::width>>>{}),
             ContainsSubstring("/residual/norm/"));
  using Norm = RmsNorm<tiny::width, 1e-6>;
  CHECK_THAT(refused(std::type_identity<tiny::Model<Full, SwiGlu, Norm, ScaledLogits>>{}),
             ContainsSubstring("'/model/logits' is \"plain\" where \"scaled\" is needed; format 1 knew no factor: put "
                               "PlainLogits in the model's type, or LOGITS Plain in fathom_add_language_model"));
  CHECK_THAT(refused(std::type_identity<tiny::Model<Causal, SwiGlu, Norm, ScaledLogits>>{}),
             ContainsSubstring("belongs to another model"));
}

TEST_CASE("the words of format 2 for the numbers of format 1", "[checkpoint]") {
  using Policy = Unchecked<DeepNorm<2.0>>;
  using Block = Sequence<Residual<Policy, Attention<8, 2, Full>>, Residual<Policy, FeedForward<8, 4, GeluTanh>>>;
  using Scaled = MaskedLanguageModel<Vocabulary<7>, ContextLength<6>, Repeat<3, Block>, TiedOutput>;
  using Model = MaskedLanguageModel<Vocabulary<7>, ContextLength<6>, Repeat<3, Block>, TiedOutput, PlainLogits>;
  const Json expected = detail::describe_model<Model>();
  const double beta = Policy::beta;
  const Json norm{{"policy", "DeepNorm"}, {"alpha", 2.0}, {"beta", beta}, {"norm_kind", 0}, {"norm_epsilon", 1e-5}};
  Json attention{{"name", "attention"}, {"heads", 2}, {"kv_heads", 2}, {"rotary", 0.0}, {"causal", false}};
  Json feed_forward{{"name", "feed_forward"}, {"hidden", 4}, {"activation", 2}, {"gated", false}};
  attention.update(norm);
  feed_forward.update(norm);
  Json old{{"name", "MaskedLanguageModel"},
           {"vocabulary", 7},
           {"context", 6},
           {"width", 8},
           {"depth", 3},
           {"learned_positions", true},
           {"sinusoidal_positions", false},
           {"embedding_scale", ScaledEmbedding::scale(8)},
           {"tied_output", true},
           {"sublayers", {attention, feed_forward}}};
  CHECK(detail::from_format_1(old, expected) == expected);
  CHECK(detail::from_format_1(old, detail::describe_model<Scaled>()) == expected);  // it had no factor
  old["sublayers"][1]["activation"] = 4;
  CHECK_THROWS_AS(detail::from_format_1(old, expected), Json::exception);
  old["sublayers"].erase(1);
  CHECK(detail::from_format_1(old, expected) != expected);
}

/// A user's own sublayer, of the same shapes whatever it does.
template <int Taps>
struct OwnLayer : FeedForward<tiny::width, 4> {
  static constexpr const char* name = "own";
  static constexpr void describe(auto&& fact) {
    fact("taps", Taps);
    fact("window", "hann");
    fact("norm", std::type_identity<LayerNorm<tiny::width>>{});
  }
};
template <class... Layers>
using OwnModel =
    LanguageModel<Vocabulary<tiny::vocabulary>, ContextLength<tiny::context>, Repeat<1, Sequence<Layers...>>>;

TEST_CASE("a layer of one's own says what it is", "[checkpoint]") {
  const TemporaryDirectory folder;
  auto trainer = tiny::trainer<OwnModel<Residual<PreNorm, OwnLayer<3>>, OwnLayer<5>>>();
  save_checkpoint(folder / "own", trainer);
  CHECK_NOTHROW(load_checkpoint(folder / "own", trainer));
  const Json config = Json::parse(read_file(folder / "own/config.json"));
  const Json& layers = config["model"]["stack"]["block"]["layers"];
  CHECK(layers[0]["window"] == "hann");
  CHECK(layers[0]["norm"]["kind"] == "LayerNorm");
  CHECK(layers[1]["taps"] == 5);

  auto inside = tiny::trainer<OwnModel<Residual<PreNorm, OwnLayer<7>>, OwnLayer<5>>>();
  CHECK_THAT(message_of<FileError>([&] { load_checkpoint(folder / "own", inside); }),
             ContainsSubstring("/layers/0/taps' is 3 where 7 is needed; the checkpoint belongs to another model"));
  auto plain = tiny::trainer<OwnModel<Residual<PreNorm, OwnLayer<3>>, OwnLayer<4>>>();
  CHECK_THAT(message_of<FileError>([&] { load_checkpoint(folder / "own", plain); }),
             ContainsSubstring("/layers/1/taps' is 5 where 4 is needed"));
}

struct Twice : FeedForward<tiny::width, 4> {
  static constexpr void describe(auto&& fact) {
    fact("hidden", 4);
    fact("hidden", 8);
  }
};

/// It says `key`, which the library says of it as well.
template <class L, char... Key>
struct Says : L {
  static constexpr const char key[]{Key..., 0};
  static constexpr void describe(auto&& fact) { fact(key, 1); }
};

TEST_CASE("what a layer says twice is refused", "[checkpoint]") {
  const auto refused = []<class... Layers>(const char* part, Layers...) {
    CHECK_THAT(message_of<Error>([] { detail::describe_model<OwnModel<typename Layers::type...>>(); }),
               ContainsSubstring(part));
  };
  using Own = OwnLayer<3>;
  refused("the description of 'feed_forward' has 'hidden' twice", std::type_identity<Twice>{});
  refused("the description of 'own' has 'name' twice", std::type_identity<Says<Own, 'n', 'a', 'm', 'e'>>{});
  refused("the description of 'own' has 'residual' twice",
          std::type_identity<Residual<PreNorm, Says<Own, 'r', 'e', 's', 'i', 'd', 'u', 'a', 'l'>>>{});
  refused("has 'layers' twice", std::type_identity<Says<Sequence<Own>, 'l', 'a', 'y', 'e', 'r', 's'>>{});
  refused("has 'block' twice", std::type_identity<Says<Repeat<1, Own>, 'b', 'l', 'o', 'c', 'k'>>{});
  refused("has 'alpha' twice", std::type_identity<Residual<Says<PreNorm, 'a', 'l', 'p', 'h', 'a'>, Own>>{});
  refused("has 'norm' twice", std::type_identity<Residual<Says<PreNorm, 'n', 'o', 'r', 'm'>, Own>>{});
}

/// A user's own wrapper, which says what is inside it.
template <class Inner>
struct Wrapper : Inner {
  static constexpr const char* name = "wrapper";
  static constexpr void describe(auto&& fact) { fact("inner", std::type_identity<Inner>{}); }
};

TEST_CASE("what a layer says of one inside it is all that this one says", "[checkpoint]") {
  const auto first = []<class L>(std::type_identity<L>) {
    return detail::describe_model<OwnModel<L>>()["stack"]["block"]["layers"][0];
  };
  using Branch = Residual<PreNorm, Attention<tiny::width, 2>>;
  const Json plain = first(std::type_identity<Sequence<Branch, OwnLayer<3>>>{}),
             wrapped = first(std::type_identity<Wrapper<Sequence<Branch, OwnLayer<3>>>>{});
  CHECK(plain["layers"][0]["heads"] == 2);
  CHECK(plain["layers"][1]["taps"] == 3);
  CHECK(wrapped["inner"] == plain);
  // A residual directly inside another.
  const Json nested = first(std::type_identity<Residual<PreNorm, Residual<DeepNorm<1.0>, OwnLayer<3>>>>{});
  CHECK(nested["residual"]["name"] == "PreNorm");
  CHECK(nested["layers"][0]["residual"]["name"] == "DeepNorm");
  CHECK(nested["layers"][0]["taps"] == 3);
}

/// A checkpoint behind three updates, with an average.
struct Saved {
  TemporaryDirectory folder{fastest_folder()};
  std::filesystem::path path = folder / "last";
  TrainerOptions options = [] {
    TrainerOptions chosen;
    chosen.average = 0.9;
    return chosen;
  }();

  Saved() {
    auto trainer = tiny::trainer<tiny::Plain>({}, options);
    tiny::train(trainer, 0, 3);
    save_checkpoint(path, trainer, {.cursor = 3, .best = {.step = 2, .metric = 1.5, .since = 1}});
  }
  std::string resumed() const {
    auto trainer = tiny::trainer<tiny::Plain>({}, options);
    const std::string message = message_of<FileError>([&] { load_checkpoint(path, trainer); });
    CHECK(trainer.counters().step == (message.empty() ? 3 : 0));
    CHECK(message.find('\n') == std::string::npos);
    return message;
  }
  std::string used() const {
    return message_of<FileError>([&] { load_checkpoint_weights<tiny::Plain, Cpu<Single>>(path); });
  }
  std::string looked_at() const {
    return message_of<FileError>([&] { read_checkpoint_info(path); });
  }
};

TEST_CASE("a file of a checkpoint in the place of another is refused", "[checkpoint]") {
  const char* const files[]{"model.safetensors", "state.safetensors", "average.safetensors"};
  const char* const roles[]{"weights", "state", "average"};
  for (int place = 0; place < 3; ++place)
    for (int file = 0; file < 3; ++file) {
      const Saved saved;
      if (place == file) continue;
      std::filesystem::copy_file(saved.path / files[file], saved.path / files[place],
                                 std::filesystem::copy_options::overwrite_existing);
      const std::string message = saved.resumed();
      CHECK_THAT(message,
                 ContainsSubstring(files[place]) && ContainsSubstring(std::string("holds the '") + roles[file]));
      CHECK_THAT(message, ContainsSubstring(std::string("where its '") + roles[place] + "' are needed"));
      CHECK(saved.used() == (place == 2 ? message : ""));
      CHECK(saved.looked_at() == (place == 0 ? message : ""));
    }
}

TEST_CASE("a checkpoint of a format that is not known is refused", "[checkpoint]") {
  const Saved saved;
  const auto refused = [&](const Json& format, const char* part) {
    rewrite_field(saved.path, "/format", format);
    for (const std::string& message : {saved.resumed(), saved.used(), saved.looked_at()})
      CHECK_THAT(message, ContainsSubstring(part));
  };
  refused(3, "is of format 3, the newest known here is 2; use the version of fathom that wrote it, or a newer one");
  refused(1000000007, "is of format 1000000007");
  refused(0, "'/format' is 0");
  refused(-1, "'/format' is -1");
  refused(1.9, "'/format' is 1.9");
  refused("2", "'/format' is \"2\"");
}

TEST_CASE("numbers that no training leaves are refused", "[checkpoint]") {
  const Saved saved;
  const std::string config = read_file(saved.path / "config.json");
  constexpr std::int64_t huge = std::numeric_limits<std::int64_t>::max();
  const std::vector<std::pair<std::string, std::vector<Json>>> cases{
      {"/progress/step", {-1, huge, 1.9, 2, 1e3, std::uint64_t(huge) + 1, nullptr, "3", true}},
      {"/progress/updates", {-3, huge, 4, 1.9, 3.0}},
      {"/progress/skipped_in_a_row", {-1, 1, 0.5}},
      {"/progress/norm_count", {-1, huge, 1.9, 4}},
      {"/progress/norm_mean", {-1.0, nullptr, "1"}},
      {"/progress/averaged", {-3, huge, 4, 1.9}},
      {"/best/step", {-1, 4, 1.9, huge}},
      {"/best/since", {-1, 4, 0.5, huge}},
      {"/best/metric", {nullptr, "1"}},
      {"/sampler_position", {-1, 1.9, 1e300, std::numeric_limits<std::uint64_t>::max(), (std::int64_t{1} << 53) + 1}},
      {"/metadata", {nullptr, 3, {{"a", 1}}}},
  };
  for (const auto& [field, values] : cases)
    for (const Json& value : values) {
      CAPTURE(field, value.dump());
      rewrite_field(saved.path, field, value);
      CHECK_THAT(saved.resumed(), ContainsSubstring(field.substr(0, 5)));
      CHECK_THAT(saved.looked_at(), ContainsSubstring(field.substr(0, 5)));
      if (field != "/sampler_position" && field != "/metadata")
        CHECK_THAT(saved.used(), ContainsSubstring(field.substr(0, 5)));
      rewrite_config(saved.path, config);
    }
  CHECK(saved.resumed().empty());
  rewrite_field(saved.path, "/progress/averaged", 0);
  CHECK_THAT(saved.resumed(), ContainsSubstring("/progress/averaged") && ContainsSubstring("average.safetensors"));
  rewrite_config(saved.path, config);

  rewrite_field(saved.path, "/progress/step", 1000);
  auto trainer = tiny::trainer<tiny::Plain>({}, saved.options);
  load_checkpoint(saved.path, trainer);
  struct NoBatches {
    TokenBatch next() { throw Error("no batch"); }
    std::uint64_t cursor() const { return 0; }
  } none;
  CHECK(message_of<Error>([&] { TrainingRun(trainer, none, {.steps = 40}); }) ==
        "TrainingRun: the trainer stands at update 1000 of a run of 40; give the run's own checkpoint, or more steps");
  CHECK_NOTHROW(TrainingRun(trainer, none, {.steps = 1000}));
}

TEST_CASE("an average that the trainer does not keep is refused", "[checkpoint]") {
  Saved saved;
  rewrite_field(saved.path, "/trainer/average", 0.0);
  saved.options.average = 0;
  CHECK_THAT(saved.resumed(), ContainsSubstring("/progress/averaged' is 3 where 0 is needed"));
}

TEST_CASE("tensors that are not finite are refused by name", "[checkpoint]") {
  const float values[]{std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()};
  for (const auto& [file, tensor] :
       {std::pair("model", "blocks.0.attention.query.weight"), std::pair("state", "second.output.weight"),
        std::pair("average", "final_norm.gain")})
    for (const float value : values) {
      const Saved saved;
      const std::string name = tensor;
      rewrite_tensors(saved.path / (std::string(file) + ".safetensors"),
                      [&](auto&, auto& data) { std::memcpy(data.at(name).data() + 4, &value, sizeof value); });
      const std::string expected = std::string(file) + ".safetensors: tensor '" + name + "' is not finite";
      CHECK_THAT(saved.resumed(), ContainsSubstring(expected));
      CHECK_THAT(saved.used(), ContainsSubstring(std::string(file) == "average" ? expected : ""));
    }
}

TEST_CASE("a checkpoint that could not be loaded is not written", "[checkpoint]") {
  const Saved saved;
  const std::string before = read_file(saved.path / "model.safetensors");
  auto trainer = tiny::trainer<tiny::Plain>({}, saved.options);
  const auto refused = [&](const CheckpointInfo& info = {}) {
    const std::string message = message_of<Error>([&] { save_checkpoint(saved.path, trainer, info); });
    CHECK(read_file(saved.path / "model.safetensors") == before);
    return message;
  };
  CHECK_THAT(refused({.best = {.step = 0, .metric = INFINITY}}), ContainsSubstring("best/metric must be finite"));
  CHECK_THAT(refused({.best = {.step = 5}}), ContainsSubstring("best/step must be from 0 to progress/step"));
  CHECK_THAT(refused({.metadata = {{"a", "\xff"}}}), ContainsSubstring("not valid UTF-8"));
  CHECK_THAT(refused({.metadata = {{"a", std::string(17 << 20, 'x')}}}), ContainsSubstring("store less in it"));
  const float nan = std::numeric_limits<float>::quiet_NaN();
  trainer.weights().flat().upload(0, {&nan, 1});
  CHECK_THAT(refused(), ContainsSubstring("tensor 'blocks.0.attention.query.weight' of the weights is not finite"));
}

TEST_CASE("a config.json that is too deep or too long is refused", "[checkpoint]") {
  const Saved saved;
  const auto refused = [&](const std::string& text, const char* part) {
    saved.folder.write("last/config.json", text);
    for (const std::string& message : {saved.resumed(), saved.used(), saved.looked_at()})
      CHECK_THAT(message, ContainsSubstring("config.json: ") && ContainsSubstring(part));
  };
  refused(std::string(100'000, '['), "nested more than 64 deep");
  refused("{\"a\":" + std::string(100'000, '[') + std::string(100'000, ']') + "}", "nested more than 64 deep");
  refused(std::string((16 << 20) + 1, ' '), "bytes, more than");
  refused("{\"a\": 1e999}", "out of range");
  refused("", "not valid JSON");
  refused("[]", "'/format' is missing");
}

/// Whether loading does one of the two things that it may.
template <class Load>
bool loads_or_refuses(Load&& load) {
  try {
    load();
  } catch (const FileError&) {
  }
  return true;  // anything else has left the test
}

TEST_CASE("a checkpoint with any byte changed loads or is refused", "[checkpoint]") {
  const Saved saved;
  auto trainer = tiny::trainer<tiny::Plain>({}, saved.options);
  std::minstd_rand draw(1);
  const auto mutated = [&](std::string text, std::size_t from, std::size_t to) {
    for (unsigned count = 1 + draw() % 4; count > 0; --count) {
      const std::size_t place = from + draw() % (to - from);
      constexpr std::string_view likely = "0123456789-.eE+[]{}\",: ntf\\";
      switch (draw() % 3) {
        case 0:
          text[place] = char(draw());
          break;
        case 1:
          text[place] = likely[draw() % likely.size()];
          break;
        default:
          text.erase(place, 1 + draw() % 3);
          to -= 3;
      }
    }
    return text;
  };
  const std::string config = read_file(saved.path / "config.json");
  const std::string model = read_file(saved.path / "model.safetensors");
  for (int i = 0; i < 100; ++i) {
    rewrite_config(saved.path, mutated(config, 0, config.size()));
    REQUIRE(loads_or_refuses([&] { load_checkpoint(saved.path, trainer); }));
  }
  rewrite_config(saved.path, config);
  for (int i = 0; i < 400; ++i) {
    saved.folder.write("last/model.safetensors", mutated(model, 0, std::min<std::size_t>(model.size(), 1500)));
    REQUIRE(loads_or_refuses([&] { load_checkpoint(saved.path, trainer); }));
  }
}

}  // namespace checkpoint_config_test

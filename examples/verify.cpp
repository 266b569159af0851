// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <cstdint>
#include <cstdio>
#include <fathom/backend/cuda/cuda.hpp>
#include <fathom/fathom.hpp>
#include <fathom/testing/verify.hpp>
#include <initializer_list>
#include <programs/precision.hpp>
#include <programs/rules.hpp>
#include <programs/run_program.hpp>
#include <string>
#include <type_traits>
#include <vector>

/// Whether two backends compute the same: trains small models of every kind of layer on both, op by op side by side.
namespace fathom::program {

constexpr int vocabulary = 101, length = 16, width = 64, heads = 4, hidden = 128, depth = 4;

using Decoders =
    LanguageModel<Vocabulary<vocabulary>, ContextLength<length>, deepnet::DecoderOnly<6, width, heads, hidden>>;

constexpr auto constants = deepnorm::encoder_decoder(depth, depth);
using EncoderPolicy = DeepNorm<constants.encoder.alpha>;
using DecoderPolicy = DeepNorm<constants.decoder.alpha>;
using EncoderDecoder =
    Translator<Encoder<Vocabulary<vocabulary>, ContextLength<length>,
                       Repeat<depth, Sequence<Residual<EncoderPolicy, Attention<width, heads, Full, KeyValueHeads<2>>>,
                                              Residual<EncoderPolicy, FeedForward<width, hidden, SwiGlu>>>>>,
               Decoder<Vocabulary<vocabulary>, ContextLength<length>,
                       Repeat<depth, Sequence<Residual<DecoderPolicy, Attention<width, heads, Causal, Rotary<>>>,
                                              Residual<DecoderPolicy, CrossAttention<width, heads>>,
                                              Residual<DecoderPolicy, FeedForward<width, hidden, Gelu>>>>>,
               TiedOutput, TiedSourceEmbedding>;

constexpr Capacity rows{3 * length, 3, length};

/// Sequences of several lengths, with tokens drawn by chance.
struct Text {
  PackedRows packed{rows};
  std::vector<int> tokens, targets;

  Text(const Key& key, std::initializer_list<int> lengths) {
    packed.assign(std::vector(lengths));
    const Philox random(key);
    for (int row = 0; row < Packing(packed).rows(); ++row) {
      const auto bits = random(std::uint64_t(row));
      tokens.push_back(int(below(vocabulary, low_bits(bits))));
      targets.push_back(int(below(vocabulary, high_bits(bits))));
    }
  }
  operator TokenBatch() const { return {packed, tokens, targets}; }
};
struct Pairs {
  Text source, target;
  operator PairBatch() const { return {{source.packed, source.tokens}, target}; }
};

struct Settings {
  std::string first = "cpu", second = "cuda";
  std::int64_t steps = 2;
  double tolerance = 0, dropout = 0;
  PrecisionOption precision;
  std::uint64_t seed = 1;
};

/// Says what was found. Returns whether the backends agree.
bool report(const Settings& settings, const char* model, const testing::Verification& found) {
  const std::string backends = settings.first + " and " + settings.second;
  const auto ops = static_cast<long long>(found.ops);
  if (found.agrees())
    std::printf("%s: %s agree in %lld ops; the greatest difference, %.1e, is in %s\n", model, backends.c_str(), ops,
                found.worst.error, found.where.c_str());
  else
    std::printf("%s: %s differ, first in op %lld, %s: %s\n", model, backends.c_str(), ops, found.where.c_str(),
                found.disagreement.c_str());
  flush_stdout();
  return found.agrees();
}

template <class First, class Second>
bool verify_models(const Settings& settings) {
  const double rate = settings.dropout;
  const testing::VerifyOptions options{.steps = settings.steps,
                                       .tolerance = settings.tolerance > 0          ? settings.tolerance
                                                    : settings.precision.is_mixed() ? 0.1
                                                                                    : 1e-4,
                                       .trainer = {.seed = settings.seed, .dropout = {rate, rate, rate, rate}}};
  const auto key = [&](std::int64_t step, const char* part) {
    return Key{settings.seed}.child(part).child(std::uint64_t(step));
  };
  const auto texts = [&](std::int64_t step) { return Text(key(step, "text"), {length, 5, 11}); };
  const auto pairs = [&](std::int64_t step) {
    return Pairs{{key(step, "source"), {7, length, 4}}, {key(step, "target"), {9, 3, length}}};
  };
  const bool one = report(settings, "language model", testing::verify<Decoders, First, Second>(rows, texts, options));
  const bool other =
      report(settings, "translator", testing::verify<EncoderDecoder, First, Second>({rows, rows}, pairs, options));
  return one && other;
}

/// f(std::type_identity<B>{}) with the backend of that name, in precision P. Errors: `Error` when there is none.
template <class P>
bool with_backend(const std::string& name, auto&& f) {
  using Reference = std::conditional_t<std::is_same_v<P, Single>, Ref<float>, Ref<P>>;
  if (name == "reference") return f(std::type_identity<Reference>{});
  if (name == "cpu") return f(std::type_identity<Cpu<P>>{});
  if (name == "cuda") return f(std::type_identity<Cuda<P>>{});
  throw Error(name + ": is no backend; there are reference, cpu and cuda");
}

template <class P>
bool verify_backends(const Settings& settings) {
  return with_backend<P>(settings.first, [&]<class First>(std::type_identity<First>) {
    return with_backend<P>(settings.second, [&]<class Second>(std::type_identity<Second>) {
      return verify_models<First, Second>(settings);
    });
  });
}

}  // namespace fathom::program

int main(int argc, char** argv) {
  using namespace fathom;
  return program::run_program([&] {
    program::Settings settings;
    CLI::App app(
        "Trains small models on two backends, op by op side by side, and names the first layer and op whose results "
        "differ.");
    app.option_defaults()->always_capture_default();
    app.add_option("first", settings.first, "reference, cpu or cuda");
    app.add_option("second", settings.second, "another of them");
    settings.precision.add_to(app);
    app.add_option("--steps", settings.steps, "updates")->transform(program::whole(settings.steps, 1));
    app.add_option("--tolerance", settings.tolerance,
                   "of a value, relative to the largest that its op has written; 0: 1e-4, with --precision Mixed 0.1")
        ->check(program::not_negative());
    app.add_option("--dropout", settings.dropout, "rate; cuDNN's attention draws masks of its own")
        ->check(program::rate());
    app.add_option("--seed", settings.seed, "of the weights, the tokens and dropout")
        ->transform(program::whole(settings.seed, 0));
    return program::run_command(app, argc, argv, [&] {
      const bool agree = settings.precision.with_precision(
          [&]<class P>(std::type_identity<P>) { return program::verify_backends<P>(settings); });
      return agree ? 0 : 1;
    });
  });
}

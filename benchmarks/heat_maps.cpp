// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/core/error.hpp>
#include <fathom/models/language_model.hpp>
#include <fathom/models/translator.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/train/trainer.hpp>
#include <filesystem>
#include <optional>
#include <programs/telemetry_log.hpp>
#include <string_view>

#include "shape.hpp"
#include "support/reversed_pairs.hpp"

/// Heat maps of the deepest models, narrow, in their first 100 updates, as programs make them with --telemetry:
///   heat_maps language-model|translator --updates K --threads T --output FOLDER
/// 1,000 layers alone, or 500 of an encoder and 500 of a decoder, under DeepNorm, which say a few letters backwards.
/// Prints losses, and the least and the largest gradient norm of a layer at the last measurement.
namespace {
using namespace fathom_test;
using fathom::bench::option;

constexpr int width = 16, heads = 2, hidden = 32;
constexpr PairCapacity capacity{{40, 8, ReversedPairs::longest}, {48, 8, ReversedPairs::longest + 1}};
using Pairs =
    Translator<Encoder<Vocabulary<ReversedPairs::source_vocabulary>, ContextLength<ReversedPairs::longest>,
                       deepnet::EncoderStack<500, 500, width, heads, hidden, Gelu>>,
               Decoder<Vocabulary<ReversedPairs::target_vocabulary>, ContextLength<ReversedPairs::longest + 1>,
                       deepnet::DecoderStack<500, 500, width, heads, hidden, Gelu>>>;
using Alone = LanguageModel<Vocabulary<ReversedPairs::target_vocabulary>, ContextLength<2 * ReversedPairs::longest + 2>,
                            deepnet::DecoderOnly<1000, width, heads, hidden>>;

/// Letters, and the same backwards: what a language model reads of a pair.
class Palindromes {
 public:
  explicit Palindromes(const Capacity& of_model) : packed_(of_model) {}
  TokenBatch next() {
    pairs_.fill(cursor_++, batch_);
    packed_.clear();
    const PairBatch view = batch_;
    for (int s = 0; s < view.source.packing.sequences(); ++s) {
      std::vector<int> tokens;
      const auto add = [&](const Packing& packing, std::span<const int> all) {
        tokens.insert(tokens.end(), all.begin() + packing.offsets[std::size_t(s)],
                      all.begin() + packing.offsets[std::size_t(s) + 1]);
      };
      add(view.source.packing, view.source.tokens);
      add(view.target.packing, view.target.tokens);
      packed_.append(std::span<const int>(tokens), ReversedPairs::end);
    }
    packed_.pack();
    return packed_;
  }

 private:
  ReversedPairs pairs_{capacity};
  text::PackedPairs batch_{capacity};
  text::PackedTokens packed_;
  std::uint64_t cursor_ = 0;
};

class ManyPairs {
 public:
  PairBatch next() {
    cursor_ = pairs_.fill(cursor_, packed_);
    return packed_;
  }

 private:
  ReversedPairs pairs_{capacity};
  text::PackedPairs packed_{capacity};
  std::uint64_t cursor_ = 0;
};

template <class Model, class Source>
void draw(const typename Model::Capacity& of_model, Source batches, Source probes, int updates, int threads,
          const std::filesystem::path& output) {
  Trainer<Model, Cpu<>, AdamW> trainer(of_model, {.seed = 1}, {}, {.threads = threads});
  std::filesystem::create_directories(output);
  program::TelemetryLog log(trainer, probes.next(), 5, output, std::nullopt);
  for (int update = 1; update <= updates; ++update) {
    log.before_update();
    const StepReport report = trainer.step(batches.next(), 1e-3 * std::min(1.0, update / 20.0));
    if (!report.skipped.empty()) throw Error("an update was skipped: " + report.skipped);
    log.after_update();
    if (update == 1 || update % 10 == 0)
      std::printf("update %3d  loss %.4f\n", update, report.loss), std::fflush(stdout);
  }
  log.draw();
  const CsvTable table = read_csv(output / "telemetry" / "gradient.csv");
  const auto& last = table.rows.back();
  const auto [least, most] = std::minmax_element(last.begin() + 1, last.end());
  std::printf("gradients behind the last update: %.2e to %.2e; telemetry took %.1f s\n", **least, **most,
              log.seconds());
}

int run(int argc, char** argv) {
  const std::string_view model = argc > 1 ? argv[1] : "";
  const int updates = option(argc, argv, "--updates", 100), threads = option(argc, argv, "--threads", 2);
  std::filesystem::path output = "runs/heat_maps";
  for (int i = 2; i + 1 < argc; ++i)
    if (std::string_view(argv[i]) == "--output") output = argv[i + 1];
  constexpr Capacity alone{96, 8, 2 * ReversedPairs::longest + 2};
  if (model == "language-model")
    draw<Alone>(alone, Palindromes(alone), Palindromes(alone), updates, threads, output / model);
  else if (model == "translator")
    draw<Pairs>(capacity, ManyPairs(), ManyPairs(), updates, threads, output / model);
  else
    throw Error("give a model: heat_maps language-model, or heat_maps translator");
  return 0;
}
}  // namespace

int main(int argc, char** argv) try { return run(argc, argv); } catch (const std::exception& error) {
  std::fprintf(stderr, "heat_maps: %s\n", error.what());
  return 1;
}

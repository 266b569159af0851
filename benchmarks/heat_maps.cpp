// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/core/error.hpp>
#include <fathom/models/language_model.hpp>
#include <fathom/models/translator.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/train/trainer.hpp>
#include <filesystem>
#include <limits>
#include <numeric>
#include <optional>
#include <programs/telemetry_log.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "shape.hpp"
#include "support/reversed_pairs.hpp"

/// Heat maps of the deepest models, narrow, in their first 100 updates, as programs make them with --telemetry:
///   heat_maps language-model|translator --updates K --rate R --threads T --output FOLDER
/// 1,000 layers alone, or 500 of an encoder and 500 of a decoder, under DeepNorm, which say a few letters backwards.
/// Prints losses, and of gradients and of updates the least that any layer had at any measurement, by the largest of
/// its stack. Ends with 1 unless the mean loss of the last ten updates is below that of the first, and every layer
/// lives: its gradient and its update are a hundredth of its stack's largest at least, at every measurement.
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
  explicit Palindromes(const Capacity& of_model, std::uint64_t cursor = 0) : packed_(of_model), cursor_(cursor) {}
  TokenBatch next() {
    cursor_ = pairs_.fill(cursor_, batch_);
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
  std::uint64_t cursor_;
};

class ManyPairs {
 public:
  explicit ManyPairs(std::uint64_t cursor = 0) : cursor_(cursor) {}
  PairBatch next() {
    cursor_ = pairs_.fill(cursor_, packed_);
    return packed_;
  }

 private:
  ReversedPairs pairs_{capacity};
  text::PackedPairs packed_{capacity};
  std::uint64_t cursor_;
};

/// Of a table of layers over updates: the least value of a layer by the largest of its stack, and where it is.
struct Least {
  double share = std::numeric_limits<double>::infinity();
  std::string layer;
  double update = 0;
};
Least least_of(const CsvTable& table) {
  Least least;
  const auto stack_of = [&](std::size_t column) {
    return table.columns[column].substr(0, table.columns[column].find("blocks."));
  };
  for (const auto& row : table.rows)
    for (std::size_t begin = 1, end; begin < row.size(); begin = end) {
      for (end = begin; end < row.size() && stack_of(end) == stack_of(begin);) ++end;
      std::vector<double> values;
      for (std::size_t i = begin; i < end; ++i) values.push_back(row[i].value_or(0));
      const auto [lowest, largest] = std::ranges::minmax_element(values);
      const double share = *lowest / *largest;
      const std::size_t layer = begin + std::size_t(lowest - values.begin());
      if (!(share >= least.share)) least = {share, table.columns[layer], row[0].value_or(0)};
    }
  return least;
}

/// Whether the loss falls and every layer lives.
template <class Model, class Source>
bool draw(const typename Model::Capacity& of_model, Source batches, Source probes, int updates, double rate,
          int threads, const std::filesystem::path& output) {
  Trainer<Model, Cpu<>, AdamW> trainer(of_model, {.seed = 1}, {}, {.threads = threads});
  std::filesystem::create_directories(output);
  program::TelemetryLog log(trainer, probes.next(), 5, output, std::nullopt);
  std::vector<double> losses;
  for (int update = 1; update <= updates; ++update) {
    log.before_update();
    const StepReport report = trainer.step(batches.next(), rate * std::min(1.0, update / 20.0));
    if (!report.skipped.empty()) throw Error("an update was skipped: " + report.skipped);
    log.after_update();
    losses.push_back(report.loss);
    if (update == 1 || update % 10 == 0)
      std::printf("update %3d  loss %.4f\n", update, report.loss), std::fflush(stdout);
  }
  log.draw();
  const auto mean = [](std::span<const double> all) {
    return std::accumulate(all.begin(), all.end(), 0.0) / double(all.size());
  };
  const std::span<const double> all = losses;
  const std::size_t ten = std::min<std::size_t>(10, all.size() / 2);
  const double first = mean(all.first(ten)), last = mean(all.last(ten));
  const Least gradient = least_of(read_csv(output / "telemetry" / "gradient.csv"));
  const Least moved = least_of(read_csv(output / "telemetry" / "update.csv"));
  std::printf("mean loss of the first %zu updates %.4f, of the last %.4f\n", ten, first, last);
  std::printf("least gradient by the largest of its stack %.2e, of %s at update %.0f\n", gradient.share,
              gradient.layer.c_str(), gradient.update);
  std::printf("least update by the largest of its stack %.2e, of %s at update %.0f\n", moved.share, moved.layer.c_str(),
              moved.update);
  std::printf("telemetry took %.1f s\n", log.seconds());
  return last < first && gradient.share >= 0.01 && moved.share >= 0.01;
}

int run(int argc, char** argv) {
  const std::string_view model = argc > 1 ? argv[1] : "";
  const int updates = option(argc, argv, "--updates", 100), threads = option(argc, argv, "--threads", 2);
  std::filesystem::path output = "runs/heat_maps";
  double rate = 1e-4;
  for (int i = 2; i + 1 < argc; ++i)
    if (std::string_view(argv[i]) == "--output")
      output = argv[i + 1];
    else if (std::string_view(argv[i]) == "--rate")
      rate = std::atof(argv[i + 1]);
  constexpr Capacity alone{96, 8, 2 * ReversedPairs::longest + 2};
  constexpr std::uint64_t unseen = 100'000;  // pairs that are not trained on
  bool lives = false;
  if (model == "language-model")
    lives = draw<Alone>(alone, Palindromes(alone), Palindromes(alone, unseen), updates, rate, threads, output / model);
  else if (model == "translator")
    lives = draw<Pairs>(capacity, ManyPairs(), ManyPairs(unseen), updates, rate, threads, output / model);
  else
    throw Error("give a model: heat_maps language-model, or heat_maps translator");
  return lives ? 0 : 1;
}
}  // namespace

int main(int argc, char** argv) try { return run(argc, argv); } catch (const std::exception& error) {
  std::fprintf(stderr, "heat_maps: %s\n", error.what());
  return 1;
}

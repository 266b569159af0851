// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdio>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/core/error.hpp>
#include <fathom/models/language_model.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/optim/schedule.hpp>
#include <fathom/text/corpus.hpp>
#include <fathom/text/prefetch.hpp>
#include <fathom/text/tokenizer.hpp>
#include <fathom/text/windows.hpp>
#include <fathom/train/trainer.hpp>
#include <string_view>
#include <vector>

#include "shape.hpp"

/// Deep models trained in fp32 and in mixed precision with the same seed and batches:
///   mixed_losses 100|1000 TEXT --steps K --threads T
/// Decoder-only DeepNorm models of so many layers of width 64 on a text. Prints mean losses of each tenth of the
/// updates, and the largest rise of a loss above the mean of the twenty updates before it: a spike, if there is one.
namespace {
using namespace fathom;

constexpr int width = 64, heads = 2, hidden = 256, context = 64, spike_window = 20;

struct Settings {
  int steps, threads;
};

template <class Model, class P>
std::vector<double> losses(const auto& sampler, const Settings& settings) {
  Trainer<Model, Cpu<P>, AdamW> trainer(sampler.capacity(), {.seed = 1}, {.weight_decay = 0.01},
                                        {.threads = settings.threads});
  const Cosine rate({.peak = 1e-3, .total_steps = settings.steps, .warmup_steps = settings.steps / 6});
  text::Prefetch batches(sampler);
  std::vector<double> losses;
  for (int step = 1; step <= settings.steps; ++step) losses.push_back(trainer.step(batches.next(), rate(step)).loss);
  return losses;
}

void print(const char* name, const std::vector<double>& losses) {
  const auto mean = [&](std::size_t begin, std::size_t end) {
    double sum = 0;
    for (std::size_t i = begin; i < end; ++i) sum += losses[i];
    return sum / double(end - begin);
  };
  std::printf("%-6s", name);
  const std::size_t tenth = std::max<std::size_t>(1, losses.size() / 10);
  for (std::size_t begin = 0; begin + tenth <= losses.size(); begin += tenth)
    std::printf(" %7.4f", mean(begin, begin + tenth));
  double rise = 0;
  for (std::size_t i = spike_window; i < losses.size(); ++i)
    rise = std::max(rise, losses[i] - mean(i - spike_window, i));
  std::printf("   largest rise %.3f\n", rise);
}

template <class Model>
void compare(const auto& sampler, const Settings& settings) {
  const auto single = losses<Model, Single>(sampler, settings);
  print("fp32", single);
  const auto mixed = losses<Model, Mixed>(sampler, settings);
  print("mixed", mixed);
  double sum = 0, other = 0;
  for (std::size_t i = single.size() - single.size() / 10; i < single.size(); ++i) sum += single[i], other += mixed[i];
  std::printf("last tenth: mixed is %+.2f %% off fp32\n", 100 * (other / sum - 1));
}

template <int Layers>
void language_model(const char* path, int batch, const Settings& settings) {
  using Model =
      LanguageModel<Vocabulary<256>, ContextLength<context>, deepnet::DecoderOnly<Layers, width, heads, hidden>>;
  const auto corpus = text::load(text::Bytes{}, path);
  compare<Model>(text::Windows(corpus, {.batch = batch, .length = context}), settings);
}

int run(int argc, char** argv) {
  const std::string_view model = argc > 1 ? argv[1] : "";
  const Settings settings{bench::option(argc, argv, "--steps", 300), bench::option(argc, argv, "--threads", 2)};
  if ((model != "100" && model != "1000") || argc < 3) throw Error("give 100 or 1000 layers, and a text");
  model == "100" ? language_model<100>(argv[2], 8, settings) : language_model<1000>(argv[2], 2, settings);
  return 0;
}
}  // namespace

int main(int argc, char** argv) { return fathom::bench::run_main(argc, argv, run); }

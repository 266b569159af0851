// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdio>
#include <exception>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/models/language_model.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/optim/schedule.hpp>
#include <fathom/text/corpus.hpp>
#include <fathom/text/epoch.hpp>
#include <fathom/text/prefetch.hpp>
#include <fathom/text/tokenizer.hpp>
#include <fathom/text/windows.hpp>
#include <fathom/train/trainer.hpp>
#include <span>

#include "shape.hpp"

/// What the output of a DeepNorm model of bytes costs or gains: a matrix of its own, the embedding's, or the
/// embedding's with a learned factor on the logits.
///   tied_output TEXT --layers 6 --steps K --batch N --rate R --threads T
/// TEXT is a file; its last tenth is for validation. R is the learning rate's peak in units of 1e-4. Prints the mean
/// loss of 32 KiB of the validation part after each quarter of the K updates.
namespace {
using namespace fathom;

constexpr int width = 64, heads = 2, hidden = 256, context = 64;
constexpr std::size_t validation_bytes = 32 * 1024;

struct Settings {
  int steps, batch, threads;
  double rate;
};
using Bytes = std::span<const text::Bytes::Token>;

template <int Layers, class... Options>
void train(const char* name, Bytes all, const Settings& settings) {
  using Model = LanguageModel<Vocabulary<256>, ContextLength<context>,
                              deepnet::DecoderOnly<Layers, width, heads, hidden>, Options...>;
  const std::size_t cut = all.size() / 10 * 9;
  const text::Windows windows(all.first(cut), {.batch = settings.batch, .length = context});
  const text::Windows unseen(all.subspan(cut, std::min(validation_bytes, all.size() - cut)),
                             {.batch = settings.batch, .length = context, .order = text::Order::sequential});
  text::Prefetch batches(windows);
  Trainer<Model, Cpu<>, AdamW> trainer(windows.capacity(), {}, {.weight_decay = 0.01}, {.threads = settings.threads});
  const Cosine rate({.peak = settings.rate, .total_steps = settings.steps, .warmup_steps = settings.steps / 4});
  std::printf("%3d layers, %-20s", Layers, name);
  for (int step = 0; step <= settings.steps; ++step) {
    if (step % std::max(1, settings.steps / 4) == 0)
      std::printf(" %7.3f", trainer.evaluate(text::Epoch(unseen)).mean()), std::fflush(stdout);
    if (step < settings.steps) trainer.step(batches.next(), rate(step + 1));
  }
  for (const ParameterInfo& info : trainer.table())
    if (info.role == Role::logit_scale)
      std::printf("   factor %.3f", ScaledLogits::constant(width) * double(read_tensor(trainer.weights().flat(), info)[0]));
  std::puts("");
}

template <int Layers>
void compare(Bytes text, const Settings& settings) {
  train<Layers>("separate", text, settings);
  train<Layers, TiedOutput, PlainLogits>("tied, PlainLogits", text, settings);
  train<Layers, TiedOutput>("tied, ScaledLogits", text, settings);
}

int run(int argc, char** argv) {
  if (argc < 2) throw Error("give a text: tied_output TEXT");
  const int layers = bench::option(argc, argv, "--layers", 6), steps = bench::option(argc, argv, "--steps", 400);
  const Settings settings{.steps = steps,
                          .batch = bench::option(argc, argv, "--batch", 8),
                          .threads = bench::option(argc, argv, "--threads", 2),
                          .rate = 1e-4 * bench::option(argc, argv, "--rate", 30)};
  const auto corpus = text::load(text::Bytes{}, argv[1]);
  if (layers != 6 && layers != 100) throw Error("--layers is 6 or 100");
  layers == 6 ? compare<6>(corpus.tokens, settings) : compare<100>(corpus.tokens, settings);
  return 0;
}
}  // namespace

int main(int argc, char** argv) try { return run(argc, argv); } catch (const std::exception& error) {
  std::fprintf(stderr, "tied_output: %s\n", error.what());
  return 1;
}

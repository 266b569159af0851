// SPDX-License-Identifier: Apache-2.0
#include <fathom/fathom.hpp>
#include <iostream>

namespace quickstart {
using namespace fathom;

// The architecture is a type: a byte-level language model of 50 layers, each of them in two residual branches whose
// DeepNorm constants belong to that depth. Another depth in one of the two places does not compile.
constexpr int depth = 50, width = 64, heads = 2, context = 64, batch_size = 8;
using Policy = DeepNorm<deepnorm::decoder_only(depth).alpha>;
using Block =
    Sequence<Residual<Policy, Attention<width, heads, Causal>>, Residual<Policy, FeedForward<width, 4 * width, Gelu>>>;
using Model = LanguageModel<Vocabulary<256>, ContextLength<context>, Repeat<depth, Block>>;

// So is what its training needs.
constexpr Capacity capacity{batch_size * context, batch_size, context};
static_assert(training_memory<Model, Cpu<>, AdamW>(capacity).total() < 1'000'000'000);

}  // namespace quickstart

int main(int argc, char** argv) try {
  using namespace quickstart;
  if (argc != 2) throw Error("give a text file, or a folder of them");
  const auto corpus = text::load(text::Bytes{}, argv[1]);
  for (const std::string& line : corpus.report.lines()) std::cerr << line << "\n";
  const text::Windows windows(corpus, {.batch = batch_size, .length = context});
  text::Prefetch batches(windows);

  Trainer<Model, Cpu<>, AdamW> trainer(capacity, {.seed = 1});
  const Cosine schedule({.peak = 1e-3, .total_steps = 500, .warmup_steps = 50});
  for (const RunReport& report : TrainingRun(trainer, batches, {.steps = 500, .learning_rate = schedule}))
    if (report.step % 50 == 0)
      std::cout << "step " << report.step << "  loss " << report.loss << " nats per byte" << std::endl;
  std::cout << generate(trainer.weights(), "The ", {.tokens = 200, .slide = true, .sampling = {.temperature = 0.8}})
            << std::endl;
  if (!std::cout) throw Error("cannot write to stdout");
  return 0;
} catch (const std::exception& error) {
  std::cerr << "fathom-quickstart: " << error.what() << "\n";
  return 1;
}

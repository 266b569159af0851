// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <cstdio>
#include <fathom/backend/cuda/cuda.hpp>
#include <fathom/layers/attention.hpp>
#include <fathom/layers/feed_forward.hpp>
#include <fathom/models/deepnorm_constants.hpp>
#include <fathom/models/translator.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/optim/schedule.hpp>
#include <fathom/train/memory_plan.hpp>
#include <fathom/train/trainer.hpp>
#include <string>
#include <vector>

#include "machine.hpp"
#include "shape.hpp"

/// The largest model of DeepNet, or one of its shape, trained on random pairs on a GPU in mixed precision:
///   paper_model --steps 100 --tokens 2048 --memory 130
/// `--memory`: GiB to train in; as many layers as it takes compute their activations again.
/// FATHOM_PAPER: layers of each stack, width, heads, feed-forward width, vocabulary, sentence length.
namespace fathom::bench {

template <int Layers, int Width, int Heads, int Hidden, int Tokens, int Length>
struct Paper {
  static constexpr int vocabulary = Tokens, length = Length;
  static constexpr auto constants = deepnorm::encoder_decoder(Layers, Layers);
  template <class Policy, class... Attentions>
  using Stack =
      Repeat<Layers, Sequence<Residual<Policy, Attentions>..., Residual<Policy, FeedForward<Width, Hidden, Relu>>>>;
  using Model = Translator<Encoder<Vocabulary<Tokens>, ContextLength<Length>,
                                   Stack<DeepNorm<constants.encoder.alpha>, Attention<Width, Heads, Full, SaveAll>>>,
                           Decoder<Vocabulary<Tokens>, ContextLength<Length>,
                                   Stack<DeepNorm<constants.decoder.alpha>, Attention<Width, Heads, Causal, SaveAll>,
                                         CrossAttention<Width, Heads>>>,
                           TiedOutput, TiedSourceEmbedding>;
};
using ThePaper = Paper<FATHOM_PAPER>;
using B = Cuda<Mixed>;

int run(int argc, char** argv) {
  using Model = ThePaper::Model;
  constexpr double gib = double(std::int64_t{1} << 30);
  const int steps = option(argc, argv, "--steps", 100), tokens = option(argc, argv, "--tokens", 2048);
  const int memory = option(argc, argv, "--memory", 130);
  const PackedRows rows = PackedRows::uniform(tokens / ThePaper::length, ThePaper::length);
  const PairCapacity capacity{rows.capacity(), rows.capacity()};
  const auto random = [&](std::uint64_t key, int row) {
    return int(below(ThePaper::vocabulary, low_bits(Philox(Key{key})(std::uint64_t(row)))));
  };

  TrainerOptions options;
  options.recomputed = least_recomputed<Model, B, AdamW>(capacity, std::int64_t(memory) << 30);
  const MemoryPlan plan = training_memory<Model, B, AdamW>(recomputing(capacity, options.recomputed));
  std::printf("%lld parameters, %.1f GiB; %d blocks of each stack compute their activations again\n",
              static_cast<long long>(Model::parameter_count), double(plan.total()) / gib, options.recomputed);
  Trainer<Model, B, AdamW> trainer(capacity, options, {.learning_rate = 1e-4}, {.timed = true});
  const InverseSquareRoot schedule({.peak = 1e-4, .warmup_steps = 4000});
  std::vector<double> seconds;
  StepReport report;
  double first = 0;
  for (int step = 1; step <= steps; ++step) {
    std::vector<int> source, target, next;
    for (int row = 0; row < rows.rows(); ++row) {
      source.push_back(random(std::uint64_t(step), row));
      target.push_back(source.back());  // a copy, so that the loss has somewhere to go
      next.push_back(source.back());
    }
    const PairBatch batch({rows.view(), source}, {rows.view(), target, next});
    seconds.push_back(seconds_of([&] { report = trainer.step(batch, schedule(step)); }));
    if (step == 1) first = report.loss;
    if (step % 10 == 0) {
      std::printf("step %d  loss %.4f  norm %.4f  %.3f s\n", step, report.loss, report.gradient_norm, seconds.back());
      std::fflush(stdout);
    }
  }
  std::printf(
      "{\"steps\": %d, \"first_loss\": %.4f, \"last_loss\": %.4f, \"tokens_per_second\": %.0f, \"seconds_per_step\": "
      "%.4f}\n",
      steps, first, report.loss, 2.0 * rows.rows() / median(seconds), median(seconds));
  return 0;
}

}  // namespace fathom::bench

int main(int argc, char** argv) { return fathom::bench::run_main(argc, argv, fathom::bench::run); }

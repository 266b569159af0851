// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/core/random.hpp>
#include <fathom/generate/pair_generator.hpp>
#include <fathom/layers/attention.hpp>
#include <fathom/layers/feed_forward.hpp>
#include <fathom/layers/repeat.hpp>
#include <fathom/layers/residual.hpp>
#include <fathom/models/translator.hpp>
#include <iostream>
#include <span>
#include <vector>

#include "shape.hpp"

/// Translation of as many sources as fit side by side, with a model of the size that Multi30k is trained with and random
/// weights. All translations have as many tokens. Prints one line of JSON:
///   translation --batch B --beam K --source S --tokens T --threads N
/// `decoded_per_second` are tokens of the best translations, `passes` the share of the time that the passes of the model
/// take by themselves.
int main(int argc, char** argv) {
  using namespace fathom;
  using Clock = std::chrono::steady_clock;
  constexpr int width = 128, inner = 256, heads = 4, depth = 4, words = 10000;
  using EncoderBlock =
      Sequence<Residual<PreNorm, Attention<width, heads, Full>>, Residual<PreNorm, FeedForward<width, inner, Relu>>>;
  using DecoderBlock =
      Sequence<Residual<PreNorm, Attention<width, heads>>, Residual<PreNorm, CrossAttention<width, heads>>,
               Residual<PreNorm, FeedForward<width, inner, Relu>>>;
  using Model = Translator<Encoder<Vocabulary<words>, ContextLength<128>, Repeat<depth, EncoderBlock>>,
                           Decoder<Vocabulary<words>, ContextLength<128>, Repeat<depth, DecoderBlock>>, TiedOutput,
                           SinusoidalPositions>;
  const int batch = bench::option(argc, argv, "--batch", 32), beam = bench::option(argc, argv, "--beam", 5);
  const int source = bench::option(argc, argv, "--source", 16), tokens = bench::option(argc, argv, "--tokens", 16);
  const double seconds = bench::option(argc, argv, "--seconds", 3);
  const Weights<Model, Cpu<>> weights(1);
  PairGenerator<Model, Cpu<>> generator(weights,
                                        {.begin = 1,
                                         .end = 2,
                                         .sentences = batch,
                                         .source = source,
                                         .limit = {.factor = 0, .constant = tokens},
                                         .shortest = tokens,
                                         .beam = beam},
                                        {.threads = bench::option(argc, argv, "--threads", 2)});
  std::vector<int> words_of_sources(std::size_t(batch) * std::size_t(source));
  const Philox random(Key{1});
  for (std::size_t i = 0; i < words_of_sources.size(); ++i)
    words_of_sources[i] = int(below(words, low_bits(random(i))));
  std::vector<std::span<const int>> sources;
  for (int s = 0; s < batch; ++s)
    sources.push_back(
        std::span<const int>(words_of_sources).subspan(std::size_t(s) * std::size_t(source), std::size_t(source)));

  const auto run = [&] {
    const auto begin = Clock::now();
    generator.start(sources);
    while (generator.step()) {
    }
    return std::chrono::duration<double>(Clock::now() - begin).count();
  };
  run();  // warms up
  std::vector<double> runs;
  for (double sum = 0; sum < seconds || runs.size() < 3; sum += runs.back()) runs.push_back(run());
  std::ranges::nth_element(runs, runs.begin() + std::ptrdiff_t(runs.size() / 2));
  const double median = runs[runs.size() / 2];

  // The passes alone, of as many hypotheses.
  PairInferenceSize size = generator.inference().size();
  size.ranks = 1;
  PairInference<Model, Cpu<>> inference(weights, size,
                                        {.threads = bench::option(argc, argv, "--threads", 2)});
  std::vector<double> passes;
  for (int time = 0; time < 4; ++time) {
    const auto begin = Clock::now();
    inference.start(sources);
    std::vector<int> next(std::size_t(batch) * std::size_t(beam), -1);
    for (int s = 0; s < batch; ++s) next[std::size_t(s) * std::size_t(beam)] = 1;
    inference.step(next);
    std::fill(next.begin(), next.end(), 3);
    for (int step = 0; step < tokens; ++step) {
      if (step == 0)
        for (int h = 0; h < int(next.size()); ++h) inference.branch(h / beam * beam, h);
      inference.step(next);
    }
    passes.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
  }
  std::ranges::sort(passes);
  std::cout << "{\"decoded_per_second\": " << batch * tokens / median << ", \"milliseconds\": " << 1000 * median
            << ", \"passes\": " << passes[1] / median << ", \"parameters\": " << Model::parameter_count
            << ", \"peak_resident_bytes\": " << bench::peak_resident_bytes() << "}\n";
}

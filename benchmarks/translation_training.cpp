// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/io/safetensors.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/optim/schedule.hpp>
#include <fathom/text/cleaning.hpp>
#include <fathom/text/epoch.hpp>
#include <fathom/text/pair_batches.hpp>
#include <fathom/text/parallel.hpp>
#include <fathom/text/subwords.hpp>
#include <fathom/train/checkpoint.hpp>
#include <fathom/train/trainer.hpp>
#include <filesystem>
#include <iostream>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "machine.hpp"
#include "multi30k.hpp"
#include "shape.hpp"

/// Training of the usual model for Multi30k, for compare_translation.py:
///   translation_training_<policy> SOURCE TARGET VALIDATION_SOURCE VALIDATION_TARGET FOLDER [--steps K] [--threads N]
/// Writes what a peer needs to do the same: FOLDER/start, a checkpoint of the initial weights, and
/// FOLDER/batches.safetensors, all batches of K updates and of the validation with the rate of each update. Then, for
/// each number on standard input, it makes so many updates, or with 0 a validation, and prints one line of JSON. At the
/// end of that, FOLDER/end is a checkpoint, and FOLDER/subwords.model are its subwords.
namespace {

using namespace fathom;

/// Batches one after another, as flat tensors. Of a target there is the begin token, the text and the end token.
struct Batches {
  std::vector<int> pairs, source_lengths, target_lengths, source, target;

  void add(const PairBatch& batch) {
    pairs.push_back(batch.source.packing.sequences());
    source.insert(source.end(), batch.source.tokens.begin(), batch.source.tokens.end());
    for (int s = 0; s < pairs.back(); ++s) {
      const Packing& rows = batch.target.packing;
      source_lengths.push_back(batch.source.packing.length(s));
      target_lengths.push_back(rows.length(s) + 1);
      for (int row = rows.offsets[s]; row < rows.offsets[s + 1]; ++row)
        target.push_back(batch.target.tokens[std::size_t(row)]);
      target.push_back(batch.target.targets[std::size_t(rows.offsets[s + 1] - 1)]);
    }
  }
  void write(safetensors::Writer& writer, const std::string& name) const {
    for (const auto& [part, values] :
         {std::pair("pairs", &pairs), std::pair("source_lengths", &source_lengths),
          std::pair("target_lengths", &target_lengths), std::pair("source", &source), std::pair("target", &target)})
      writer.add(name + "." + part, {std::int64_t(values->size())}, std::span<const int>(*values));
  }
};

void run(const std::array<std::filesystem::path, 5>& paths, int steps, int threads) {
  using Model = bench::FATHOM_TRANSLATOR;
  const auto& [source, target, validation_source, validation_target, folder] = paths;
  std::filesystem::create_directories(folder);
  text::Cleaner cleaner;
  const text::ParallelText texts = cleaner(text::read_pairs(source, target));
  const text::Subwords subwords =
      text::Subwords::train(text::all_lines(std::span(&texts, 1)), {.vocabulary = Model::Target::vocabulary});
  subwords.save(folder / "subwords.model");
  const auto corpus_of = [&](const text::ParallelText& text) {
    return text::encode_pairs(subwords, text,
                              {.begin = subwords.begin(),
                               .end = subwords.end(),
                               .longest_source = Model::Source::context,
                               .longest_target = Model::Target::context,
                               .threads = threads});
  };
  const auto corpus = corpus_of(texts),
             validation_corpus = corpus_of(text::read_pairs(validation_source, validation_target));
  text::PairBatchOptions sizes{.pairs = 1024, .seed = 1};
  const text::PairBatches training(corpus, sizes);
  sizes.shuffle = false;
  text::Epoch validation(text::PairBatches(validation_corpus, sizes));

  Trainer<Model, Cpu<>, AdamW> trainer(training.capacity(), {.seed = 1, .loss = {.smoothing = 0.1}, .clip_norm = 1},
                                       {.beta2 = 0.98, .weight_decay = 0}, {.threads = threads});
  save_checkpoint(folder / "start", trainer);
  const InverseSquareRoot rate({.peak = 5e-3, .warmup_steps = 2000});
  std::vector<text::PackedPairs> packed;
  std::vector<double> rates;
  Batches batches, validation_batches;
  for (std::uint64_t cursor = 0; int(packed.size()) < steps;) {
    packed.emplace_back(training.capacity());
    cursor = training.fill(cursor, packed.back());
    batches.add(packed.back());
    rates.push_back(rate(std::int64_t(packed.size())));
  }
  for (const text::PackedPairs& batch : validation) validation_batches.add(batch);
  safetensors::Writer writer;
  batches.write(writer, "training");
  validation_batches.write(writer, "validation");
  writer.add("rates", {std::int64_t(rates.size())}, std::span<const double>(rates));
  writer.write(folder / "batches.safetensors");

  std::size_t done = 0;
  for (int count; std::cin >> count;) {
    if (count == 0) {
      std::cout << "{\"updates\": " << done << ", \"parameters\": " << Model::parameter_count
                << ", \"validation_loss\": " << trainer.evaluate(validation).mean() << "}" << std::endl;
      continue;
    }
    std::int64_t tokens = 0;
    double loss = 0;
    const double seconds = bench::seconds_of([&] {
      for (int step = 0; step < count; ++step) {
        const StepReport report = trainer.step(packed.at(done), rates.at(done));
        tokens += report.tokens;
        loss = report.loss;
        ++done;
      }
    });
    std::cout << "{\"updates\": " << done << ", \"seconds\": " << seconds << ", \"target_tokens\": " << tokens
              << ", \"loss\": " << loss << ", \"peak_resident_bytes\": " << bench::peak_resident_bytes() << "}"
              << std::endl;
  }
  save_checkpoint(folder / "end", trainer);
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 6) throw Error("give SOURCE TARGET VALIDATION_SOURCE VALIDATION_TARGET FOLDER");
  run({argv[1], argv[2], argv[3], argv[4], argv[5]}, bench::option(argc, argv, "--steps", 500),
      bench::option(argc, argv, "--threads", 2));
} catch (const std::exception& error) {
  std::fprintf(stderr, "translation_training: %s\n", error.what());
  return 1;
}

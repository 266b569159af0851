// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <fathom/generate/generate.hpp>
#include <filesystem>
#include <programs/command_line.hpp>
#include <programs/rules.hpp>
#include <programs/saved_run.hpp>
#include <string>

namespace fathom::program {

/// What the command line decides, with its defaults.
struct LanguageModelOptions : SavedRun {
  LanguageModelOptions() : SavedRun{.output = "runs/language-model", .checkpoint = {}} {}

  std::filesystem::path text;
  Device device;
  double memory = 0;  ///< GiB
  bool resume = false;
  int batch = 8, accumulate = 1, keep = 2, patience = 0;
  std::int64_t steps = 2000, warmup = 100, validation_every = 100, save_every = 200, telemetry = 0;
  double learning_rate = 1e-3, minimum_learning_rate = 1e-4, beta2 = 0.999, weight_decay = 0.01, clip = 1;
  double dropout = 0, average = 0, validation_fraction = 0.1;
  std::uint64_t seed = 1;
  std::string matrix_rates = "equal";     ///< or "gain"
  std::string validation_batches = "30";  ///< a number, "all" or "none"
  std::string batches = "all";            ///< a number or "all"
  std::string prompt = "The ";
  GenerateOptions generate{.tokens = 500, .slide = true, .sampling = {.temperature = 0.8}};
};

/// The commands of a language model's program and their options.
class LanguageModelCommandLine : public CommandLine {
 public:
  /// Parsing writes into `options`. `most_batch` sequences are as many as can be counted in tokens.
  LanguageModelCommandLine(LanguageModelOptions& options, int layers, int most_batch)
      : CommandLine("A language model of bytes with " + std::to_string(layers) + " layers",
                    "train, evaluate, sample or info"),
        most_batch_(most_batch) {
    add_train(options);

    evaluate_ = add("evaluate", "Print a trained model's loss on a text.");
    evaluate_->add_option("text", options.text, "a file, or a folder of text files")->required();
    add_saved_run(*evaluate_, options);
    evaluate_->add_option("--batch", options.batch, "sequences at a time")
        ->transform(whole(options.batch, 1, most_batch_));
    evaluate_->add_option("--batches", options.batches, "how many, spread evenly over the text; all: the whole text")
        ->check(batches({"all"}));

    auto& generate = options.generate;
    sample_ = add("sample", "Write a text with a trained model.");
    sample_->add_option("--prompt", options.prompt, "how the text begins")->check(some_text());
    sample_->add_option("--tokens", generate.tokens, "bytes to add")->transform(whole(generate.tokens, 1));
    sample_->add_option("--temperature", generate.sampling.temperature, "0: always the most probable byte")
        ->check(not_negative());
    sample_->add_option("--top-k", generate.sampling.top_k, "draw from that many most probable bytes; 0: from all")
        ->transform(whole(generate.sampling.top_k, 0));
    sample_->add_option("--top-p", generate.sampling.top_p, "draw from the most probable bytes with this share")
        ->check(share());
    sample_
        ->add_option("--min-p", generate.sampling.min_p, "draw bytes at least so many times as probable as the first")
        ->check(number("from 0 to 1", [](double x) { return x >= 0 && x <= 1; }));
    sample_->add_option("--seed", options.seed, "of what is drawn by chance")->transform(whole(options.seed, 0));
    add_saved_run(*sample_, options);

    info_ = add("info", "Print parameters, FLOPs per token and the memory that training needs.");
    info_->add_option("--batch", options.batch, "sequences of a batch")
        ->transform(whole(options.batch, 1, most_batch_));
    info_->add_option("--accumulate", options.accumulate, "batches of an update")
        ->transform(whole(options.accumulate, 1));
    add_memory(*info_, options.dropout, options.average, options.memory);
    add_device(options.device);
  }

  bool train() const { return train_->parsed(); }
  bool evaluate() const { return evaluate_->parsed(); }
  bool sample() const { return sample_->parsed(); }
  bool info() const { return info_->parsed(); }

 private:
  void add_train(LanguageModelOptions& options) {
    train_ = add("train", "Train on a text.");
    train_->footer(
        "The output folder gets\n"
        "  checkpoints/<update>/  the last ones, to resume from\n"
        "  best/                  the one with the lowest validation loss, to evaluate and sample with\n"
        "  log.csv, curves.svg    the losses\n"
        "  telemetry/             with --telemetry: tables of what the layers do, and pictures\n"
        "  plans/                 with --device cuda: how cuDNN does attention, which later commands need not find "
        "out\n"
        "A folder of a run is no text: it is left out where it lies among the text files.\n"
        "Ctrl-C saves a checkpoint and ends the program. With --resume a run goes on with its text and its options, "
        "which\nneed not be given again, to the same bits as without the stop.");
    train_->add_option("text", options.text, "a file, or a folder of text files; its end is for validation");
    train_->add_option("--output", options.output, "folder of the run");
    train_->add_flag("--resume", options.resume, "go on from the newest checkpoint, if there is one");

    group("Updates");
    fixed("--steps", options.steps, "updates")->transform(whole(options.steps, 1));
    fixed("--batch", options.batch, "sequences of a batch")->transform(whole(options.batch, 1, most_batch_));
    fixed("--accumulate", options.accumulate, "batches of an update")->transform(whole(options.accumulate, 1));
    fixed("--dropout", options.dropout, "rate on embeddings and residual branches")->check(rate());
    fixed("--seed", options.seed, "of everything that is drawn by chance")->transform(whole(options.seed, 0));
    group("Optimizer: AdamW, linear warm-up, then half a cosine");
    fixed("--learning-rate", options.learning_rate, "the largest, after warm-up")
        ->check(number("above 0 and at most 1e6", [](double x) { return x > 0 && x <= 1e6; }));
    fixed("--minimum-learning-rate", options.minimum_learning_rate, "at the end")->check(not_negative());
    fixed("--warmup", options.warmup, "updates of rising learning rate")->transform(whole(options.warmup, 0));
    fixed("--beta2", options.beta2, "how slowly the second moments follow")->check(rate());
    fixed("--weight-decay", options.weight_decay, "of matrices")->check(not_negative());
    add_matrix_rates(options.matrix_rates);
    fixed("--clip", options.clip, "largest gradient norm; 0: any")->check(not_negative());
    fixed("--average", options.average, "decay of an average of the weights, for use of the model; 0: none")
        ->check(rate());
    group("Validation");
    fixed("--validation-fraction", options.validation_fraction, "share of the text, at its end")
        ->check(number("between 0 and 1", [](double x) { return x > 0 && x < 1; }));
    fixed("--validation-batches", options.validation_batches,
          "of a validation, spread evenly over its text; all: the whole of it; none: validate never, and train on all "
          "text")
        ->check(batches({"all", "none"}));
    fixed("--validation-every", options.validation_every, "updates")->transform(whole(options.validation_every, 1));
    fixed("--patience", options.patience, "validations without a new best that end the run; 0: none do")
        ->transform(whole(options.patience, 0));
    group("Checkpoints and telemetry");
    free("--save-every", options.save_every, "updates")->transform(whole(options.save_every, 1));
    free("--keep", options.keep, "how many of the last ones stay")->transform(whole(options.keep, 1));
    add_telemetry(options.telemetry);
    free("--memory", options.memory, memory_text)->check(not_negative());
    group("Options");
  }

  int most_batch_;
  CLI::App *evaluate_, *sample_, *info_;
};

}  // namespace fathom::program

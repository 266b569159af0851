// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/generate/generate.hpp>
#include <fathom/models/language_model.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/optim/schedule.hpp>
#include <fathom/text/text.hpp>
#include <fathom/train/checkpoint.hpp>
#include <fathom/train/evaluate.hpp>
#include <fathom/train/memory_plan.hpp>
#include <fathom/train/plot.hpp>
#include <fathom/train/run.hpp>
#include <fathom/train/run_checkpoints.hpp>
#include <fathom/train/trainer.hpp>
#include <filesystem>
#include <iostream>
#include <optional>
#include <programs/recorded_options.hpp>
#include <programs/run_log.hpp>
#include <programs/stop_signal.hpp>
#include <string>
#include <thread>

/// The program around a decoder-only language model of bytes: what fathom_add_language_model compiles.
namespace fathom::program {

struct LanguageModelOptions {
  std::filesystem::path text, output = "runs/language-model", checkpoint;
  bool resume = false;
  int batch = 8, accumulate = 1, threads = 0, keep = 2, patience = 0;
  std::int64_t steps = 2000, warmup = 100, validation_every = 100, save_every = 200;
  double learning_rate = 1e-3, minimum_learning_rate = 1e-4, beta2 = 0.999, weight_decay = 0.01, clip = 1;
  double dropout = 0, validation_fraction = 0.1;
  std::uint64_t seed = 1;
  std::string prompt = "The ";
  GenerateOptions generate{.tokens = 500, .slide = true, .sampling = {.temperature = 0.8}};
};

/// The commands for one model type.
template <class Model>
class LanguageModelProgram {
  static_assert(Model::vocabulary == text::Bytes::vocabulary(), "fathom: this program reads bytes; set VOCABULARY 256");
  using B = Cpu<>;
  using Optimizer = AdamW;
  using Windows = text::Windows<text::Bytes::Token>;

 public:
  /// Where checkpoints record the text.
  static constexpr const char* text_key = "text";
  static constexpr const char* checksum_key = "text-checksum";

  explicit LanguageModelProgram(const LanguageModelOptions& options) : options_(options) {}

  /// Trains, and leaves checkpoints, log.csv and curves.svg in the output folder, also when the program is asked to
  /// stop. `record` is stored in the checkpoints; `resumed` is the one to go on from. Returns the program's exit code.
  int train(safetensors::Metadata record, const std::optional<std::filesystem::path>& resumed) const {
    const StopSignal stop;
    const auto text = text::split_tokens(text::load(text::Bytes{}, options_.text), options_.validation_fraction);
    const Windows windows(text.train, {.batch = options_.batch, .length = Model::context, .seed = options_.seed});
    text::Epoch validation(in_order(text.validation));
    Trainer<Model, B, Optimizer> trainer(
        windows.capacity(), {.seed = options_.seed, .dropout = dropout(), .clip_norm = options_.clip},
        {.beta2 = options_.beta2, .weight_decay = options_.weight_decay}, {.threads = options_.threads});

    record[text_key] = std::filesystem::absolute(options_.text).string();
    record[checksum_key] = checksum(text);
    CheckpointInfo start;
    if (resumed) {
      start = load_checkpoint(*resumed, trainer);
      if (start.metadata[checksum_key] != record[checksum_key])
        throw Error(options_.text.string() + ": is not the text that the run to resume began with; give that one");
    }
    std::filesystem::create_directories(options_.output);
    text::Prefetch batches(windows, start.sampler_position);
    TrainingRun run(trainer, batches,
                    {.steps = options_.steps,
                     .learning_rate = Cosine({.peak = options_.learning_rate,
                                              .total_steps = options_.steps,
                                              .warmup_steps = options_.warmup,
                                              .minimum = options_.minimum_learning_rate}),
                     .accumulate = options_.accumulate,
                     .validation = {.every = options_.validation_every,
                                    .metric = [&] { return trainer.evaluate(validation).mean(); },
                                    .patience = options_.patience}},
                    start.best);
    const RunCheckpoints checkpoints(
        options_.output, {.every = options_.save_every, .keep = options_.keep, .metadata = std::move(record)});
    const std::filesystem::path log_path = options_.output / "log.csv";
    RunLog log(log_path, "train", options_.steps, resumed ? std::optional(run.step()) : std::nullopt);
    for (const RunReport& report : run) {
      if (stop) run.stop();
      log.add(report);
      checkpoints.save_if_due(run);
    }
    log.finish();

    const CsvTable table = read_csv(log_path);
    write_svg({.title = options_.text.filename().string(),
               .x_label = "update",
               .y_label = "nats per byte",
               .lines = {{.series = table.series("loss"), .stroke = Plot::Stroke::faint},
                         {.series = table.series("validation_loss")}}},
              options_.output / "curves.svg");
    if (run.out_of_patience())
      std::printf("stopped at update %lld: the last %d validations were no better\n",
                  static_cast<long long>(run.step()), options_.patience);
    if (run.best().step > 0)
      std::printf("best validation loss %.4f nats per byte, at update %lld\n", run.best().metric,
                  static_cast<long long>(run.best().step));
    return stop ? stop.exit_code() : 0;
  }

  /// Prints the loss of the whole text.
  void evaluate() const {
    const auto weights = load_weights<Model, B>(checkpoint());
    const auto text = text::load(text::Bytes{}, options_.text);
    const double nats = fathom::evaluate(weights, text::Epoch(in_order(text)), {.threads = options_.threads}).mean();
    std::printf("%zu bytes, %.4f nats per byte, perplexity %.3f\n", text.tokens.size(), nats, std::exp(nats));
  }

  /// Writes the prompt and what the model makes of it.
  void sample() const {
    const auto weights = load_weights<Model, B>(checkpoint());
    GenerateOptions generation = options_.generate;
    generation.seed = options_.seed;
    generation.stream = [](std::string_view piece) { std::cout << piece << std::flush; };
    std::cout << options_.prompt << std::flush;
    generate(weights, options_.prompt, generation, text::Bytes{}, {.threads = options_.threads});
    std::cout << std::endl;
  }

  /// Prints what the model is and what its training needs.
  void info() const {
    const Capacity capacity{options_.batch * Model::context, options_.batch, Model::context};
    const int threads = options_.threads > 0 ? options_.threads : std::max(1, int(std::thread::hardware_concurrency()));
    const MemoryPlan plan = training_memory<Model, B, Optimizer>(capacity, threads, dropout());
    std::printf("%d layers, width %d, context %d, vocabulary %d\n", Model::Stack::depth, Model::width, Model::context,
                Model::vocabulary);
    std::printf("parameters            %lld\n", static_cast<long long>(Model::parameter_count));
    std::printf("training, per token   %.1f MFLOP\n", Model::flops_per_token(Model::context) / 1e6);
    std::printf("memory of training    batch %d, %d threads, %s\n", options_.batch, threads, Optimizer::name);
    const auto line = [](const char* name, std::int64_t bytes) {
      std::printf("  %-18s  %9.1f MiB\n", name, double(bytes) / double(1_MiB));
    };
    line("weights", plan.weights);
    line("gradients", plan.gradients);
    line("optimizer", plan.optimizer);
    line("activations", plan.activations);
    line("workspace", plan.workspace);
    line("total", plan.total());
  }

 private:
  std::filesystem::path checkpoint() const {
    return options_.checkpoint.empty() ? best_checkpoint(options_.output) : options_.checkpoint;
  }

  /// The same rate wherever a transformer usually drops out, but not on what attention attends to.
  DropoutRates dropout() const { return {.embedding = options_.dropout, .residual = options_.dropout}; }

  /// For evaluation: every byte once.
  Windows in_order(const text::Corpus<text::Bytes::Token>& text) const {
    return {text, {.batch = options_.batch, .length = Model::context, .order = text::Order::sequential}};
  }

  static std::string checksum(const text::Split<text::Bytes::Token>& text) {
    Checksum sum;
    for (const auto* part : {&text.train, &text.validation}) sum.add(std::as_bytes(std::span(part->tokens)));
    return std::to_string(sum.value());
  }

  const LanguageModelOptions& options_;
};

/// The `main` of a language model's program. Errors end in one line on stderr and exit code 1.
template <class Model>
int language_model(int argc, char** argv) {
  LanguageModelOptions options;
  CLI::App app("A language model of bytes with " + std::to_string(Model::Stack::depth) + " layers");
  app.require_subcommand(1);
  app.option_defaults()->always_capture_default();
  // Without a description, so that the help says INT, not INT:POSITIVE.
  const auto positive = CLI::PositiveNumber.description(""), not_negative = CLI::NonNegativeNumber.description("");
  const auto share = CLI::Range(0.0, 1.0).description(""), rate = CLI::Range(0.0, 0.99).description("");

  CLI::App& train = *app.add_subcommand(
      "train",
      "Train on a text. The output folder gets\n"
      "  checkpoints/<update>/  the last ones, to resume from\n"
      "  best/                  the one with the lowest validation loss, to evaluate and sample with\n"
      "  log.csv, curves.svg    the losses of every update\n"
      "Ctrl-C saves a checkpoint and ends the program. train --resume goes on, with the text and the options of the "
      "run,\n"
      "to the same bits as without the stop.\n");
  RecordedOptions recorded;
  const auto fixed = [&](const char* name, auto& value, const char* description) {
    return recorded.fixed(train.add_option(name, value, description));
  };
  const auto free = [&](const char* name, auto& value, const char* description) {
    return recorded.free(train.add_option(name, value, description));
  };
  train.add_option("text", options.text, "a file, or a folder of text files; its end is for validation");
  train.add_flag("--resume", options.resume, "go on from the newest checkpoint, if there is one");
  train.option_defaults()->group("Updates");
  fixed("--steps", options.steps, "updates")->check(positive);
  fixed("--batch", options.batch, "sequences of a batch")->check(positive);
  fixed("--accumulate", options.accumulate, "batches of an update")->check(positive);
  fixed("--dropout", options.dropout, "rate on embeddings and residual branches")->check(rate);
  fixed("--seed", options.seed, "of everything that is drawn by chance");
  train.option_defaults()->group("Optimizer: AdamW, linear warm-up, then half a cosine");
  fixed("--learning-rate", options.learning_rate, "the largest, after warm-up")->check(positive);
  fixed("--minimum-learning-rate", options.minimum_learning_rate, "at the end")->check(not_negative);
  fixed("--warmup", options.warmup, "updates of rising learning rate")->check(not_negative);
  fixed("--beta2", options.beta2, "how slowly the second moments follow")->check(share);
  fixed("--weight-decay", options.weight_decay, "of matrices")->check(not_negative);
  fixed("--clip", options.clip, "largest gradient norm; 0: any")->check(not_negative);
  train.option_defaults()->group("Validation");
  fixed("--validation-fraction", options.validation_fraction, "share of the text, at its end")->check(share);
  fixed("--validation-every", options.validation_every, "updates")->check(positive);
  fixed("--patience", options.patience, "validations without a new best that end it; 0: go on")->check(not_negative);
  train.option_defaults()->group("Checkpoints");
  free("--save-every", options.save_every, "updates")->check(positive);
  free("--keep", options.keep, "how many of the last ones stay")->check(positive);

  CLI::App& evaluate = *app.add_subcommand("evaluate", "Print a trained model's loss on a text.");
  evaluate.add_option("text", options.text, "a file, or a folder of text files")->required();

  CLI::App& sample = *app.add_subcommand("sample", "Write a text with a trained model.");
  sample.add_option("--prompt", options.prompt, "how the text begins");
  sample.add_option("--tokens", options.generate.tokens, "bytes to add")->check(positive);
  sample.add_option("--temperature", options.generate.sampling.temperature, "0: always the most probable byte");
  sample.add_option("--top-k", options.generate.sampling.top_k, "draw from that many most probable bytes; 0: from all");
  sample.add_option("--top-p", options.generate.sampling.top_p, "draw from the most probable bytes with this share");
  sample.add_option("--seed", options.seed, "of what is drawn by chance");

  CLI::App& info = *app.add_subcommand("info", "Print parameters, FLOPs per token and the memory that training needs.");
  info.add_option("--dropout", options.dropout, "rate on embeddings and residual branches")->check(rate);
  for (CLI::App* command : {&evaluate, &info})
    command->add_option("--batch", options.batch, "sequences at a time")->check(positive);
  for (CLI::App* command : {&evaluate, &sample})
    command->add_option("--checkpoint", options.checkpoint,
                        "instead of the best one of the output folder, or its newest");
  for (CLI::App* command : {&train, &evaluate, &sample, &info}) {
    command->option_defaults()->group("Options");
    if (command != &info) command->add_option("--output", options.output, "folder of the run");
    command->add_option("--threads", options.threads, "0: one for each core")->check(not_negative);
  }
  CLI11_PARSE(app, argc, argv);
  try {
    const LanguageModelProgram<Model> program(options);
    if (train.parsed()) {
      const auto newest = newest_checkpoint(options.output);
      if (newest && !options.resume)
        throw Error(options.output.string() + ": holds a run; go on with --resume, or give another --output");
      if (newest) {
        const safetensors::Metadata stored = read_checkpoint_info(*newest).metadata;
        recorded.restore(stored);
        if (const auto text = stored.find(program.text_key); text != stored.end() && options.text.empty())
          options.text = text->second;
      }
      if (options.text.empty()) throw Error("train: give a text file, or a folder of them");
      return program.train(recorded.texts(), newest);
    }
    if (evaluate.parsed()) program.evaluate();
    if (sample.parsed()) program.sample();
    if (info.parsed()) program.info();
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", std::filesystem::path(argv[0]).filename().c_str(), error.what());
    return 1;
  }
}

}  // namespace fathom::program

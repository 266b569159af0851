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
#include <fathom/train/log.hpp>
#include <fathom/train/memory_plan.hpp>
#include <fathom/train/plot.hpp>
#include <fathom/train/progress.hpp>
#include <fathom/train/trainer.hpp>
#include <filesystem>
#include <iostream>
#include <optional>
#include <programs/stop_signal.hpp>
#include <string>
#include <thread>

/// The program around a decoder-only language model of bytes: what fathom_add_language_model compiles.
namespace fathom::program {

struct LanguageModelOptions {
  std::filesystem::path text, output = "runs/language-model";
  bool resume = false;
  int steps = 2000, batch = 8, threads = 0, validation_every = 100;
  std::int64_t warmup = 100;
  double learning_rate = 1e-3, dropout = 0, validation_fraction = 0.1;
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
  explicit LanguageModelProgram(const LanguageModelOptions& options) : options_(options) {}

  /// Trains, and leaves checkpoint, log.csv and curves.svg in the output folder; a checkpoint is saved with every
  /// validation and when the program is asked to stop. Returns the program's exit code.
  int train() const {
    const StopSignal stop;
    const auto text = text::split_tokens(text::load(text::Bytes{}, options_.text), options_.validation_fraction);
    const Windows windows(text.train, {.batch = options_.batch, .length = Model::context, .seed = options_.seed});
    const Windows validation(text.validation,
                             {.batch = options_.batch, .length = Model::context, .order = text::Order::sequential});
    const Cosine schedule({.peak = options_.learning_rate,
                           .total_steps = options_.steps,
                           .warmup_steps = options_.warmup,
                           .minimum = options_.learning_rate / 10});
    TrainerOptions trainer_options;
    trainer_options.seed = options_.seed;
    trainer_options.dropout = dropout();
    Trainer<Model, B, Optimizer> trainer(windows.capacity(), trainer_options, {}, {.threads = options_.threads});

    std::int64_t done = 0, position = 0;
    if (options_.resume) {
      position = load_checkpoint(checkpoint(), trainer).sampler_position;
      done = trainer.progress().step;
    }
    std::filesystem::create_directories(options_.output);
    const std::filesystem::path log_path = options_.output / "log.csv";
    CsvLog log(log_path, {"loss", "validation_loss", "learning_rate", "gradient_norm"},
               options_.resume ? std::optional(done) : std::nullopt);
    text::Prefetch batches(windows, std::uint64_t(position));
    Progress progress(stderr, {.total = options_.steps, .done = done, .label = "train"});
    for (std::int64_t step = done + 1; step <= options_.steps && !stop; ++step) {
      const StepReport report = trainer.step(batches.next(), schedule(step));
      std::optional<double> validated;
      if (step % options_.validation_every == 0 || step == options_.steps)
        validated = loss(trainer, trainer.weights(), validation);
      if (!report.skipped.empty()) progress.message("step " + std::to_string(step) + " skipped: " + report.skipped);
      log.row(step, {report.loss, validated, report.learning_rate, report.gradient_norm});
      if (validated) save_checkpoint(checkpoint(), trainer, std::int64_t(batches.position()));
      progress.update({.step = step,
                       .tokens = report.tokens,
                       .loss = report.loss,
                       .validation_loss = validated,
                       .learning_rate = report.learning_rate});
    }
    if (stop) save_checkpoint(checkpoint(), trainer, std::int64_t(batches.position()));
    progress.finish();
    const CsvTable table = read_csv(log_path);
    write_svg({.title = options_.text.filename().string(),
               .x_label = "update",
               .y_label = "nats per byte",
               .lines = {{.series = table.series("loss"), .stroke = Plot::Stroke::faint},
                         {.series = table.series("validation_loss")}}},
              options_.output / "curves.svg");
    return stop ? stop.exit_code() : 0;
  }

  /// Prints the loss of the whole text.
  void evaluate() const {
    const auto text = text::load(text::Bytes{}, options_.text);
    const Windows windows(text, {.batch = options_.batch, .length = Model::context, .order = text::Order::sequential});
    const auto weights = load_weights<Model, B>(checkpoint());
    Trainer<Model, B, Optimizer> trainer(windows.capacity(), {}, {}, {.threads = options_.threads});
    const double nats = loss(trainer, weights, windows);
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
  std::filesystem::path checkpoint() const { return options_.output / "checkpoint"; }

  /// The same rate wherever a transformer usually drops out, but not on what attention attends to.
  DropoutRates dropout() const { return {.embedding = options_.dropout, .residual = options_.dropout}; }

  /// Mean over all windows, in nats.
  static double loss(auto& trainer, const Weights<Model, B>& weights, const Windows& windows) {
    text::Batch batch(windows.capacity());
    LossSums sums;
    for (std::uint64_t position = 0; position < windows.epoch();) {
      position = windows.fill(position, batch);
      sums += trainer.evaluate(weights, batch);
    }
    return sums.mean();
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

  CLI::App& train = *app.add_subcommand("train", "train on a text file or on all text files of a folder");
  train.add_option("text", options.text, "the file or folder; its end is for validation")->required();
  train.add_option("--steps", options.steps, "updates")->check(CLI::PositiveNumber);
  train.add_option("--learning-rate", options.learning_rate, "the largest, after warm-up")->check(CLI::PositiveNumber);
  train.add_option("--warmup", options.warmup, "updates of rising learning rate")->check(CLI::NonNegativeNumber);
  train.add_flag("--resume", options.resume, "go on from the output folder's checkpoint, with the run's other options");
  train.add_option("--validation-every", options.validation_every, "updates")->check(CLI::PositiveNumber);
  train.add_option("--validation-fraction", options.validation_fraction, "of the text")->check(CLI::Range(0.0, 1.0));

  CLI::App& evaluate = *app.add_subcommand("evaluate", "print a trained model's loss on a text");
  evaluate.add_option("text", options.text, "a file, or a folder of them")->required();

  CLI::App& sample = *app.add_subcommand("sample", "write a text with a trained model");
  sample.add_option("--prompt", options.prompt, "how the text begins");
  sample.add_option("--tokens", options.generate.tokens, "bytes to add")->check(CLI::PositiveNumber);
  sample.add_option("--temperature", options.generate.sampling.temperature, "0: always the most probable byte");
  sample.add_option("--top-k", options.generate.sampling.top_k, "draw from that many most probable bytes; 0: from all");
  sample.add_option("--top-p", options.generate.sampling.top_p, "draw from the most probable bytes with this share");

  CLI::App& info = *app.add_subcommand("info", "print parameters, FLOPs per token and the memory that training needs");
  for (CLI::App* command : {&train, &evaluate, &sample, &info})
    command->add_option("--threads", options.threads, "0: one for each core")->check(CLI::NonNegativeNumber);
  for (CLI::App* command : {&train, &evaluate, &sample})
    command->add_option("--output", options.output, "folder of the run: checkpoint, log and plot");
  for (CLI::App* command : {&train, &evaluate, &info})
    command->add_option("--batch", options.batch, "sequences at a time")->check(CLI::PositiveNumber);
  for (CLI::App* command : {&train, &info})
    command->add_option("--dropout", options.dropout, "rate on embeddings and residual branches")
        ->check(CLI::Range(0.0, 0.99));
  for (CLI::App* command : {&train, &sample})
    command->add_option("--seed", options.seed, "of everything that is drawn by chance");
  CLI11_PARSE(app, argc, argv);
  try {
    const LanguageModelProgram<Model> program(options);
    if (train.parsed()) return program.train();
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

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/models/language_model.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/optim/schedule.hpp>
#include <fathom/text/text.hpp>
#include <fathom/train/log.hpp>
#include <fathom/train/memory_plan.hpp>
#include <fathom/train/plot.hpp>
#include <fathom/train/progress.hpp>
#include <fathom/train/trainer.hpp>
#include <filesystem>
#include <optional>
#include <programs/stop_signal.hpp>
#include <string>
#include <thread>

/// The program around a decoder-only language model of bytes: what fathom_add_language_model compiles.
namespace fathom::program {

struct LanguageModelOptions {
  std::filesystem::path text, output = "runs/language-model";
  int steps = 2000, batch = 8, threads = 0, validation_every = 100;
  std::int64_t warmup = 100;
  double learning_rate = 1e-3, dropout = 0, validation_fraction = 0.1;
  std::uint64_t seed = 1;
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

  /// Trains, and leaves log.csv and curves.svg in the output folder. Returns the program's exit code.
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

    std::filesystem::create_directories(options_.output);
    CsvLog log(options_.output / "log.csv", {"loss", "validation_loss", "learning_rate", "gradient_norm"});
    text::Prefetch batches(windows);
    Series losses{.name = "training", .x = {}, .y = {}}, validation_losses{.name = "validation", .x = {}, .y = {}};
    Progress progress(stderr, {.total = options_.steps, .label = "train"});
    for (int step = 1; step <= options_.steps && !stop; ++step) {
      const StepReport report = trainer.step(batches.next(), schedule(step));
      std::optional<double> validated;
      if (step % options_.validation_every == 0 || step == options_.steps) {
        validated = validation_loss(trainer, validation);
        append(validation_losses, step, *validated);
      }
      append(losses, step, report.loss);
      if (!report.skipped.empty()) progress.message("step " + std::to_string(step) + " skipped: " + report.skipped);
      log.row(step, {report.loss, validated, report.learning_rate, report.gradient_norm});
      progress.update({.step = step,
                       .tokens = report.tokens,
                       .loss = report.loss,
                       .validation_loss = validated,
                       .learning_rate = report.learning_rate});
    }
    progress.finish();
    write_svg({.title = options_.text.filename().string(),
               .x_label = "update",
               .y_label = "loss, nats per byte",
               .lines = {{.series = losses, .stroke = Plot::Stroke::faint}, {.series = validation_losses}}},
              options_.output / "curves.svg");
    return stop ? stop.exit_code() : 0;
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
  static void append(Series& series, double x, double y) {
    series.x.push_back(x);
    series.y.push_back(y);
  }

  /// The same rate wherever a transformer usually drops out, but not on what attention attends to.
  DropoutRates dropout() const { return {.embedding = options_.dropout, .residual = options_.dropout}; }

  static double validation_loss(auto& trainer, const Windows& windows) {
    text::Batch batch(windows.capacity());
    LossSums sums;
    for (std::uint64_t position = 0; position < windows.epoch();) {
      position = windows.fill(position, batch);
      sums += trainer.evaluate(batch);
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
  train.add_option("--seed", options.seed, "of weights, dropout and the choice of text");
  train.add_option("--output", options.output, "folder for the log and the plot");
  train.add_option("--validation-every", options.validation_every, "updates")->check(CLI::PositiveNumber);
  train.add_option("--validation-fraction", options.validation_fraction, "of the text")->check(CLI::Range(0.0, 1.0));

  CLI::App& info = *app.add_subcommand("info", "print parameters, FLOPs per token and the memory that training needs");
  for (CLI::App* command : {&train, &info}) {
    command->add_option("--batch", options.batch, "sequences of an update")->check(CLI::PositiveNumber);
    command->add_option("--threads", options.threads, "0: one for each core")->check(CLI::NonNegativeNumber);
    command->add_option("--dropout", options.dropout, "rate on embeddings and residual branches")
        ->check(CLI::Range(0.0, 0.99));
  }
  CLI11_PARSE(app, argc, argv);
  try {
    const LanguageModelProgram<Model> program(options);
    if (train.parsed()) return program.train();
    program.info();
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", std::filesystem::path(argv[0]).filename().c_str(), error.what());
    return 1;
  }
}

}  // namespace fathom::program

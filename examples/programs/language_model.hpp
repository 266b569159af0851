// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <fathom/generate/generate.hpp>
#include <fathom/io/atomic_write.hpp>
#include <fathom/models/language_model.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/optim/schedule.hpp>
#include <fathom/report/format.hpp>
#include <fathom/report/plot.hpp>
#include <fathom/report/progress.hpp>
#include <fathom/text/text.hpp>
#include <fathom/train/checkpoint.hpp>
#include <fathom/train/evaluate.hpp>
#include <fathom/train/memory_plan.hpp>
#include <fathom/train/run.hpp>
#include <fathom/train/trainer.hpp>
#include <filesystem>
#include <iostream>
#include <limits>
#include <optional>
#include <programs/device.hpp>
#include <programs/language_model_command_line.hpp>
#include <programs/run_log.hpp>
#include <programs/run_program.hpp>
#include <programs/saved_run.hpp>
#include <programs/stop_signal.hpp>
#include <programs/training.hpp>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>

/// The program around a decoder-only language model of bytes: what fathom_add_language_model compiles.
namespace fathom::program {

/// The commands for one model type, on one backend.
template <class Model, class B>
class LanguageModelProgram {
  static_assert(Model::vocabulary == text::Bytes::vocabulary(), "fathom: this program reads bytes; set VOCABULARY 256");
  using Optimizer = AdamW;
  using Windows = text::Windows<text::Bytes::Token>;
  using Text = text::Split<text::Bytes::Token>;

 public:
  /// Where checkpoints record the text.
  static constexpr const char* text_key = "text";
  static constexpr const char* checksum_key = "text-checksum";

  explicit LanguageModelProgram(const LanguageModelOptions& options) : options_(options) {}

  /// Trains, and leaves checkpoints, log.csv, curves.svg and telemetry in the output folder, also when the program is
  /// asked to stop and when the training gives up. `folder` is the output folder; `record` is stored in the
  /// checkpoints; `resumed` is the one to go on from. Returns the program's exit code.
  int train(const DirectoryLock& folder, safetensors::Metadata record,
            const std::optional<std::filesystem::path>& resumed) const {
    let_output_be_lost();
    check_options();
    const StopSignal stop;
    const bool validates = options_.validation_batches != "none";
    const Text text = split_text(validates);
    const Windows windows(text.train, {.batch = options_.batch, .length = Model::context, .seed = options_.seed});
    Trainer<Model, B, Optimizer> trainer(windows.capacity(),
                                         {.seed = options_.seed,
                                          .dropout = dropout(),
                                          .clip_norm = options_.clip,
                                          .average = options_.average,
                                          .recomputed = memory(windows.capacity()).recomputed,
                                          .rules = matrix_rates<Model>(options_.matrix_rates)},
                                         {.beta2 = options_.beta2, .weight_decay = options_.weight_decay},
                                         machine_options<B>(options_.device));

    record[text_key] = as_utf8(std::filesystem::absolute(options_.text));
    record[checksum_key] = checksum(text);
    CheckpointInfo start;
    if (resumed) {
      start = load_checkpoint(*resumed, trainer);
      if (start.metadata[checksum_key] != record[checksum_key])
        throw Error(options_.text.string() + ": is not the text that the run to resume began with; give that one");
    } else if constexpr (is_profiled<typename Model::Stack>()) {
      text::PackedTokens first(windows.capacity());
      windows.fill(0, first);
      trainer.profile(first);
    }
    text::Prefetch batches(windows, start.cursor);
    const Windows one(text.train, {.batch = 1, .length = Model::context, .seed = options_.seed});
    text::PackedTokens probe(windows.capacity());
    one.fill(0, probe);
    std::optional<Sample> sample;
    if (validates) sample.emplace(in_order(text.validation), options_.validation_batches);
    Training training{
        .run = {.steps = options_.steps,
                .learning_rate = Cosine({.peak = options_.learning_rate,
                                         .total_steps = options_.steps,
                                         .warmup_steps = options_.warmup,
                                         .minimum = options_.minimum_learning_rate}),
                .accumulate = options_.accumulate,
                .validation = {.every = options_.validation_every, .patience = options_.patience}},
        .checkpoints = {.every = options_.save_every, .keep = options_.keep, .metadata = std::move(record)},
        // Of a batch's training a third is its forward pass.
        .validation_cost = sample ? double(sample->count) / (3 * options_.accumulate) : 0,
        .plot = [&](const CsvTable& table) { return plot(table); },
        .unit = "nats per byte",
        .telemetry = options_.telemetry};
    if (validates)
      training.validate = [&](RunLog& log) -> std::optional<double> {
        const auto show = [&](const Evaluation& so_far) {
          log.validate({.step = trainer.counters().step, .done = so_far.batches, .total = sample->count});
        };
        show({});
        const auto sums = trainer.evaluate(sample->batches, {.stop = [&] { return bool(stop); }, .progress = show});
        return sums.stopped ? std::nullopt : std::optional(sums.mean());
      };
    return program::train(trainer, batches, TokenBatch(probe), folder, stop, std::move(training), start,
                          resumed.has_value());
  }

  /// Prints the loss of the text, or of a sample of it. Nothing when it is asked to stop. Returns the program's exit
  /// code.
  int evaluate() const {
    const StopSignal stop;
    const auto weights = used_weights<Model, B>(options_, machine_options<B>(options_.device));
    const auto text = load_text(2);
    Sample sample(in_order(text), options_.batches);
    Progress progress(stderr, {.total = sample.count, .label = "evaluate", .quiet = 1});
    std::int64_t shown = 0;
    const auto show = [&](const Evaluation& so_far) {
      progress.update({.step = so_far.batches,
                       .tokens = so_far.targets - std::exchange(shown, so_far.targets),
                       .loss = so_far.mean()});
    };
    const Evaluation sums = fathom::evaluate(weights, sample.batches, machine_options<B>(options_.device),
                                             {.stop = [&] { return bool(stop); }, .progress = show});
    progress.finish();
    if (sums.stopped) {
      std::fprintf(stderr, "stopped after %lld of %lld batches, without a result\n",
                   static_cast<long long>(sums.batches), static_cast<long long>(sample.count));
      return stop.exit_code();
    }
    if (!std::isfinite(sums.mean()))
      throw Error("the loss of " + options_.text.string() +
                  " is not finite: the weights are too large for it; evaluate an earlier checkpoint (--checkpoint)");
    if (sums.targets + 1 < std::ssize(text.tokens)) std::printf("%lld of ", static_cast<long long>(sums.targets));
    std::printf("%zu bytes, %.4f nats per byte, perplexity %.3f\n", text.tokens.size(), sums.mean(),
                std::exp(sums.mean()));
    return 0;
  }

  /// Writes the prompt and what the model makes of it.
  int sample() const {
    const auto weights = used_weights<Model, B>(options_, machine_options<B>(options_.device));
    GenerateOptions generation = options_.generate;
    generation.seed = options_.seed;
    generation.stream = [](std::string_view piece) {
      std::cout << piece;
      flush_stdout();
    };
    generation.stream(options_.prompt);
    const std::string_view prompt = options_.prompt;
    const std::string_view read = prompt.substr(prompt.size() - std::min(prompt.size(), std::size_t(Model::context)));
    generate(weights, read, generation, text::Bytes{}, machine_options<B>(options_.device));
    std::cout << '\n';
    return 0;
  }

  /// Prints what the model is and what its training needs.
  int info() const {
    const Capacity capacity{options_.batch * Model::context, options_.batch, Model::context};
    const PlannedMemory planned = memory(capacity);
    std::printf("%d layers, width %d, context %d, vocabulary %d\n", Model::Stack::depth, Model::width, Model::context,
                Model::vocabulary);
    std::printf("parameters            %lld\n", static_cast<long long>(Model::parameter_count));
    std::printf("training, per token   %.1f MFLOP\n", Model::flops_per_token(Model::context) / 1e6);
    std::printf("memory beside text    batch %d, %s, %s\n", options_.batch, text_of<B>(options_.device).c_str(),
                Optimizer::name);
    print_memory(planned, batches(capacity));
    return 0;
  }

 private:
  /// Bytes of batches.
  std::int64_t batches(const Capacity& capacity) const {
    return batches_in_memory(options_.accumulate) * batch_bytes(capacity);
  }
  PlannedMemory memory(const Capacity& capacity) const {
    return plan_memory<Model, B, Optimizer>(capacity, options_.memory, options_.device, dropout(), options_.average > 0,
                                            batches(capacity));
  }

  /// As many batches of a text, spread evenly over it, as an option says: a number, or "all".
  struct Sample {
    std::int64_t count;
    text::Epoch<Windows> batches;

    Sample(const Windows& windows, const std::string& option)
        : count(std::min(std::int64_t(windows.epoch()),
                         format::parse<std::int64_t>(option).value_or(std::numeric_limits<std::int64_t>::max()))),
          batches(windows, std::uint64_t(count)) {}
  };

  /// The text to train on, and its end to validate on. Errors: `Error` for too little text.
  Text split_text(bool validates) const {
    const double fraction = validates ? options_.validation_fraction : 0;
    // A window and its last target to train on, a byte and its target to validate on.
    double least = (Model::context + 1) / (1 - fraction);
    if (validates) least = std::max(least, 2 / fraction);
    auto all = load_text(std::size_t(least) + 1);
    if (validates) return text::split_tokens(std::move(all), fraction);
    Text text;
    text.train = std::move(all);
    return text;
  }

  /// Without the files of runs, which may be in the text's folder. Errors: `Error` for a text of fewer than `least`
  /// bytes.
  text::Corpus<text::Bytes::Token> load_text(std::size_t least) const {
    std::error_code none;
    const auto is_own = [&](const std::filesystem::path& path) {
      return std::filesystem::equivalent(path, options_.output, none);
    };
    if (is_own(options_.text))
      throw Error(options_.text.string() +
                  ": is the run's folder, so what is in it is no text; give another text, or another --output");
    auto text = text::load(text::Bytes{}, options_.text, {}, [&](const std::filesystem::path& path) {
      if (is_own(path)) return "is this run's folder";
      return path != options_.text && is_of_a_run(path) ? "is of another run" : "";
    });
    for (const std::string& line : text.report.lines()) std::fprintf(stderr, "%s\n", line.c_str());
    if (text.tokens.size() < least)
      throw Error(options_.text.string() + ": has " + std::to_string(text.tokens.size()) + " bytes where " +
                  std::to_string(least) + " are needed; give more text");
    return text;
  }

  Plot plot(const CsvTable& table) const {
    return {.title = as_utf8(options_.text.filename()),
            .x_label = "update",
            .y_label = "nats per byte",
            .lines = {{.series = table.series("loss"), .stroke = Plot::Stroke::faint},
                      {.series = table.series("validation_loss")}}};
  }

  /// Errors: `Error` that names the flags, for those that do not go together.
  void check_options() const {
    if (options_.warmup >= options_.steps)
      throw Error("--warmup " + std::to_string(options_.warmup) + " must be below --steps " +
                  std::to_string(options_.steps) + "; give less of it, or more updates");
    if (options_.minimum_learning_rate > options_.learning_rate)
      throw Error("--minimum-learning-rate must not exceed --learning-rate; give a smaller one");
    if (options_.patience > 0 && options_.validation_batches == "none")
      throw Error(
          "--patience counts validations, of which --validation-batches none makes none; leave one of them out");
  }

  /// The same rate wherever a transformer usually drops out, but not on what attention attends to.
  DropoutRates dropout() const { return {.embedding = options_.dropout, .residual = options_.dropout}; }

  /// For evaluation: every byte once.
  Windows in_order(const text::Corpus<text::Bytes::Token>& text) const {
    return {text, {.batch = options_.batch, .length = Model::context, .order = text::Order::sequential}};
  }

  static std::string checksum(const Text& text) {
    Checksum sum;
    for (const auto* part : {&text.train, &text.validation}) sum.add(std::as_bytes(std::span(part->tokens)));
    return std::to_string(sum.value());
  }

  const LanguageModelOptions& options_;
};

/// The `main` of a language model's program, which runs on each of the backends Bs.
template <class Model, class... Bs>
int language_model(int argc, char** argv) {
  return run_program([&] {
    LanguageModelOptions options;
    LanguageModelCommandLine command(options, Model::Stack::depth, std::numeric_limits<int>::max() / Model::context);
    const auto run = [&]<class B>(std::type_identity<B>) {
      options.device.plans = options.output / "plans";
      const LanguageModelProgram<Model, B> program(options);
      if (command.evaluate()) return program.evaluate();
      if (command.sample()) return program.sample();
      if (command.info()) return program.info();
      const DirectoryLock folder(options.output);  // then look: another run may have been in it until now
      const auto newest = checkpoint_to_resume(folder, options, options.resume);
      if (newest) {
        safetensors::Metadata stored = read_checkpoint_info(*newest).metadata;
        stored.try_emplace("--validation-batches", "all");  // so it was before there was that option
        command.recorded().restore(stored);
        if (const auto text = stored.find(program.text_key); text != stored.end() && options.text.empty())
          options.text = text->second;
      }
      if (options.text.empty()) throw CLI::RequiredError("text");
      return program.train(folder, command.recorded().texts(), newest);
    };
    return run_command(command.app(), argc, argv, [&] { return on_device<Bs...>(options.device, run); });
  });
}

}  // namespace fathom::program

// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <array>
#include <cmath>
#include <cstdio>
#include <fathom/fathom.hpp>
#include <fathom/report/plot.hpp>
#include <filesystem>
#include <optional>
#include <programs/rules.hpp>
#include <programs/run_log.hpp>
#include <programs/run_program.hpp>
#include <programs/stop_signal.hpp>

/// What DeepNorm is for, in minutes on two cores: 100 layers learn the project's own text, byte by byte, once with
/// DeepNorm and once as the original transformer has it (Post-LN), everything else equal. The twin does not get beyond
/// the frequencies of the bytes.
namespace fathom::program {

constexpr int depth = 100, width = 64, heads = 2, hidden = 256, context = 64, batch_size = 8;

using DeepNormModel =
    LanguageModel<Vocabulary<256>, ContextLength<context>, deepnet::DecoderOnly<depth, width, heads, hidden>>;
using PostNormBlock =
    Sequence<Residual<PostNorm, Attention<width, heads, Causal>>, Residual<PostNorm, FeedForward<width, hidden, Gelu>>>;
using PostNormModel = LanguageModel<Vocabulary<256>, ContextLength<context>, Repeat<depth, PostNormBlock>>;

using Text = text::Split<text::Bytes::Token>;

struct Settings {
  std::filesystem::path output = "runs/demo";
  int steps = 1000, threads = 0;
  std::uint64_t seed = 1;
};

/// Where the sources lay when the program was built, or else the current folder.
std::filesystem::path source_folder() {
#ifdef FATHOM_SOURCE_FOLDER
  if (std::filesystem::exists(FATHOM_SOURCE_FOLDER "/LICENSE")) return FATHOM_SOURCE_FOLDER;
#endif
  return std::filesystem::current_path();
}

/// The project's text. The end of the last headers, 16 batches, is for validation.
Text project_text() {
  const std::filesystem::path folder = source_folder();
  text::Corpus<text::Bytes::Token> corpus;
  for (const char* name : {"LICENSE", "README.md", "docs", "include"}) {
    const std::filesystem::path path = folder / name;
    if (std::filesystem::is_directory(path) && std::filesystem::is_empty(path)) continue;
    const auto part = text::load(text::Bytes{}, path, {".md", ".hpp"});
    for (std::size_t i = 0; i < part.documents(); ++i) corpus.append(part.document(i));
  }
  const std::size_t kept_back = 16 * batch_size * context + 1;
  if (corpus.tokens.size() < 10 * kept_back)
    throw Error(folder.string() + ": too little text; run the demo in fathom's folder");
  const std::size_t cut = corpus.tokens.size() - kept_back;
  return text::split_at(std::move(corpus), cut);
}

/// Nats per byte of the best guess that knows how frequent each byte is, and nothing else.
double unigram_entropy(std::span<const text::Bytes::Token> text) {
  std::array<double, 256> counts{};
  for (const auto byte : text) ++counts[byte];
  double entropy = 0;
  for (const double count : counts)
    if (count > 0) entropy -= count / double(text.size()) * std::log(count / double(text.size()));
  return entropy;
}

/// Trains, and returns the curve of the validation loss; a shorter one when asked to stop.
template <class Trainer>
Series train(Trainer& trainer, const Text& text, const Settings& settings, const DirectoryLock& folder,
             const std::string& name, const StopSignal& stop) {
  const text::WindowOptions options{.batch = batch_size, .length = context, .seed = settings.seed};
  text::Prefetch batches(text::Windows(text.train, options));
  text::Epoch validation(
      text::Windows(text.validation, {.batch = batch_size, .length = context, .order = text::Order::sequential}));
  const auto validation_loss = [&]() -> std::optional<double> {
    const Evaluation sums = trainer.evaluate(validation, {.stop = [&] { return bool(stop); }});
    return sums.stopped ? std::nullopt : std::optional(sums.mean());
  };
  constexpr int validate_every = 50;
  TrainingRun run(
      trainer, batches,
      {.steps = settings.steps,
       .learning_rate =
           Cosine({.peak = 1e-3, .total_steps = settings.steps, .warmup_steps = std::min(100, settings.steps / 4)}),
       .validation = {.every = validate_every, .metric = validation_loss}});
  folder.check();
  RunLog log(folder.path() / (name + ".csv"),
             {.total = settings.steps, .label = name, .validate_every = validate_every});
  Series curve{.name = name, .x = {}, .y = {}};
  const auto add = [&](std::int64_t step, std::optional<double> loss) {
    if (!loss) return;
    curve.x.push_back(double(step));
    curve.y.push_back(*loss);
  };
  add(0, validation_loss());
  for (const RunReport& report : run) {
    if (stop) run.stop();
    folder.check();
    log.add(report);
    add(report.step, report.metric);
  }
  return curve;
}

int demo(const Settings& settings) {
  let_output_be_lost();
  const StopSignal stop;
  const DirectoryLock folder(settings.output);
  const Text text = project_text();
  const double entropy = unigram_entropy(text.validation.tokens);
  std::printf("Two models of %d layers, %lld parameters each, learn %zu bytes of fathom's own text.\n", depth,
              static_cast<long long>(DeepNormModel::parameter_count), text.train.tokens.size());

  std::fflush(stdout);

  const Capacity capacity{batch_size * context, batch_size, context};
  TrainerOptions options;
  options.seed = settings.seed;
  const std::filesystem::path picture = folder.path() / "curves.svg";
  const auto draw = [&](std::vector<Plot::Line> lines) {
    folder.check();
    write_svg({.title = "100 layers, with DeepNorm and without",
               .x_label = "update",
               .y_label = "validation loss, nats per byte",
               .lines = std::move(lines),
               .references = {{.value = entropy, .label = "byte frequencies"}}},
              picture);
  };
  const auto stopped = [&](std::vector<Plot::Line> lines) {
    draw(std::move(lines));
    std::printf("stopped; curves so far: %s\n", picture.c_str());
    return stop.exit_code();
  };
  Trainer<DeepNormModel, Cpu<>, AdamW> deep(capacity, options, {}, {.threads = settings.threads});
  const Series deep_curve = train(deep, text, settings, folder, "DeepNorm", stop);
  if (stop) return stopped({{.series = deep_curve}});
  Trainer<PostNormModel, Cpu<>, AdamW> twin(capacity, options, {}, {.threads = settings.threads});
  const Series twin_curve = train(twin, text, settings, folder, "Post-LN", stop);
  if (stop) return stopped({{.series = deep_curve}, {.series = twin_curve}});
  draw({{.series = deep_curve}, {.series = twin_curve}});
  const double deep_loss = deep_curve.y.back(), twin_loss = twin_curve.y.back();
  std::printf(
      "\nValidation loss in nats per byte\n"
      "  frequencies of the bytes alone  %.3f\n"
      "  Post-LN, %d layers             %.3f\n"
      "  DeepNorm, %d layers            %.3f, %.3f below its twin\n\n"
      "The DeepNorm model continues \"/// The \":\n\n",
      entropy, depth, twin_loss, depth, deep_loss, twin_loss - deep_loss);
  std::printf("%s\n\n",
              generate(deep.weights(), "/// The ",
                       {.tokens = 400, .slide = true, .sampling = {.temperature = 0.8}, .seed = settings.seed})
                  .c_str());
  std::printf("Curves: %s\n", picture.c_str());
  return 0;
}

}  // namespace fathom::program

int main(int argc, char** argv) {
  using namespace fathom::program;
  return run_program([&] {
    Settings settings;
    CLI::App app("Trains a 100-layer DeepNorm language model and its Post-LN twin on fathom's own text");
    app.add_option("--output", settings.output, "folder for the plot and the logs")->capture_default_str();
    app.add_option("--steps", settings.steps, "updates of each model")
        ->capture_default_str()
        ->transform(whole(settings.steps, 1));
    app.add_option("--threads", settings.threads, "0: one for each core that the process may use")
        ->transform(thread_count());
    app.add_option("--seed", settings.seed, "of weights, windows and sample")
        ->capture_default_str()
        ->transform(whole(settings.seed, 0));
    return run_command(app, argc, argv, [&] { return demo(settings); });
  });
}

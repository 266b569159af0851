// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/optim/schedule.hpp>
#include <fathom/report/plot.hpp>
#include <fathom/train/telemetry.hpp>
#include <fathom/train/trainer.hpp>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "shape.hpp"
#include "support/narrow_translators.hpp"

/// Figures 3, 4 and 5 of DeepNet (arXiv:2203.00555) in small: "64-128-2 tiny Transformers" that say a few letters
/// backwards, in place of IWSLT-14.
///   figures 3|4|5 --threads T --output FOLDER
/// Prints the numbers, and writes the plots into the folder. Adam with 0.9, 0.98 and 1e-8; a warm-up rises to 5e-4 in
/// 4,000 updates.
namespace {
using namespace fathom_test;
using fathom::bench::option;

constexpr PairCapacity capacity{{160, 32, ReversedPairs::longest}, {192, 32, ReversedPairs::longest + 1}};
constexpr double peak = 5e-4;

double warming_up(std::int64_t step) { return InverseSquareRoot({.peak = peak, .warmup_steps = 4000})(step); }
double at_once(std::int64_t) { return peak; }

struct Settings {
  int threads;
  std::filesystem::path output;
};

template <class Model>
class Run {
 public:
  using TrainerType = Trainer<Model, Cpu<>, Adam>;

  explicit Run(const Settings& settings)
      : trainer(capacity, {.seed = 1, .clip_norm = 0, .spike_factor = 0}, {.beta2 = 0.98},
                {.threads = settings.threads}),
        packed_(capacity),
        probe_(capacity) {
    pairs_.fill(0, probe_);
    start_ = output();
  }

  /// One update with another batch.
  StepReport step(double rate) {
    cursor_ = pairs_.fill(cursor_, packed_);
    return trainer.step(PairBatch(packed_), rate);
  }
  /// ‖F(θ) − F(θ₀)‖ on the probe, the mean over rows.
  double moved() {
    const std::vector<float> now = output();
    double sum = 0;
    for (std::size_t row = 0; row < now.size(); row += width_) {
      double squares = 0;
      for (std::size_t i = row; i < row + width_; ++i) squares += std::pow(double(now[i]) - double(start_[i]), 2);
      sum += std::sqrt(squares);
    }
    return sum / (double(now.size()) / double(width_));
  }
  std::vector<double> gradients() { return layer_gradients(trainer, PairBatch(probe_), "decoder."); }
  std::vector<LayerTelemetry> layers() { return Telemetry(trainer, PairBatch(probe_)).measure(); }

  TrainerType trainer;

 private:
  std::vector<float> output() {
    std::vector<float> values;
    width_ = std::size_t(trainer.stack_output(PairBatch(probe_), values).columns);
    return values;
  }

  ReversedPairs pairs_{capacity};
  text::PackedPairs packed_, probe_;
  std::vector<float> start_;
  std::size_t width_ = 1;
  std::uint64_t cursor_ = 1000;  // none of the probe's
};

Series rising(std::string name, std::vector<double> y, double first = 1) {
  Series series{.name = std::move(name), .x = {}, .y = std::move(y)};
  for (std::size_t i = 0; i < series.y.size(); ++i) series.x.push_back(first + double(i));
  return series;
}
void print(const std::string& name, const std::vector<double>& values) {
  std::printf("%-28s", name.c_str());
  for (const double value : values) std::printf(" %8.2e", value);
  std::puts("");
  std::fflush(stdout);
}
void draw(const Settings& settings, const std::string& file, Plot plot) {
  std::filesystem::create_directories(settings.output);
  write_svg(plot, settings.output / (file + ".svg"));
}

// Figure 3: gradients of the decoder's layers at the start, of the last layer by depth, and what training makes of it.

template <class Policy, int... Depths>
void last_gradients(const char* name, const Settings& settings, Plot& plot) {
  std::vector<double> norms;
  (norms.push_back(Run<NarrowTranslator<Depths, Policy>>(settings).gradients().back()), ...);
  print(std::string(name) + ", last layer", norms);
  plot.lines.push_back({.series = {.name = name, .x = {double(Depths)...}, .y = norms}});
}

template <class Policy>
void figure_3_of(const char* name, const Settings& settings, Plot& by_layer, Plot& losses) {
  Run<NarrowTranslator<18, Policy>> run(settings);
  const std::vector<double> norms = run.gradients();
  print(std::string(name) + ", layers 13 to 18", {norms.end() - 6, norms.end()});
  by_layer.lines.push_back({.series = rising(name, norms)});
  std::vector<double> loss;
  for (int step = 1; step <= 150; ++step)
    loss.push_back(run.step(InverseSquareRoot({.peak = 1e-3, .warmup_steps = 100})(step)).loss);
  print(std::string(name) + ", loss at 50, 100, 150", {loss[49], loss[99], loss[149]});
  losses.lines.push_back({.series = rising(name, loss)});
}

void figure_3(const Settings& settings) {
  Plot by_layer{.title = "Gradient norms of the decoder's layers, 18+18 layers", .x_label = "layer", .log_y = true};
  Plot losses{.title = "Loss of 18+18 layers", .x_label = "update", .y_label = "nats per token"};
  Plot by_depth{.title = "Gradient norm of the decoder's last layer", .x_label = "encoder and decoder layers"};
  figure_3_of<PostNorm>("Post-LN", settings, by_layer, losses);
  figure_3_of<PostNormInit>("Post-LN-init", settings, by_layer, losses);
  std::puts("6, 18, 24 layers each:");
  last_gradients<PostNorm, 6, 18, 24>("Post-LN", settings, by_depth);
  last_gradients<PostNormInit, 6, 18, 24>("Post-LN-init", settings, by_depth);
  draw(settings, "figure_3a", std::move(by_layer));
  draw(settings, "figure_3b", std::move(by_depth));
  draw(settings, "figure_3c", std::move(losses));
}

// Figure 4: 18+18 layers in their first 30 updates.

/// The mean over the decoder's layers of the norm of a row that the norm number `which` of a layer reads.
double norm_input(const std::vector<LayerTelemetry>& layers, std::size_t which) {
  double sum = 0;
  int count = 0;
  for (const LayerTelemetry& layer : layers)
    if (layer.stack == "decoder") sum += layer.norm_inputs.at(which), ++count;
  return sum / count * std::sqrt(64.0);
}

template <class Model>
void figure_4_of(const char* name, double (*rate)(std::int64_t), const Settings& settings, Plot& moved,
                 Plot& gradients) {
  Run<Model> run(settings);
  const std::vector<LayerTelemetry> before = run.layers();
  std::vector<double> distances;
  for (int step = 1; step <= 30; ++step) {
    run.step(rate(step));
    distances.push_back(run.moved());
  }
  const std::vector<LayerTelemetry> after = run.layers();
  const std::vector<double> norms = run.gradients();
  print(std::string(name) + ", moved", {distances[0], distances[1], distances[9], distances[29]});
  print("  norms read, feed-forward", {norm_input(before, 2), norm_input(after, 2)});
  print("  norms read, self-attention", {norm_input(before, 0), norm_input(after, 0)});
  print("  gradients, layers 1 and 18", {norms.front(), norms.back()});
  moved.lines.push_back({.series = rising(name, distances)});
  gradients.lines.push_back({.series = rising(name, norms)});
}

void figure_4(const Settings& settings) {
  Plot moved{.title = "Accumulated update of 18+18 layers", .x_label = "update", .log_y = true};
  Plot gradients{
      .title = "Gradient norms of the decoder's layers behind 30 updates", .x_label = "layer", .log_y = true};
  std::puts("moved behind 1, 2, 10 and 30 updates; the rest at the start and behind 30");
  const auto one = [&]<class Model>(std::type_identity<Model>, const char* name, double (*rate)(std::int64_t)) {
    figure_4_of<Model>(name, rate, settings, moved, gradients);
  };
  one(std::type_identity<NarrowTranslator<18, PostNorm>>{}, "Post-LN, no warm-up", at_once);
  one(std::type_identity<NarrowTranslator<18, PostNorm>>{}, "Post-LN", warming_up);
  one(std::type_identity<NarrowTranslator<18, PostNormInit>>{}, "Post-LN-init", warming_up);
  one(std::type_identity<NarrowDeepNet<18>>{}, "DeepNorm, no warm-up", at_once);
  one(std::type_identity<NarrowDeepNet<18>>{}, "DeepNorm", warming_up);
  draw(settings, "figure_4a", std::move(moved));
  draw(settings, "figure_4d", std::move(gradients));
}

// Figure 5: how far five updates of a warm-up move a model, by its depth.

template <class Model>
double moved_by_five(const Settings& settings) {
  Run<Model> run(settings);
  for (int step = 1; step <= 5; ++step) run.step(warming_up(step));
  return run.moved();
}

template <int... Depths>
void figure_5_of(const Settings& settings) {
  const std::vector<double> post{moved_by_five<NarrowTranslator<Depths, PostNorm>>(settings)...};
  const std::vector<double> deep{moved_by_five<NarrowDeepNet<Depths>>(settings)...};
  std::vector<double> ratios;
  for (std::size_t i = 0; i < post.size(); ++i) ratios.push_back(post[i] / deep[i]);
  const std::vector<double> depths{double(Depths)...};
  print("layers of a stack", depths);
  print("Post-LN", post);
  print("DeepNorm", deep);
  print("ratio", ratios);
  draw(settings, "figure_5",
       {.title = "Update of the model by five steps of a warm-up",
        .x_label = "encoder and decoder layers",
        .y_label = "L2 norm of a row's difference",
        .lines = {{.series = {.name = "Post-LN", .x = depths, .y = post}},
                  {.series = {.name = "DeepNorm", .x = depths, .y = deep}}},
        .log_y = true});
}

int run(int argc, char** argv) {
  const std::string_view figure = argc > 1 ? argv[1] : "";
  Settings settings{.threads = option(argc, argv, "--threads", 2), .output = "runs/figures"};
  for (int i = 2; i + 1 < argc; ++i)
    if (std::string_view(argv[i]) == "--output") settings.output = argv[i + 1];
  if (figure == "3")
    figure_3(settings);
  else if (figure == "4")
    figure_4(settings);
  else if (figure == "5")
    figure_5_of<6, 24, 50, 100>(settings);
  else
    throw Error("give a figure: figures 3, figures 4 or figures 5");
  return 0;
}
}  // namespace

int main(int argc, char** argv) try { return run(argc, argv); } catch (const std::exception& error) {
  std::fprintf(stderr, "figures: %s\n", error.what());
  return 1;
}

// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
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
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "shape.hpp"
#include "support/narrow_translators.hpp"

/// Figures 3, 4 and 5 of DeepNet (arXiv:2203.00555) in small: "64-128-2 tiny Transformers" that say a few letters
/// backwards, in place of IWSLT-14.
///   figures 3|4|5 --threads T --output FOLDER
/// Prints the numbers, and what the figure is about as statements that hold or do not (exit code 1), and writes the
/// plots into the folder. Adam with 0.9, 0.98 and 1e-8; a warm-up rises to 5e-4 in 4,000 updates.
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

/// What the figures are about, and whether all of it was found.
class Statements {
 public:
  void operator()(bool holds, const char* what) {
    std::printf("%s  %s\n", holds ? "holds   " : "FAILS   ", what);
    all_ = all_ && holds;
  }
  bool all() const { return all_; }

 private:
  bool all_ = true;
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
    telemetry_.emplace(trainer, PairBatch(probe_));
    telemetry_->remember();
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
  std::vector<LayerTelemetry> layers() { return telemetry_->measure(); }
  /// How far the model has moved since the start, and what groups of parameters move it by themselves.
  ModelUpdate update() { return telemetry_->model_update(); }

  TrainerType trainer;

 private:
  std::vector<float> output() {
    std::vector<float> values;
    width_ = std::size_t(trainer.stack_output(PairBatch(probe_), values).columns);
    return values;
  }

  ReversedPairs pairs_{capacity};
  text::PackedPairs packed_, probe_;
  std::optional<Telemetry<TrainerType>> telemetry_;
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

struct Beginning {
  std::vector<double> gradients, loss;  ///< of the decoder's layers at the start; of each update
  /// How much steeper gradients fall than evenly, from the top to layer 13.
  double fall() const { return gradients.back() / gradients[gradients.size() - 6]; }
};

template <class Policy>
Beginning figure_3_of(const char* name, const Settings& settings, Plot& by_layer, Plot& losses) {
  Run<NarrowTranslator<18, Policy>> run(settings);
  const std::vector<double> norms = run.gradients();
  print(std::string(name) + ", layers 13 to 18", {norms.end() - 6, norms.end()});
  by_layer.lines.push_back({.series = rising(name, norms)});
  std::vector<double> loss;
  for (int step = 1; step <= 150; ++step)
    loss.push_back(run.step(InverseSquareRoot({.peak = 1e-3, .warmup_steps = 100})(step)).loss);
  print(std::string(name) + ", loss at 50, 100, 150", {loss[49], loss[99], loss[149]});
  losses.lines.push_back({.series = rising(name, loss)});
  return {norms, loss};
}

void figure_3(const Settings& settings, Statements& state) {
  Plot by_layer{.title = "Gradient norms of the decoder's layers, 18+18 layers", .x_label = "layer", .log_y = true};
  Plot losses{.title = "Loss of 18+18 layers", .x_label = "update", .y_label = "nats per token"};
  Plot by_depth{.title = "Gradient norm of the decoder's last layer", .x_label = "encoder and decoder layers"};
  const Beginning post = figure_3_of<PostNorm>("Post-LN", settings, by_layer, losses);
  const Beginning init = figure_3_of<PostNormInit>("Post-LN-init", settings, by_layer, losses);
  std::puts("6, 18, 24 layers each:");
  last_gradients<PostNorm, 6, 18, 24>("Post-LN", settings, by_depth);
  last_gradients<PostNormInit, 6, 18, 24>("Post-LN-init", settings, by_depth);
  draw(settings, "figure_3a", std::move(by_layer));
  draw(settings, "figure_3b", std::move(by_depth));
  draw(settings, "figure_3c", std::move(losses));
  state(post.fall() > 2, "gradients fall from the decoder's last layer to its 13th");
  state(init.fall() < post.fall(), "and less so under Post-LN-init");
  state(init.loss.back() < 0.5 && post.loss.back() > 1, "in 150 updates Post-LN-init learns what Post-LN does not");
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

/// The plots, and what each shows of one model.
struct Figure4 {
  Plot moved{.title = "Accumulated update of 18+18 layers", .x_label = "update", .log_y = true};
  Plot feed_forward{.title = "What norms behind feed-forward layers read, the norm of a row", .x_label = "update"};
  Plot attention{.title = "What norms behind self-attention read, the norm of a row", .x_label = "update"};
  Plot gradients{
      .title = "Gradient norms of the decoder's layers behind 30 updates", .x_label = "layer", .log_y = true};
};
struct Early {
  std::vector<double> moved;                    ///< behind each update
  std::vector<double> feed_forward, attention;  ///< what norms read, at the start and behind every third update
  std::vector<double> gradients;                ///< of the decoder's layers, behind the last one

  /// By how much what norms read grows, of what it is at the start.
  double growth() const {
    return std::max(std::abs(feed_forward.back() / feed_forward.front() - 1),
                    std::abs(attention.back() / attention.front() - 1));
  }
};

template <class Model>
Early figure_4_of(const char* name, double (*rate)(std::int64_t), const Settings& settings, Figure4& figure) {
  constexpr int updates = 30, every = 3;
  Run<Model> run(settings);
  Early early;
  Series feed_forward{.name = name, .x = {}, .y = {}}, attention = feed_forward;
  for (int step = 0; step <= updates; ++step) {
    if (step > 0) run.step(rate(step)), early.moved.push_back(run.moved());
    if (step % every != 0) continue;
    const std::vector<LayerTelemetry> layers = run.layers();
    feed_forward.x.push_back(step), feed_forward.y.push_back(norm_input(layers, 2));
    attention.x.push_back(step), attention.y.push_back(norm_input(layers, 0));
  }
  early.feed_forward = feed_forward.y, early.attention = attention.y;
  early.gradients = run.gradients();
  print(std::string(name) + ", moved", {early.moved[0], early.moved[1], early.moved[9], early.moved[29]});
  print("  norms read, feed-forward", {early.feed_forward.front(), early.feed_forward.back()});
  print("  norms read, self-attention", {early.attention.front(), early.attention.back()});
  print("  gradients, layers 1 and 18", {early.gradients.front(), early.gradients.back()});
  figure.moved.lines.push_back({.series = rising(name, early.moved)});
  figure.feed_forward.lines.push_back({.series = std::move(feed_forward)});
  figure.attention.lines.push_back({.series = std::move(attention)});
  figure.gradients.lines.push_back({.series = rising(name, early.gradients)});
  return early;
}

void figure_4(const Settings& settings, Statements& state) {
  Figure4 figure;
  std::puts("moved behind 1, 2, 10 and 30 updates; the rest at the start and behind 30");
  const auto one = [&]<class Model>(std::type_identity<Model>, const char* name, double (*rate)(std::int64_t)) {
    return figure_4_of<Model>(name, rate, settings, figure);
  };
  using Post = std::type_identity<NarrowTranslator<18, PostNorm>>;
  const Early post_at_once = one(Post{}, "Post-LN, no warm-up", at_once), post = one(Post{}, "Post-LN", warming_up);
  const Early init = one(std::type_identity<NarrowTranslator<18, PostNormInit>>{}, "Post-LN-init", warming_up);
  using Deep = std::type_identity<NarrowDeepNet<18>>;
  const Early deep_at_once = one(Deep{}, "DeepNorm, no warm-up", at_once), deep = one(Deep{}, "DeepNorm", warming_up);
  draw(settings, "figure_4a", std::move(figure.moved));
  draw(settings, "figure_4b", std::move(figure.feed_forward));
  draw(settings, "figure_4c", std::move(figure.attention));
  draw(settings, "figure_4d", std::move(figure.gradients));

  const auto [least, most] = std::ranges::minmax(post_at_once.moved);
  state(post_at_once.moved.front() > 0.5 * most && least > 0.5 * most,
        "without warm-up Post-LN jumps in its first update and stays there");
  state(post_at_once.growth() > 0.05, "what its norms read grows by more than 5 %");
  state(post_at_once.gradients.front() < 1e-3 * post_at_once.gradients.back(),
        "and its lower decoder loses its gradients");
  state(post.growth() < 0.02 && post.moved.back() < 0.5 * post_at_once.moved.back(),
        "with warm-up what they read is flat, and it moves less");
  state(init.growth() < 0.02 && init.moved.back() < 0.5 * post.moved.back(),
        "with small initial weights it moves less than half as far again");
  state(deep.moved.back() < 0.1 * post.moved.back(), "DeepNorm moves less than a tenth of Post-LN's way");
  state(deep_at_once.moved[0] < 0.5 * deep_at_once.moved[29] && deep_at_once.growth() < 0.02,
        "without warm-up it moves by and by, and what its norms read is flat");
  state(deep_at_once.gradients.front() > 0.1 * deep_at_once.gradients.back(),
        "and its lower decoder keeps its gradients");
}

// Figure 5: how far five updates of a warm-up move a model, by its depth.

template <class Model>
ModelUpdate moved_by_five(const Settings& settings) {
  Run<Model> run(settings);
  for (int step = 1; step <= 5; ++step) run.step(warming_up(step));
  return run.update();
}

/// How far all parameters move a model of each depth; the groups by themselves are printed.
std::vector<double> print_updates(const std::string& name, const std::vector<ModelUpdate>& updates) {
  const auto each = [&](auto&& number) {
    std::vector<double> numbers;
    for (const ModelUpdate& update : updates) numbers.push_back(number(update));
    return numbers;
  };
  const std::vector<double> all = each([](const ModelUpdate& update) { return update.all; });
  print(name, all);
  for (const UpdateGroup group : update_groups)
    print("  " + std::string(name_of(group)), each([=](const ModelUpdate& update) { return update.of(group); }));
  return all;
}

template <int... Depths>
void figure_5_of(const Settings& settings, Statements& state) {
  const std::vector<double> depths{double(Depths)...};
  print("layers of a stack", depths);
  const std::vector<double> post =
      print_updates("Post-LN", {moved_by_five<NarrowTranslator<Depths, PostNorm>>(settings)...});
  const std::vector<ModelUpdate> updates{moved_by_five<NarrowDeepNet<Depths>>(settings)...};
  const std::vector<double> deep = print_updates("DeepNorm", updates);
  std::vector<double> ratios, branches, norms;
  for (std::size_t i = 0; i < post.size(); ++i) {
    ratios.push_back(post[i] / deep[i]);
    branches.push_back(updates[i].of(UpdateGroup::branches));
    norms.push_back(updates[i].of(UpdateGroup::norms_and_biases));
  }
  print("ratio", ratios);
  state(std::ranges::min(ratios) > 5, "Post-LN moves more than five times as far at every depth");
  const auto growth = [](const std::vector<double>& y) { return y.back() / y.front(); };
  state(
      growth(branches) < 0.5 * depths.back() / depths.front() && growth(norms) > 2 * growth(branches),
      "DeepNorm's matrices move it more with depth, less than half as much so as depth, and gains and biases twice as "
      "much more");
  draw(settings, "figure_5",
       {.title = "Update of the model by five steps of a warm-up",
        .x_label = "encoder and decoder layers",
        .y_label = "L2 norm of a row's difference",
        .lines = {{.series = {.name = "Post-LN", .x = depths, .y = post}},
                  {.series = {.name = "DeepNorm", .x = depths, .y = deep}},
                  {.series = {.name = "DeepNorm, branches alone", .x = depths, .y = branches}}},
        .log_y = true});
}

int run(int argc, char** argv) {
  const std::string_view figure = argc > 1 ? argv[1] : "";
  Settings settings{.threads = option(argc, argv, "--threads", 2), .output = "runs/figures"};
  for (int i = 2; i + 1 < argc; ++i)
    if (std::string_view(argv[i]) == "--output") settings.output = argv[i + 1];
  Statements state;
  if (figure == "3")
    figure_3(settings, state);
  else if (figure == "4")
    figure_4(settings, state);
  else if (figure == "5")
    figure_5_of<6, 24, 50, 100>(settings, state);
  else
    throw Error("give a figure: figures 3, figures 4 or figures 5");
  return state.all() ? 0 : 1;
}
}  // namespace

int main(int argc, char** argv) try { return run(argc, argv); } catch (const std::exception& error) {
  std::fprintf(stderr, "figures: %s\n", error.what());
  return 1;
}

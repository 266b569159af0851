// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdio>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/backend/timer.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/train/trainer.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "machine.hpp"
#include "shape.hpp"

/// Where the time of a training step goes, op by op, beside what the machine can do:
///   profile_step_<name> --steps K --threads N
///
/// mixed_profile_step_<name> does it in mixed precision, beside the same rates of fp32. For a shape of your own
/// (layers, width, heads, feed-forward, vocabulary, batch, context):
///   g++ -std=c++20 -O3 -march=native -DFATHOM_SHAPE=24,128,4,512,1024,8,64 -I include benchmarks/profile_step.cpp
///       -pthread -o profile_step && ./profile_step
namespace {
using namespace fathom;

constexpr double giga = 1e9, milli = 1e-3;

std::string text(const char* format, double value) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, format, value);
  return buffer;
}

/// `share` of `width` characters, in eighths.
std::string bar(double share, int width) {
  constexpr const char* eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const int filled = int(std::clamp(share, 0.0, 1.0) * width * 8 + 0.5);
  std::string text;
  for (int i = 0; i < filled / 8; ++i) text += "█";
  return text + eighths[filled % 8];
}

/// The rows of a report, in milliseconds of one step.
class Table {
 public:
  Table(double step_seconds, double steps, const bench::MachineRates& machine)
      : step_(step_seconds), steps_(steps), machine_(machine) {
    std::printf("%-24s %7s %9s %9s %7s   %17s   %-13s\n", "op", "calls", "ms", "waiting", "share", "rate",
                "of the limit");
  }

  void add(const OpCost& op) const {
    const double seconds = op.seconds / steps_, waiting = op.waiting / steps_;
    std::printf("%-24s %7s %9.3f %9s %5.1f %%   %17s   %-13s %s\n", op.name.c_str(), count(op.calls).c_str(),
                seconds / milli, milliseconds(waiting).c_str(), 100 * (seconds + waiting) / step_, rate(op).c_str(),
                of_the_limit(op).c_str(), bar((seconds + waiting) / step_, 30).c_str());
  }
  void add(const char* name, double seconds) const { add({.name = name, .seconds = seconds * steps_}); }

 private:
  std::string count(std::int64_t calls) const { return calls > 0 ? std::to_string(calls / std::int64_t(steps_)) : ""; }
  static std::string milliseconds(double seconds) { return seconds < 0.5e-6 ? "" : text("%.3f", seconds / milli); }

  bool is_arithmetic(const OpCost& op) const { return op.flops / machine_.sgemm > op.bytes / machine_.copy; }
  std::string rate(const OpCost& op) const {
    if (op.bytes <= 0 || op.seconds <= 0) return "";
    return is_arithmetic(op) ? text("%.1f GFLOP/s", op.flops / op.seconds / giga)
                             : text("%.1f GB/s   ", op.bytes / op.seconds / giga);
  }
  std::string of_the_limit(const OpCost& op) const {
    if (op.bytes <= 0 || op.seconds <= 0) return "";
    return is_arithmetic(op) ? text("%.2f SGEMM", op.flops / op.seconds / machine_.sgemm)
                             : text("%.2f copy", op.bytes / op.seconds / machine_.copy);
  }
  double step_, steps_;
  const bench::MachineRates& machine_;
};

/// Shares of the step by scope: one row for each place in the model, forward and backward side by side.
void print_places(const Profile& profile, double all_seconds) {
  struct Place {
    std::string name;
    double forward = 0, backward = 0, waiting = 0;
  };
  std::vector<Place> places;
  for (const Profile::Scope& scope : profile.scopes) {
    std::string_view path = scope.path;
    const auto strip = [&](std::string_view prefix) {
      const bool found = path.starts_with(prefix);
      if (found) path.remove_prefix(std::min(path.size(), prefix.size() + 1));
      return found;
    };
    strip("batch");
    const bool backward = strip("backward"), forward = !backward && strip("forward");
    const std::string name = !path.empty() ? std::string(path) : backward ? "ends of frames" : forward ? "" : "update";
    auto found = std::ranges::find(places, name, &Place::name);
    if (found == places.end()) found = places.insert(places.end(), Place{name});
    (backward ? found->backward : found->forward) += scope.seconds();
    for (const OpCost& op : scope.ops) found->waiting += op.waiting + (op.name == "waiting" ? op.seconds : 0);
  }
  std::ranges::stable_partition(places, [](const Place& place) { return place.name != "update"; });
  const double small = 0.0005 * all_seconds;
  std::printf("\n%-24s %9s %10s %16s\n", "where", "forward", "backward", "of both waiting");
  const auto share = [&](double seconds) {
    return seconds < small ? "" : text("%.1f %%", 100 * seconds / all_seconds);
  };
  for (const Place& place : places)
    if (std::max(place.forward, place.backward) >= small)
      std::printf("%-24s %9s %10s %16s\n", place.name.c_str(), share(place.forward).c_str(),
                  share(place.backward).c_str(), share(place.waiting).c_str());
}

}  // namespace

int main(int argc, char** argv) {
  using Shape = bench::Shape<FATHOM_SHAPE>;
  if (argc == 2 && argv[1] == std::string_view("--shape")) return std::puts(Shape::text().c_str()) < 0;
  const int steps = std::max(1, bench::option(argc, argv, "--steps", 20));
  const int threads = bench::option(argc, argv, "--threads", 2);
  cpu::Team team(threads);
  const auto machine = bench::MachineRates::measure(team);

  const bench::RandomBatch<Shape> batch;
  Trainer<Shape::Model, Timed<Cpu<FATHOM_PRECISION>>, AdamW> trainer(batch.rows.capacity(), {}, {.learning_rate = 1e-4},
                                                                     {.threads = threads});
  for (int warm_up = 0; warm_up < 2; ++warm_up) trainer.step(batch);
  struct Step {
    double seconds;
    Profile profile;
  };
  std::vector<Step> all;
  for (int step = 0; step < steps; ++step) {
    for (Stopwatch& lane : trainer.context().machine().observers()) lane.clear();
    const double seconds = bench::seconds_of([&] { trainer.step(batch); });
    all.push_back({seconds, profile_of(trainer.context().machine().observers())});
  }
  // The slower half of the steps may have been disturbed.
  std::ranges::sort(all, {}, &Step::seconds);
  const int half = (steps + 1) / 2;
  Step sum = all.front();
  for (int step = 1; step < half; ++step) {
    sum.seconds += all[step].seconds;
    sum.profile += all[step].profile;
  }
  const double seconds = sum.seconds / half;

  std::printf("training step   %s   (layers,width,heads,feed-forward,vocabulary,batch,context)\n",
              Shape::text().c_str());
  std::printf("time            %.2f ms, %.0f tokens/s: mean of the faster half of %d steps, %.2f .. %.2f ms\n",
              seconds / milli, batch.rows.rows() / seconds, steps, all.front().seconds / milli,
              all.back().seconds / milli);
  std::printf(
      "machine         FMA %.1f, SGEMM %.1f GFLOP/s; copy %.1f, within the cache %.1f GB/s; %d threads together\n\n",
      machine.fma / giga, machine.sgemm / giga, machine.copy / giga, machine.cached_copy / giga, threads);

  const Table table(seconds, half, machine);
  OpCost total{.name = "all"};
  for (const OpCost& op : sum.profile.ops()) {
    table.add(op);
    total.waiting += op.waiting;
    total.flops += op.flops;
  }
  table.add("code between ops", sum.profile.between() / half);
  table.add("outside of the threads", seconds - sum.profile.seconds / half);
  total.seconds = sum.seconds - total.waiting;
  total.bytes = 1;  // next to nothing: the step as a whole is held against the rate of arithmetic
  table.add(total);
  print_places(sum.profile, sum.seconds);
}

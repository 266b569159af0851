// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <fathom/backend/context.hpp>
#include <fathom/backend/stream_scales.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/parameters.hpp>
#include <fathom/models/model.hpp>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace fathom::inline FATHOM_ABI {

/// What one block of a stack does at a point of a training.
struct LayerTelemetry : BlockScales {
  double gradient = 0;  ///< L2 norm of the gradients of all its parameters
  double update = 0;    ///< ‖ΔW‖ / ‖W‖ over all its parameters, since `remember`

  /// Such as encoder.blocks.3.
  std::string name() const { return (stack.empty() ? "" : stack + ".") + "blocks." + std::to_string(block); }
};

/// Parameters whose parts in the update of a model are told apart.
enum class UpdateGroup {
  branches,          ///< value, attention output and feed-forward matrices: those of Theorems 4.2 and 4.3
  queries_and_keys,  ///< their matrices
  norms_and_biases,  ///< gains and biases of norms, and the other vectors: biases, learned scales, shifts
  rest,              ///< embeddings, positions, and matrices that are none of a sublayer
};
inline constexpr std::array update_groups{UpdateGroup::branches, UpdateGroup::queries_and_keys,
                                          UpdateGroup::norms_and_biases, UpdateGroup::rest};
constexpr const char* name_of(UpdateGroup group) {
  return std::array{"branches", "queries_and_keys", "norms_and_biases", "rest"}[std::size_t(group)];
}
constexpr UpdateGroup group_of(Role role) {
  if (role == Role::query || role == Role::key) return UpdateGroup::queries_and_keys;
  if (role <= Role::feed_forward_output) return UpdateGroup::branches;
  return role >= Role::bias && role <= Role::logit_scale ? UpdateGroup::norms_and_biases : UpdateGroup::rest;
}

/// How far a model moved on a batch, ‖F(θ) − F(θ₀)‖: L2 norms of the differences of what its output layer reads, their
/// mean over rows, without dropout. Source: Wang et al. 2022, arXiv:2203.00555, section 4.
struct ModelUpdate {
  double all = 0;
  std::array<double, update_groups.size()> parts{};  ///< θ is θ₀ but for one group

  double of(UpdateGroup group) const { return parts[std::size_t(group)]; }
};

/// Measures what every layer does on a probe batch, between the steps of a trainer, which is otherwise left as it is. A
/// trainer that nobody measures does nothing for it.
///
///   Telemetry telemetry(trainer, probe);
///   telemetry.remember();
///   trainer.step(batch);
///   for (const LayerTelemetry& layer : telemetry.measure()) …
///   const ModelUpdate update = telemetry.model_update();
///
/// `measure` has the dropout of the next step, as training has; `model_update` has none.
/// `measure` costs one forward pass on one lane, one forward and backward pass on all, and a copy of the weights;
/// `model_update` six forward passes.
template <class Trainer>
class Telemetry {
  using B = typename Trainer::B;
  using P = typename B::Precision;

 public:
  /// Trainer and probe are viewed, and must outlive it.
  Telemetry(Trainer& trainer, const typename Trainer::Batch& probe) : trainer_(trainer), probe_(probe) {}

  /// Keeps the weights, which the next measurement compares with those of then.
  void remember() { before_ = values_of(trainer_.masters()); }

  /// The names of what `measure` tells of, in its order.
  std::vector<std::string> layers() const {
    std::vector<std::string> names;
    for (const ParameterInfo& info : trainer_.table())
      if (std::string name = block_of(info); !name.empty() && (names.empty() || names.back() != name))
        names.push_back(std::move(name));
    return names;
  }

  /// Every block of the model's stacks, in the order in which they run. `update` is 0 where nothing is remembered.
  /// Gradients of the trainer are zero behind it. Errors: those of `Trainer::differentiate`.
  std::vector<LayerTelemetry> measure() {
    std::vector<LayerTelemetry> layers;
    std::map<std::string, std::size_t, std::less<>> places;
    for (const BlockScales& scales : trainer_.template observe_forward<WatchStreams<B>>(
             probe_, [](const auto& machine) { return machine.blocks(); })) {
      layers.push_back({scales, 0, 0});
      places.emplace(layers.back().name(), layers.size() - 1);
    }
    const std::vector<ParameterInfo>& table = trainer_.table();
    std::vector<double> gradients(layers.size()), updates(layers.size()), weights(layers.size());

    trainer_.differentiate(probe_);
    const std::vector<double> squares = trainer_.gradient_squares();
    trainer_.clear_gradients();
    const auto after = values_of(trainer_.masters());
    for (std::size_t t = 0; t < table.size(); ++t) {
      const auto place = places.find(block_of(table[t]));
      if (place == places.end()) continue;
      const std::size_t at = place->second;
      gradients[at] += squares[t];
      for (std::int64_t i = table[t].offset; i < table[t].offset + table[t].size() && !before_.empty(); ++i) {
        const double now = double(after[std::size_t(i)]), then = double(before_[std::size_t(i)]);
        updates[at] += (now - then) * (now - then);
        weights[at] += then * then;
      }
    }
    for (std::size_t at = 0; at < layers.size(); ++at) {
      layers[at].gradient = std::sqrt(gradients[at]);
      layers[at].update = weights[at] > 0 ? std::sqrt(updates[at] / weights[at]) : 0;
    }
    return layers;
  }

  /// Since `remember`; 0 where nothing is remembered.
  ModelUpdate model_update() {
    ModelUpdate update;
    if (before_.empty()) return update;
    const std::vector<typename P::Activation> now = output();
    auto& masters = trainer_.masters();
    const auto after = values_of(masters);
    const auto set = [&](const std::vector<typename P::Master>& values, const ParameterInfo& info) {
      masters.upload(info.offset, std::span(values).subspan(std::size_t(info.offset), std::size_t(info.size())));
    };
    masters.upload(0, before_);
    const std::vector<typename P::Activation> then = output();
    update.all = distance(then, now);
    for (const UpdateGroup group : update_groups) {
      for (const ParameterInfo& info : trainer_.table())
        if (group_of(info.role) == group) set(after, info);
      update.parts[std::size_t(group)] = distance(then, output());
      for (const ParameterInfo& info : trainer_.table())
        if (group_of(info.role) == group) set(before_, info);
    }
    masters.upload(0, after);
    trainer_.round_masters();
    return update;
  }

 private:
  /// What the output layer reads at the masters of now.
  std::vector<typename P::Activation> output() {
    std::vector<typename P::Activation> values;
    trainer_.round_masters();
    columns_ = trainer_.stack_output(probe_, values).columns;
    return values;
  }
  /// The mean over rows of the L2 norm of their difference.
  double distance(const std::vector<typename P::Activation>& a, const std::vector<typename P::Activation>& b) const {
    const std::size_t width = std::size_t(columns_), rows = a.size() / width;
    double sum = 0;
    for (std::size_t row = 0; row < rows; ++row) {
      double squares = 0;
      for (std::size_t i = row * width; i < (row + 1) * width; ++i) {
        const double difference = double(b[i]) - double(a[i]);
        squares += difference * difference;
      }
      sum += std::sqrt(squares);
    }
    return rows > 0 ? sum / double(rows) : 0;
  }
  /// encoder.blocks.3 of encoder.blocks.3.attention.query.weight; nothing for a tensor outside of blocks.
  static std::string block_of(const ParameterInfo& info) {
    const std::string block = "blocks." + std::to_string(info.block.index) + ".";
    const std::size_t place = info.block.depth > 0 ? info.name.find(block) : info.name.npos;
    return place == info.name.npos ? "" : info.name.substr(0, place + block.size() - 1);
  }

  Trainer& trainer_;
  const typename Trainer::Batch probe_;
  std::vector<typename P::Master> before_;
  int columns_ = 0;  // of what the output layer reads
};

}  // namespace fathom::inline FATHOM_ABI

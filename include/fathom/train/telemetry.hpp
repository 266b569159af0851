// SPDX-License-Identifier: Apache-2.0
#pragma once

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
#include <string>
#include <vector>

namespace fathom::inline FATHOM_ABI {

/// What one block of a stack does at a point of a training.
struct LayerTelemetry : BlockScales {
  double gradient = 0;  ///< L2 norm of the gradients of all its parameters
  double update = 0;    ///< ‖ΔW‖ / ‖W‖ over all its parameters, since `remember`

  /// Such as encoder.blocks.3.
  std::string name() const { return (stack.empty() ? "" : stack + ".") + "blocks." + std::to_string(block); }
};

/// Measures what every layer does on a probe batch, between the steps of a trainer, which is otherwise left as it is. A
/// trainer that nobody measures does nothing for it.
///
///   Telemetry telemetry(trainer, probe);
///   telemetry.remember();
///   trainer.step(batch);
///   for (const LayerTelemetry& layer : telemetry.measure()) …
///
/// A measurement costs one forward pass on one lane, one forward and backward pass on all, and a copy of the weights.
template <class Trainer>
class Telemetry {
  using B = typename Trainer::B;
  using P = typename B::Precision;

 public:
  /// Trainer and probe are viewed, and must outlive it.
  Telemetry(Trainer& trainer, const typename Trainer::Batch& probe) : trainer_(trainer), probe_(probe) {}

  /// Keeps the weights, which the next measurement compares with those of then.
  void remember() { before_ = values_of(trainer_.masters()); }

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

 private:
  /// encoder.blocks.3 of encoder.blocks.3.attention.query.weight; nothing for a tensor outside of blocks.
  static std::string block_of(const ParameterInfo& info) {
    const std::string block = "blocks." + std::to_string(info.block.index) + ".";
    const std::size_t place = info.block.depth > 0 ? info.name.find(block) : info.name.npos;
    return place == info.name.npos ? "" : info.name.substr(0, place + block.size() - 1);
  }

  Trainer& trainer_;
  const typename Trainer::Batch probe_;
  std::vector<typename P::Master> before_;
};

}  // namespace fathom::inline FATHOM_ABI

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/models/model.hpp>
#include <fathom/optim/optimizer.hpp>
#include <fathom/optim/parameter_rules.hpp>
#include <string>
#include <vector>

/// What a trainer is told, and what it tells of each update.
namespace fathom::inline FATHOM_ABI {

/// What training is about, apart from the model, the optimizer and the data.
struct TrainerOptions {
  std::uint64_t seed = 1;  ///< of the initial weights and of dropout
  LossOptions loss = {};
  DropoutRates dropout = {};
  double clip_norm = 1;      ///< largest global gradient norm, larger ones are scaled down to it; 0: none
  double spike_factor = 20;  ///< an update above so many times the mean gradient norm is skipped; 0: none
  double average = 0;        ///< decay of an average of the weights, for evaluation and inference; 0: none
  int recomputed = 0;        ///< of each stack so many blocks are computed again in backward, see `least_recomputed`
  int patience = 50;         ///< skipped updates in a row after which `step` gives up
  std::vector<ParameterRule> rules = {};  ///< of several that name a tensor the last one holds
};

/// Errors: `Error` for options that make no sense.
inline const TrainerOptions& check_options(const TrainerOptions& options) {
  const auto check = [](bool condition, const char* rule) {
    if (!condition) throw Error(std::string("TrainerOptions: ") + rule);
  };
  const auto is_rate = [](double rate) { return rate >= 0 && rate <= 1 - 0x1p-16; };  // NaN is none
  const auto& [embedding, attention, activation, residual] = options.dropout;
  check(is_rate(embedding) && is_rate(attention) && is_rate(activation) && is_rate(residual),
        "every dropout rate must be from 0 to 1 - 2^-16");
  check(options.loss.smoothing >= 0 && options.loss.smoothing < 1, "loss.smoothing must be in [0, 1)");
  check(detail::is_not_negative(options.loss.z_loss), "loss.z_loss must be finite and not negative");
  check(detail::is_not_negative(options.clip_norm), "clip_norm must be finite and not negative; 0 does not clip");
  check(detail::is_not_negative(options.spike_factor),
        "spike_factor must be finite and not negative; 0 takes nothing for a spike");
  check(options.average >= 0 && options.average <= 1, "average must be in [0, 1]; 0 keeps no average");
  check(options.recomputed >= 0, "recomputed must not be negative");
  check(options.patience >= 1, "patience must be at least 1");
  return options;
}

/// What became of one update.
struct StepReport {
  std::int64_t step = 0;  ///< number of the update, from 1; skipped ones count
  double loss = 0;        ///< mean objective of a counted target (cross-entropy, smoothing and z-loss)
  double cross_entropy = 0;
  double gradient_norm = 0;  ///< before clipping
  double learning_rate = 0;
  std::int64_t tokens = 0;   ///< rows of the output
  std::string skipped = {};  ///< empty, or why the weights were left as they were, and where it began
};

/// The running mean of gradient norms, by which a spike is told. Part of the training state.
struct NormTracker {
  double mean = 0;
  std::int64_t count = 0;

  static constexpr std::int64_t settled = 100;  ///< updates before anything is called a spike

  bool is_spike(double norm, double factor) const { return factor > 0 && count >= settled && norm > factor * mean; }
  void add(double norm) {
    const double weight = std::max(0.02, 1.0 / double(++count));
    mean += weight * (norm - mean);
  }
};

}  // namespace fathom::inline FATHOM_ABI

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/backend/context.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/models/weights.hpp>
#include <fathom/optim/average.hpp>
#include <fathom/train/checkpoint.hpp>
#include <fathom/train/run_checkpoints.hpp>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace fathom::inline FATHOM_ABI {

/// The mean of the weights of the last `count` checkpoints in a run's folder (`RunCheckpointOptions::keep` says how
/// many stay): what is often evaluated instead of the last weights (Vaswani et al. 2017, arXiv:1706.03762,
/// section 6.1). Errors: `Error` when there are fewer, and as `load_checkpoint_weights`.
template <class Model, class B>
Weights<Model, B> average_last_checkpoints(const std::filesystem::path& folder, int count,
                                           const typename B::Options& machine = {}) {
  const auto entries = detail::checkpoint_entries(folder);
  if (count < 1 || count > int(entries.size()))
    throw Error(folder.string() + ": has " + std::to_string(entries.size()) + " checkpoints where the last " +
                std::to_string(count) + " shall be averaged; keep more of them in training, or average fewer");
  Context<B> context(machine);
  WeightAverage<B> average(Weights<Model, B>::extent.total(), 1);
  Weights<Model, B> weights;
  typename WeightAverage<B>::Memory snapshot(Weights<Model, B>::extent.total());
  for (auto entry = entries.end() - count; entry != entries.end(); ++entry) {
    detail::read_weights<Model>(*entry, snapshot);
    average.add(context, snapshot);
  }
  if constexpr (updates_weights<typename B::Precision>)
    std::swap(weights.flat(), average.flat());
  else
    round_masters(context, average.flat(), weights.flat());
  return weights;
}

}  // namespace fathom::inline FATHOM_ABI

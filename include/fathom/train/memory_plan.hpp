// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/backend/dry_run.hpp>
#include <fathom/core/config.hpp>
#include <fathom/layers/layer.hpp>
#include <fathom/models/token_model.hpp>

namespace fathom::inline FATHOM_ABI {

/// Bytes that training allocates, before the first step and never after it.
struct MemoryPlan {
  std::int64_t weights = 0, gradients = 0, optimizer = 0;
  std::int64_t activations = 0;  ///< what forward saves for backward
  std::int64_t workspace = 0;    ///< temporaries, scratch of the threads' ops included

  constexpr std::int64_t total() const { return weights + gradients + optimizer + activations + workspace; }
};

/// The plan of training `Model` on backend `B` with batches up to `capacity`: a compile-time fact.
///
///   static_assert(training_memory<Model, Cpu<>, AdamW>(capacity).total() < 24_GiB);
template <class Model, class B, class Optimizer>
constexpr MemoryPlan training_memory(const Capacity& capacity, int threads = 1, const DropoutRates& dropout = {}) {
  using P = typename B::Precision;
  constexpr std::int64_t elements = parameter_extent<Model>().total();
  return {.weights = elements * std::int64_t(sizeof(typename P::Weight)),
          .gradients = elements * std::int64_t(sizeof(typename P::Gradient)),
          .optimizer = elements * Optimizer::flat_states * std::int64_t(sizeof(typename P::Master)),
          .activations = saved_bytes<Model, P>(capacity),
          .workspace = training_cost<Model, B>(capacity, dropout).size.total(threads)};
}

}  // namespace fathom::inline FATHOM_ABI

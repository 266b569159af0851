// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <fathom/core/batch.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/core/packing.hpp>
#include <limits>
#include <span>
#include <string>

namespace fathom::inline FATHOM_ABI {

/// The largest batch of pairs a buffer is planned for: sources and targets, each with rows and a longest sequence of
/// its own. Rows of a target see those of its source, so `target.memory_rows` is `source.rows`.
struct PairCapacity {
  Capacity source, target;

  constexpr PairCapacity() = default;
  constexpr PairCapacity(const Capacity& sources, const Capacity& targets) : source(sources), target(targets) {
    target.memory_rows = source.rows;
  }
  friend constexpr bool operator==(const PairCapacity&, const PairCapacity&) = default;
};

constexpr bool is_forward_only(const PairCapacity& capacity) {
  return is_forward_only(capacity.source) || is_forward_only(capacity.target);
}

/// The same, with `count` blocks of each stack computed again in backward.
constexpr PairCapacity recomputing(PairCapacity capacity, int count) {
  capacity.source.recomputed = capacity.target.recomputed = count;
  return capacity;
}
/// The same, with all that backward reads saved, or not.
constexpr PairCapacity saving(PairCapacity capacity, bool all) {
  capacity.source.saves_all = capacity.target.saves_all = all;
  return capacity;
}

/// As messages name it: "source 20 rows, 4 sequences, longest 6; target 24 rows, …".
inline std::string text_of(const PairCapacity& capacity) {
  return "source " + text_of(capacity.source) + "; target " + text_of(capacity.target);
}

/// Errors: `ShapeError` that begins with `owner`, unless both sides can have their capacity (`check_capacity`) within
/// the contexts of their models, and are of as many sequences.
constexpr void check_capacity(const PairCapacity& capacity, const char* owner,
                              int source_context = std::numeric_limits<int>::max(),
                              int target_context = std::numeric_limits<int>::max()) {
  check_capacity(capacity.source, owner, source_context);
  check_capacity(capacity.target, owner, target_context);
  const auto check = [&](bool condition, const char* rule) {
    if (!condition) throw ShapeError(std::string(owner) + ": a capacity of " + text_of(capacity) + ": " + rule);
  };
  check(capacity.source.sequences == capacity.target.sequences, "each source has one target; give both as many");
  check(capacity.target.memory_rows == capacity.source.rows,
        "targets read the rows of sources; let PairCapacity's constructor set memory_rows");
  check(capacity.source.forward_only == capacity.target.forward_only, "forward_only is for both sides or for none");
}

/// Bytes of one batch of pairs.
constexpr std::int64_t batch_bytes(const PairCapacity& capacity) {
  return batch_bytes(capacity.source) + batch_bytes(capacity.target) -
         std::int64_t(capacity.source.rows) * std::int64_t(sizeof(int));
}

/// Packed sequences of tokens that are read, and nothing is predicted there. A view.
struct TokenRows {
  Packing packing;
  std::span<const int> tokens;  ///< one a row, each below the vocabulary's size
};

/// Pairs of a source and a target, such as a sentence and its translation: what a model of two streams trains on.
/// Sequence s of the one belongs to sequence s of the other. A view: `text::PackedPairs` owns one.
struct PairBatch {
  using Capacity = PairCapacity;

  TokenRows source;
  TokenBatch target;

  constexpr PairBatch() = default;
  constexpr PairBatch(const TokenRows& sources, const TokenBatch& targets) : source(sources), target(targets) {
    target.packing.capacity.memory_rows = source.packing.capacity.rows;
  }

  static constexpr PairBatch planned(const Capacity& capacity) {
    return {{planned_packing(capacity.source), {}}, TokenBatch::planned(capacity.target)};
  }
  constexpr Capacity capacity() const { return {source.packing.capacity, target.packing.capacity}; }
  constexpr const Packing& output_packing() const { return target.packing; }
  constexpr std::int64_t target_count() const { return target.target_count(); }
  constexpr PairBatch forward_only() const {
    PairBatch batch(source, target.forward_only());
    batch.source.packing.capacity.forward_only = true;
    return batch;
  }
  constexpr void each_array(auto&& f) {
    fathom::each_array(source.packing, f);
    f(source.tokens);
    target.each_array(f);
  }
};
static_assert(BatchView<PairBatch>);

/// Errors: `ShapeError` unless both sides have their capacity, are packed as `check_packing` demands, with a token for
/// each row of the source, and a token and a target for each of the target, all of them known to vocabularies of these
/// sizes; and unless there is a target for each source.
inline void check_batch(const PairBatch& batch, const PairCapacity& capacity, int source_vocabulary,
                        int target_vocabulary) {
  check_packing(batch.source.packing, capacity.source, "batch: source");
  if (const auto rows = std::size_t(batch.source.packing.rows()); batch.source.tokens.size() != rows)
    throw ShapeError("batch: source: " + std::to_string(batch.source.tokens.size()) + " tokens for " +
                     std::to_string(rows) + " rows");
  check_tokens(batch.source.tokens, {}, source_vocabulary, "batch: source");
  check_batch(batch.target, capacity.target, target_vocabulary, "batch: target");
  if (batch.source.packing.sequences() != batch.target.packing.sequences())
    throw ShapeError("batch: " + std::to_string(batch.source.packing.sequences()) + " sources and " +
                     std::to_string(batch.target.packing.sequences()) + " targets; each source has one target");
}

}  // namespace fathom::inline FATHOM_ABI

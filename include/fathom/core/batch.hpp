// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/core/packing.hpp>
#include <span>
#include <string>

/// What models train on. A batch belongs to its model (`Model::Batch`): it is a view of packed sequences, and all that
/// samplers, trainer, evaluation and memory plan need to know of it stands here.
///
///   Capacity             what memory is planned for; `Capacity` for one stream of rows
///   planned(capacity)    a batch without tokens, as a dry run reads it
///   capacity()           of all its packings
///   output_packing()     of the rows that a loss is about; a pass begins on them
///   target_count()       rows that a loss is computed for
///   forward_only()       the same batch for a pass that keeps nothing for a backward pass
///   each_array(f)        calls f with each `std::span<const int>&` that it views, in an order of its own
namespace fathom::inline FATHOM_ABI {

template <class T>
concept BatchView = std::copyable<T> && std::default_initializable<T> &&
    requires(T& batch, const T& given, const typename T::Capacity& capacity, void (*f)(std::span<const int>&)) {
  { T::planned(capacity) } -> std::same_as<T>;
  { given.capacity() } -> std::convertible_to<typename T::Capacity>;
  { given.output_packing() } -> std::same_as<const Packing&>;
  { given.target_count() } -> std::same_as<std::int64_t>;
  { given.forward_only() } -> std::same_as<T>;
  batch.each_array(f);
};

/// A packing without sequences, which stands for any of this capacity.
constexpr Packing planned_packing(const Capacity& capacity) { return {capacity, {}, {}, {}, {}}; }

/// Calls `f` with each array of a packing.
constexpr void each_array(Packing& packing, auto&& f) {
  f(packing.offsets), f(packing.shards), f(packing.sequence_shard), f(packing.past);
}

/// Packed sequences of tokens, each with what is to be predicted there: the batch of a model of one stream. A view:
/// `text::PackedTokens` owns one.
struct TokenBatch {
  using Capacity = fathom::Capacity;

  Packing packing;
  std::span<const int> tokens;   ///< one a row, each below the vocabulary's size
  std::span<const int> targets;  ///< one a row; negative: no loss there

  static constexpr TokenBatch planned(const Capacity& capacity) { return {planned_packing(capacity), {}, {}}; }
  constexpr const Capacity& capacity() const { return packing.capacity; }
  constexpr const Packing& output_packing() const { return packing; }
  constexpr std::int64_t target_count() const {
    return std::count_if(targets.begin(), targets.end(), [](int target) { return target >= 0; });
  }
  constexpr TokenBatch forward_only() const {
    TokenBatch batch = *this;
    batch.packing.capacity.forward_only = true;
    return batch;
  }
  constexpr void each_array(auto&& f) {
    fathom::each_array(packing, f);
    f(tokens), f(targets);
  }
};
static_assert(BatchView<TokenBatch>);

namespace detail {

/// Whether the shards of a packing are those that `PackedRows` cuts its sequences into.
constexpr bool has_own_shards(const Packing& packing) {
  if (packing.sequence_shard.size() != packing.offsets.size()) return false;
  std::size_t shard = 0;
  const auto next_is = [&](int row) { return shard < packing.shards.size() && packing.shards[shard++] == row; };
  for (int s = 0; s < packing.sequences(); ++s) {
    if (packing.sequence_shard[std::size_t(s)] != int(shard)) return false;
    for (int row = 0; row < packing.length(s); row += shard_rows)
      if (!next_is(packing.offsets[std::size_t(s)] + row)) return false;
  }
  return packing.sequence_shard.back() == int(shard) && next_is(packing.rows()) && shard == packing.shards.size();
}

}  // namespace detail

/// Errors: `ShapeError` that begins with `owner` unless `packing` has this capacity, sequences that fit it, the shards
/// that `PackedRows` gives them and no past rows.
inline void check_packing(const Packing& packing, const Capacity& capacity, const std::string& owner = "batch") {
  if (packing.capacity != capacity)
    throw ShapeError(owner + ": a capacity of " + text_of(packing.capacity) + " where memory was planned for " +
                     text_of(capacity) + "; give both the same");
  const auto refuse = [&](const std::string& what) {
    throw ShapeError(owner + ": its packing " + what + "; pack them with PackedRows::assign or text::PackedTokens");
  };
  bool fits = packing.sequences() > 0 && packing.sequences() <= capacity.sequences && packing.rows() <= capacity.rows &&
              packing.offsets[0] == 0;
  for (int s = 0; fits && s < packing.sequences(); ++s)
    fits = packing.length(s) > 0 && packing.length(s) <= capacity.longest;
  if (!fits) refuse("holds no sequences, or some that do not fit a capacity of " + text_of(capacity));
  if (!packing.past.empty()) refuse("holds sequences with past rows, which only a cache has");
  if (!detail::has_own_shards(packing)) refuse("holds sequences without the shards that belong to them");
}

/// Errors: `ShapeError` that begins with `owner` unless all tokens, and all targets where one is not negative, are
/// below `vocabulary`.
inline void check_tokens(std::span<const int> tokens, std::span<const int> targets, int vocabulary,
                         const std::string& owner = "batch") {
  for (std::size_t i = 0; i < tokens.size(); ++i)
    if (tokens[i] < 0 || tokens[i] >= vocabulary || (i < targets.size() && targets[i] >= vocabulary))
      throw ShapeError(owner + ": row " + std::to_string(i) + " has a token outside the vocabulary of " +
                       std::to_string(vocabulary) + "; tokenize with the model's vocabulary");
}

/// Errors: `ShapeError` of `check_packing`; unless there is a token and a target for each row, and a model of this
/// vocabulary knows them all.
inline void check_batch(const TokenBatch& batch, const Capacity& capacity, int vocabulary,
                        const std::string& owner = "batch") {
  check_packing(batch.packing, capacity, owner);
  const auto rows = std::size_t(batch.packing.rows());
  if (batch.tokens.size() != rows || batch.targets.size() != rows)
    throw ShapeError(owner + ": " + std::to_string(batch.tokens.size()) + " tokens and " +
                     std::to_string(batch.targets.size()) + " targets for " + std::to_string(rows) + " rows");
  check_tokens(batch.tokens, batch.targets, vocabulary, owner);
}

/// Bytes of one batch of tokens and targets, such as a source holds ready and `BatchCopies` keep.
constexpr std::int64_t batch_bytes(const Capacity& capacity) {
  const std::int64_t packing = maximal_shards(capacity) + 3 * std::int64_t(capacity.sequences);
  return (2 * std::int64_t(capacity.rows) + packing) * std::int64_t(sizeof(int));
}

}  // namespace fathom::inline FATHOM_ABI

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/core/indexed.hpp>
#include <limits>
#include <span>
#include <string>
#include <vector>

namespace fathom::inline FATHOM_ABI {

/// The largest batch a buffer is planned for. A batch may hold fewer rows or sequences, never more.
struct Capacity {
  int rows = 0;               ///< tokens of all sequences together
  int sequences = 0;          ///< number of sequences
  int longest = 0;            ///< tokens of the longest sequence
  int memory_rows = 0;        ///< rows of the side input that cross-attention reads
  bool forward_only = false;  ///< inference: nothing is kept for a backward pass
  int recomputed = 0;  ///< of each stack so many blocks, the first ones, keep their input alone for a backward pass
  bool saves_all = false;  ///< the others keep what backward would otherwise compute again, see `saves_all<Backend>`

  friend constexpr bool operator==(const Capacity&, const Capacity&) = default;
};

/// Reductions over rows are cut into shards of at most this many rows of one sequence. The cut depends on the batch
/// alone, never on the number of threads, and so do the bits of every sum.
inline constexpr int shard_rows = 32;

constexpr int maximal_shards(const Capacity& capacity) {
  return int(std::min<std::int64_t>(capacity.rows, std::int64_t(capacity.sequences) + capacity.rows / shard_rows));
}

/// As messages name it: "48 rows, 4 sequences, longest 12".
inline std::string text_of(const Capacity& capacity) {
  std::string text = std::to_string(capacity.rows) + " rows, " + std::to_string(capacity.sequences) +
                     " sequences, longest " + std::to_string(capacity.longest);
  if (capacity.memory_rows != 0) text += ", memory_rows " + std::to_string(capacity.memory_rows);
  if (capacity.recomputed != 0) text += ", recomputed " + std::to_string(capacity.recomputed);
  if (capacity.saves_all) text += ", saves_all";
  return capacity.forward_only ? text + ", forward_only" : text;
}

/// The same, with `count` blocks of each stack computed again in backward.
constexpr Capacity recomputing(Capacity capacity, int count) {
  capacity.recomputed = count;
  return capacity;
}
/// The same, with all that backward reads saved, or not.
constexpr Capacity saving(Capacity capacity, bool all) {
  capacity.saves_all = all;
  return capacity;
}

/// Whether passes keep nothing for a backward pass.
constexpr bool is_forward_only(const Capacity& capacity) { return capacity.forward_only; }

/// Errors: `ShapeError` that begins with `owner`, unless batches can have this capacity: rows, sequences and longest
/// are positive, there is a row for each sequence, and none is longer than all rows together or than `context`.
constexpr void check_capacity(const Capacity& capacity, const char* owner,
                              int context = std::numeric_limits<int>::max()) {
  const auto& [rows, sequences, longest, memory_rows, forward_only, recomputed, saves_all] = capacity;
  const auto check = [&](bool condition, const char* rule) {
    if (!condition) throw ShapeError(std::string(owner) + ": a capacity of " + text_of(capacity) + ": " + rule);
  };
  check(rows > 0 && sequences > 0 && longest > 0, "rows, sequences and longest must be positive");
  check(memory_rows >= 0, "memory_rows must not be negative");
  check(recomputed >= 0, "recomputed must not be negative");
  check(longest <= rows, "the longest sequence has more rows than all together; give more rows");
  check(sequences <= rows, "there is not a row for each sequence; give more rows");
  if (longest > context)
    throw ShapeError(std::string(owner) + ": a capacity of " + text_of(capacity) +
                     ": the longest sequence is longer than the model's context of " + std::to_string(context));
}

/// Rows of `sequences` of `length` rows each. Errors: `ShapeError` that begins with `owner` when an int cannot count
/// them, or one of the two is not positive.
constexpr int rows_of(int sequences, int length, const char* owner) {
  if (sequences < 1 || length < 1 || sequences > std::numeric_limits<int>::max() / length)
    throw ShapeError(std::string(owner) + ": " + std::to_string(sequences) + " sequences of " + std::to_string(length) +
                     " rows: both must be positive, and all rows fewer than 2^31");
  return sequences * length;
}

/// How the rows of a batch are packed: the rows of all sequences one after another. A view; `PackedRows` owns one.
struct Packing {
  Capacity capacity;
  using Places = Indexed<std::span<const int>>;
  Places offsets;         ///< first row of each sequence, then the number of rows: sequences + 1 entries
  Places shards;          ///< first row of each shard, then the number of rows
  Places sequence_shard;  ///< first shard of each sequence, then the number of shards
  Places past;            ///< rows of each sequence that a key/value cache holds already; empty: none

  constexpr int sequences() const { return offsets.empty() ? 0 : int(offsets.size()) - 1; }
  constexpr int rows() const { return offsets.empty() ? capacity.rows : offsets.back(); }
  constexpr int length(int sequence) const { return offsets[sequence + 1] - offsets[sequence]; }
  constexpr int past_of(int sequence) const { return past.empty() ? 0 : past[sequence]; }
  constexpr int shard_count() const { return shards.empty() ? maximal_shards(capacity) : int(shards.size()) - 1; }
  /// Of views: whether they are of the same memory.
  friend constexpr bool operator==(const Packing&, const Packing&) = default;
};

/// Pairs (query, key) that attention lets through, all sequences together; past rows of a cache count as keys.
constexpr double visible_pairs(const Packing& queries, const Packing& keys, bool causal) {
  const auto pairs = [causal](double rows, double columns) {
    return causal ? rows * (columns - rows) + rows * (rows + 1) / 2 : rows * columns;
  };
  if (queries.sequences() == 0)
    return pairs(queries.capacity.longest, keys.capacity.longest) * queries.capacity.sequences;
  double sum = 0;
  for (int s = 0; s < queries.sequences(); ++s) sum += pairs(queries.length(s), keys.length(s) + keys.past_of(s));
  return sum;
}

/// Owns the offsets of a packed batch. Memory is reserved once, for the capacity; `assign` allocates nothing.
class PackedRows {
 public:
  PackedRows() = default;
  /// Errors: `ShapeError` of `check_capacity`.
  explicit PackedRows(const Capacity& capacity) : capacity_(capacity) {
    check_capacity(capacity, "PackedRows");
    offsets_.reserve(std::size_t(capacity.sequences) + 1);
    sequence_shard_.reserve(std::size_t(capacity.sequences) + 1);
    shards_.reserve(std::size_t(maximal_shards(capacity)) + 2);
    past_.reserve(std::size_t(capacity.sequences));
  }
  /// `count` sequences of `length` rows each. Errors: `ShapeError` when one of them is not positive, or there are more
  /// rows than an int can count.
  static PackedRows uniform(int count, int length) {
    PackedRows packed({rows_of(count, length, "PackedRows"), count, length});
    const std::vector<int> lengths(std::size_t(count), length);
    packed.assign(lengths);
    return packed;
  }

  /// Packs sequences of these lengths. With `past`, a sequence may have no new rows: it idles, and its cache stays.
  /// Errors: `ShapeError` when one is empty without that, or they exceed the capacity; the packing stays as it was.
  void assign(std::span<const int> lengths, std::span<const int> past = {}) {
    if (lengths.empty() || int(lengths.size()) > capacity_.sequences)
      throw ShapeError("PackedRows: " + std::to_string(lengths.size()) + " sequences do not fit a capacity of " +
                       std::to_string(capacity_.sequences));
    if (!past.empty() && past.size() != lengths.size())
      throw ShapeError("PackedRows: " + std::to_string(past.size()) + " past lengths for " +
                       std::to_string(lengths.size()) + " sequences");
    int rows = 0;
    for (const int length : lengths) {
      if (length < (past.empty() ? 1 : 0) || length > capacity_.longest || length > capacity_.rows - rows)
        throw ShapeError("PackedRows: a sequence of " + std::to_string(length) + " rows after " + std::to_string(rows) +
                         " does not fit a capacity of " + std::to_string(capacity_.rows) + " rows, longest " +
                         std::to_string(capacity_.longest));
      rows += length;
    }
    offsets_.assign(1, 0);
    shards_.clear();
    sequence_shard_.assign(1, 0);
    for (const int length : lengths) {
      const int first = offsets_.back();
      for (int row = 0; row < length; row += shard_rows) shards_.push_back(first + row);
      offsets_.push_back(first + length);
      sequence_shard_.push_back(int(shards_.size()));
    }
    shards_.push_back(offsets_.back());
    past_.assign(past.begin(), past.end());
  }

  /// Adds empty sequences behind the others, until there are `count`. Errors: `ShapeError` when that is fewer than
  /// there are, or more than the capacity has.
  void add_empty(int count) {
    if (count < sequences() || count > capacity_.sequences)
      throw ShapeError("PackedRows: " + std::to_string(count) + " sequences, with empty ones, where there are " +
                       std::to_string(sequences()) + " and the capacity is " + std::to_string(capacity_.sequences));
    const auto size = std::size_t(count) + 1;
    offsets_.resize(size, rows());
    sequence_shard_.resize(size, int(shards_.size()) - 1);
    if (!past_.empty()) past_.resize(std::size_t(count), 0);
  }

  Packing view() const { return {capacity_, offsets_, shards_, sequence_shard_, past_}; }
  operator Packing() const { return view(); }
  const Capacity& capacity() const { return capacity_; }
  int rows() const { return offsets_.empty() ? 0 : offsets_.back(); }
  int sequences() const { return offsets_.empty() ? 0 : int(offsets_.size()) - 1; }

 private:
  Capacity capacity_;
  std::vector<int> offsets_, shards_, sequence_shard_, past_;
};

}  // namespace fathom::inline FATHOM_ABI

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fathom/backend/cpu/attention_shape.hpp>
#include <fathom/backend/cpu/attention_tile.hpp>
#include <fathom/backend/cpu/config.hpp>
#include <fathom/backend/ops/attention.hpp>

/// A bias that depends on the distance alone is one row of numbers: neighbouring queries find theirs of one key side by
/// side, and a bucket is a run of equal ones. So neither scores nor gradients need a table lookup for each pair.
namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI {

/// Where the number of a query and a key stands in such a row, for all that blocks of queries and keys reach.
template <class T>
struct BiasPlaces {
  std::size_t keys;   ///< rounded up to whole tiles
  std::size_t count;  ///< numbers in a row
  std::int64_t same;  ///< the place of a query and the key at its own position

  constexpr explicit BiasPlaces(const AttentionShape<T>& shape)
      : keys(detail::round_up(shape.keys, detail::AttentionTile<T>::rows)),
        count(keys + detail::round_up(shape.queries, detail::AttentionTile<T>::queries)),
        same(std::int64_t(keys) - 1 + std::int64_t(shape.queries) - std::int64_t(shape.keys)) {}

  /// Of a query and key 0; that of key j is j places before.
  constexpr std::size_t first_key(std::size_t query) const { return query + keys - 1; }

  /// f(bucket, begin, end) for the run of places of each bucket.
  template <class P, class F>
  void each_bucket(const RelativeBias<P>& bias, bool causal, F&& f) const {
    const auto clamped = [&](std::int64_t place) {
      return std::size_t(std::clamp(place, std::int64_t(0), std::int64_t(count)));
    };
    const int starts = int(bias.starts.size());
    for (int bucket = 0; bucket < starts; ++bucket) {
      const std::int64_t from = bias.starts[bucket];
      const std::int64_t beyond = std::max(from, std::int64_t(count) + std::abs(same) + 1);  // of all places
      const std::int64_t to = bucket + 1 < starts ? bias.starts[bucket + 1] : beyond;
      f(bucket, clamped(same + from), clamped(same + to));
      if (!causal) f(starts + bucket, clamped(same - to + 1), clamped(same - std::max<std::int64_t>(from, 1) + 1));
    }
  }
};

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI

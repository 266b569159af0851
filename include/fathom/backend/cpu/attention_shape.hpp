// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <fathom/backend/cpu/config.hpp>
#include <fathom/backend/cpu/row_major.hpp>

/// What the attention kernels are told.
namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI {

/// What one call computes.
template <class T>
struct AttentionShape {
  std::size_t queries, keys;
  std::size_t width;      ///< of a head
  std::size_t group = 1;  ///< query heads that share this key/value head; they lie side by side in Q, O, dQ, dO
  bool causal = false;    ///< query i sees keys j <= i + keys - queries only
  T scale = 1;            ///< of the scores
  const T* bias = nullptr;  ///< added to scores: group rows of BiasPlaces<T>::count numbers, times log2 e; or null
  std::size_t ahead = 0;  ///< numbers from these keys, and from these values, to those of the next call
};

/// No dropout. A dropout on the probabilities is a type with `active = true` and
///   `void operator()(std::size_t head, std::size_t query, std::size_t key, T* factors) const`:
/// factors[c · simd_width<T> + l] = the factor, 0 or 1 / (1 - rate), of query `query + l` of head `head` of the group
/// and key `key + c`, for c < 4 and l < simd_width<T>. key is a multiple of 4. It must be a function of these indices;
/// queries and keys beyond the shape are asked for too, and ignored.
struct NoDropout {
  static constexpr bool active = false;
};

namespace detail {

/// How many keys, from the first on, a query sees. Queries beyond the last see all.
template <class T>
std::size_t visible_keys(const AttentionShape<T>& shape, std::size_t query) {
  if (!shape.causal) return shape.keys;
  return std::min(shape.keys, std::max(query + 1 + shape.keys, shape.queries) - shape.queries);
}

template <class T>
inline constexpr T log2_e = T(1.44269504088896340736);

}  // namespace detail

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI

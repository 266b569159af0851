// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <fathom/backend/ops/op.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/dropout.hpp>
#include <fathom/core/indexed.hpp>
#include <fathom/core/packing.hpp>
#include <fathom/core/view.hpp>
#include <span>

namespace fathom::inline FATHOM_ABI {

/// Keys and values of earlier tokens, one slab per sequence and head; `AttentionForward` appends to it.
template <class P>
struct KeyValueCache {
  typename P::Activation* keys = nullptr;    ///< (sequences, Hkv, length, K)
  typename P::Activation* values = nullptr;  ///< (sequences, Hkv, length, K)
  int length = 0;                            ///< rows that a slab holds
  friend constexpr bool operator==(const KeyValueCache&, const KeyValueCache&) = default;
};

/// What sequence `to` of a cache gets of sequence `from`: the first rows of each head.
struct CacheCopy {
  int from, to, rows;
};

/// A number for each head and bucket of distances that is added to the head's scores. Null without a table.
///
/// A key that is `d` places before its query is in the bucket of the last start that is at most d. Keys behind the
/// query have as many buckets again, which follow, where attention is not causal: bucket 0 of these is never used.
/// Source: Raffel et al. 2020, arXiv:1910.10683, section 2.1.
template <class P>
struct RelativeBias {
  Elements<const typename P::Weight> table;  ///< (H, buckets), head by head
  Indexed<std::span<const int>> starts;      ///< nearest distance of each bucket, from 0 on and ascending

  constexpr explicit operator bool() const { return !table.empty(); }
  constexpr int buckets(bool causal) const { return int(starts.size()) * (causal ? 1 : 2); }
  /// Bucket of a key `distance` places before the query; behind it where that is negative.
  constexpr int bucket(int distance) const {
    const int far = distance < 0 ? -distance : distance;
    const int bucket = int(std::upper_bound(starts.begin(), starts.end(), far) - starts.begin()) - 1;
    return distance < 0 ? int(starts.size()) + bucket : bucket;
  }
  friend constexpr bool operator==(const RelativeBias&, const RelativeBias&) = default;
};

namespace op {

/// o = softmax(scale · q kᵀ + bias + mask) v for every sequence and head; the T×T matrix is never stored.
///
/// q, o (N, H·K); k, v (M, Hkv·K), H a multiple of Hkv: query head h reads key/value head h / (H / Hkv). Sequence s of
/// `packing`, of T rows, attends to sequence s of `key_packing`, of S rows, and to no other. With `causal` the queries
/// are the last T of the S positions: S >= T, and row i of T sees keys j <= i + (S − T). With a cache, k and v are
/// appended behind the past rows of each sequence of `key_packing` first, and the keys, S of them, are all that the
/// cache then holds; without one, past rows are no keys.
/// lse (H, N): natural log of the sum of exponentials, overwritten. Dropout acts on the probabilities: its row is the
/// query's, past rows of `packing` included, its column is j. o overwritten. A sequence that has queries has keys.
/// Distances of `bias` are those of positions, of which a sequence's queries have the last T of the S.
template <class P>
struct AttentionForward {
  static constexpr const char* name = "attention";
  int heads, kv_heads, head_width;
  bool causal;
  double scale;
  Dropout dropout;
  const Packing* packing;      ///< of q and o: the worker's current one
  const Packing* key_packing;  ///< of k and v
  Matrix<const typename P::Activation> q, k, v;
  RelativeBias<P> bias;
  KeyValueCache<P> cache;
  Matrix<typename P::Activation> o;
  Matrix<typename P::Statistic> lse;

  constexpr double flops() const {
    return visible_pairs(*packing, *key_packing, causal) * heads * (4.0 * head_width + (bias ? 1 : 0));
  }
  constexpr double bytes() const {
    return bytes_of(q) + bytes_of(k) + bytes_of(v) + bytes_of(o) + bytes_of(bias.table);
  }
  constexpr void outputs(auto&& f) const {
    f(o);
    f(lse);
  }
  friend constexpr bool operator==(const AttentionForward&, const AttentionForward&) = default;
};

/// Backward of `AttentionForward` (without a cache), probabilities recomputed from lse.   dO as o; dq, dk, dv as q, k,
/// v, all overwritten; dbias as the table of `bias`, ADDED TO, or null. o is what forward gave; or it has no rows, and
/// `restored` is overwritten with it, up to rounding, which takes one product more than the five of backward.
template <class P>
struct AttentionBackward {
  static constexpr const char* name = "attention backward";
  int heads, kv_heads, head_width;
  bool causal;
  double scale;
  Dropout dropout;
  const Packing* packing;
  const Packing* key_packing;
  Matrix<const typename P::Activation> q, k, v;
  RelativeBias<P> bias;
  Matrix<const typename P::Activation> o;
  Matrix<typename P::Activation> restored;
  Matrix<const typename P::Activation> d_o;
  Matrix<const typename P::Statistic> lse;
  Matrix<typename P::Activation> dq, dk, dv;
  Elements<typename P::Gradient> dbias;

  constexpr double flops() const {
    const double of_a_pair = (restored ? 12.0 : 10.0) * head_width + (bias ? 1 : 0) + (dbias.empty() ? 0 : 1);
    return visible_pairs(*packing, *key_packing, causal) * heads * of_a_pair;
  }
  constexpr double bytes() const {
    return 2 * bytes_of(q) + 2 * bytes_of(k) + 2 * bytes_of(v) + bytes_of(o) + bytes_of(restored) + bytes_of(d_o) +
           bytes_of(bias.table) + 2 * bytes_of(dbias);
  }
  constexpr void outputs(auto&& f) const {
    f(restored);
    f(dq);
    f(dk);
    f(dv);
    f(as_row(dbias));
  }
  friend constexpr bool operator==(const AttentionBackward&, const AttentionBackward&) = default;
};

/// Rotates neighbouring pairs (2i, 2i+1) of each head of x (N, heads·K), in place, by position · base^(−2i/K); backward
/// rotates the other way. The position counts from the start of the sequence, past rows included.
/// Source: Su et al. 2021, arXiv:2104.09864, eq. 34.
template <class P>
struct Rotate {
  static constexpr const char* name = "rotary";
  int head_width;
  double base;
  bool backward = false;
  Matrix<typename P::Activation> x;

  constexpr double flops() const { return 3.0 * x.rows * x.columns; }
  constexpr double bytes() const { return 2 * bytes_of(x); }
  constexpr void outputs(auto&& f) const { f(x); }
  friend constexpr bool operator==(const Rotate&, const Rotate&) = default;
};

/// Copies rows between the sequences of a cache, so that several continue what one has begun.
/// slabs (sequences, heads, length, width): `rows` rows of each head are overwritten, the others stay. What one copy
/// writes, no other reads or writes.
template <class P>
struct CopyCache {
  static constexpr const char* name = "copy cache";
  int heads, length, width;
  typename P::Activation* slabs;
  Indexed<std::span<const CacheCopy>> copies;

  constexpr double flops() const { return 0; }
  constexpr double bytes() const {
    double rows = 0;
    for (const CacheCopy& copy : copies) rows += copy.rows;
    return 2 * rows * heads * width * double(sizeof(typename P::Activation));
  }
  constexpr void outputs(auto&&) const {}
  friend constexpr bool operator==(const CopyCache&, const CopyCache&) = default;
};

}  // namespace op

template <class B>
concept RunsAttention = Has<B, op::AttentionForward, op::AttentionBackward, op::Rotate, op::CopyCache>;

}  // namespace fathom::inline FATHOM_ABI

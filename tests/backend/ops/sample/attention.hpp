// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <span>

#include "backend/ops/operands.hpp"

namespace fathom_test::sample {

struct Heads {
  int count, groups, width;
};
/// The rows that k and v are: those of q, rows of other lengths, rows of which there are at least as many.
enum class Keys { own, other, longer };

template <class P>
const Packing& key_packing(const Operands<P>& o, Keys keys) {
  return keys == Keys::own ? o.rows.packing : keys == Keys::other ? o.rows.other : o.rows.longer;
}

/// q, k and v, or their gradients, as columns of one matrix, as a fused projection leaves them, or of two.
template <class P>
struct Projections {
  Matrix<typename P::Activation> q, k, v;

  Projections(Operands<P>& o, const Heads& heads, Keys from, bool outputs) {
    const int queries = heads.count * heads.width, width = heads.groups * heads.width, all = queries + 2 * width;
    const int rows = o.count(), key_rows = key_packing(o, from).rows();
    const auto take = [&](int row_count) -> Matrix<typename P::Activation> {
      if (outputs) return o.poison(row_count, all);
      return o.values(row_count, all);
    };
    const auto own = take(rows), other = from == Keys::own ? own : take(key_rows);
    const auto columns = [](const auto& of, int first, int count) {
      return Matrix<typename P::Activation>(of.data + first, of.rows, count, of.stride);
    };
    q = columns(own, 0, queries), k = columns(other, queries, width), v = columns(other, queries + width, width);
  }
};

/// A bias of a few buckets, the last of which begins before the longest distance; or none.
template <class P>
RelativeBias<P> relative_bias(Operands<P>& o, const Heads& heads, bool causal, bool biased) {
  static constexpr std::array starts{0, 1, 2, 4, 4, 9, 30};
  RelativeBias<P> bias{.table = {}, .starts = std::span<const int>(starts)};
  bias.table = o.values(biased ? heads.count * bias.buckets(causal) : 0);
  return bias;
}

/// With a cache, it holds what stands behind the past rows as NaN.
template <class P>
op::AttentionForward<P> attention(Operands<P>& o, const Heads& heads, bool causal, Keys keys, bool cached,
                                  bool biased) {
  const Projections<P> in(o, heads, keys, false);
  const Packing& key_rows = key_packing(o, keys);
  KeyValueCache<P> cache;
  if (cached) {
    for (int s = 0; s < key_rows.sequences(); ++s)
      cache.length = std::max(cache.length, key_rows.past_of(s) + key_rows.length(s) + 3);
    for (auto** slabs : {&cache.keys, &cache.values}) {
      const int slab = cache.length * heads.width;
      const Elements<typename P::Activation> all = o.values(key_rows.sequences() * heads.groups * slab);
      *slabs = all.data();
      for (int i = 0; i < key_rows.sequences() * heads.groups; ++i) {
        const int past = key_rows.past_of(i / heads.groups) * heads.width;
        std::fill_n(*slabs + i * slab + past, slab - past, std::numeric_limits<typename P::Activation>::quiet_NaN());
      }
    }
  }
  return {.heads = heads.count,
          .kv_heads = heads.groups,
          .head_width = heads.width,
          .causal = causal,
          .scale = 1 / std::sqrt(double(heads.width)),
          .dropout = o.dropout,
          .packing = &o.rows.packing,
          .key_packing = &key_rows,
          .q = in.q,
          .k = in.k,
          .v = in.v,
          .bias = relative_bias(o, heads, causal, biased),
          .cache = cache,
          .o = o.poisoned_rows_of(heads.count * heads.width),
          .lse = o.poison(heads.count, o.count())};
}

template <class P>
op::AttentionBackward<P> attention_backward(Operands<P>& o, const Heads& heads, bool causal, Keys keys, bool restores,
                                            bool biased) {
  const Projections<P> in(o, heads, keys, false), d(o, heads, keys, true);
  const int width = heads.count * heads.width;
  const double lse = restores ? 6 : 4;  // any makes "probabilities"; a large one keeps them as small as real ones
  return {.heads = heads.count,
          .kv_heads = heads.groups,
          .head_width = heads.width,
          .causal = causal,
          .scale = 1 / std::sqrt(double(heads.width)),
          .dropout = o.dropout,
          .packing = &o.rows.packing,
          .key_packing = &key_packing(o, keys),
          .q = in.q,
          .k = in.k,
          .v = in.v,
          .bias = relative_bias(o, heads, causal, biased),
          .o = o.values(restores ? 0 : o.count(), width),
          .restored = o.poison(restores ? o.count() : 0, width),
          .d_o = o.rows_of(width),
          .lse = o.uniform({lse, lse}, heads.count, o.count()),
          .dq = d.q,
          .dk = d.k,
          .dv = d.v,
          .dbias = o.values(biased ? int(relative_bias(o, heads, causal, true).table.size()) : 0)};
}

/// Copies of several lengths, between sequences of a cache that has nothing to do with the rows.
template <class P>
op::CopyCache<P> copy_cache(Operands<P>& o, const Heads& heads, std::span<const CacheCopy> copies) {
  constexpr int sequences = 5, length = 9;
  const Elements<typename P::Activation> slabs = o.values(sequences * heads.groups * length * heads.width);
  return {.heads = heads.groups, .length = length, .width = heads.width, .slabs = slabs.data(), .copies = copies};
}

template <class P>
op::Rotate<P> rotary(Operands<P>& o, int heads, int head_width, bool backward) {
  return {.head_width = head_width, .base = 10000, .backward = backward, .x = o.rows_of(heads * head_width)};
}

}  // namespace fathom_test::sample

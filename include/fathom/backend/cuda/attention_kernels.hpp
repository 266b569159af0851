// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <fathom/backend/cuda/kernel.hpp>
#include <fathom/backend/cuda/rows.hpp>
#include <fathom/backend/ops/attention.hpp>
#include <fathom/core/config.hpp>
#include <limits>

/// Attention in floats, and of a few queries: by kernels of our own, as all that cuDNN has no engine for, and as the
/// judge of what it has. A warp has one query of one head, or one key; its lanes have 32 keys at a time for scores, and
/// the columns for sums. Nothing is added to by two warps, so the bits are the same every time. Tiles of 16 bits:
/// flash_attention.hpp.
namespace fathom::inline FATHOM_ABI::cuda {

inline constexpr int widest_head = 256;

/// What forward and backward know of attention.
template <class P>
struct AttentionOf {
  using T = typename P::Activation;
  int heads, kv_heads, width;
  bool causal;
  float scale;
  MaskOf mask;
  PlacesOf queries, keys;
  RowsOf<const T> q, k, v;
  const typename P::Weight* bias;  ///< (heads, buckets), or null
  const int* starts;
  int start_count;
  const T *cached_keys, *cached_values;  ///< null: k and v are the keys
  int cache_length;

  template <class Op>
  AttentionOf(const Op& op, const Packing& rows, const Packing& key_rows, const Key* key)
      : heads(op.heads),
        kv_heads(op.kv_heads),
        width(op.head_width),
        causal(op.causal),
        scale(float(op.scale)),
        mask{op.dropout.rate, key},
        queries(rows),
        keys(key_rows),
        q(op.q),
        k(op.k),
        v(op.v),
        bias(op.bias ? op.bias.table.data() : nullptr),
        starts(op.bias.starts.data()),
        start_count(int(op.bias.starts.size())),
        cached_keys(nullptr),
        cached_values(nullptr),
        cache_length(0) {}

  constexpr int buckets() const { return start_count * (causal ? 1 : 2); }

  /// A sequence: its first rows, and how many it has.
  struct SequenceRows {
    int index, first_query, queries, first_key, keys, past;
  };
  template <class Thread>
  constexpr SequenceRows sequence(Thread& thread, int index) const {
    const int first = thread.load(queries.offsets + index), last = thread.load(queries.offsets + index + 1);
    const int key = thread.load(keys.offsets + index), key_end = thread.load(keys.offsets + index + 1);
    const int cached = cached_keys == nullptr ? 0 : keys.past_of(thread, index);
    return {index, first, last - first, key, cached + key_end - key, queries.past_of(thread, index)};
  }
  constexpr int seen(const SequenceRows& s, int row) const { return causal ? row + 1 + s.keys - s.queries : s.keys; }
  /// The first query that sees a key.
  constexpr int first_seeing(const SequenceRows& s, int key) const {
    const int row = causal ? key - (s.keys - s.queries) : 0;
    return row < 0 ? 0 : row;
  }

  constexpr const T* key_row(const SequenceRows& s, int group, int j) const {
    return cached_keys == nullptr ? k.row(s.first_key + j) + group * width : cached(cached_keys, s, group, j);
  }
  constexpr const T* value_row(const SequenceRows& s, int group, int j) const {
    return cached_keys == nullptr ? v.row(s.first_key + j) + group * width : cached(cached_values, s, group, j);
  }
  constexpr const T* cached(const T* slabs, const SequenceRows& s, int group, int j) const {
    return slabs + (std::int64_t(s.index * kv_heads + group) * cache_length + j) * width;
  }

  /// The score of a query and a key: the product of both, scaled, and what is added for their distance.
  template <class Thread>
  constexpr float biased(Thread& thread, float product, int head, int distance) const {
    return bias == nullptr ? product * scale
                           : product * scale + bias_of(thread, bias + head * buckets(), starts, start_count, distance);
  }
  /// The same of a query that is given as floats.
  template <class Thread>
  constexpr float score(Thread& thread, const float* query, const T* key, int head, int distance) const {
    float sum = 0;
    for (int c = 0; c < width; ++c) sum += query[c] * float(thread.load(key + c));
    return biased(thread, sum, head, distance);
  }
  /// What dropout multiplies a probability by.
  template <class Thread>
  constexpr float keep(Thread& thread, int sequence, int head, int row, int key) const {
    return mask.active() ? factor_of(thread, mask, sequence, head, row, key) : 1;
  }

 private:
  // Not inlined, so that loops without them are short and stay in registers; given what they need, not all of this.

  /// What is added to the scores of a head at a distance: of its bucket, see RelativeBias.
  template <class Thread>
  [[gnu::noinline]] static constexpr float bias_of(Thread& thread, const typename P::Weight* of_head, const int* starts,
                                                   int start_count, int distance) {
    const int far = distance < 0 ? -distance : distance;
    int bucket = 0;
    while (bucket + 1 < start_count && thread.load(starts + bucket + 1) <= far) ++bucket;
    return float(thread.load(of_head + (distance < 0 ? start_count + bucket : bucket)));
  }
  template <class Thread>
  [[gnu::noinline]] static constexpr float factor_of(Thread& thread, MaskOf mask, int sequence, int head, int row,
                                                     int key) {
    return mask.dropout(thread).template factors<float>(sequence, head, row, key / octet)[std::size_t(key % octet)];
  }
};

/// Appends keys or values to a cache.
template <class P>
struct AppendToCache {
  static constexpr const char* name = "append to cache";
  static constexpr int threads = 256;
  using T = typename P::Activation;
  PlacesOf keys;
  RowsOf<const T> fresh;
  T* slabs;
  int kv_heads, width, length, rows;

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    const int columns = kv_heads * width;
    for (std::int64_t i = std::int64_t(thread.block()) * threads + thread.index(); i < std::int64_t(rows) * columns;
         i += std::int64_t(thread.blocks()) * threads) {
      const int row = int(i / columns), column = int(i % columns);
      const auto place = keys.place(thread, row);
      const std::int64_t slab = std::int64_t(place.sequence) * kv_heads + column / width;
      thread.store(slabs + (slab * length + place.position) * width + column % width,
                   thread.load(fresh.row(row) + column));
    }
  }
};

/// What the warps of attention share: for each two rows of floats, and two numbers of each lane.
template <int Warps>
struct AttentionShared {
  float row[Warps][2][widest_head];
  float lanes[Warps][2][warp_size];
};

/// Shows all lanes of a warp a number of each.
template <class Thread>
constexpr const float* shown(Thread& thread, float value, int which) {
  float* const of_warp = thread.shared().lanes[thread.warp()][which];
  thread.warp_barrier();  // all have read what was there before
  of_warp[thread.lane()] = value;
  thread.warp_barrier();
  return of_warp;
}

/// o and lse: a warp for each query and head, block after block the heads of a row.
template <class P>
struct WarpForward {
  static constexpr const char* name = "attention";
  static constexpr int warps = 4, threads = warps * warp_size, slices = widest_head / warp_size;
  using Shared = AttentionShared<warps>;
  using T = typename P::Activation;
  AttentionOf<P> of;
  RowsOf<T> o;
  RowsOf<typename P::Statistic> lse;
  int rows;

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    const std::int64_t at = std::int64_t(thread.block()) * warps + thread.warp();
    if (at >= std::int64_t(rows) * of.heads) return;
    const int n = int(at / of.heads), head = int(at % of.heads), group = head / (of.heads / of.kv_heads);
    const auto s = of.sequence(thread, of.queries.sequence_of(thread, n));
    const int row = n - s.first_query, seen = of.seen(s, row), lane = thread.lane();
    float* const query = thread.shared().row[thread.warp()][0];
    for (int c = lane; c < of.width; c += warp_size) query[c] = float(thread.load(of.q.row(n) + head * of.width + c));
    thread.warp_barrier();  // the warp has written its query

    float sums[slices] = {}, largest = -std::numeric_limits<float>::infinity(), total = 0;
    for (int first = 0; first < seen; first += warp_size) {
      const int j = first + lane;
      float score = -std::numeric_limits<float>::infinity();
      if (j < seen) score = of.score(thread, query, of.key_row(s, group, j), head, row + s.keys - s.queries - j);
      float top = score;
      for (int mask = warp_size / 2; mask > 0; mask /= 2) {
        const float other = thread.shuffle_xor(top, mask);
        top = other > top || other != other ? other : top;
      }
      top = top > largest ? top : largest;
      const float shrink = std::exp(largest - top);
      largest = top;
      const float power = j < seen ? std::exp(score - top) : 0;
      total = total * shrink + warp_sum(thread, power);
      const float weight = j < seen ? power * of.keep(thread, s.index, head, s.past + row, j) : 0;
      for (float& sum : sums) sum *= shrink;
      const float* const weights = shown(thread, weight, 0);
      for (int i = 0; i < warp_size && first + i < seen; ++i) {
        const float its = weights[i];
        const T* value = of.value_row(s, group, first + i);
        for (int slice = 0; slice < slices; ++slice)
          if (slice * warp_size + lane < of.width)
            sums[slice] += its * float(thread.load(value + slice * warp_size + lane));
      }
    }
    for (int slice = 0; slice < slices; ++slice) {
      const int c = slice * warp_size + lane;
      if (c < of.width) thread.store(o.row(n) + head * of.width + c, T(sums[slice] / total));
    }
    if (lane == 0) thread.store(lse.row(head) + n, typename P::Statistic(largest + std::log(total)));
  }
};

/// dq, the products of o and its gradient, and o once more where it is wanted: a warp for each query and head.
template <class P>
struct WarpQueryGradients {
  static constexpr const char* name = "attention backward: queries";
  static constexpr int warps = 4, threads = warps * warp_size, slices = widest_head / warp_size;
  using Shared = AttentionShared<warps>;
  using T = typename P::Activation;
  AttentionOf<P> of;
  RowsOf<const T> o, d_o;
  RowsOf<T> restored, dq;
  RowsOf<const typename P::Statistic> lse;
  float* products;  ///< (heads, rows)
  int rows;

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    const std::int64_t at = std::int64_t(thread.block()) * warps + thread.warp();
    if (at >= std::int64_t(rows) * of.heads) return;
    const int n = int(at / of.heads), head = int(at % of.heads), group = head / (of.heads / of.kv_heads);
    const auto s = of.sequence(thread, of.queries.sequence_of(thread, n));
    const int row = n - s.first_query, seen = of.seen(s, row), lane = thread.lane();
    auto& [query, gradient] = thread.shared().row[thread.warp()];
    for (int c = lane; c < of.width; c += warp_size) {
      query[c] = float(thread.load(of.q.row(n) + head * of.width + c));
      gradient[c] = float(thread.load(d_o.row(n) + head * of.width + c));
    }
    thread.warp_barrier();  // the warp has written both
    const float log_sum = float(thread.load(lse.row(head) + n));
    const auto probability = [&](int j) {
      return std::exp(of.score(thread, query, of.key_row(s, group, j), head, row + s.keys - s.queries - j) - log_sum);
    };
    /// sums[c] += weight of lane i · x[c] of key first + i, for all keys of the tile.
    const auto gather = [&](float(&sums)[slices], float weight, int first, auto&& row_of) {
      const float* const weights = shown(thread, weight, 0);
      for (int i = 0; i < warp_size && first + i < seen; ++i) {
        const float its = weights[i];
        const T* values = row_of(first + i);
        for (int slice = 0; slice < slices; ++slice)
          if (slice * warp_size + lane < of.width)
            sums[slice] += its * float(thread.load(values + slice * warp_size + lane));
      }
    };

    float product = 0;
    if (restored) {
      float sums[slices] = {};
      for (int first = 0; first < seen; first += warp_size) {
        const int j = first + lane;
        const float weight = j < seen ? probability(j) * of.keep(thread, s.index, head, s.past + row, j) : 0;
        gather(sums, weight, first, [&](int key) { return of.value_row(s, group, key); });
      }
      for (int slice = 0; slice < slices; ++slice) {
        const int c = slice * warp_size + lane;
        if (c >= of.width) continue;
        const T rounded(sums[slice]);
        thread.store(restored.row(n) + head * of.width + c, rounded);
        product += float(rounded) * gradient[c];
      }
    } else {
      for (int c = lane; c < of.width; c += warp_size)
        product += float(thread.load(o.row(n) + head * of.width + c)) * gradient[c];
    }
    product = warp_sum(thread, product);
    if (lane == 0) thread.store(products + std::int64_t(head) * rows + n, product);

    float sums[slices] = {};
    for (int first = 0; first < seen; first += warp_size) {
      const int j = first + lane;
      float weight = 0;
      if (j < seen) {
        float dp = 0;
        const T* value = of.value_row(s, group, j);
        for (int c = 0; c < of.width; ++c) dp += gradient[c] * float(thread.load(value + c));
        weight = probability(j) * (of.keep(thread, s.index, head, s.past + row, j) * dp - product);
      }
      gather(sums, weight, first, [&](int key) { return of.key_row(s, group, key); });
    }
    for (int slice = 0; slice < slices; ++slice) {
      const int c = slice * warp_size + lane;
      if (c < of.width) thread.store(dq.row(n) + head * of.width + c, T(of.scale * sums[slice]));
    }
  }
};

/// dk and dv: a warp for each key and its head, over the queries of all heads that read it.
template <class P>
struct WarpKeyGradients {
  static constexpr const char* name = "attention backward: keys";
  static constexpr int warps = 4, threads = warps * warp_size, slices = widest_head / warp_size;
  using Shared = AttentionShared<warps>;
  using T = typename P::Activation;
  AttentionOf<P> of;
  RowsOf<const T> d_o;
  RowsOf<T> dk, dv;
  RowsOf<const typename P::Statistic> lse;
  const float* products;  ///< (heads, rows)
  int rows, key_rows;

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    const std::int64_t at = std::int64_t(thread.block()) * warps + thread.warp();
    if (at >= std::int64_t(key_rows) * of.kv_heads) return;
    const int m = int(at / of.kv_heads), group = int(at % of.kv_heads), each = of.heads / of.kv_heads;
    const auto s = of.sequence(thread, of.keys.sequence_of(thread, m));
    const int j = m - s.first_key, lane = thread.lane();
    auto& [key, value] = thread.shared().row[thread.warp()];
    for (int c = lane; c < of.width; c += warp_size) {
      key[c] = float(thread.load(of.k.row(m) + group * of.width + c));
      value[c] = float(thread.load(of.v.row(m) + group * of.width + c));
    }
    thread.warp_barrier();  // the warp has written both

    float key_sums[slices] = {}, value_sums[slices] = {};
    for (int head = group * each; head < (group + 1) * each; ++head)
      for (int first = of.first_seeing(s, j); first < s.queries; first += warp_size) {
        const int row = first + lane, n = s.first_query + row;
        float score_gradient = 0, weight = 0;
        if (row < s.queries) {
          const T* query = of.q.row(n) + head * of.width;
          const T* gradient = d_o.row(n) + head * of.width;
          const float p = std::exp(of.score(thread, key, query, head, row + s.keys - s.queries - j) -
                                   float(thread.load(lse.row(head) + n)));
          const float keep = of.keep(thread, s.index, head, s.past + row, j);
          float dp = 0;
          for (int c = 0; c < of.width; ++c) dp += value[c] * float(thread.load(gradient + c));
          weight = keep * p;
          score_gradient = p * (keep * dp - thread.load(products + std::int64_t(head) * rows + n));
        }
        const float* const score_gradients = shown(thread, score_gradient, 0);
        const float* const weights = shown(thread, weight, 1);
        for (int i = 0; i < warp_size && first + i < s.queries; ++i) {
          const float its = score_gradients[i], its_weight = weights[i];
          const T* query = of.q.row(s.first_query + first + i) + head * of.width;
          const T* gradient = d_o.row(s.first_query + first + i) + head * of.width;
          for (int slice = 0; slice < slices; ++slice) {
            const int c = slice * warp_size + lane;
            if (c >= of.width) continue;
            key_sums[slice] += its * float(thread.load(query + c));
            value_sums[slice] += its_weight * float(thread.load(gradient + c));
          }
        }
      }
    for (int slice = 0; slice < slices; ++slice) {
      const int c = slice * warp_size + lane;
      if (c >= of.width) continue;
      thread.store(dk.row(m) + group * of.width + c, T(of.scale * key_sums[slice]));
      thread.store(dv.row(m) + group * of.width + c, T(value_sums[slice]));
    }
  }
};

/// dbias: a warp for each head and bucket, over all queries, each with the keys at the bucket's distances.
template <class P>
struct WarpBiasGradients {
  static constexpr const char* name = "attention backward: bias";
  static constexpr int threads = warp_size;
  struct Shared {};
  using T = typename P::Activation;
  AttentionOf<P> of;
  RowsOf<const T> d_o;
  RowsOf<const typename P::Statistic> lse;
  const float* products;  ///< (heads, rows)
  typename P::Gradient* dbias;
  int rows;

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    const int head = thread.block() / of.buckets(), bucket = thread.block() % of.buckets();
    const int group = head / (of.heads / of.kv_heads), start = bucket % of.start_count;
    const int nearest = thread.load(of.starts + start);
    const int farthest =
        start + 1 < of.start_count ? thread.load(of.starts + start + 1) : std::numeric_limits<int>::max();
    const int sign = bucket < of.start_count ? 1 : -1;
    float sum = 0;
    for (int index = 0; index < of.queries.sequences; ++index) {
      const auto s = of.sequence(thread, index);
      for (int row = thread.lane(); row < s.queries; row += warp_size) {
        const int n = s.first_query + row, seen = of.seen(s, row), own = row + s.keys - s.queries;
        for (int far = nearest; far < farthest; ++far) {
          const int j = own - sign * far;
          if (sign > 0 ? j < 0 : j >= seen) break;
          if (j < 0 || j >= seen || (far == 0 && sign < 0)) continue;
          const T* query = of.q.row(n) + head * of.width;
          const T* key = of.key_row(s, group, j);
          const T* value = of.value_row(s, group, j);
          const T* gradient = d_o.row(n) + head * of.width;
          float score = 0, dp = 0;
          for (int c = 0; c < of.width; ++c) {
            score += float(thread.load(query + c)) * float(thread.load(key + c));
            dp += float(thread.load(gradient + c)) * float(thread.load(value + c));
          }
          const float p = std::exp(of.scale * score + float(thread.load(of.bias + head * of.buckets() + bucket)) -
                                   float(thread.load(lse.row(head) + n)));
          sum += p * (of.keep(thread, index, head, s.past + row, j) * dp -
                      thread.load(products + std::int64_t(head) * rows + n));
        }
      }
    }
    sum = warp_sum(thread, sum);
    auto* const result = dbias + head * of.buckets() + bucket;
    if (thread.lane() == 0) thread.store(result, typename P::Gradient(float(thread.load(result)) + sum));
  }
};

}  // namespace fathom::inline FATHOM_ABI::cuda

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fathom/backend/cpu/attention.hpp>
#include <fathom/backend/cpu/config.hpp>
#include <fathom/backend/cpu/deferred.hpp>
#include <fathom/backend/cpu/dropout.hpp>
#include <fathom/backend/ops.hpp>
#include <numeric>

namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI {

/// Attention and rotary positions. Gradients of a bias are summed for each sequence, and the sequences once a frame
/// closes. A lane takes all heads of its own sequences; where it has none, everybody waits until q, k and v are there
/// and takes every n-th pair (sequence, key/value head).
template <class P, class Matmul>
struct AttentionOps {
  using Stored = typename P::Activation;
  using T = Computed<Stored>;
  using Gradient = typename P::Gradient;
  using Lane = cpu::Lane<Deferred<P, Matmul>>;

  static constexpr AttentionShape<T> largest(const auto& op, const Capacity& queries, const Capacity& keys) {
    return {.queries = std::size_t(queries.longest),
            .keys = std::size_t(keys.longest),
            .width = std::size_t(op.head_width),
            .group = std::size_t(op.heads / op.kv_heads)};
  }
  static constexpr std::int64_t scratch_bytes(const op::AttentionForward<P>& op) {
    Capacity keys = op.key_packing->capacity;
    keys.longest = std::max(keys.longest, op.cache.length);
    const auto shape = largest(op, op.packing->capacity, keys);
    return std::int64_t((attention_forward_scratch(shape) + bias_size(op, shape)) * sizeof(T));
  }
  static constexpr std::int64_t scratch_bytes(const op::AttentionBackward<P>& op) {
    const auto shape = largest(op, op.packing->capacity, op.key_packing->capacity);
    return std::int64_t((attention_backward_scratch(shape) + 2 * bias_size(op, shape)) * sizeof(T));
  }
  static constexpr std::int64_t held_bytes(const op::AttentionBackward<P>& op, const Capacity& capacity) {
    return align_up(std::int64_t(capacity.sequences) * std::int64_t(op.dbias.size() * sizeof(Gradient)));
  }

  static void run(Lane& lane, const op::AttentionForward<P>& op) {
    each_head(lane, op, [&](int sequence, int head) {
      auto shape = shape_of(op, sequence);
      RowMajor<const Stored> k = at(op.k, op.key_packing->offsets[sequence], head * op.head_width);
      RowMajor<const Stored> v = at(op.v, op.key_packing->offsets[sequence], head * op.head_width);
      if (op.cache.keys != nullptr) {
        k = append(op, op.cache.keys, op.k, sequence, head);
        v = append(op, op.cache.values, op.v, sequence, head);
        shape.keys += std::size_t(op.key_packing->past_of(sequence));
        shape.ahead = std::size_t(op.cache.length) * shape.width;
      }
      const int first = op.packing->offsets[sequence], column = head * int(shape.group) * op.head_width;
      const std::size_t size = attention_forward_scratch(shape);
      T* scratch = lane.template scratch<T>(std::int64_t(size + bias_size(op, shape)));
      if (op.bias) shape.bias = spread_bias(op, shape, head, scratch + size);
      const RowMajor<T> lse{op.lse.row(head * int(shape.group)) + first, std::size_t(op.lse.stride)};
      with_dropout(op, sequence, head, [&](const auto& dropout) {
        attention_forward<T>(shape, at(op.q, first, column), k, v, at(op.o, first, column), lse, scratch, dropout);
      });
    });
  }

  static void run(Lane& lane, const op::AttentionBackward<P>& op) {
    const int sequences = op.packing->sequences(), biases = int(op.dbias.size());
    Gradient* const partials =
        biases == 0 ? nullptr : lane.workspace().template take<Gradient>(std::int64_t(sequences) * biases);
    each_head(lane, op, [&](int sequence, int head) {
      auto shape = shape_of(op, sequence);
      const int first = op.packing->offsets[sequence], column = head * int(shape.group) * op.head_width;
      const int key = op.key_packing->offsets[sequence], kv = head * op.head_width;
      const std::size_t size = attention_backward_scratch(shape);
      T* scratch = lane.template scratch<T>(std::int64_t(size + 2 * bias_size(op, shape)));
      T* dbias = nullptr;
      if (op.bias) shape.bias = spread_bias(op, shape, head, scratch + size);
      if (biases > 0) {
        dbias = scratch + size + bias_size(op, shape);
        std::fill_n(dbias, bias_size(op, shape), T(0));
      }
      const auto o = op.restored ? AttentionOutput<Stored>{.restored = at(op.restored, first, column)}
                                 : AttentionOutput<Stored>{.given = at(op.o, first, column)};
      const RowMajor<const T> lse{op.lse.row(head * int(shape.group)) + first, std::size_t(op.lse.stride)};
      with_dropout(op, sequence, head, [&](const auto& dropout) {
        attention_backward<T>(shape, at(op.q, first, column), at(op.k, key, kv), at(op.v, key, kv), o, lse,
                              at(op.d_o, first, column), at(op.dq, first, column), at(op.dk, key, kv),
                              at(op.dv, key, kv), dbias, scratch, dropout);
      });
      if (biases > 0) gather_bias(op, shape, head, dbias, partials + std::int64_t(sequence) * biases);
    });
    if (biases > 0) lane.defer({Reduction<Gradient>{partials, sequences, biases, op.dbias.data()}});
  }

  static void run(Lane& lane, const op::Rotate<P>& op) {
    const int pairs = op.head_width / 2;
    each_run(lane.packing(), lane.share().rows, [&](int, int position, int first, int count) {
      for (int pair = 0; pair < pairs; ++pair) {
        const double frequency = std::pow(op.base, -2.0 * pair / op.head_width);
        for (int r = 0; r < count; ++r) {
          const double angle = (position + r) * frequency;
          const T cosine = T(std::cos(angle)), sine = T(op.backward ? -std::sin(angle) : std::sin(angle));
          Stored* row = op.x.row(first + r) + 2 * pair;
          for (int head = 0; head < op.x.columns / op.head_width; ++head, row += op.head_width) {
            const T even = T(row[0]), odd = T(row[1]);
            row[0] = Stored(even * cosine - odd * sine);
            row[1] = Stored(even * sine + odd * cosine);
          }
        }
      }
    });
  }

  /// Lanes take every n-th copy of a head. What they read was there when the region began.
  static void run(Lane& lane, const op::CopyCache<P>& op) {
    const std::int64_t head = std::int64_t(op.length) * op.width, sequence = head * op.heads;
    for (int item = lane.number(); item < int(op.copies.size()) * op.heads; item += lane.parts()) {
      const CacheCopy& copy = op.copies[item / op.heads];
      Stored* const first = op.slabs + item % op.heads * head;
      std::memcpy(static_cast<void*>(first + copy.to * sequence), first + copy.from * sequence,
                  std::size_t(copy.rows) * std::size_t(op.width) * sizeof(Stored));
    }
    lane.barrier();
  }

 private:
  template <class U>
  static RowMajor<U> at(const Matrix<U>& matrix, int row, int column) {
    return {matrix.row(row) + column, std::size_t(matrix.stride)};
  }

  static AttentionShape<T> shape_of(const auto& op, int sequence) {
    return {.queries = std::size_t(op.packing->length(sequence)),
            .keys = std::size_t(op.key_packing->length(sequence)),
            .width = std::size_t(op.head_width),
            .group = std::size_t(op.heads / op.kv_heads),
            .causal = op.causal,
            .scale = T(op.scale)};
  }

  static constexpr std::size_t bias_size(const auto& op, const AttentionShape<T>& shape) {
    return op.bias ? shape.group * BiasPlaces<T>(shape).count : 0;
  }

  /// The bias of the query heads of one key/value head, as kernels read it, OVERWRITTEN.
  static const T* spread_bias(const auto& op, const AttentionShape<T>& shape, int head, T* bias) {
    const BiasPlaces<T> places(shape);
    const int buckets = op.bias.buckets(op.causal);
    std::fill_n(bias, bias_size(op, shape), T(0));
    for (int h = 0; h < int(shape.group); ++h) {
      const auto* numbers = op.bias.table.data() + (head * int(shape.group) + h) * buckets;
      T* row = bias + std::size_t(h) * places.count;
      places.each_bucket(op.bias, op.causal, [&](int bucket, std::size_t begin, std::size_t end) {
        std::fill(row + begin, row + end, T(numbers[bucket]) * detail::log2_e<T>);
      });
    }
    return bias;
  }
  /// The gradients of these heads' rows of the table, in `gradients`, a whole table: OVERWRITTEN.
  static void gather_bias(const auto& op, const AttentionShape<T>& shape, int head, const T* dbias,
                          Gradient* gradients) {
    const BiasPlaces<T> places(shape);
    const int buckets = op.bias.buckets(op.causal);
    for (int h = 0; h < int(shape.group); ++h) {
      const T* row = dbias + std::size_t(h) * places.count;
      Gradient* numbers = gradients + (head * int(shape.group) + h) * buckets;
      places.each_bucket(op.bias, op.causal, [&](int bucket, std::size_t begin, std::size_t end) {
        numbers[bucket] = std::accumulate(row + begin, row + end, Gradient(0));
      });
    }
  }

  /// Copies the new rows of one key/value head behind the past ones and returns all of them. A head's rows lie one
  /// behind another: it is reading them from memory that takes the time. The first lines of the next head's are
  /// fetched.
  static RowMajor<const Stored> append(const op::AttentionForward<P>& op, Stored* cache,
                                       const Matrix<const Stored>& rows, int sequence, int head) {
    const Packing& packing = *op.key_packing;
    const int width = op.head_width, past = packing.past_of(sequence);
    Stored* slab = cache + std::int64_t(sequence * op.kv_heads + head) * op.cache.length * width;
    for (int r = 0; r < packing.length(sequence); ++r)
      std::memcpy(static_cast<void*>(slab + std::int64_t(past + r) * width),
                  rows.row(packing.offsets[sequence] + r) + head * width, std::size_t(width) * sizeof(Stored));
    const Stored* next = slab + std::int64_t(op.cache.length) * width;
    for (int line = 0; line < 8; ++line) __builtin_prefetch(next + line * (alignment / std::int64_t(sizeof(Stored))));
    return {slab, std::size_t(width)};
  }

  /// Dropout of the probabilities of one key/value head, as attention's kernels ask for it.
  struct ProbabilityDropout {
    static constexpr bool active = true;
    Dropout dropout;
    int sequence, first_head, past;

    void operator()(std::size_t head, std::size_t query, std::size_t key, T* factors) const {
      dropout_columns<T>(dropout, sequence, first_head + int(head), past + int(query), int(key), factors);
    }
  };

  template <class F>
  static void with_dropout(const auto& op, int sequence, int head, F&& f) {
    if (op.dropout.active())
      f(ProbabilityDropout{op.dropout, sequence, head * (op.heads / op.kv_heads), op.packing->past_of(sequence)});
    else
      f(NoDropout{});
  }

  template <class F>
  static void each_head(Lane& lane, const auto& op, F&& f) {
    const Deal deal = lane.share().deal;
    const bool alone = deal == Deal::columns && op.flops() < flops_worth_meeting;
    if (lane.parts() == 1 || (op.packing == op.key_packing && (deal == Deal::sequences || alone))) {
      for (int sequence = lane.share().sequences.begin; sequence < lane.share().sequences.end; ++sequence)
        for (int head = 0; head < op.kv_heads; ++head) f(sequence, head);
      return;
    }
    lane.barrier();
    for (int item = lane.number(); item < op.packing->sequences() * op.kv_heads; item += lane.parts())
      f(item / op.kv_heads, item % op.kv_heads);
    lane.barrier();
  }
};

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI

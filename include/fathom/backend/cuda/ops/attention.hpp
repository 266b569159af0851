// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <fathom/backend/cuda/attention_kernels.hpp>
#include <fathom/backend/cuda/flash_attention.hpp>
#include <fathom/backend/cuda/prepared.hpp>
#include <fathom/backend/cuda/rows.hpp>
#include <fathom/backend/cuda/session.hpp>
#include <fathom/backend/ops/attention.hpp>
#include <fathom/core/config.hpp>
#include <optional>
#include <type_traits>
#include <utility>

namespace fathom::inline FATHOM_ABI::cuda {

/// x rotated in place.
template <class P>
struct RotaryRows {
  static constexpr const char* name = "rotary";
  static constexpr int threads = 256;
  int head_width;
  double base;
  bool backward;
  PlacesOf places;
  RowsOf<typename P::Activation> x;
  int rows;

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    const int pairs = x.columns / 2;
    for (std::int64_t i = std::int64_t(thread.block()) * threads + thread.index(); i < std::int64_t(rows) * pairs;
         i += std::int64_t(thread.blocks()) * threads) {
      const int row = int(i / pairs), c = int(i % pairs) * 2;
      auto* const pair = x.row(row) + c;
      const double angle = places.place(thread, row).position * std::pow(base, -double(c % head_width) / head_width);
      const float cosine = float(std::cos(angle)), sine = float(backward ? -std::sin(angle) : std::sin(angle));
      const float a = float(thread.load(pair)), b = float(thread.load(pair + 1));
      thread.store(pair, typename P::Activation(a * cosine - b * sine));
      thread.store(pair + 1, typename P::Activation(a * sine + b * cosine));
    }
  }
};

template <class T>
struct CopyCacheRows {
  static constexpr const char* name = "copy cache";
  static constexpr int threads = 256;
  T* slabs;
  const CacheCopy* copies;
  int heads, length, width;

  /// A block for each copy and head.
  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    const CacheCopy copy = thread.load(copies + thread.block() / heads);
    const std::int64_t head = std::int64_t(length) * width, at = thread.block() % heads * head;
    for (std::int64_t i = thread.index(); i < std::int64_t(copy.rows) * width; i += threads)
      thread.store(slabs + copy.to * heads * head + at + i, thread.load(slabs + copy.from * heads * head + at + i));
  }
};

/// What cuDNN may plan of an op as the host has it; none where it has no engine, or not one that fathom asks for.
template <class P, class Op>
std::optional<AttentionShape> cudnn_shape(const Op& op, const auto& output, const auto&... like_output) {
  if constexpr (!std::is_same_v<typename P::Activation, Bf16>) {
    return {};
  } else {
    const Packing &rows = *op.packing, &keys = *op.key_packing;
    const auto fits = [](const auto& m) {
      return m.stride % octet == 0 && reinterpret_cast<std::uintptr_t>(m.data) % 16 == 0;
    };
    bool cached = false;
    if constexpr (requires { op.cache; }) cached = op.cache.keys != nullptr;
    const std::int64_t scores =
        std::int64_t(rows.capacity.sequences) * op.heads * rows.capacity.longest * keys.capacity.longest;
    if (op.q.rows == 0 || op.k.rows == 0 || op.bias || cached || op.heads != op.kv_heads ||
        op.head_width % octet != 0 || op.head_width > 128 || (op.causal && rows != keys) || scores > most_scores ||
        !(fits(op.q) && fits(op.k) && fits(op.v) && fits(output)) ||
        !((fits(like_output) && like_output.stride == output.stride) && ...))
      return {};
    return AttentionShape{.sequences = rows.capacity.sequences,
                          .heads = op.heads,
                          .width = op.head_width,
                          .queries = rows.capacity.longest,
                          .keys = keys.capacity.longest,
                          .query_stride = op.q.stride,
                          .key_stride = op.k.stride,
                          .value_stride = op.v.stride,
                          .output_stride = output.stride,
                          .statistics_stride = op.lse.stride,
                          .causal = op.causal,
                          .ordered = true,
                          .keep = 1 / op.dropout.scale()};
  }
}
template <class P>
std::optional<AttentionShape> cudnn_shape(const op::AttentionForward<P>& op) {
  return cudnn_shape<P>(op, op.o);
}
template <class P>
std::optional<AttentionShape> cudnn_shape(const op::AttentionBackward<P>& op) {
  const auto same = [](const auto& gradient, const auto& of) {
    return gradient.stride == of.stride && reinterpret_cast<std::uintptr_t>(gradient.data) % 16 == 0;
  };
  if (!same(op.dq, op.q) || !same(op.dk, op.k) || !same(op.dv, op.v)) return {};
  return op.restored ? cudnn_shape<P>(op, op.restored, op.d_o) : cudnn_shape<P>(op, op.o, op.d_o);
}

/// What cuDNN is told of the packings of an op as the host has it, if it does the op: forward, for backward both.
template <class P, class Op>
Ragged ragged_of(Session& session, const Op& op) {
  const std::optional<AttentionShape> shape = cudnn_shape(op);
  if (!shape || !session.plans(*shape, false)) return {};
  if (std::is_same_v<Op, op::AttentionBackward<P>> && !session.plans(*shape, true)) return {};
  const Packing &rows = *op.packing, &keys = *op.key_packing;
  return {session.lengths(rows),
          session.lengths(keys),
          session.offsets(rows, shape->query_stride),
          session.offsets(keys, shape->key_stride),
          session.offsets(keys, shape->value_stride),
          session.offsets(rows, shape->output_stride),
          session.offsets(rows, 1)};
}

/// What forward and backward bind.
template <class P, class Op>
AttentionPlans::Bound bound_by(Session& session, const OnKeys<Op>& packed, const Key* key, const void* output,
                               const float* statistics) {
  using Id = AttentionTensor;
  const Ragged& at = packed.ragged;
  AttentionPlans::Bound bound{{Id::query, packed.op.q.data},     {Id::key, packed.op.k.data},
                              {Id::value, packed.op.v.data},     {Id::output, output},
                              {Id::statistics, statistics},      {Id::query_lengths, at.query_lengths},
                              {Id::key_lengths, at.key_lengths}, {Id::query_offsets, at.query},
                              {Id::key_offsets, at.key},         {Id::value_offsets, at.value},
                              {Id::output_offsets, at.output},   {Id::statistics_offsets, at.statistics}};
  if (packed.op.dropout.active()) {
    bound.emplace_back(Id::seed, key);
    bound.emplace_back(Id::seed_offset, session.zero());
  }
  return bound;
}

inline void check_head_width(int width) {
  if (width > widest_head)
    throw ShapeError("Cuda: attention: heads of " + std::to_string(width) + " elements; there are kernels for up to " +
                     std::to_string(widest_head));
}

template <class K>
int warp_blocks(std::int64_t warps) {
  return int((warps + K::warps - 1) / K::warps);
}

/// Whether tiles on tensor cores do it: a row of a tile takes as long as sixteen.
template <class P>
bool fills_tiles(const op::AttentionForward<P>& op, const Packing& rows) {
  return std::is_same_v<typename P::Activation, Bf16> &&
         (op.cache.keys == nullptr || op.q.rows >= MatrixStep::rows * rows.sequences());
}

template <class P>
void run_op(Session& session, const OnKeys<op::AttentionForward<P>>& packed, Numbers numbers) {
  const op::AttentionForward<P>& op = packed.op;
  const Key* const key = numbers.next<Key>();
  if (packed.ragged) {
    Arena scratch = session.scratch();
    session.attention().run(packed.shape, false, float(op.scale),
                            bound_by<P>(session, packed, key, op.o.data, op.lse.data), scratch);
    return;
  }
  check_head_width(op.head_width);
  AttentionOf<P> of(op, packed.rows, packed.keys, key);
  if (op.cache.keys != nullptr) {
    of.cached_keys = op.cache.keys, of.cached_values = op.cache.values, of.cache_length = op.cache.length;
    using K = AppendToCache<P>;
    const auto append = [&](const auto& fresh, typename P::Activation* slabs) {
      if (fresh.rows > 0)
        session.launch(blocks_for<K>(std::int64_t(fresh.rows) * fresh.columns),
                       K{of.keys, fresh, slabs, op.kv_heads, op.head_width, op.cache.length, fresh.rows});
    };
    append(op.k, op.cache.keys);
    append(op.v, op.cache.values);
  }
  if (op.q.rows == 0) return;
  if constexpr (std::is_same_v<typename P::Activation, Bf16>)
    if (fills_tiles(op, packed.rows))
      return with_tiles(op.head_width, [&]<int Width>() {
        using K = FlashForward<P, Width>;
        session.launch(tile_blocks<K>(op.q.rows, packed.rows.sequences(), op.heads), K{{}, of, op.o, op.lse});
      });
  using K = WarpForward<P>;
  session.launch(warp_blocks<K>(std::int64_t(op.q.rows) * op.heads), K{of, op.o, op.lse, op.q.rows});
}

/// dq, dk and dv by tiles, and `products`.
template <class P>
void flash_backward(Session& session, const OnKeys<op::AttentionBackward<P>>& packed, const AttentionOf<P>& of,
                    float* products) {
  const op::AttentionBackward<P>& op = packed.op;
  const int rows = op.q.rows, key_rows = op.k.rows;
  with_tiles(op.head_width, [&]<int Width>() {
    if (rows > 0) {
      using K = FlashQueryGradients<P, Width>;
      session.launch(tile_blocks<K>(rows, packed.rows.sequences(), op.heads),
                     K{{}, of, op.o, op.d_o, op.restored, op.dq, op.lse, products, rows});
    }
    const auto gradients = [&]<bool Keys, bool Values>() {
      using K = FlashKeyGradients<P, Width, Keys, Values>;
      session.launch(tile_blocks<K>(key_rows, packed.keys.sequences(), op.kv_heads),
                     K{{}, of, op.d_o, op.dk, op.dv, op.lse, products, rows});
    };
    if (key_rows == 0) return;
    if constexpr (Width > 128) {
      gradients.template operator()<true, false>();
      gradients.template operator()<false, true>();
    } else {
      gradients.template operator()<true, true>();
    }
  });
}

/// The same by a warp for each query and each key.
template <class P>
void warp_backward(Session& session, const op::AttentionBackward<P>& op, const AttentionOf<P>& of, float* products) {
  const int rows = op.q.rows, key_rows = op.k.rows;
  if (rows > 0) {
    using K = WarpQueryGradients<P>;
    session.launch(warp_blocks<K>(std::int64_t(rows) * op.heads),
                   K{of, op.o, op.d_o, op.restored, op.dq, op.lse, products, rows});
  }
  if (key_rows > 0) {
    using K = WarpKeyGradients<P>;
    session.launch(warp_blocks<K>(std::int64_t(key_rows) * op.kv_heads),
                   K{of, op.d_o, op.dk, op.dv, op.lse, products, rows, key_rows});
  }
}

template <class P>
void run_op(Session& session, const OnKeys<op::AttentionBackward<P>>& packed, Numbers numbers) {
  const op::AttentionBackward<P>& op = packed.op;
  const Key* const key = numbers.next<Key>();
  Arena scratch = session.scratch();
  if (packed.ragged) {
    using Id = AttentionTensor;
    const std::int64_t statistics_of_all = std::int64_t(op.heads) * op.lse.stride;
    float* const products = scratch.take<float>(statistics_of_all);
    const void* const o = op.restored ? op.restored.data : op.o.data;
    float* const statistics = scratch.take<float>(statistics_of_all);  // of o, when it is made again
    if (op.restored)
      session.attention().run(packed.shape, false, float(op.scale), bound_by<P>(session, packed, key, o, statistics),
                              scratch);
    AttentionPlans::Bound bound = bound_by<P>(session, packed, key, o, op.lse.data);
    bound.insert(bound.end(), {{Id::output_gradient, op.d_o.data},
                               {Id::query_gradient, op.dq.data},
                               {Id::key_gradient, op.dk.data},
                               {Id::value_gradient, op.dv.data},
                               {Id::sums, products}});
    session.attention().run(packed.shape, true, float(op.scale), std::move(bound), scratch);
    return;
  }
  check_head_width(op.head_width);
  const AttentionOf<P> of(op, packed.rows, packed.keys, key);
  const int rows = op.q.rows;
  float* const products = scratch.take<float>(std::int64_t(op.heads) * rows);
  if constexpr (std::is_same_v<typename P::Activation, Bf16>)
    flash_backward(session, packed, of, products);
  else
    warp_backward(session, op, of, products);
  if (!op.dbias.empty() && rows > 0)
    session.launch(op.heads * of.buckets(), WarpBiasGradients<P>{of, op.d_o, op.lse, products, op.dbias.data(), rows});
}

template <class P>
void run_op(Session& session, const OnRows<op::Rotate<P>>& packed, Numbers) {
  const op::Rotate<P>& op = packed.op;
  if (op.x.rows == 0) return;
  using K = RotaryRows<P>;
  session.launch(blocks_for<K>(std::int64_t(op.x.rows) * op.x.columns / 2),
                 K{op.head_width, op.base, op.backward, PlacesOf(packed.rows), op.x, op.x.rows});
}

template <class P>
void run_op(Session& session, const op::CopyCache<P>& op, Numbers) {
  if (op.copies.empty()) return;
  using T = typename P::Activation;
  session.launch(int(op.copies.size()) * op.heads,
                 CopyCacheRows<T>{op.slabs, op.copies.data(), op.heads, op.length, op.width});
}

}  // namespace fathom::inline FATHOM_ABI::cuda

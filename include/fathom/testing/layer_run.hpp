// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <fathom/backend/context.hpp>
#include <fathom/backend/dry_run.hpp>
#include <fathom/backend/ref/ref.hpp>
#include <fathom/core/buffer.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/indexed.hpp>
#include <fathom/core/random.hpp>
#include <fathom/layers/layer.hpp>
#include <limits>
#include <numeric>
#include <vector>

namespace fathom::inline FATHOM_ABI::testing {

/// The rows that a layer under test sees.
struct LayerRows {
  std::vector<int> lengths = {4, 1, 3};  ///< rows of each sequence
  std::vector<int> memory_lengths = {};  ///< rows of each sequence of the side input; empty: there is none
  int memory_width = 0;                  ///< columns of the side input
};

/// One layer on one backend, with all the memory that it needs: what a test, a comparison or a benchmark of a single
/// layer builds on. The memory is laid out for a capacity somewhat above the batch, as in training.
///
///   LayerRun<Attention<64, 4>, Cpu<Double>> run({.lengths = {9, 4}});
///   run.randomize(1);
///   run.forward();                        // overwrites y
///   run.backward();                       // overwrites dx, adds to gradients and memory_gradient
///   run.restore();                        // overwrites y, for a layer that restores its output
///   run.forward_piece(begin, end);        // overwrites some rows of y, for a layer that reads in pieces
template <Layer L, class B = Ref<double>>
class LayerRun {
  static_assert(CheckBackend<B>::value);

 public:
  using P = typename B::Precision;
  using T = typename P::Stream;
  using Memory = typename B::template Buffer<T>;
  static_assert(std::same_as<P, Uniform<T>>, "LayerRun: the backend must compute in one type throughout");

  Memory parameters, gradients;    ///< flat, as `describe<L>()` tells
  Memory x, dx, y, dy;             ///< (rows, input_width) and (rows, output_width)
  Memory memory, memory_gradient;  ///< (memory rows, memory_width)
  Pass pass;

  explicit LayerRun(const LayerRows& batch = {}, const typename B::Options& machine = {})
      : parameters(parameter_extent<L>().total()),
        gradients(parameters.size()),
        memory_width_(batch.memory_width),
        context_(machine),
        packed_(pack(batch.lengths)),
        memory_packed_(pack(batch.memory_lengths)),
        packing_(packed_),
        memory_packing_(memory_packed_) {
    x = Memory(rows() * L::input_width), dx = Memory(x.size());
    y = Memory(rows() * L::output_width), dy = Memory(y.size());
    memory = Memory(memory_packed_.rows() * memory_width_), memory_gradient = Memory(memory.size());
    packing_.capacity.memory_rows = memory_packed_.capacity().rows;
    saved_ = Bytes(saved_bytes<L, P>(packing_.capacity));
    size_ = measure();
    context_.reserve(size_);
  }

  std::int64_t rows() const { return packed_.rows(); }
  std::vector<std::byte> saved() const { return values_of(saved_); }

  /// Draws x, dy, memory and parameters; gradients, dx, y and the memory's gradient stay. Parameters come out away from
  /// their initial values, whose zeros and ones hide errors; matrices keep the scale of what they multiply.
  void randomize(std::uint64_t seed) {
    const Key key{seed};
    fill_normal(x, key.child("x")), fill_normal(dy, key.child("dy")), fill_normal(memory, key.child("memory"));
    fill_normal(parameters, key.child("parameters"));
    const Indexed<std::vector<T>> drawn = values_of(parameters);
    Indexed<std::vector<T>> gapless(drawn.size());
    for (const ParameterInfo& info : describe<L>())
      for (std::int64_t i = info.offset; i < info.offset + info.size(); ++i)
        gapless[i] = info.is_vector() ? T(info.init.value) + T(0.3) * drawn[i] : drawn[i] / T(std::sqrt(info.columns));
    parameters.upload(0, gapless);
  }
  /// Standard normal values that depend on the key alone.
  static void fill_normal(Memory& buffer, Key key) {
    std::vector<T> values(std::size_t(buffer.size()));
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = T(normals(Philox(key)(std::uint64_t(i)))[0]);
    buffer.upload(0, values);
  }
  static void fill(Memory& buffer, T value) { buffer.upload(0, std::vector(std::size_t(buffer.size()), value)); }

  /// Makes NaNs of everything that a forward and a backward pass must overwrite before they read it.
  void poison() {
    for (Memory* buffer : {&y, &dx}) fill(*buffer, std::numeric_limits<T>::quiet_NaN());
    saved_.upload(0, poison_bytes(saved_.size()));
    poison_workspace();
  }
  void poison_workspace() { context_.fill_workspace(poison_byte); }

  void forward() {
    context_.run(packing_, pass, [&](auto& worker) {
      forward_on(worker, flow(), rows_of<const T, L::input_width>(x), rows_of<T, L::output_width>(y));
    });
  }
  void backward(const Skip<P>& skip = {}) {
    context_.run(packing_, pass, [&](auto& worker) { backward_on(worker, skip); });
  }
  /// Overwrites y with what the layer makes of what `forward` saved.
  void restore() requires restores_output<L> {
    context_.run(packing_, pass, [&](auto& worker) {
      const auto frame = worker.frame();
      L::restore(worker, bind_parameters<L, const T>(parameters.data()), flow(), take_saved(),
                 rows_of<T, L::output_width>(y));
    });
  }

  /// Overwrites rows begin[s] to end[s] of every sequence s in y, by a pass over these rows that continues what earlier
  /// such passes have left in a cache.
  void forward_piece(const std::vector<int>& begin, const std::vector<int>& end) requires reads_in_pieces<L> {
    std::vector<int> counts;
    Indexed<std::vector<int>> rows_of_piece;
    for (std::size_t s = 0; s < begin.size(); ++s) {
      counts.push_back(end[s] - begin[s]);
      for (int row = begin[s]; row < end[s]; ++row) rows_of_piece.push_back(packed_.view().offsets[s] + row);
    }
    const int count = int(rows_of_piece.size());
    if (count == 0) return;
    PackedRows piece(packing_.capacity);
    piece.assign(counts, begin);
    Memory piece_x(std::int64_t(count) * L::input_width), piece_y(std::int64_t(count) * L::output_width);
    for (int i = 0; i < count; ++i) copy_row<L::input_width>(x, rows_of_piece[i], piece_x, i);
    reserve_cache();
    context_.run(piece, pass, [&](auto& worker) {
      Arena cache = arena_of(cache_);
      forward_on(worker, cached_flow(cache), {piece_x.data(), count}, {piece_y.data(), count});
    });
    for (int i = 0; i < count; ++i) copy_row<L::output_width>(piece_y, i, y, rows_of_piece[i]);
  }

 private:
  static constexpr std::byte poison_byte{0xff};  // four or eight of them are a NaN
  using Bytes = typename B::template Buffer<std::byte>;

  static std::vector<std::byte> poison_bytes(std::int64_t count) {
    return std::vector(std::size_t(count), poison_byte);
  }
  template <int Width>
  static void copy_row(const Memory& from, std::int64_t from_row, Memory& to, std::int64_t to_row) {
    std::array<T, std::size_t(Width)> row;
    from.download(from_row * Width, row);
    to.upload(to_row * Width, row);
  }

  static PackedRows pack(const std::vector<int>& lengths) {
    if (lengths.empty()) return {};
    const int rows = std::accumulate(lengths.begin(), lengths.end(), 0);
    PackedRows packed({rows + 3, int(lengths.size()) + 1, *std::ranges::max_element(lengths) + 2});
    packed.assign(lengths);
    return packed;
  }

  /// Exactly what passes need, so that one that takes more is found.
  WorkspaceSize measure() {
    return dry_run<B>(packing_.capacity, {0.5, 0.5, 0.5, 0.5},
                      [&](auto& worker) {
                        forward_on(worker, flow(), rows_of<const T, L::input_width>(x), rows_of<T, L::output_width>(y));
                        backward_on(worker, {{x.data(), packed_.rows(), L::input_width}, 1});
                      })
        .size;
  }

  /// The cache and what else passes with it need.
  void reserve_cache() {
    if (cache_.size() > 0) return;
    Arena cache;
    context_.reserve(dry_run<B>(packing_.capacity, {0.5, 0.5, 0.5, 0.5}, [&](auto& worker) {
                       forward_on(worker, cached_flow(cache), rows_of<const T, L::input_width>(x),
                                  rows_of<T, L::output_width>(y));
                     }).size);
    cache_ = Bytes(cache.peak());
    cache_.upload(0, poison_bytes(cache_.size()));
  }

  void forward_on(auto& worker, const Flow<P>& flow, Rows<const T, L::input_width> from, Rows<T, L::output_width> to) {
    Saved saved = take_saved();
    const auto frame = worker.frame();
    L::forward(worker, bind_parameters<L, const T>(parameters.data()), flow, from, to, saved);
  }
  void backward_on(auto& worker, const Skip<P>& skip) {
    const Saved saved = take_saved();
    const auto frame = worker.frame();
    L::backward(worker, bind_parameters<L, const T>(parameters.data()), bind_parameters<L, T>(gradients.data()), flow(),
                rows_of<const T, L::input_width>(x), saved, rows_of<const T, L::output_width>(dy),
                rows_of<T, L::input_width>(dx), skip);
  }

  using Saved = typename L::template Saved<P>;
  Saved take_saved() {
    Arena cursor = arena_of(saved_);
    return Saved::take(cursor, packing_.capacity);
  }
  Flow<P> flow() {
    Flow<P> flow;
    flow.memory = Matrix<const T>(memory.data(), memory_packed_.rows(), memory_width_);
    flow.memory_packing = &memory_packing_;
    flow.memory_gradient = {memory_gradient.data(), memory_packed_.rows(), memory_width_};
    return flow;
  }
  Flow<P> cached_flow(Arena& cache) {
    Flow<P> cached = flow();
    cached.cache = &cache, cached.cache_length = packing_.capacity.longest;
    cached.memory_cache_length = memory_packing_.capacity.longest;  // each pass brings the memory
    return cached;
  }
  template <class Element, int Width>
  Rows<Element, Width> rows_of(Memory& buffer) const {
    return {buffer.data(), packed_.rows()};
  }

  int memory_width_;
  Context<B> context_;
  PackedRows packed_, memory_packed_;
  Packing packing_, memory_packing_;
  Bytes saved_, cache_;
  WorkspaceSize size_;
};

}  // namespace fathom::inline FATHOM_ABI::testing

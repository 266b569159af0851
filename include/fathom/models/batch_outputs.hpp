// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <fathom/backend/context.hpp>
#include <fathom/backend/observed.hpp>
#include <fathom/backend/stream_scales.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/view.hpp>
#include <fathom/layers/layer.hpp>
#include <fathom/models/model.hpp>
#include <fathom/models/weights.hpp>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

/// All that a model makes of a batch, on the host: for whoever looks into a model.
namespace fathom::inline FATHOM_ABI {

/// A matrix on the host, and what it is.
template <class T>
struct OutputRows {
  std::string name;  ///< such as encoder.blocks.3, or logits
  int rows = 0, columns = 0;
  std::vector<T> values;  ///< row-major

  Matrix<const T> view() const { return {values.data(), rows, columns}; }
};

/// Rows of the batch, one sequence behind another.
template <class P>
struct BatchOutputs {
  std::vector<OutputRows<typename P::Stream>> blocks;  ///< the stream behind each block, in the order in which they run
  OutputRows<typename P::Activation> hidden;           ///< what the output layer reads, of all positions
  OutputRows<typename P::Activation> logits;           ///< (rows, vocabulary), of all positions
};

namespace detail {

/// Reads the stream behind each block.
template <class B>
class BlockReader : public BlockObserver {
  using P = typename B::Precision;
  using Stream = typename P::Stream;

 public:
  void enter(std::string_view name, int index) {
    if (!begins_block(name, index)) return;
    const std::string stack = around();
    blocks_.push_back({(stack.empty() ? "" : stack + ".") + "blocks." + std::to_string(index), 0, 0, {}});
  }
  template <class Op>
  void end(const Op& op, typename B::Lane& lane) {
    if constexpr (std::is_same_v<Op, op::ResidualAdd<P>>) {
      if (adds_branch(op)) read(lane, op.y);
    } else if constexpr (std::is_same_v<Op, op::ResidualAddNorm<P>>) {
      if (in_block()) read(lane, op.y);
    }
  }
  std::vector<OutputRows<Stream>> blocks() && { return std::move(blocks_); }

 private:
  /// The last sum of a block is its output.
  void read(typename B::Lane& lane, const StreamResult<P>& y) {
    if constexpr (branches_read_stream<P>)
      read_matrix(lane, y);
    else if (y.stream)
      read_matrix(lane, y.stream);
    else
      read_matrix(lane, y.branch);
  }
  template <class T>
  void read_matrix(typename B::Lane& lane, const Matrix<T>& y) {
    const auto values = read_rows(lane, y);
    blocks_.back().rows = y.rows, blocks_.back().columns = y.columns;
    blocks_.back().values.assign(values.begin(), values.end());
  }

  std::vector<OutputRows<Stream>> blocks_;
};

}  // namespace detail

/// What a model makes of a batch, without dropout, by one pass on one lane.
///
///   const auto outputs = batch_outputs(trainer.weights(), batch);
///   outputs.logits.view().row(position)        of what follows there
///   outputs.blocks[17].view()                  the stream behind layer 17
///
/// Errors: `ShapeError` for a batch that the model does not take.
template <class Model, class B>
BatchOutputs<typename B::Precision> batch_outputs(const Weights<Model, B>& weights,
                                                  const typename Model::Batch& batch) {
  using P = typename B::Precision;
  using T = typename P::Activation;
  using Watched = Observed<B, detail::BlockReader<B>>;
  constexpr int vocabulary = [] {
    if constexpr (requires { Model::vocabulary; })
      return Model::vocabulary;
    else
      return Model::Target::vocabulary;
  }();
  const typename Model::Batch reading = batch.forward_only();
  const auto capacity = reading.capacity();
  Model::check_capacity(capacity, "batch_outputs");
  Model::check(reading, capacity);
  const int rows = reading.output_packing().rows();
  typename B::template Buffer<std::byte> activations(saved_bytes<Model, P>(capacity));
  typename B::template Buffer<T> logits(std::int64_t(rows) * vocabulary);
  const auto pass = [](auto& worker, const auto& params, const auto& of, auto& saved, T* into) {
    const int count = of.output_packing().rows();
    Model::forward(worker, params, Flow<P>{}, of, saved);
    Model::logits(worker, params, resized(saved.hidden, count), {into, count});
  };
  Context<Watched> context(B::one_lane());
  const auto planned = Model::Batch::planned(capacity);
  context.reserve(dry_run<Watched>(planned.output_packing(), {}, [&](auto& worker) {
                    Arena arena;
                    auto saved = Model::template Saved<P>::take(arena, capacity);
                    pass(worker, typename Model::template Params<const typename P::Weight>{}, planned, saved, nullptr);
                  }).size);
  Arena arena = arena_of(activations);
  auto saved = Model::template Saved<P>::take(arena, capacity);
  context.run(reading.output_packing(), Pass{},
              [&](auto& worker) { pass(worker, weights.params(), reading, saved, logits.data()); });

  const Matrix<const T> hidden = Matrix<T>(resized(saved.hidden, rows));
  std::vector<T> values(std::size_t(rows) * std::size_t(hidden.columns));
  activations.download(reinterpret_cast<const std::byte*>(hidden.data) - std::as_const(activations).data(),
                       std::as_writable_bytes(std::span(values)));
  return {std::move(context.machine().observers().front()).blocks(),
          {"hidden", rows, hidden.columns, std::move(values)},
          {"logits", rows, vocabulary, values_of(logits)}};
}

}  // namespace fathom::inline FATHOM_ABI

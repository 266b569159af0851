// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <fathom/backend/context.hpp>
#include <fathom/core/batch.hpp>
#include <fathom/core/buffer.hpp>
#include <fathom/models/language_model.hpp>
#include <fathom/models/weights.hpp>
#include <limits>
#include <string>
#include <vector>

namespace fathom_test {
using namespace fathom;

/// A model on one backend with all the memory that a pass needs, laid out for a capacity above its batch.
template <class ModelType, class B>
class ModelRun {
 public:
  using Model = ModelType;
  using P = typename B::Precision;
  using T = typename P::Weight;
  using Memory = typename B::template Buffer<T>;

  Weights<Model, B> weights;
  Memory gradients{Weights<Model, B>::extent.total()};  ///< flat, as `table` tells
  const std::vector<ParameterInfo> table = describe<Model>();
  std::vector<int> tokens, targets;
  Pass pass;
  LossOptions options;

  explicit ModelRun(const std::vector<int>& lengths, const typename B::Options& machine = {})
      : rows_({40, int(lengths.size()) + 1, Model::context}),
        saved_(saved_bytes<Model, P>(rows_.capacity())),
        logits_(rows_.capacity().rows * Model::vocabulary),
        context_(machine) {
    rows_.assign(lengths);
    context_.reserve(training_cost<Model, B>(rows_.capacity(), {0.5, 0.5, 0.5, 0.5}).size);
    const Philox random(Key{7});
    for (int row = 0; row < rows_.rows(); ++row) {
      const auto bits = random(std::uint64_t(row));
      tokens.push_back(int(below(Model::vocabulary, low_bits(bits))));
      targets.push_back(row % 5 == 3 ? -1 : int(below(Model::vocabulary, high_bits(bits))));
    }
  }

  /// Draws parameters away from their initial values, whose zeros and ones hide errors; matrices keep the scale of what
  /// they multiply.
  void randomize() {
    for (const ParameterInfo& info : table) {
      const Philox random(Key{3}.child(info.name));
      const double center = info.is_vector() ? info.init.value : 0;
      const double deviation = info.is_vector() ? 0.3 : 1 / std::sqrt(info.columns);
      std::vector<T> values(std::size_t(info.size()));
      for (std::size_t i = 0; i < values.size(); ++i) values[i] = T(center + deviation * normals(random(i))[0]);
      write_tensor(weights.flat(), info, values);
    }
  }

  /// Forward alone: the loss, `hidden` and `logits`.
  double loss() {
    return measure([&](auto& worker, const auto& p, const TokenBatch& batch, auto& saved) {
      Model::loss(worker, p, batch, saved);
      worker.wait();  // rows of the hidden states are other lanes' work
      Model::logits(worker, p, resized(saved.hidden, worker.packing().rows()),
                    {logits_.data(), worker.packing().rows()});
    });
  }
  /// Forward and backward: the loss, and its gradients ADDED TO `gradients`.
  double backward() {
    const auto dp = bind_parameters<Model>(gradients.data());
    return measure([&](auto& worker, const auto& p, const TokenBatch& batch, auto& saved) {
      Model::backward(worker, p, dp, Flow<P>{}, batch, saved, options, target_weight());
    });
  }

  std::vector<T> gradient(const ParameterInfo& info) const { return read_tensor(gradients, info); }
  std::vector<T> hidden() {
    std::vector<T> values(std::size_t(rows_.rows()) * Model::width);
    const auto* const from = reinterpret_cast<const std::byte*>(saved().hidden.data);
    saved_.download(from - saved_.data(), std::as_writable_bytes(std::span(values)));
    return values;
  }
  std::vector<T> logits() const {
    std::vector<T> values(std::size_t(rows_.rows()) * Model::vocabulary);
    logits_.download(0, values);
    return values;
  }

 private:
  using Saved = typename Model::template Saved<P>;

  Saved saved() {
    Arena cursor = arena_of(saved_);
    return Saved::take(cursor, rows_.capacity());
  }
  double target_weight() const {
    return 1 / double(std::ranges::count_if(targets, [](int target) { return target >= 0; }));
  }

  /// The mean loss of a pass in which everything that has to be written before it is read starts as NaN.
  double measure(auto&& rest) {
    saved_.upload(0, std::vector(std::size_t(saved_.size()), std::byte{0xff}));
    logits_.upload(0, std::vector(std::size_t(logits_.size()), std::numeric_limits<T>::quiet_NaN()));
    LossSums sums;
    const Packing packing = rows_;
    context_.run(packing, pass, [&](auto& worker) {
      Saved values = saved();
      const auto p = weights.params();
      const TokenBatch batch{packing, tokens, targets};
      Model::forward(worker, p, Flow<P>{}, batch, values);
      rest(worker, p, batch, values);
      const LossSums loss = worker.read(&Slots::loss);
      if (worker.first()) sums = loss;
    });
    return options.total(sums) * target_weight();
  }

  PackedRows rows_;
  typename B::template Buffer<std::byte> saved_;
  Memory logits_;
  Context<B> context_;
};

}  // namespace fathom_test

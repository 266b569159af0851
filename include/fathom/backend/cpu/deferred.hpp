// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <fathom/backend/cpu/config.hpp>
#include <fathom/backend/cpu/lane.hpp>
#include <fathom/backend/cpu/products.hpp>
#include <fathom/backend/ops.hpp>
#include <variant>

namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI {

/// Column sums of `parts` rows of partial sums: result[c] += Σ_part partials[part, c], in the order of the parts.
template <class T>
struct Reduction {
  const T* partials = nullptr;  // (parts, width)
  int parts = 0, width = 0;
  T* result = nullptr;

  double cost() const { return 2.0 * parts * width; }
  int size() const { return width; }
  void run(auto&, Range columns) const {
    for (int part = 0; part < parts; ++part)
      for (int c = columns.begin; c < columns.end; ++c) result[c] += partials[std::int64_t(part) * width + c];
  }
};

/// What the CPU puts off until a frame closes: weight gradients and sums over shards, both cut by columns or rows of
/// their result, so that no two lanes add to one number and the order of every sum is fixed.
template <class P, class Matmul>
struct Deferred {
  using Weight = op::LinearBackwardWeight<P>;
  std::variant<Weight, Reduction<typename P::Gradient>> work;

  const char* name() const { return std::holds_alternative<Weight>(work) ? Weight::name : "sum of shards"; }
  double cost() const {
    const auto* weight = std::get_if<Weight>(&work);
    return weight != nullptr ? weight->flops() : std::get<1>(work).cost();
  }
  int size() const {
    const auto* weight = std::get_if<Weight>(&work);
    return weight != nullptr ? weight->dweight.rows : std::get<1>(work).size();
  }
  int grain() const {
    constexpr int worth_a_product = 64;
    static_assert(worth_a_product % Products<P, Matmul>::row_granularity == 0);
    return worth_a_product;
  }
  void run(auto& lane, Range range) const {
    const auto* weight = std::get_if<Weight>(&work);
    if (weight == nullptr) return std::get<1>(work).run(lane, range);
    using Engine = Products<P, Matmul>;
    const MatmulSize size{std::size_t(weight->x.rows), std::size_t(range.size()), std::size_t(weight->x.columns)};
    Engine::weight_gradient(size, row_major(weight->dy, 0, range.begin), row_major(weight->x),
                            row_major(weight->dweight, range.begin),
                            weight->dbias.empty() ? nullptr : weight->dbias.data() + range.begin,
                            lane.template scratch<typename Engine::Number>(std::int64_t(Engine::scratch_size(size))));
  }
};

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <fathom/backend/context.hpp>
#include <fathom/backend/ref/ref.hpp>
#include <fathom/models/weights.hpp>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <vector>

namespace fathom_test {
using namespace fathom;

/// The gain of a matrix in layer l, from 1. `crosses`: in cross-attention.
using Gain = std::function<double(Role role, int l, bool crosses)>;

inline bool is_scaled(Role role) {  // DeepNet, figure 2: "ffn, v_proj, out_proj"
  return role == Role::value || role == Role::attention_output || role == Role::feed_forward_input ||
         role == Role::feed_forward_output;
}
inline Gain scaled_by(double gain) {
  return [=](Role role, int, bool) { return is_scaled(role) ? gain : 1; };
}

/// The largest relative error of a role's initial deviation, pooled over a stack: 0 where each is gain · sqrt(2 /
/// (fan_in
/// + fan_out)), but for the sample. Infinite where a value should start at zero and does not.
inline double worst_deviation(const std::vector<ParameterInfo>& table, std::int64_t elements, const Gain& gain) {
  Buffer<double> values(elements);
  Context<Ref<double>> context;
  initialize(context, values, table, 7);
  struct Pool {
    double squares = 0;
    std::int64_t count = 0;
  };
  std::map<Role, Pool> pools;
  for (const ParameterInfo& info : table) {
    if (info.role > Role::feed_forward_output) continue;
    const double expected = gain(info.role, info.block.index + 1, info.name.find("cross") != std::string::npos) *
                            std::sqrt(2.0 / (info.rows + info.columns));
    for (const double value : read_tensor(values, info)) {
      if (expected != 0)
        pools[info.role].squares += value * value / (expected * expected), ++pools[info.role].count;
      else if (value != 0)
        return std::numeric_limits<double>::infinity();
    }
  }
  double worst = pools.empty() ? std::numeric_limits<double>::infinity() : 0;
  for (const auto& [role, pool] : pools)
    worst = std::max(worst, std::abs(std::sqrt(pool.squares / double(pool.count)) - 1));
  return worst;
}

}  // namespace fathom_test

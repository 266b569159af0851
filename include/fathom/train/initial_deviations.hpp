// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/core/parameters.hpp>
#include <map>
#include <span>
#include <sstream>
#include <string>
#include <vector>

namespace fathom::inline FATHOM_ABI {

/// The initial standard deviation of the tensors of one role, pooled over a model.
struct RoleDeviation {
  Role role;
  std::int64_t count = 0;  ///< elements
  double expected = 0;     ///< what roles, gains and Xavier's rule say
  double measured = 0;
  double error = 0;  ///< of a sample as large as this: one standard deviation of `measured`

  /// Whether the two differ by what chance does, up to five standard deviations.
  bool agrees() const { return std::abs(measured - expected) <= 5 * error; }
};

/// The deviations of all tensors of a table that start from a normal distribution, by role. `flat` holds their values.
template <class Memory>
std::vector<RoleDeviation> initial_deviations(std::span<const ParameterInfo> table, const Memory& flat) {
  struct Pool {
    std::int64_t count = 0;
    double expected = 0, measured = 0, fourth = 0;  // sums of squares, and of expected fourth powers
  };
  std::map<Role, Pool> pools;
  for (const ParameterInfo& info : table) {
    double deviation = info.gain;
    if (info.init.kind == Init::Kind::xavier)
      deviation *= std::sqrt(2.0 / (info.rows + info.columns));
    else if (info.init.kind == Init::Kind::normal)
      deviation *= info.init.value;
    else
      continue;
    Pool& pool = pools[info.role];
    pool.count += info.size();
    pool.expected += double(info.size()) * deviation * deviation;
    pool.fourth += double(info.size()) * std::pow(deviation, 4);
    for (const auto value : read_tensor(flat, info)) pool.measured += double(value) * double(value);
  }
  std::vector<RoleDeviation> result;
  for (const auto& [role, pool] : pools) {
    RoleDeviation one{.role = role, .count = pool.count};
    one.expected = std::sqrt(pool.expected / double(pool.count));
    one.measured = std::sqrt(pool.measured / double(pool.count));
    // The variance of a normal x² is 2 σ⁴; the root halves its relative error.
    if (pool.expected > 0) one.error = one.expected * std::sqrt(2 * pool.fourth) / (2 * pool.expected);
    result.push_back(one);
  }
  return result;
}

/// A line for each role. Errors: `Error` that names a role whose deviation is not the expected one.
inline std::string checked_text(std::span<const RoleDeviation> deviations) {
  std::ostringstream text;
  for (const RoleDeviation& one : deviations) {
    std::ostringstream line;
    line << name_of(one.role) << ": initial deviation " << one.measured << ", expected " << one.expected << " +- "
         << one.error << " (" << one.count << " weights)";
    if (!one.agrees())
      throw Error("initial weights: " + line.str() + "; they were not drawn as the model says, or changed since");
    text << line.str() << '\n';
  }
  return text.str();
}

}  // namespace fathom::inline FATHOM_ABI

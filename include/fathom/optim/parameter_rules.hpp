// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/core/parameters.hpp>
#include <fathom/optim/optimizer.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

/// Tensors that are trained at a rate of their own, with a decay of their own, or not at all.
namespace fathom::inline FATHOM_ABI {

/// What tensors are trained with, by their names and their role.
///
///   {.names = "encoder.*", .rate = 0}                 frozen
///   {.names = "*.blocks.0.*", .rate = 0.1}            the first block of each stack
///   {.role = "norm gain", .rate = 0.5}
///   {.names = "output.*", .decay = 0}
///
/// A frozen tensor's gradient still counts in the norm that clipping goes by.
struct ParameterRule {
  std::string names = "*";  ///< "*" stands for any characters, "." among them
  std::string role = "";    ///< as `name_of(Role)` has it; empty: any
  double rate = 1;          ///< times the learning rate; 0: the tensor stays as it is
  double decay = 1;         ///< times the weight decay, of tensors that decay
  friend bool operator==(const ParameterRule&, const ParameterRule&) = default;
};

namespace detail {

/// Whether a text is what a pattern says, in which "*" stands for any characters.
constexpr bool matches(std::string_view pattern, std::string_view text) {
  const std::size_t star = pattern.find('*');
  if (star == pattern.npos) return text == pattern;
  if (!text.starts_with(pattern.substr(0, star))) return false;
  const std::string_view rest = pattern.substr(star + 1);
  for (std::size_t at = star; at <= text.size(); ++at)
    if (matches(rest, text.substr(at))) return true;
  return false;
}

}  // namespace detail

/// Rules by which each matrix is trained at the learning rate times the gain that its residual policy starts it with.
/// Adam and its kind move a number by the learning rate, however small it started; with these rules a matrix whose
/// initial values are beta times as large moves beta times as far. DeepNorm tolerates larger rates so
/// (docs/results/language.md). A gain of 0 counts as 1. What is no matrix, such as a learned scale, is left as it is.
inline std::vector<ParameterRule> rates_by_gain(std::span<const ParameterInfo> table) {
  std::vector<ParameterRule> rules;
  for (const ParameterInfo& info : table)
    if (decays(info.role) && info.gain != 1 && info.gain != 0)
      rules.push_back({.names = info.name, .rate = std::abs(info.gain)});
  return rules;
}

/// What rules make of a model: the factors of each tensor, and the flat buffers cut into what is updated alike. Without
/// rules there is nothing of both, and the optimizer takes the two groups of the layout.
struct ParameterRates {
  std::vector<UpdateFactors> tensors;  ///< in the order of the table
  std::vector<UpdateRange> ranges;     ///< in the order of the buffers, without holes

  ParameterRates() = default;
  /// Of several rules that name a tensor the last one holds. Errors: `Error` for a factor that is negative or not
  /// finite, and for a rule that names no tensor.
  ParameterRates(std::span<const ParameterRule> rules, const Extent& extent, std::span<const ParameterInfo> table) {
    if (rules.empty()) return;
    tensors.resize(table.size());
    for (const ParameterRule& rule : rules) {
      const std::string text = "the rule for '" + rule.names + (rule.role.empty() ? "'" : "', " + rule.role + ",");
      if (!detail::is_not_negative(rule.rate) || !detail::is_not_negative(rule.decay))
        throw Error("TrainerOptions: " + text + " has a factor that is negative or not finite");
      bool any = false;
      for (std::size_t i = 0; i < table.size(); ++i) {
        if (!rule.role.empty() && rule.role != name_of(table[i].role)) continue;
        if (!detail::matches(rule.names, table[i].name)) continue;
        tensors[i] = {rule.rate, rule.decay};
        any = true;
      }
      if (!any)
        throw Error("TrainerOptions: " + text + " names no tensor of the model, which has such as '" + table[0].name +
                    "', " + name_of(table[0].role));
    }
    cut(extent, table);
  }

 private:
  void cut(const Extent& extent, std::span<const ParameterInfo> table) {
    std::vector<std::size_t> order(table.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::ranges::sort(order, {}, [&](std::size_t i) { return table[i].offset; });
    for (const std::size_t i : order) {
      const bool decays = table[i].offset < extent.decayed;
      if (!ranges.empty() && ranges.back().decays == decays && ranges.back().factors == tensors[i]) continue;
      ranges.push_back(
          {.begin = ranges.empty() ? 0 : table[i].offset, .count = 0, .decays = decays, .factors = tensors[i]});
    }
    for (std::size_t i = 0; i < ranges.size(); ++i)
      ranges[i].count = (i + 1 < ranges.size() ? ranges[i + 1].begin : extent.total()) - ranges[i].begin;
  }
};

}  // namespace fathom::inline FATHOM_ABI

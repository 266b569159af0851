// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/io/file.hpp>
#include <fathom/score/score.hpp>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fathom_test {

/// What tests/reference/scores.py has written; its header says what is in there. Read from the working directory, which
/// is the project's root.
inline nlohmann::json sacrebleu_file(const std::string& name) {
  return nlohmann::json::parse(fathom::read_file("tests/reference/" + name));
}

/// sacreBLEU's arguments.
inline fathom::score::Bleu bleu_of(const nlohmann::json& options) {
  using namespace fathom::score;
  const auto named = [](auto first, std::size_t count, const std::string& text) {
    for (std::size_t i = 0; i < count; ++i)
      if (name(decltype(first)(i)) == text) return decltype(first)(i);
    throw fathom::Error("no " + text);
  };
  BleuOptions result{.tokenizer = named(Tokenization{}, 3, options.value("tokenize", "13a")),
                     .lowercase = options.value("lowercase", false),
                     .smoothing = named(Smoothing{}, 4, options.value("smooth_method", "exp")),
                     .effective_order = options.value("effective_order", false)};
  if (options.contains("smooth_value")) result.smoothing_value = options["smooth_value"].get<double>();
  return Bleu(result);
}
inline fathom::score::Chrf chrf_of(const nlohmann::json& options) {
  return fathom::score::Chrf({.character_order = options.value("char_order", 6),
                              .word_order = options.value("word_order", 0),
                              .beta = options.value("beta", 2),
                              .lowercase = options.value("lowercase", false),
                              .whitespace = options.value("whitespace", false),
                              .eps_smoothing = options.value("eps_smoothing", false)});
}

/// Calls `use` with the metric of a case.
template <class Use>
void with_metric(const nlohmann::json& wanted, Use&& use) {
  if (wanted["metric"] == "bleu")
    use(bleu_of(wanted.value("options", nlohmann::json::object())));
  else
    use(chrf_of(wanted.value("options", nlohmann::json::object())));
}

/// A result line without who computed it.
inline std::string without_version(std::string line) {
  const std::string_view version = "version:fathom-" FATHOM_VERSION;
  const std::size_t place = line.find(version);
  return place == line.npos ? line : line.replace(place, version.size(), "version:*");
}

/// In the order of sacreBLEU's lists.
inline std::vector<std::int64_t> values_of(const fathom::score::BleuStatistics& s) {
  std::vector<std::int64_t> values{s.hypothesis_length, s.reference_length};
  values.insert(values.end(), s.matches.begin(), s.matches.end());
  values.insert(values.end(), s.totals.begin(), s.totals.end());
  return values;
}
inline std::vector<std::int64_t> values_of(const fathom::score::ChrfStatistics& s) {
  std::vector<std::int64_t> values;
  for (const auto& order : s.orders) values.insert(values.end(), {order.hypothesis, order.reference, order.matches});
  return values;
}

}  // namespace fathom_test

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <fathom/core/config.hpp>
#include <fathom/report/format.hpp>
#include <optional>
#include <string>
#include <string_view>

/// What a score says beside its number.

namespace fathom::inline FATHOM_ABI::score {

/// Where the score lies in 95 of 100 resamples: `mean` ± `half_width`.
struct Confidence {
  double mean = 0, half_width = 0;
};

/// How often and with which random numbers a corpus is drawn from.
struct BootstrapOptions {
  int resamples = 1000;
  std::uint64_t seed = 12345;
};

namespace detail {

/// The line that sacreBLEU prints: "BLEU|nrefs:1|… = 32.45 (μ = 32.41 ± 0.80) " and the details of the score.
inline std::string result_line(std::string_view name, std::string_view signature, double score, int decimals,
                               const std::optional<Confidence>& confidence, std::string_view details) {
  std::string line(name);
  if (!signature.empty()) (line += '|') += signature;
  line += " = ";
  format::append_fixed(line, score, decimals);
  if (confidence && confidence->mean > 0) {
    format::append_fixed(line += " (μ = ", confidence->mean, decimals);
    format::append_fixed(line += " ± ", confidence->half_width, decimals);
    line += ')';
  }
  if (!details.empty()) (line += ' ') += details;
  return line;
}

/// What signatures begin with.
inline std::string first_items(std::size_t references, const std::optional<BootstrapOptions>& bootstrap) {
  std::string items = "nrefs:" + std::to_string(references);
  if (bootstrap)
    items += "|bs:" + std::to_string(bootstrap->resamples) + "|seed:" + std::to_string(bootstrap->seed);
  return items;
}
/// What they end with: the name of who computed the score.
inline constexpr std::string_view last_item = "|version:fathom-" FATHOM_VERSION;

}  // namespace detail

}  // namespace fathom::inline FATHOM_ABI::score

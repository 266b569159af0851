// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <numbers>
#include <string>
#include <string_view>

/// Measures of a likelihood. `nats` is a sum of −log p over a text, such as an evaluation's `cross_entropy`.
///
///   const Evaluation sums = evaluate(weights, text::Epoch(windows));
///   score::perplexity(sums.cross_entropy, sums.targets);
///   score::bits_per(sums.cross_entropy, score::characters(text));     comparable between tokenizers
///   score::bits_per(sums.cross_entropy, std::ssize(text));            and between scripts

namespace fathom::inline FATHOM_ABI::score {

/// Of a token, or whatever is counted. Errors: `Error` for a count that is not positive.
inline double perplexity(double nats, std::int64_t tokens) {
  if (tokens <= 0) throw Error("perplexity: of " + std::to_string(tokens) + " tokens; give a text that has some");
  return std::exp(nats / static_cast<double>(tokens));
}

/// Bits per character, per byte or per token. Errors: `Error` for a count that is not positive.
inline double bits_per(double nats, std::int64_t units) {
  if (units <= 0) throw Error("bits per unit: of " + std::to_string(units) + " units; give a text that has some");
  return nats / (std::numbers::ln2 * static_cast<double>(units));
}

/// Characters (code points) of UTF-8 text.
constexpr std::int64_t characters(std::string_view text) {
  std::int64_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  return count;
}

}  // namespace fathom::inline FATHOM_ABI::score

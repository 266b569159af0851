// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/core/key.hpp>
#include <fathom/core/packing.hpp>
#include <fathom/core/random.hpp>
#include <fathom/text/batch.hpp>
#include <fathom/text/corpus.hpp>
#include <span>
#include <string>

namespace fathom::inline FATHOM_ABI::text {

/// Where windows start.
enum class Order {
  random,      ///< anywhere, independently (as nanoGPT does it)
  shuffled,    ///< side by side, in another order every epoch; what a window cannot fill is cut off at a random end
  sequential,  ///< side by side, in the order of the text, the last one shorter: for evaluation, every token once
};

struct WindowOptions {
  int batch = 8;     ///< windows
  int length = 256;  ///< tokens of a window
  Order order = Order::random;
  std::uint64_t seed = 0;
};

/// Windows of a fixed length over a text, document boundaries or not. A cursor is the number of a batch.
///
/// The text is viewed and must outlive the sampler.
template <class Token>
class Windows {
 public:
  /// Errors: `ShapeError` for options that are not positive or too large; `Error` for a text that is shorter than a
  /// window.
  Windows(std::span<const Token> text, const WindowOptions& options)
      : text_(text), options_(options), key_(Key{options.seed}.child("windows")) {
    rows_of(options.batch, options.length, "Windows");
    const std::size_t needed = options.order == Order::sequential ? 2 : length() + 1;
    if (text.size() < needed)
      throw Error("Windows: the text has " + std::to_string(text.size()) + " tokens, windows of " +
                  std::to_string(options.length) + " need " + std::to_string(needed) +
                  "; give more text or a shorter length");
  }
  Windows(const Corpus<Token>& corpus, const WindowOptions& options) : Windows(std::span(corpus.tokens), options) {}
  Windows(Corpus<Token>&&, const WindowOptions&) = delete;

  Capacity capacity() const { return {options_.batch * options_.length, options_.batch, options_.length}; }
  /// The last batch of a shuffled epoch is filled up with windows of the next, that of a sequential one is not.
  std::uint64_t epoch() const { return (windows() + batch() - 1) / batch(); }

  std::uint64_t fill(std::uint64_t cursor, PackedTokens& batch_) const {
    batch_.clear();
    if (options_.order == Order::sequential) {
      const std::uint64_t first = cursor % epoch() * batch();
      for (std::uint64_t window = first; window < std::min(first + batch(), windows()); ++window)
        append(batch_, window * length());
    } else {
      for (std::uint64_t i = 0; i < batch(); ++i) append(batch_, start(cursor * batch() + i));
    }
    batch_.pack();
    return cursor + 1;
  }

 private:
  std::uint64_t batch() const { return static_cast<std::uint64_t>(options_.batch); }
  std::uint64_t length() const { return static_cast<std::uint64_t>(options_.length); }
  /// Tokens that have a next one.
  std::uint64_t inputs() const { return text_.size() - 1; }
  /// Windows side by side.
  std::uint64_t windows() const {
    return options_.order == Order::sequential ? (inputs() + length() - 1) / length() : inputs() / length();
  }

  /// First token of the n-th window since the start of training.
  std::uint64_t start(std::uint64_t n) const {
    if (options_.order == Order::random) return below(inputs() - length() + 1, low_bits(Philox{key_}(n)));
    const std::uint64_t epoch = n / windows();
    const std::uint64_t shift = below(inputs() % length() + 1, low_bits(Philox{key_}(epoch)));
    return shift + Permutation{key_.child(epoch), windows()}(n % windows()) * length();
  }

  void append(PackedTokens& batch, std::uint64_t first) const {
    const std::uint64_t count = std::min(length(), inputs() - first);
    batch.append(text_.subspan(first, count), static_cast<int>(text_[first + count]));
  }

  std::span<const Token> text_;
  WindowOptions options_;
  Key key_;
};

}  // namespace fathom::inline FATHOM_ABI::text

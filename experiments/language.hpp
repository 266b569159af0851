// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <fathom/core/error.hpp>
#include <fathom/layers/attention.hpp>
#include <fathom/layers/feed_forward.hpp>
#include <fathom/layers/residual_block.hpp>
#include <fathom/models/language_model.hpp>
#include <fathom/score/unigram.hpp>
#include <fathom/text/text.hpp>
#include <filesystem>
#include <optional>
#include <programs/run_log.hpp>
#include <string>
#include <utility>
#include <vector>

#include "settings.hpp"

namespace fathom::experiments {

/// The bytes of a text, for a decoder of width 64, feed-forward width 256 and 2 heads.
class LanguageModelling {
 public:
  static constexpr const char* name = "language";
  static constexpr std::int64_t steps = 600, warmup = 100;
  static constexpr double smoothing = 0, beta2 = 0.98;
  static constexpr int context = 128, batch_size = 8, width = 64, hidden = 256, heads = 2;

  template <class Method, int Depth, class Policy = typename Method::template Only<Depth>>
  using Stack = typename Method::template Stack<
      Depth, ResidualBlock<Policy, LayerNorm<width>, AttentionFor<Policy, width, heads, Causal>,
                           FeedForwardFor<Policy, width, hidden, Gelu>>>;
  template <class Method, int Depth>
  using Model = LanguageModel<Vocabulary<256>, ContextLength<context>, Stack<Method, Depth>>;
  using Packed = text::PackedTokens;

  static std::string texts(const Settings& settings) {
    return (settings.text.has_filename() ? settings.text : settings.text.parent_path()).filename();
  }

  /// Errors: `Error` without a text.
  LanguageModelling(const Settings& settings, std::uint64_t seed) : text_(split(settings)) {
    windows_.emplace(text_.train, text::WindowOptions{.batch = batch_size, .length = context, .seed = seed});
    const text::Windows<text::Bytes::Token> sample(
        text_.validation, {.batch = batch_size, .length = context, .order = text::Order::sequential});
    const std::uint64_t count = std::min<std::uint64_t>(16, sample.epoch());
    for (std::uint64_t i = 0; i < count; ++i) {  // spread evenly over the text
      validation_.emplace_back(sample.capacity());
      sample.fill(i * sample.epoch() / count, validation_.back());
    }
  }

  static Capacity capacity() { return {batch_size * context, batch_size, context}; }
  void fill(std::int64_t step, Packed& batch) const { windows_->fill(std::uint64_t(step), batch); }
  const std::vector<Packed>& validation() const { return validation_; }
  score::Unigram frequencies() const {
    score::Unigram model(256);
    for (const auto byte : text_.train.tokens) model.add(byte);
    return model;
  }

 private:
  using Text = text::Split<text::Bytes::Token>;

  static Text split(const Settings& settings) {
    if (settings.text.empty()) throw Error("the task language needs a text: give one with --text");
    const auto left_out = [&](const std::filesystem::path& path) {
      return std::string(path != settings.text && program::is_of_a_run(path) ? "is of another run" : "");
    };
    text::Corpus<text::Bytes::Token> corpus = text::load(text::Bytes{}, settings.text, {}, left_out);
    static std::atomic_flag told;  // by an earlier cell
    if (!told.test_and_set())
      for (const std::string& line : corpus.report.lines()) std::fprintf(stderr, "%s\n", line.c_str());
    return text::split_tokens(std::move(corpus), 0.1);
  }

  Text text_;
  std::optional<text::Windows<text::Bytes::Token>> windows_;
  std::vector<Packed> validation_;
};

}  // namespace fathom::experiments

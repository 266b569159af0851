// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/core/indexed.hpp>
#include <fathom/core/key.hpp>
#include <fathom/generate/inference.hpp>
#include <fathom/generate/sampling.hpp>
#include <fathom/models/weights.hpp>
#include <iterator>
#include <span>
#include <string>
#include <vector>

namespace fathom::inline FATHOM_ABI {

struct GeneratorOptions {
  int sequences = 1;   ///< side by side, at most
  int prompt = 0;      ///< tokens of the longest prompt; 0: the model's context
  int tokens = 0;      ///< new tokens of a sequence, at most; 0: as many as the context has room for
  int stop = -1;       ///< the token that ends a sequence; negative: none
  bool slide = false;  ///< a sequence that has filled the context goes on, with the later half of it read again
  Sampling sampling = {};
  std::uint64_t seed = 1;  ///< of the draws
};

/// Why a sequence has no further token.
enum class FinishReason {
  none,       ///< it is not finished
  stop,       ///< its last token is the stop token
  length,     ///< it has as many tokens as the options allow
  context,    ///< the model's context is full
  no_prompt,  ///< it was never started
};

/// Continues prompts token by token, several sequences at once.
///
///   Generator<Model, Cpu<>> generator(weights, {.sequences = 2, .tokens = 100});
///   generator.start(prompts);
///   while (generator.step()) …            each step adds a token to every sequence that is not finished
///   generator.text(s)                     the tokens of sequence s, its prompt first
///
/// The first step reads the prompts in one pass, each later one a token per sequence; a finished sequence costs
/// nothing. A sequence's tokens follow from the weights, its prompt and number, the options, and nothing else but
/// rounding, which differs between passes of few rows and of many. Ownership, threads and memory as of `Inference`.
template <class Model, class B>
class Generator {
  static_assert(CheckBackend<B>::value);

 public:
  /// Errors: `ShapeError` for sizes that are negative or beyond the context, `Error` for a sampling rule without
  /// meaning.
  Generator(const Weights<Model, B>& weights, const GeneratorOptions& options = {},
            const typename B::Options& machine = {})
      : options_(completed(options)),
        inference_(weights, inference_size(options_), machine),
        sampler_(Model::vocabulary, options.sampling, Key{options.seed}.child("sampling")),
        texts_(std::size_t(options_.sequences)),
        finish_reasons_(std::size_t(options_.sequences), FinishReason::no_prompt),
        prompts_(std::size_t(options_.sequences)),
        dropped_(std::size_t(options_.sequences)),
        unread_(std::size_t(options_.sequences)) {
    // A text that slides may be asked for without an end; what is longer than this grows later.
    const int most = std::min(options_.tokens, options_.slide ? 1 << 20 : Model::context);
    for (auto& text : texts_) text.reserve(std::size_t(options_.prompt) + std::size_t(most));
  }
  Generator(Weights<Model, B>&&, const GeneratorOptions& = {}, const typename B::Options& = {}) = delete;

  /// Forgets everything before and takes up these prompts, at most as many as there are sequences.
  /// Errors: `ShapeError` for a prompt that is empty or too long, and for too many of them.
  void start(std::span<const std::span<const int>> prompts) {
    if (prompts.size() > texts_.size())
      throw ShapeError("Generator: " + std::to_string(prompts.size()) + " prompts where " +
                       std::to_string(texts_.size()) + " sequences were planned");
    for (const auto& prompt : prompts)
      if (prompt.empty() || int(prompt.size()) > options_.prompt)
        throw ShapeError("Generator: a prompt of " + std::to_string(prompt.size()) + " tokens; it must have 1 to " +
                         std::to_string(options_.prompt));
    for (std::size_t s = 0; s < texts_.size(); ++s) {
      const auto prompt = s < prompts.size() ? prompts[s] : std::span<const int>();
      texts_[s].assign(prompt.begin(), prompt.end());
      finish_reasons_[s] = prompt.empty() ? FinishReason::no_prompt : FinishReason::none;
      prompts_[s] = int(prompt.size());
      dropped_[s] = 0;
      inference_.rewind(int(s), 0);
    }
  }
  void start(std::span<const int> prompt) { start(std::span(&prompt, 1)); }

  /// Adds one token to every sequence that is not finished. False, with nothing done, when all are.
  bool step() {
    bool any = false;
    for (int s = 0; s < sequences(); ++s) {
      unread_[s] = {};
      if (finish_reasons_[s] != FinishReason::none) continue;
      any = true;
      if (int(texts_[s].size()) - dropped_[s] > inference_.size().length) {
        dropped_[s] = int(texts_[s].size()) - kept_when_sliding;
        inference_.rewind(s, 0);
      }
      unread_[s] = text(s).subspan(std::size_t(dropped_[s] + inference_.length(s)));
    }
    if (!any) return false;
    inference_.append(unread_);
    for (int s = 0; s < sequences(); ++s)
      if (finish_reasons_[s] == FinishReason::none) {
        const int token = sampler_(inference_.logits(s), s, int(texts_[s].size()));
        texts_[s].push_back(token);
        finish_reasons_[s] = finish_reason(s, token);
      }
    return true;
  }

  int sequences() const { return int(texts_.size()); }
  /// All tokens of sequence s, valid until it gets the next one.
  std::span<const int> text(int s) const { return texts_[s]; }
  /// Those that `step` added.
  std::span<const int> added(int s) const { return text(s).subspan(std::size_t(prompts_[s])); }
  FinishReason finish_reason(int s) const { return finish_reasons_[s]; }
  const Inference<Model, B>& inference() const { return inference_; }

 private:
  static constexpr int kept_when_sliding = std::max(1, Model::context / 2);

  static GeneratorOptions completed(GeneratorOptions options) {
    if (options.prompt == 0) options.prompt = Model::context;
    if (options.tokens == 0 && options.slide)
      throw Error("Generator: a sliding context has room for any number of tokens; say how many in `tokens`");
    if (options.tokens == 0) options.tokens = Model::context;
    if (options.sequences < 1 || options.prompt < 1 || options.tokens < 1)
      throw ShapeError("Generator: " + std::to_string(options.sequences) + " sequences, a prompt of " +
                       std::to_string(options.prompt) + ", " + std::to_string(options.tokens) +
                       " tokens: none may be negative, and there is at least one sequence");
    return options;
  }
  static InferenceSize inference_size(const GeneratorOptions& options) {
    const std::int64_t all = std::int64_t(options.prompt) + options.tokens - 1;
    const int length = options.slide ? Model::context : int(std::min<std::int64_t>(Model::context, all));
    return {options.sequences, std::max(options.prompt, options.slide ? kept_when_sliding : 1),
            std::max(length, options.prompt)};
  }

  FinishReason finish_reason(int s, int token) const {
    if (token == options_.stop) return FinishReason::stop;
    if (std::ssize(added(s)) == options_.tokens) return FinishReason::length;
    return !options_.slide && std::ssize(texts_[s]) > inference_.size().length ? FinishReason::context
                                                                               : FinishReason::none;
  }

  GeneratorOptions options_;
  Inference<Model, B> inference_;
  TokenSampler sampler_;
  Indexed<std::vector<std::vector<int>>> texts_;
  Indexed<std::vector<FinishReason>> finish_reasons_;
  Indexed<std::vector<int>> prompts_, dropped_;  // tokens of each text: its prompt, those that slid out of the context
  Indexed<std::vector<std::span<const int>>> unread_;
};

}  // namespace fathom::inline FATHOM_ABI

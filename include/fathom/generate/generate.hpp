// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/generate/generator.hpp>
#include <fathom/generate/sampling.hpp>
#include <fathom/models/weights.hpp>
#include <fathom/text/tokenizer.hpp>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace fathom::inline FATHOM_ABI {

struct GenerateOptions {
  int tokens = 0;      ///< new tokens, at most; 0: as many as the context has room for
  int begin = -1;      ///< a token in front of the prompt; negative: none
  int stop = -1;       ///< the token that ends the text; negative: none
  bool slide = false;  ///< go on when the context is full, with the later half of it
  Sampling sampling = {};
  std::uint64_t seed = 1;
  std::function<void(std::string_view)> stream = {};  ///< called with the text of each new token
};

/// The prompt and how the model continues it.
///
///   std::cout << generate(trainer.weights(), "The ", {.tokens = 200});
///
/// Errors: `Error` when the tokenizer is not the model's, when the prompt has no tokens, or when prompt and `tokens`
/// exceed the context and it does not slide.
template <class Model, class B, text::Tokenizer Tokenizer = text::Bytes>
std::string generate(const Weights<Model, B>& weights, std::string_view prompt, const GenerateOptions& options = {},
                     const Tokenizer& tokenizer = {}, const typename B::Options& machine = {}) {
  if (tokenizer.vocabulary() > Model::vocabulary)
    throw Error("generate: the tokenizer has " + std::to_string(tokenizer.vocabulary()) + " tokens and the model " +
                std::to_string(Model::vocabulary) + "; give the tokenizer that it was trained with");
  std::vector<int> ids;
  if (options.begin >= 0) ids.push_back(options.begin);
  for (const auto id : tokenizer.encode(prompt)) ids.push_back(int(id));
  const int length = int(ids.size());
  if (length == 0) throw Error("generate: the prompt is empty; give some text, or a `begin` token");
  if (!options.slide && options.tokens > Model::context - length + 1)
    throw Error("generate: a prompt of " + std::to_string(length) + " tokens and " + std::to_string(options.tokens) +
                " more exceed the model's context of " + std::to_string(Model::context) +
                "; ask for fewer, or set `slide`");
  Generator<Model, B> generator(weights,
                                {.prompt = length,
                                 .tokens = options.tokens,
                                 .stop = options.stop,
                                 .slide = options.slide,
                                 .sampling = options.sampling,
                                 .seed = options.seed},
                                machine);
  generator.start(ids);
  while (generator.step())
    if (options.stream) {
      // Behind its predecessor, because a tokenizer may treat the first token of a text in another way.
      const auto pair = generator.text(0).last(2);
      options.stream(std::string_view(tokenizer.decode(pair)).substr(tokenizer.decode(pair.first(1)).size()));
    }
  return tokenizer.decode(generator.text(0));
}

}  // namespace fathom::inline FATHOM_ABI

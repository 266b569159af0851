// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/generate/translate.hpp>
#include <fathom/text/lines.hpp>
#include <fathom/text/subwords.hpp>
#include <fathom/train/checkpoint.hpp>
#include <iomanip>
#include <iostream>
#include <string>
#include <vector>

#include "machine.hpp"
#include "multi30k.hpp"
#include "shape.hpp"

/// Translation of a text by a trained model of the usual size for Multi30k, for compare_ctranslate2.py:
///   translation_decoding_<policy> CHECKPOINT SUBWORDS TEXT [--threads N] [--limit T]
/// For each `beam batch` on standard input it translates the whole text with that beam, as many sentences side by side,
/// and prints one line of JSON; for `0 0` the tokens of all lines. The length penalty is CTranslate2's with alpha 1,
/// and a translation has at most T tokens.
namespace {

using namespace fathom;

void print(const std::vector<int>& tokens) {
  std::cout << '[';
  for (std::size_t i = 0; i < tokens.size(); ++i) std::cout << (i == 0 ? "" : ", ") << tokens[i];
  std::cout << ']';
}
/// A JSON array of what `print_one(i)` prints.
template <class PrintOne>
void print_array(std::size_t count, PrintOne&& print_one) {
  std::cout << '[';
  for (std::size_t i = 0; i < count; ++i) {
    if (i > 0) std::cout << ", ";
    print_one(i);
  }
  std::cout << ']';
}

void run(const char* checkpoint, const char* subwords_path, const char* text_path, int threads, int limit) {
  using Model = bench::FATHOM_TRANSLATOR;
  const auto weights = load_checkpoint_weights<Model, Cpu<>>(checkpoint);
  const auto subwords = text::Subwords::from_file(subwords_path);
  std::vector<std::vector<int>> sources;
  const text::Lines lines = text::read_lines(text_path);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const auto ids = subwords.encode(lines[i]);
    sources.emplace_back(ids.begin(), ids.end());
    sources.back().push_back(subwords.end());
  }
  std::cout << std::setprecision(9);
  for (int beam, batch; std::cin >> beam >> batch;) {
    if (beam == 0) {
      std::cout << "{\"vocabulary\": " << subwords.vocabulary() << ", \"sources\": ";
      print_array(sources.size(), [&](std::size_t i) { print(sources[i]); });
      std::cout << '}' << std::endl;
      continue;
    }
    const PairGeneratorOptions options{.begin = subwords.begin(),
                                       .end = subwords.end(),
                                       .sentences = batch,
                                       .limit = {.factor = 0, .constant = limit},
                                       .beam = beam,
                                       .penalty = {.alpha = 1}};
    std::vector<std::vector<Hypothesis>> found;
    const double seconds =
        bench::seconds_of([&] { found = translate(weights, sources, options, {.threads = threads}); });
    std::size_t tokens = 0;
    for (const auto& translations : found) tokens += translations.front().tokens.size();
    std::cout << "{\"seconds\": " << seconds << ", \"tokens\": " << tokens << ", \"scores\": ";
    print_array(found.size(), [&](std::size_t i) { std::cout << found[i].front().score; });
    std::cout << ", \"translations\": ";
    print_array(found.size(), [&](std::size_t i) { print(found[i].front().tokens); });
    std::cout << '}' << std::endl;
  }
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 4) throw Error("give CHECKPOINT SUBWORDS TEXT");
  run(argv[1], argv[2], argv[3], bench::option(argc, argv, "--threads", 2), bench::option(argc, argv, "--limit", 200));
} catch (const std::exception& error) {
  std::fprintf(stderr, "translation_decoding: %s\n", error.what());
  return 1;
}

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/resource.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fathom/core/random.hpp>
#include <fathom/models/language_model.hpp>
#include <fathom/report/format.hpp>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#if !defined(FATHOM_PRECISION)
#define FATHOM_PRECISION Single
#endif

/// What the programs have in common that are one for each shape of a model.
namespace fathom::bench {

/// A decoder-only DeepNorm model with learned positions, GELU and an output of its own; the batch it is trained with.
template <int Layers, int Width, int Heads, int Hidden, int VocabularySize, int Batch, int Length>
struct Shape {
  using Model = LanguageModel<Vocabulary<VocabularySize>, ContextLength<Length>,
                              deepnet::DecoderOnly<Layers, Width, Heads, Hidden>>;
  static constexpr int batch = Batch, context = Length;
  static std::string text() {
    std::string numbers = std::to_string(Layers);
    for (const int number : {Width, Heads, Hidden, VocabularySize, Batch, Length}) {
      numbers += ',';
      numbers += std::to_string(number);
    }
    return numbers;
  }
};

/// Random tokens and targets for one step of a shape.
template <class Shape>
struct RandomBatch {
  PackedRows rows = PackedRows::uniform(Shape::batch, Shape::context);
  std::vector<int> tokens, targets;

  RandomBatch() {
    for (int i = 0; i < rows.rows(); ++i) {
      const auto bits = Philox(Key{1})(std::uint64_t(i));
      tokens.push_back(int(below(Shape::Model::vocabulary, low_bits(bits))));
      targets.push_back(int(below(Shape::Model::vocabulary, high_bits(bits))));
    }
  }
  operator TokenBatch() const { return {rows.view(), tokens, targets}; }
};

/// The whole number behind `name` on the command line. What is none ends the program.
inline int option(int argc, char** argv, std::string_view name, int otherwise) {
  for (int i = 1; i < argc; ++i) {
    if (argv[i] != name) continue;
    const std::string_view text = i + 1 < argc ? argv[i + 1] : "";
    const auto value = format::parse<int>(text);
    if (value && *value >= 0) return *value;
    std::fprintf(stderr, "%s: %s: a whole number from 0 to %d is needed, not '%s'\n", argv[0], argv[i],
                 std::numeric_limits<int>::max(), text.data());
    std::exit(2);
  }
  return otherwise;
}

/// `run(argc, argv)` for main: an error is a line, and exit code 1.
template <class Run>
int run_main(int argc, char** argv, Run&& run) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", argv[0], error.what());
    return 1;
  }
}

inline std::int64_t peak_resident_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return std::int64_t(usage.ru_maxrss) * 1024;
}

}  // namespace fathom::bench

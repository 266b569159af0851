// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/resource.h>

#include <cstdint>
#include <cstdlib>
#include <fathom/models/language_model.hpp>
#include <string>
#include <string_view>

/// What the programs have in common that compare_pytorch.py runs, one for each shape of a model.
namespace fathom::benchmark {

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

/// The integer behind `name` on the command line.
inline int option(int argc, char** argv, std::string_view name, int otherwise) {
  for (int i = 1; i + 1 < argc; ++i)
    if (argv[i] == name) return std::atoi(argv[i + 1]);
  return otherwise;
}

inline std::int64_t peak_resident_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return std::int64_t(usage.ru_maxrss) * 1024;
}

}  // namespace fathom::benchmark

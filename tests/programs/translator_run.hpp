// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <filesystem>
#include <programs/process.hpp>
#include <programs/refusal.hpp>
#include <programs/run_folder.hpp>
#include <random>
#include <string>
#include <string_view>
#include <support/temporary_directory.hpp>

/// Runs of the programs that fathom_add_translator makes.
namespace fathom_test {

/// The second has T5's shape and other subwords, the third other depths.
inline std::string tiny_translator() { return FATHOM_TEST_MODELS "/tiny-translator"; }
inline std::string wordier_translator() { return FATHOM_TEST_MODELS "/wordier-translator"; }
inline std::string deeper_translator() { return FATHOM_TEST_EXAMPLES "/fathom-translate"; }

/// Sentences of a toy language, a line each, and their translations: each word's own, in the opposite order.
struct ToyPairs {
  std::string source, target;

  explicit ToyPairs(int pairs, unsigned seed = 1) {
    constexpr std::array<std::string_view, 8> from{"hund", "katze", "rot", "blau", "haus", "baum", "sieht", "grosse"};
    constexpr std::array<std::string_view, 8> to{"dog", "cat", "red", "blue", "house", "tree", "sees", "large"};
    std::minstd_rand draw(seed);
    for (int i = 0; i < pairs; ++i) {
      std::string reversed;
      const auto words = 2 + draw() % 3;
      for (std::size_t word = 0; word < words; ++word) {
        const auto number = draw() % from.size();
        source.append(word > 0 ? " " : "").append(from[number]);
        reversed = std::string(to[number]).append(word > 0 ? " " : "").append(reversed);
      }
      source += '\n';
      target.append(reversed) += '\n';
    }
  }
};

/// A folder with a parallel text, on which the tiny translator trains.
struct TranslationWorkshop {
  static constexpr int pairs = 200;

  TemporaryDirectory folder{fastest_folder()};
  ToyPairs toy{pairs};
  std::filesystem::path source = folder.write("toy.de", toy.source), target = folder.write("toy.en", toy.target);

  /// A run of some seconds at most, which saves often. Later arguments win.
  Arguments train(std::string_view output, const Arguments& more = {}) const {
    return Arguments{tiny_translator(), "train", source, target, "--output", folder / output} + settings() + more;
  }
  static Arguments settings() {
    return {"--duplicates", "keep", "--hold-out",  "20",  "--steps",            "60", "--batch",      "256",
            "--warmup",     "20",   "--dropout",   "0.1", "--validation-every", "10", "--save-every", "7",
            "--keep",       "3",    "--patience",  "0",   "--learning-rate",    "1e-2", "--threads",  "1"};
  }
};

}  // namespace fathom_test

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <fathom/io/file.hpp>
#include <filesystem>
#include <programs/process.hpp>
#include <programs/refusal.hpp>
#include <programs/run_folder.hpp>
#include <random>
#include <string>
#include <string_view>
#include <support/temporary_directory.hpp>

/// Runs of the programs that fathom_add_language_model makes.
namespace fathom_test {

/// The programs under test are models that differ in nothing but the residual policy: PreNorm, also in mixed precision,
/// and Admin, which also computes activations again instead of keeping them.
inline std::string tiny_model() { return FATHOM_TEST_MODELS "/tiny-lm"; }
inline std::string mixed_model() { return FATHOM_TEST_MODELS "/mixed-lm"; }
inline std::string admin_model() { return FATHOM_TEST_MODELS "/admin-lm"; }

/// That many bytes of words.
inline std::string some_text(std::size_t bytes) {
  constexpr std::string_view words[] = {"the", "deep", "layer", "of", "a", "very", "stack", "norm", "adds", "to"};
  std::string text;
  for (std::minstd_rand draw(1); text.size() < bytes;) text.append(words[draw() % 10]) += draw() % 8 ? ' ' : '\n';
  text.resize(bytes);
  return text;
}

/// A folder with a text, in which the tiny model trains.
struct Workshop {
  TemporaryDirectory folder{fastest_folder()};
  std::filesystem::path text = folder.write("text.txt", some_text(5000));

  /// A run of some seconds at most, which saves often. Later arguments win.
  Arguments train(std::string_view output, const Arguments& more = {}) const {
    return Arguments{tiny_model(), "train", text, "--output", folder / output} +
           Arguments{"--steps", "120",          "--batch", "2", "--warmup", "10", "--validation-every",
                     "10",      "--save-every", "7"} +
           more;
  }
};

}  // namespace fathom_test

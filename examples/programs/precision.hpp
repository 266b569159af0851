// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <fathom/backend/cpu/cpu.hpp>
#include <string>
#include <type_traits>

namespace fathom::program {

/// --precision, for a program that holds both, in the words of CMake's PRECISION.
struct PrecisionOption {
  std::string word = "Single";

  void add_to(CLI::App& app) {
    app.add_option("--precision", word,
                   "Mixed: weights and activations of 16 bits, so that a token reads half of the bytes")
        ->check(CLI::IsMember({"Single", "Mixed"}));
  }

  /// f(std::type_identity<the backend>).
  template <class F>
  auto with_backend(F&& f) const {
    return word == "Mixed" ? f(std::type_identity<Cpu<Mixed>>{}) : f(std::type_identity<Cpu<Single>>{});
  }
};

}  // namespace fathom::program

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/core/precision.hpp>
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

  bool is_mixed() const { return word == "Mixed"; }

  /// f(std::type_identity<the precision>).
  template <class F>
  auto with_precision(F&& f) const {
    return is_mixed() ? f(std::type_identity<Mixed>{}) : f(std::type_identity<Single>{});
  }
  /// f(std::type_identity<the CPU in it>).
  template <class F>
  auto with_backend(F&& f) const {
    return with_precision([&]<class P>(std::type_identity<P>) { return f(std::type_identity<Cpu<P>>{}); });
  }
};

}  // namespace fathom::program

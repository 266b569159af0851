// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <fathom/core/config.hpp>
#include <string_view>

namespace fathom::inline FATHOM_ABI {

/// A 64-bit random key that is derived along a path: seed, then step, then every scope from the model down to an op.
/// Equal paths give equal keys, whatever the thread, packing or order of execution.
struct Key {
  std::uint64_t value = 0;

  constexpr Key child(std::uint64_t word) const { return {mix(value ^ mix(word + 0x9e3779b97f4a7c15u))}; }
  constexpr Key child(std::string_view name) const {
    std::uint64_t hash = 0xcbf29ce484222325u;  // FNV-1a
    for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
    return child(hash);
  }

  friend constexpr bool operator==(Key, Key) = default;

 private:
  /// The finalizer of SplitMix64 (Steele, Lea, Flood 2014).
  static constexpr std::uint64_t mix(std::uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
};

}  // namespace fathom::inline FATHOM_ABI

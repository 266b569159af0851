// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fathom/core/config.hpp>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace fathom::inline FATHOM_ABI {

/// A 64-bit checksum of a sequence of bytes, however it is cut into calls. Every eight bytes are mixed in by a
/// bijection of the state, so damage within eight bytes is always seen, and any other but for a negligible chance. It
/// finds accidents, it is no defence against an adversary. One core checks 1 GB/s from memory and 2 GB/s from its cache,
/// several times what a disk takes; the limit is the chain of two multiplications for every eight bytes.
class Checksum {
 public:
  void add(std::span<const std::byte> bytes) {
    length_ += bytes.size();
    while (!bytes.empty()) {
      if (filled_ == 0 && bytes.size() >= 8) {
        std::uint64_t word;
        std::memcpy(&word, bytes.data(), 8);
        mix(word);
        bytes = bytes.subspan(8);
      } else {
        pending_ |= std::to_integer<std::uint64_t>(bytes[0]) << (8 * filled_);
        filled_ = (filled_ + 1) % 8;
        if (filled_ == 0) mix(std::exchange(pending_, 0));
        bytes = bytes.subspan(1);
      }
    }
  }
  void add(std::string_view text) { add(std::as_bytes(std::span(text))); }
  void add(std::int64_t number) { add(std::as_bytes(std::span(&number, 1))); }

  std::uint64_t value() const {
    Checksum end = *this;
    end.mix(pending_);
    end.mix(length_);
    return end.state_;
  }

 private:
  /// The finalizer of SplitMix64 over state and word. Two multiplications, because with one the flipped signs of three
  /// floats can cancel.
  void mix(std::uint64_t word) {
    state_ ^= word;
    state_ = (state_ ^ state_ >> 30) * 0xBF58476D1CE4E5B9;
    state_ = (state_ ^ state_ >> 27) * 0x94D049BB133111EB;
    state_ ^= state_ >> 31;
  }

  std::uint64_t state_ = 0x243F6A8885A308D3, pending_ = 0, length_ = 0;
  int filled_ = 0;
};

inline constexpr std::size_t checksum_digits = 16;

/// The value of a checksum in hexadecimal digits.
inline std::string checksum_text(std::uint64_t value) {
  std::string text(checksum_digits, '0');
  for (std::size_t i = checksum_digits; i-- > 0; value >>= 4) text[i] = "0123456789abcdef"[value & 15];
  return text;
}

}  // namespace fathom::inline FATHOM_ABI

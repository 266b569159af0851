// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#if __has_include(<zlib.h>)
#include <zlib.h>
#endif

/// Reading of gzip files (RFC 1952), by zlib: link to it (`-lz`, or the CMake target `fathom::translation`). Where zlib
/// is missing, such a file is refused with a message that says so.

namespace fathom::inline FATHOM_ABI {

/// Whether a file that begins with these bytes was made by gzip.
constexpr bool is_gzip(std::string_view bytes) { return bytes.starts_with("\x1f\x8b"); }

/// Unpacks a gzip file piece by piece. Several members one after another, as `cat a.gz b.gz` makes them, are one text.
/// The bytes are viewed.
class Gunzip {
 public:
  /// `path` is for messages.
  Gunzip(std::filesystem::path path, std::string_view bytes);
  Gunzip(const Gunzip&) = delete;
  Gunzip& operator=(const Gunzip&) = delete;
  ~Gunzip();

  /// The next piece, of 64 KiB but for the last one; empty at the end. It stays until the following call. Errors:
  /// `FileError` for a file that is damaged, cut off, or followed by something that gzip did not make.
  std::string_view next();

#if __has_include(<zlib.h>)
 private:
  [[noreturn]] void refuse(const char* reason) const {
    throw FileError(path_.string() + ": " + reason + "; copy or download it again");
  }

  std::filesystem::path path_;
  std::string_view rest_;  // packed bytes that zlib was not given yet
  std::vector<char> piece_;
  z_stream stream_{};
  bool in_member_ = false;
#endif
};

#if __has_include(<zlib.h>)

inline Gunzip::Gunzip(std::filesystem::path path, std::string_view bytes)
    : path_(std::move(path)), rest_(bytes), piece_(std::size_t{1} << 16) {
  constexpr int gzip_alone = 16 + MAX_WBITS;
  if (inflateInit2(&stream_, gzip_alone) != Z_OK) throw FileError(path_.string() + ": no memory to unpack it");
}

inline Gunzip::~Gunzip() { inflateEnd(&stream_); }

inline std::string_view Gunzip::next() {
  stream_.next_out = reinterpret_cast<Bytef*>(piece_.data());
  stream_.avail_out = static_cast<uInt>(piece_.size());
  while (stream_.avail_out > 0) {
    if (stream_.avail_in == 0) {
      const std::string_view given = rest_.substr(0, std::size_t{1} << 30);  // zlib counts in 32 bits
      stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(given.data()));
      stream_.avail_in = static_cast<uInt>(given.size());
      rest_.remove_prefix(given.size());
    }
    if (!in_member_) {
      // Behind a member there is the end, another member, or the zeros that fill up a block of a tape.
      while (stream_.avail_in > 0 && *stream_.next_in == 0) ++stream_.next_in, --stream_.avail_in;
      if (stream_.avail_in == 0) {
        if (rest_.empty()) break;
        continue;
      }
      in_member_ = true;
    }
    const int result = inflate(&stream_, Z_NO_FLUSH);
    if (result == Z_STREAM_END) {
      in_member_ = false;
      inflateReset(&stream_);
    } else if (result == Z_BUF_ERROR || (result == Z_OK && stream_.avail_in == 0 && rest_.empty())) {
      if (stream_.avail_out > 0) refuse("ends before its text does");
    } else if (result == Z_MEM_ERROR) {
      throw FileError(path_.string() + ": no memory to unpack it");
    } else if (result != Z_OK) {
      refuse("is damaged: gzip cannot unpack it");
    }
  }
  return {piece_.data(), piece_.size() - stream_.avail_out};
}

#else

inline Gunzip::Gunzip(std::filesystem::path path, std::string_view) {
  throw FileError(path.string() +
                  ": is compressed by gzip, and this program was built without zlib; unpack it, or install zlib1g-dev "
                  "and build again");
}
inline Gunzip::~Gunzip() = default;
inline std::string_view Gunzip::next() { return {}; }

#endif

}  // namespace fathom::inline FATHOM_ABI

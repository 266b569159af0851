// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/io/atomic_write.hpp>
#include <fathom/io/checksum.hpp>
#include <fathom/io/file.hpp>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

namespace fathom::inline FATHOM_ABI::cuda {

/// Texts that take long to make, each in a file of a folder, for runs to come. A key says all that a text depends on.
/// Nothing here is an error: what cannot be read is not there, and what cannot be written is not kept.
class PlanFiles {
 public:
  explicit PlanFiles(std::filesystem::path folder) : folder_(std::move(folder)) {}

  /// What was kept under this key; empty: nothing, or it is damaged.
  std::string find(const std::string& key) const try {
    const std::string file = read_file(path_of(key)), head = head_of(key);
    if (!file.starts_with(head) || file.size() < head.size() + checksum_digits + 1) return {};
    const std::string text = file.substr(head.size() + checksum_digits + 1);
    return file.compare(head.size(), checksum_digits, checksum_of(text)) == 0 ? text : std::string{};
  } catch (const FileError&) {
    return {};
  }

  void keep(const std::string& key, const std::string& text) const try {
    write_file(path_of(key), head_of(key) + checksum_of(text) + "\n" + text);
  } catch (const FileError&) {
  }

 private:
  static std::string checksum_of(std::string_view text) {
    Checksum sum;
    sum.add(text);
    return checksum_text(sum.value());
  }
  static std::string head_of(const std::string& key) { return "fathom plan 1\n" + key + "\n"; }
  std::filesystem::path path_of(const std::string& key) const { return folder_ / (checksum_of(key) + ".plan"); }

  std::filesystem::path folder_;
};

}  // namespace fathom::inline FATHOM_ABI::cuda

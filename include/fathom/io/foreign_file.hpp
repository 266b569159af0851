// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <fathom/core/config.hpp>
#include <string>
#include <string_view>

namespace fathom::inline FATHOM_ABI {

/// What a file is that was given for another one, by its first bytes (64 are enough), and what to do: "is a pointer of
/// git-lfs …", to stand behind its path. Empty where the bytes tell nothing.
inline std::string foreign_file(std::string_view bytes) {
  const auto starts = [&](auto... with) { return (bytes.starts_with(with) || ...); };
  if (bytes.empty()) return "is empty; copy or download it again";
  if (starts("version https://git-lfs.github.com/spec/"))
    return "is a pointer of git-lfs and not the file itself; run `git lfs pull` in its folder";
  if (starts("<!DOCTYPE", "<!doctype", "<html", "<HTML"))
    return "is a web page and not the file itself; download it again, by the link to the raw file";
  if (starts("GGUF", "tjgg", "lmgg")) return "is a GGUF or GGML file, as llama.cpp has them; give the original";
  if (starts("PK\3\4")) return "is a zip archive, as PyTorch's files of weights are; convert or unpack it";
  if (starts("\x80\x02", "\x80\x03", "\x80\x04", "\x80\x05"))
    return "is a Python pickle, as old PyTorch files of weights are; convert it";
  if (starts("\x1f\x8b")) return "is compressed by gzip; unpack it";
  if (bytes.size() > 8 && bytes[8] == '{' && bytes.substr(5, 3) == std::string_view("\0\0\0", 3))
    return "is a safetensors file; convert it";  // eight bytes of the header's length, then JSON
  if (starts("\n") && bytes.substr(0, 16).find("<unk>") != std::string_view::npos)
    return "is a SentencePiece model; convert it";
  return {};
}

}  // namespace fathom::inline FATHOM_ABI

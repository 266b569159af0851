// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <fathom/io/foreign_file.hpp>
#include <string>
#include <string_view>

namespace foreign_file_test {

using fathom::foreign_file;

TEST_CASE("a file that was given for another one is told by its first bytes", "[foreign_file]") {
  const auto is = [](std::string_view bytes, const char* name) {
    CAPTURE(name);
    CHECK(foreign_file(bytes).find(name) != std::string::npos);
  };
  is("", "is empty");
  is("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b", "git-lfs");
  is("<!DOCTYPE html>\n<html>", "web page");
  is(std::string_view("GGUF\3\0\0\0", 8), "GGUF");
  is(std::string_view("PK\3\4\0\0\0\0", 8), "zip");
  is("\x80\x02}q", "pickle");
  is("\x1f\x8b\b", "gzip");
  is(std::string_view("\x40\1\0\0\0\0\0\0{\"a\":", 13), "safetensors");
  is(std::string_view("\n\x0e\n\5<unk>\x15\0\0\0\0", 14), "SentencePiece");
}

TEST_CASE("of other bytes nothing is said", "[foreign_file]") {
  for (const std::string_view bytes : {"x", "a text\nof two lines", "\n\n\n", "version 1", "<", "PK"})
    CHECK(foreign_file(bytes).empty());
  CHECK(foreign_file(std::string(100, '\0')).empty());
}

}  // namespace foreign_file_test

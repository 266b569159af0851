// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <fathom/train/file.hpp>
#include <fstream>
#include <string>
#include <support/temporary_directory.hpp>
#include <thread>

using namespace fathom;
using namespace fathom_test;
using Catch::Matchers::ContainsSubstring;

TEST_CASE("a written file is read back", "[file]") {
  const TemporaryDirectory folder;
  OutputFile file(folder / "a");
  file.write("hello ");
  file.write("world");
  file.write_at(0, std::as_bytes(std::span("J", 1)));
  CHECK(file.size() == 11);
  file.close();
  CHECK(read_file(folder / "a") == "Jello world");

  const MappedFile mapped(folder / "a");
  CHECK(std::string(reinterpret_cast<const char*>(mapped.bytes().data()), mapped.bytes().size()) == "Jello world");
  CHECK(MappedFile(folder.write("empty", "")).bytes().empty());
  CHECK(read_file(folder / "empty").empty());
}

TEST_CASE("a pipe is read to its end", "[file]") {
  const TemporaryDirectory folder;
  const auto pipe = folder / "pipe";
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  const std::string content(200'000, 'x');
  std::thread writer([&] { std::ofstream(pipe) << content; });
  CHECK(read_file(pipe) == content);
  writer.join();
  CHECK_THAT(message_of<FileError>([&] { MappedFile file(folder.path()); }), ContainsSubstring("not a regular file"));
}

TEST_CASE("failures name the path, the reason and the remedy", "[file]") {
  const TemporaryDirectory folder;
  CHECK(message_of<FileError>([&] { read_file(folder / "none"); }) ==
        (folder / "none").string() + ": cannot open: No such file or directory; check the path");
  CHECK_THAT(message_of<FileError>([&] { MappedFile file(folder / "none"); }), ContainsSubstring("none: cannot open"));
  CHECK_THAT(message_of<FileError>([&] { OutputFile file(folder / "none/a"); }), ContainsSubstring("cannot create"));
  CHECK_THAT(message_of<FileError>([&] { read_file(folder.path()); }),
             ContainsSubstring("cannot read: Is a directory; name a file, not a directory"));
  CHECK(message_of<FileError>([] { OutputFile("/dev/full").write("x"); }) ==
        "/dev/full: cannot write: No space left on device; free some disk space");
}

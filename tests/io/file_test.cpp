// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <fathom/io/file.hpp>
#include <fstream>
#include <string>
#include <support/temporary_directory.hpp>
#include <thread>

namespace file_test {

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
  const int held = ::open(pipe.c_str(), O_RDWR | O_CLOEXEC);  // so that the pipe has a writer before it is read
  std::thread writer([&] {
    std::ofstream(pipe) << content;
    ::close(held);
  });
  CHECK(read_file(pipe) == content);
  writer.join();
  CHECK_THAT(message_of<FileError>([&] { MappedFile file(folder.path()); }), ContainsSubstring("not a regular file"));
}

TEST_CASE("nobody is waited for where a file is expected", "[file]") {
  const TemporaryDirectory folder;
  const auto pipe = folder / "pipe";
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  CHECK_THAT(message_of<FileError>([&] { MappedFile file(pipe); }), ContainsSubstring("pipe: is not a regular file"));
  CHECK(read_file(pipe).empty());
  CHECK_THAT(message_of<FileError>([&] { OutputFile file(pipe); }), ContainsSubstring("pipe: cannot create"));
  for (const char* device : {"/dev/zero", "/dev/null"}) {
    CHECK_THAT(message_of<FileError>([&] { MappedFile file(device); }), ContainsSubstring("is not a regular file"));
    CHECK_THAT(message_of<FileError>([&] { read_file(device); }), ContainsSubstring("is a device"));
  }
}

TEST_CASE("a signal ends the wait for a pipe that says nothing", "[file]") {
  const TemporaryDirectory folder;
  const auto pipe = folder / "pipe";
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  const int held = ::open(pipe.c_str(), O_RDWR | O_CLOEXEC);
  struct sigaction action = {}, before = {};
  action.sa_handler = [](int) {};
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGALRM, &action, &before);
  const itimerval soon{{0, 10'000}, {0, 10'000}}, never{};  // again, in case that the first comes before the wait
  ::setitimer(ITIMER_REAL, &soon, nullptr);
  CHECK_THAT(message_of<FileError>([&] { read_file(pipe); }), ContainsSubstring("pipe: the wait for its end was"));
  ::setitimer(ITIMER_REAL, &never, nullptr);
  ::sigaction(SIGALRM, &before, nullptr);
  ::close(held);
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

}  // namespace file_test

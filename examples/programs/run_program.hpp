// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <exception>
#include <fathom/train/file.hpp>
#include <filesystem>
#include <iostream>
#include <new>
#include <string>

namespace fathom::program {

namespace detail {

/// Opens what the caller closed of stdin, stdout and stderr: the next file would get its number, and what is printed.
inline void open_standard_streams() {
  int file = ::open("/dev/null", O_RDWR);
  while (file >= 0 && file <= STDERR_FILENO) file = ::open("/dev/null", O_RDWR);
  ::close(file);
}

}  // namespace detail

/// Errors: `FileError` when something that was printed cannot be written.
inline void flush_stdout() {
  errno = 0;
  const bool flushed = std::fflush(stdout) == 0;
  if (!flushed || std::ferror(stdout) || !std::cout)
    fathom::detail::throw_system_error("stdout", "write", errno ? errno : EIO);
}

/// The `main` of a program: parses the command line and calls `body`, which returns the exit code. Whatever goes wrong
/// ends in one line on stderr and an exit code that is not 0, output that cannot be written included.
template <class Body>
int run_program(CLI::App& app, int argc, char** argv, Body&& body) {
  detail::open_standard_streams();
  ::signal(SIGXFSZ, SIG_IGN);  // a file at the limit of its size is an error like a full disk
  const auto complain = [&](const std::string& what) {
    std::string line = std::filesystem::path(argv[0]).filename().string() + ": " + what;
    for (char& c : line)
      if (c >= 0 && c < ' ') c = '?';  // a path may hold line ends
    std::fprintf(stderr, "%s\n", line.c_str());
  };
  try {
    int code = 0;
    try {
      app.parse(argc, argv);
      code = body();
    } catch (const CLI::Success& help) {
      code = app.exit(help);
    }
    flush_stdout();
    return code;
  } catch (const CLI::ParseError& error) {
    complain(error.what() + std::string("; see --help"));
    return error.get_exit_code();
  } catch (const std::filesystem::filesystem_error& error) {
    complain(error.path1().string() + ": " + error.code().message() + "; " +
             fathom::detail::remedy(error.code().value()));
  } catch (const std::bad_alloc&) {
    complain("there is not enough memory; do less at a time, or free some");
  } catch (const std::exception& error) {
    complain(error.what());
  }
  return 1;
}

}  // namespace fathom::program

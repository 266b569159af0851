// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fathom/core/error.hpp>
#include <fathom/io/atomic_write.hpp>
#include <fathom/io/file.hpp>
#include <filesystem>
#include <initializer_list>
#include <iostream>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

namespace fathom::program {

namespace detail {

/// Opens what the caller closed of stdin, stdout and stderr: the next file would get its number, and what is printed.
inline void open_standard_streams() {
  int file = ::open("/dev/null", O_RDWR);
  while (file >= 0 && file <= STDERR_FILENO) file = ::open("/dev/null", O_RDWR);
  ::close(file);
}

/// The program's name and what is wrong, as one line on stderr. Allocates nothing.
inline void complain(std::initializer_list<std::string_view> parts) {
  char line[4096];
  std::size_t size = 0;
  const auto add = [&](std::string_view part) {
    for (const char c : part)
      if (size + 1 < sizeof line) line[size++] = c >= 0 && c < ' ' ? '?' : c;  // a path may hold line ends
  };
  add(::program_invocation_short_name);
  add(": ");
  for (const std::string_view part : parts) add(part);
  line[size++] = '\n';
  std::fwrite(line, 1, size, stderr);
}

inline void complain_of_memory() { complain({"there is not enough memory; do less at a time, or free some"}); }

/// What is not caught because it comes where nothing can be caught: before `main`, where CLI11 fills its variables, or
/// in a destructor, as nlohmann-json's allocate. Memory that is missing there ends in its line too.
[[noreturn]] inline void end_uncaught() {
  try {
    if (const auto error = std::current_exception()) std::rethrow_exception(error);
  } catch (const std::bad_alloc&) {
    complain_of_memory();
    std::_Exit(EXIT_FAILURE);
  } catch (...) {
  }
  std::abort();
}
[[gnu::constructor(101)]] static void watch_for_uncaught() { std::set_terminate(end_uncaught); }

inline bool output_may_be_lost = false;

}  // namespace detail

/// Says that the program's work is in files from here on: when nobody takes what it prints any more, because a reader
/// has ended or a disk is full, it goes on to its end and that is no error.
inline void let_output_be_lost() {
  ::signal(SIGPIPE, SIG_IGN);
  detail::output_may_be_lost = true;
}

/// Errors: `FileError` for a name that a file cannot take, because a folder, a pipe or a device has it, or because its
/// folder takes none. For what is written after long work.
inline void check_output_file(const std::filesystem::path& path) {
  std::error_code none;
  const std::filesystem::file_status status = std::filesystem::status(path, none);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status))
    throw FileError(path.string() +
                    ": a file is written here in the end, and this is none; move it away, or name another");
  if (::access(fathom::detail::resolve_target(path).parent_path().c_str(), W_OK | X_OK) != 0)
    fathom::detail::throw_system_error(path, "write", errno);
}

/// Errors: `FileError` when something that was printed cannot be written, unless it may be lost.
inline void flush_stdout() {
  errno = 0;
  const bool flushed = std::fflush(stdout) == 0 && !std::ferror(stdout) && std::cout;
  if (!flushed && !detail::output_may_be_lost)
    fathom::detail::throw_system_error("stdout", "write", errno ? errno : EIO);
}

/// The `main` of a program: calls `body`, which returns the exit code. Whatever goes wrong ends in one line on stderr
/// and an exit code that is not 0, output that cannot be written included. What can fail belongs into the body, and
/// that is all that allocates.
template <class Body>
int run_program(Body&& body) {
  detail::open_standard_streams();
  ::signal(SIGXFSZ, SIG_IGN);  // a file at the limit of its size is an error like a full disk
  try {
    try {
      const int code = body();
      flush_stdout();
      return code;
    } catch (const std::filesystem::filesystem_error& error) {
      throw FileError(error.path1().string() + ": " + error.code().message() + "; " +
                      fathom::detail::remedy(error.code().value()));
    }
  } catch (const CLI::ParseError& error) {
    detail::complain({error.what(), "; see --help"});
    return error.get_exit_code();
  } catch (const std::bad_alloc&) {
    detail::complain_of_memory();
  } catch (const std::length_error&) {  // more than any memory has
    detail::complain_of_memory();
  } catch (const std::exception& error) {
    detail::complain({error.what()});
  }
  return EXIT_FAILURE;
}

/// Parses the command line, then calls `command`, which returns the exit code; or prints the help that was asked for.
template <class Command>
int run_command(CLI::App& app, int argc, char** argv, Command&& command) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help) {
    return app.exit(help);
  }
  return command();
}

}  // namespace fathom::program

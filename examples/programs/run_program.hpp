// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <filesystem>

namespace fathom::program {

/// The `main` of a program: parses the command line and calls `body`, which returns the exit code. Whatever goes wrong
/// ends in one line on stderr and an exit code that is not 0.
template <class Body>
int run_program(CLI::App& app, int argc, char** argv, Body&& body) {
  const auto complain = [&](const char* what, const char* remedy) {
    std::fprintf(stderr, "%s: %s%s\n", std::filesystem::path(argv[0]).filename().c_str(), what, remedy);
  };
  try {
    app.parse(argc, argv);
    return body();
  } catch (const CLI::Success& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    complain(error.what(), "; see --help");
    return error.get_exit_code();
  } catch (const std::exception& error) {
    complain(error.what(), "");
    return 1;
  }
}

}  // namespace fathom::program

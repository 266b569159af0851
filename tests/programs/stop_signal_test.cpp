// SPDX-License-Identifier: Apache-2.0
#include "../../examples/programs/stop_signal.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>

namespace stop_signal_test {

/// Runs `body` in a child process and returns how that ended, as waitpid reports it.
template <class Body>
int status_of(Body body) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) ::_exit(body());
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return status;
}

void (*handler_of(int signal))(int) {
  struct sigaction action {};
  ::sigaction(signal, nullptr, &action);
  return action.sa_handler;
}

TEST_CASE("a signal is noted, with the exit code that a shell would report", "[stop_signal]") {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    const StopSignal stop;
    CHECK(!stop);
    ::raise(signal);
    CHECK(stop);
    CHECK(stop.exit_code() == 128 + signal);
  }
  CHECK(!StopSignal());  // a new one has seen nothing yet
}

TEST_CASE("the second Ctrl-C ends the program", "[stop_signal]") {
  const int status = status_of([] {
    const StopSignal stop;
    ::raise(SIGINT);
    ::raise(SIGINT);
    return 0;
  });
  CHECK(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGINT);
}

TEST_CASE("SIGTERM after Ctrl-C is still caught", "[stop_signal]") {
  const int status = status_of([] {
    const StopSignal stop;
    ::raise(SIGINT);
    ::raise(SIGTERM);
    return stop.exit_code() == 143 ? 7 : 1;
  });
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 7);
}

TEST_CASE("what was ignored before stays ignored", "[stop_signal]") {
  const int status = status_of([] {
    ::signal(SIGHUP, SIG_IGN);
    const StopSignal stop;
    ::raise(SIGHUP);
    ::raise(SIGHUP);
    return stop ? 1 : 7;
  });
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 7);
}

TEST_CASE("what was installed before comes back, caught or not", "[stop_signal]") {
  const auto interrupt = handler_of(SIGINT), terminate = handler_of(SIGTERM);
  { const StopSignal stop; }
  CHECK(handler_of(SIGINT) == interrupt);
  CHECK(handler_of(SIGTERM) == terminate);
  {
    const StopSignal stop;
    CHECK(handler_of(SIGINT) != interrupt);
    ::raise(SIGINT);
    CHECK(handler_of(SIGINT) == SIG_DFL);
  }
  CHECK(handler_of(SIGINT) == interrupt);
}

}  // namespace stop_signal_test

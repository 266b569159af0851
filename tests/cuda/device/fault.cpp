// SPDX-License-Identifier: Apache-2.0
#include "fault.hpp"

#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <string>

#include "device.hpp"

namespace emulated {

namespace {

struct sigaction previous;
const char* (*running_thread)() = nullptr;

// Not async-signal-safe, and it need not be: the process ends, and what it says is all that is left of it.
void on_fault(int signal, siginfo_t* info, void*) {
  Device& device = Device::get();
  if (device.memory().owns(info->si_addr)) {
    std::string text = "emulated device: ";
    if (device.memory().is_open()) {
      text += device.doing().empty() ? "work" : device.doing();
      if (running_thread != nullptr) text += std::string(", ") + running_thread();
    } else {
      text += "the host";
    }
    text += " touches " + device.memory().describe(info->si_addr) + "\n";
    [[maybe_unused]] const auto written = ::write(2, text.data(), text.size());
  }
  ::sigaction(signal, &previous, nullptr);  // the access is tried again, and ends there
}

}  // namespace

void report_faults() {
  static char stack[64 * 1024];
  stack_t current;
  if (::sigaltstack(nullptr, &current) == 0 && (current.ss_flags & SS_DISABLE)) {
    const stack_t own{.ss_sp = stack, .ss_flags = 0, .ss_size = sizeof stack};
    ::sigaltstack(&own, nullptr);
  }
  struct sigaction action = {}, old;
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  ::sigemptyset(&action.sa_mask);
  ::sigaction(SIGSEGV, &action, &old);
  if (!(old.sa_flags & SA_SIGINFO) || old.sa_sigaction != on_fault) previous = old;
}

void set_running_thread(const char* (*name)()) { running_thread = name; }

}  // namespace emulated

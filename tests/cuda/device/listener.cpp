// SPDX-License-Identifier: Apache-2.0
// A test in which a mistake is left that it did not expect has failed, whatever it compared. Not in the debug mode of
// the standard library: its vectors are other types than those that Catch2 was built with.
#ifndef _GLIBCXX_DEBUG
#include <catch2/catch_test_case_info.hpp>
#include <catch2/reporters/catch_reporter_event_listener.hpp>
#include <catch2/reporters/catch_reporter_registrars.hpp>
#include <cstdio>
#include <cstdlib>

#include "device.hpp"

namespace {

struct NoMistakes : Catch::EventListenerBase {
  using EventListenerBase::EventListenerBase;

  void testCaseEnded(const Catch::TestCaseStats& stats) override {
    const auto& mistakes = emulated::Device::get().mistakes();
    if (mistakes.empty()) return;
    std::fprintf(stderr, "%s: the emulated device has found %zu mistakes, the first of them: %s\n",
                 stats.testInfo->name.c_str(), mistakes.size(), mistakes.front().c_str());
    std::fflush(nullptr);
    std::_Exit(1);
  }
};

CATCH_REGISTER_LISTENER(NoMistakes)

}  // namespace

#endif

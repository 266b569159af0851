// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <fathom/generate/log_sum_exp.hpp>
#include <limits>
#include <span>
#include <support/temporary_directory.hpp>
#include <vector>

namespace log_sum_exp_test {

using namespace fathom;
using namespace fathom_test;

constexpr float infinity = std::numeric_limits<float>::infinity();

TEST_CASE("the logarithm of a sum of exponentials", "[generate]") {
  const std::vector<float> values{-3, 100, 99, -infinity, 100};
  CHECK(std::abs(log_sum_exp(std::span<const float>(values)) - (100 + std::log(2 + std::exp(-1.0)))) <= 1e-6);
  for (const auto& bad : {std::vector{1.0f, NAN}, std::vector{NAN, 1.0f}, std::vector{infinity, 0.0f},
                          std::vector{-infinity, -infinity}})
    CHECK_FALSE(message_of<Error>([&] { log_sum_exp(std::span<const float>(bad)); }).empty());
}

}  // namespace log_sum_exp_test

// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <fathom/text/epoch.hpp>
#include <fathom/text/windows.hpp>
#include <ranges>
#include <vector>

namespace {
using namespace fathom;

static_assert(std::ranges::input_range<text::Epoch<text::Windows<unsigned char>>>);

TEST_CASE("an epoch is every batch of its sampler, again and again", "[text]") {
  std::vector<unsigned char> text(24);
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<unsigned char>(i);
  text::Epoch epoch(text::Windows<unsigned char>(std::span<const unsigned char>(text),
                                                 {.batch = 2, .length = 5, .order = text::Order::sequential}));
  CHECK(epoch.capacity().rows == 10);
  for (int walk = 0; walk < 2; ++walk) {
    std::vector<int> targets, batches;
    for (const text::Batch& batch : epoch) {
      batches.push_back(batch.rows());
      targets.insert(targets.end(), batch.targets().begin(), batch.targets().end());
    }
    CHECK(batches == std::vector<int>{10, 10, 3});
    REQUIRE(targets.size() == 23);
    for (int i = 0; i < 23; ++i) CHECK(targets[std::size_t(i)] == i + 1);
  }
}

}  // namespace

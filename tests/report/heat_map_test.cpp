// SPDX-License-Identifier: Apache-2.0
#include <fathom/report/heat_map.hpp>

#include <catch2/catch_test_macros.hpp>
#include <limits>
#include <string>

namespace heat_map_test {

using namespace fathom;

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++found;
  return found;
}

constexpr std::size_t bar = 50, background = 1;  // rectangles besides the cells

TEST_CASE("a heat map has a cell for each value, coloured by its logarithm", "[report]") {
  const HeatMap map{.title = "gradients <1>",
                    .x_label = "step",
                    .y_label = "layer",
                    .values = {{"step", "blocks.0", "blocks.1"}, {{1, 1e-4, 1.0}, {2, 1e-2, 1e-2}}}};
  const std::string text = svg(map);
  CHECK(count(text, "<rect") == 4 + bar + background);
  // The smallest and the largest are the ends of the bar; the others, half way between them, its middle.
  CHECK(count(text, "#440154") == 2);
  CHECK(count(text, "#fde725") == 2);
  CHECK(count(text, "#21918c") == 2);
  CHECK(count(text, ">1.0e-04<") == 1);
  CHECK(count(text, ">1.0e+00<") == 1);
  CHECK(count(text, "gradients &lt;1&gt;") == 2);
  CHECK(count(text, ">blocks.1<") == 1);
}

TEST_CASE("a heat map has room for the names of its columns", "[report]") {
  const auto place = [](const std::string& name) {
    const std::string text = svg(HeatMap{.values = {{"step", name}, {{1, 1.0}, {2, 2.0}}}});
    const std::size_t label = text.rfind("<text", text.find(">" + name + "<"));
    return std::stod(text.substr(text.find("x=\"", label) + 3));  // where the name ends
  };
  CHECK(place("decoder.blocks.499") >= 18 * 7);
  CHECK(place("one of a stack within stacks.blocks.499") >= 39 * 7);
}

TEST_CASE("a heat map shows zeros white and what is no number red", "[report]") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::string text = svg(HeatMap{.values = {{"step", "a"}, {{1, 0.0}, {2, nan}, {3, {}}, {4, 1.0}}}});
  CHECK(count(text, "#ffffff") == 1);
  CHECK(count(text, "#d00000") == 2);
}

TEST_CASE("a heat map of nothing, and of more than it can draw, is a document", "[report]") {
  CHECK(svg(HeatMap{}).ends_with("</svg>\n"));
  HeatMap large;
  large.values.columns = {"step"};
  for (int layer = 0; layer < 1000; ++layer) large.values.columns.push_back(std::to_string(layer));
  for (int step = 0; step < 1000; ++step) {
    large.values.rows.emplace_back(1001, 0.5 + step);
    large.values.rows.back()[0] = step;
  }
  const std::string text = svg(large);
  CHECK(count(text, "<rect") == 320 * 200 + bar + background);
  CHECK(count(text, ">999<") == 2);  // the last step and the last layer
}

}  // namespace heat_map_test

// SPDX-License-Identifier: Apache-2.0
#include <fathom/report/plot.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <fstream>
#include <iterator>
#include <sstream>
#include <unistd.h>

namespace plot_test {

namespace fs = std::filesystem;
using Catch::Matchers::ContainsSubstring;
using fathom::Error;
using fathom::Plot;
using fathom::svg;

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

/// What is wrong with a document of the XML that we write: elements, attributes, text, entities. Empty if nothing is.
std::string xml_fault(std::string_view text) {
  std::vector<std::string_view> open;
  bool root_closed = false;
  for (std::size_t at = 0; at < text.size();) {
    if (static_cast<unsigned char>(text[at]) < ' ' && text[at] != '\n') return "a control character";
    if (text[at] == '&') {
      const auto entity = text.substr(at, text.find(';', at) - at + 1);
      if (entity != "&amp;" && entity != "&lt;" && entity != "&gt;" && entity != "&quot;") return "a bare &";
      at += entity.size();
    } else if (text[at] != '<') {
      if (open.empty() && text[at] != '\n') return "text outside the root";
      ++at;
    } else {
      const auto end = text.find('>', at);
      if (end == text.npos) return "an element without an end";
      auto element = text.substr(at + 1, end - at - 1);
      at = end + 1;
      if (element.find('<') != element.npos) return "a < inside an element";
      if (std::count(element.begin(), element.end(), '"') % 2 != 0) return "an unquoted attribute";
      const auto name = element.substr(0, element.find_first_of(" /", element.starts_with('/') ? 1 : 0));
      if (name.starts_with('/')) {
        if (open.empty() || open.back() != name.substr(1)) return "a wrong end of " + std::string(name.substr(1));
        open.pop_back();
      } else if (!element.ends_with('/')) {
        if (root_closed) return "two roots";
        open.push_back(name);
      }
      root_closed |= open.empty();
    }
  }
  return open.empty() ? "" : "an open element";
}

/// The values of an attribute, in order, of the elements whose text holds `filter`.
std::vector<std::string> attributes(const std::string& text, const std::string& name, const std::string& filter) {
  std::vector<std::string> result;
  for (std::size_t at = 0; (at = text.find('<', at)) != text.npos; ++at) {
    const auto element = text.substr(at, text.find('>', at) - at);
    const auto value = element.find(" " + name + "=\"");
    if (element.find(filter) == element.npos || value == element.npos) continue;
    const auto start = value + name.size() + 3;
    result.push_back(element.substr(start, element.find('"', start) - start));
  }
  return result;
}

/// The path of the first solid line.
std::string first_path(const Plot& plot) { return attributes(svg(plot), "d", "#0072b2").at(0); }

/// The coordinates in a path of M and L alone.
std::vector<double> numbers(std::string path) {
  for (char& c : path) c = c == 'M' || c == 'L' || c == ',' ? ' ' : c;
  std::istringstream in(path);
  return {std::istream_iterator<double>(in), {}};
}

Plot one_line(std::vector<double> y) {
  Plot plot;
  plot.lines.push_back({.series = {.name = "", .x = {}, .y = std::move(y)}});
  auto& series = plot.lines[0].series;
  for (std::size_t i = 0; i < series.y.size(); ++i) series.x.push_back(static_cast<double>(i));
  return plot;
}

std::size_t count(const std::string& text, char c) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), c));
}

TEST_CASE("the fault finder finds faults", "[plot]") {
  CHECK(xml_fault("<a b=\"1\"><c/>x &amp; y</a>\n").empty());
  for (const char* wrong :
       {"<a>", "<a></b>", "<a>&</a>", "<a>&nbsp;</a>", "<a b=\"1></a>", "<a/><b></b>", "x<a></a>", "<a>\x01</a>"})
    CHECK(!xml_fault(wrong).empty());
}

TEST_CASE("a plot is well-formed and shows title, labels, names and references, escaped", "[plot]") {
  const std::string text =
      svg(Plot{.title = "a < b & \"c\"\t>",
               .x_label = "step",
               .y_label = "loss <nats>",
               .lines = {{.series = {"DeepNorm & friends", {1, 2, 3}, {3, 2, 1}}},
                         {.series = {"Post-LN", {1, 2, 3}, {3, 3.1, 3.05}}, .stroke = Plot::Stroke::dashed},
                         {.series = {"", {1, 2}, {2, 2}}, .stroke = Plot::Stroke::faint}},
               .references = {{.value = 3.1, .label = "entropy 3.1"}}});
  CHECK(xml_fault(text) == "");
  for (const char* part :
       {"<title>a &lt; b &amp; &quot;c&quot; &gt;</title>", ">step</text>", ">loss &lt;nats&gt;</text>",
        ">DeepNorm &amp; friends</text>", ">Post-LN</text>", ">entropy 3.1</text>", ">1.5</text>"})
    CHECK_THAT(text, ContainsSubstring(part));
  CHECK(attributes(text, "d", "#0072b2").size() == 2);  // the line, and its sample beside its name
  CHECK(attributes(text, "d", "#d55e00\" stroke-width=\"2\" stroke-dasharray").size() == 2);
  CHECK(attributes(text, "d", "#009e73\" stroke-width=\"1\" stroke-opacity").size() == 1);
  CHECK(text.find("#009e73") < text.find("#0072b2"));  // the faint one lies below
}

TEST_CASE("a plot of nothing, of one point and of one value is well-formed", "[plot]") {
  CHECK(xml_fault(svg(Plot{})) == "");
  for (const auto& y : std::vector<std::vector<double>>{
           {}, {2}, {0}, {nan}, {5, 5, 5}, {infinity, nan}, {1e300, -1e300, 1e308, -1e308, 1e-300}}) {
    for (const bool log : {false, true}) {
      auto plot = one_line(y);
      plot.log_y = log;
      const auto text = svg(plot);
      CHECK(xml_fault(text) == "");
      CHECK(text.find("nan") == text.npos);
      CHECK(text.find("inf") == text.npos);
    }
  }
}

TEST_CASE("values that differ by a rounding alone are drawn as one", "[plot]") {
  for (const double value : {3.1868857642592543, -2.0, 1e6})
    for (const bool log : {false, true}) {
      auto one = one_line({value, value, value}), rounded = one_line({value, std::nextafter(value, 1e9), value});
      one.log_y = rounded.log_y = log;
      CHECK(svg(rounded) == svg(one));
    }
}

TEST_CASE("points that cannot be shown break the line, and a point alone is a dot", "[plot]") {
  CHECK(count(first_path(one_line({1, 2, 3, 4, 5})), 'M') == 1);
  CHECK(count(first_path(one_line({1, 2, nan, 4, 5})), 'M') == 2);
  CHECK(count(first_path(one_line({1, 2, infinity, 4, 5, nan})), 'M') == 2);
  CHECK(count(first_path(one_line({1, 2, nan, 4, 5})), 'a') == 0);
  CHECK(count(first_path(one_line({1, nan, 3, 4})), 'a') == 2);
  auto logarithmic = one_line({1, 0, 10, -1, 100, 1000});
  CHECK(count(first_path(logarithmic), 'M') == 1);
  logarithmic.log_y = true;
  CHECK(count(first_path(logarithmic), 'M') == 3);
}

TEST_CASE("lines are where their values are", "[plot]") {
  auto plot = one_line({0, 10, 20});
  plot.y_low = 0;
  plot.y_high = 40;
  // The area is 640 by 360 pixels and its top 16 from the edge: from its lower left corner to the middle of its right.
  const auto start = numbers(first_path(plot));
  REQUIRE(start.size() == 6);
  CHECK(start[2] - start[0] == 320);
  CHECK(start[4] - start[0] == 640);
  CHECK((start[1] == 376 && start[3] == 286 && start[5] == 196));
  plot.log_y = true;
  plot.y_low = 1;
  plot.y_high = 100;
  const auto logarithmic = numbers(first_path(plot));  // 0 is not there
  CHECK(logarithmic.size() == 4);
  CHECK((logarithmic[1] == 196 && std::abs(logarithmic[3] - 141.8) < 0.1));
}

TEST_CASE("a long series is thinned out without losing its extremes", "[plot]") {
  std::vector<double> y(100'000);
  for (std::size_t i = 0; i < y.size(); ++i) y[i] = i % 2 == 0 ? 1 : 2;
  y[54'321] = 9;
  y[65'432] = -3;
  auto plot = one_line(y);
  plot.y_low = -3;
  plot.y_high = 9;
  const auto path = first_path(plot);
  CHECK(count(path, 'L') + 1 <= 4 * 641);
  CHECK(path.find(",16L") != path.npos);                       // the highest
  CHECK(path.find(",376L") != path.npos);                      // the lowest
  CHECK(count(first_path(one_line({1, 5, 2, 8})), 'L') == 3);  // a short one keeps every point
}

TEST_CASE("names do not overlap and stay beside the area", "[plot]") {
  Plot plot;
  for (int i = 0; i < 30; ++i)
    plot.lines.push_back({.series = {"name " + std::to_string(i), {0, 1}, {0, i < 20 ? 1.0 : 1.0 + i}}});
  const auto text = svg(plot);
  std::vector<double> heights;
  for (std::size_t at = 0; (at = text.find(">name ", at)) != text.npos; ++at) {
    const auto y = text.rfind(" y=\"", at);
    heights.push_back(std::stod(text.substr(y + 4)));
  }
  REQUIRE(heights.size() == 30);
  for (std::size_t i = 1; i < heights.size(); ++i) CHECK(heights[i] - heights[i - 1] >= 19.9);
  CHECK(heights.back() <= std::stod(attributes(text, "height", "<svg").at(0)));
}

TEST_CASE("nonsense is refused", "[plot]") {
  CHECK_THROWS_AS(svg({.lines = {{.series = {"", {1, 2}, {1}}}}}), Error);
  CHECK_THROWS_AS(svg({.y_low = 2, .y_high = 2}), Error);
  CHECK_THROWS_AS(svg({.y_low = nan}), Error);
  CHECK_THROWS_AS(svg({.log_y = true, .y_low = 0}), Error);
}

TEST_CASE("a plot is written whole, over the old one", "[plot]") {
  const auto path = fs::temp_directory_path() / ("fathom_plot_test_" + std::to_string(::getpid()) + ".svg");
  write_svg(one_line({1, 2}), path);
  write_svg(one_line({1, 2, 3}), path);
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  fs::remove(path);
  CHECK(text.str() == svg(one_line({1, 2, 3})));
  CHECK_THROWS_AS(fathom::write_svg(fathom::Plot{}, "/proc/no/such/folder/plot.svg"), fathom::FileError);
}

}  // namespace plot_test

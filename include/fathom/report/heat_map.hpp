// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/io/atomic_write.hpp>
#include <fathom/report/format.hpp>
#include <fathom/report/log.hpp>
#include <fathom/report/plot.hpp>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace fathom::inline FATHOM_ABI {

/// A field of colours, drawn as SVG: the columns of a table from the bottom up, such as layers, over its rows from left
/// to right, such as steps.
///
/// Colours are logarithmic from the smallest positive value to the largest, whose numbers stand beside the bar. A value
/// that is 0 or negative is white, one that is missing or not finite is red. Where there are more rows or columns than
/// cells to draw, some of them are left out, at equal distances.
struct HeatMap {
  std::string title{}, x_label{}, y_label{};
  CsvTable values{};  ///< the first column is the place on the x axis
};

namespace detail::plotting {

/// Dark blue over green to yellow: as light as the value is large, for every kind of colour blindness and in grey.
inline std::string heat_color(double share) {
  constexpr std::array<std::array<double, 3>, 5> stops{
      {{{68, 1, 84}}, {{59, 82, 139}}, {{33, 145, 140}}, {{94, 201, 98}}, {{253, 231, 37}}}};
  const double place = std::clamp(share, 0.0, 1.0) * double(stops.size() - 1);
  const std::size_t below = std::min(std::size_t(place), stops.size() - 2);
  constexpr const char* digits = "0123456789abcdef";
  std::string color = "#";
  for (std::size_t c = 0; c < 3; ++c) {
    const double value = stops[below][c] + (place - double(below)) * (stops[below + 1][c] - stops[below][c]);
    const unsigned byte = unsigned(value + 0.5);
    color += digits[byte / 16], color += digits[byte % 16];
  }
  return color;
}

/// Indices 0 to count − 1, or `most` of them at equal distances, the last one among them.
inline std::vector<std::size_t> some_of(std::size_t count, std::size_t most) {
  std::vector<std::size_t> chosen;
  const std::size_t shown = std::min(count, most);
  for (std::size_t i = 0; i < shown; ++i) chosen.push_back(shown == 1 ? count - 1 : i * (count - 1) / (shown - 1));
  return chosen;
}

inline std::string rounded_text(double value) {
  std::string text;
  format::append_scientific(text, value, 1);
  return text;
}
inline std::string whole_text(double value) {
  std::string text;
  format::append_fixed(text, value, 0);
  return text;
}

}  // namespace detail::plotting

/// The whole SVG document.
inline std::string svg(const HeatMap& map) {
  using namespace detail::plotting;
  constexpr double letter = 7, top = 64, width = 640, height = 400, bar = 16;
  double left = 90;
  for (std::size_t c = 1; c < map.values.columns.size(); ++c)
    left = std::max(left, margin + letter * double(map.values.columns[c].size()));
  const auto rows = some_of(map.values.rows.size(), 320);
  const auto columns = some_of(map.values.columns.empty() ? 0 : map.values.columns.size() - 1, 200);
  double low = infinity, high = 0;
  for (const auto& row : map.values.rows)
    for (std::size_t c = 1; c < row.size(); ++c)
      if (row[c] && std::isfinite(*row[c]) && *row[c] > 0) low = std::min(low, *row[c]), high = std::max(high, *row[c]);
  if (!(low < high)) high = low * 1.1;

  SvgText out;
  out << "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" << left + width + 120 << "\" height=\""
      << top + height + 64 << "\" viewBox=\"0 0 " << left + width + 120 << " " << top + height + 64
      << "\" role=\"img\" font-size=\"" << text_size
      << "\" fill=\"#333\" font-family=\"system-ui, 'Segoe UI', Helvetica, Arial, 'DejaVu Sans', "
         "sans-serif\">\n<title>";
  out.escaped(map.title) << "</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n";
  out.label(margin, 30, " font-size=\"17\" font-weight=\"600\" fill=\"#111\"", map.title);
  out.label(margin, top - 12, " fill=\"#555\"", map.y_label);
  out.label(left + width / 2, top + height + 48, " fill=\"#555\" text-anchor=\"middle\"", map.x_label);

  const double cell_width = width / double(std::max<std::size_t>(rows.size(), 1));
  const double cell_height = height / double(std::max<std::size_t>(columns.size(), 1));
  const auto cell = [&](double x, double y, double w, double h, const std::string& color) {
    out << "<rect x=\"" << x << "\" y=\"" << y << "\" width=\"" << w + 0.1 << "\" height=\"" << h + 0.1 << "\" fill=\""
        << color << "\"/>\n";
  };
  for (std::size_t r = 0; r < rows.size(); ++r)
    for (std::size_t c = 0; c < columns.size(); ++c) {
      const std::optional<double> value = map.values.rows[rows[r]].at(columns[c] + 1);
      std::string color = "#d00000";
      if (value && std::isfinite(*value))
        color = *value > 0 ? heat_color(std::log(*value / low) / std::log(high / low)) : "#ffffff";
      cell(left + double(r) * cell_width, top + height - double(c + 1) * cell_height, cell_width, cell_height, color);
    }
  for (const std::size_t i : some_of(rows.size(), 6))
    out.label(left + (double(i) + 0.5) * cell_width, top + height + 20,
              " font-size=\"12\" fill=\"#555\" text-anchor=\"middle\"", whole_text(*map.values.rows[rows[i]].at(0)));
  for (const std::size_t i : some_of(columns.size(), 6))
    out.label(left - 8, top + height - (double(i) + 0.5) * cell_height + 4,
              " font-size=\"12\" fill=\"#555\" text-anchor=\"end\"", map.values.columns[columns[i] + 1]);
  for (int i = 0; i < 50; ++i)
    cell(left + width + 20, top + height - (i + 1) * height / 50, bar, height / 50, heat_color(i / 49.0));
  if (high > 0 && std::isfinite(low)) {
    out.label(left + width + 20 + bar + 6, top + 10, " font-size=\"12\" fill=\"#555\"", rounded_text(high));
    out.label(left + width + 20 + bar + 6, top + height, " font-size=\"12\" fill=\"#555\"", rounded_text(low));
  }
  out << "</svg>\n";
  return out.take();
}

/// Writes it, whole or not at all. Throws FileError.
inline void write_svg(const HeatMap& map, const std::filesystem::path& path) { write_file(path, svg(map)); }

}  // namespace fathom::inline FATHOM_ABI

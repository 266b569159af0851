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
#include <fathom/report/series.hpp>
#include <fathom/report/ticks.hpp>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

namespace fathom::inline FATHOM_ABI {

/// A line chart, drawn as SVG.
///
/// Names stand in the right margin, each at the height where its line ends, so that nothing covers a line. A point that
/// is not finite (on a logarithmic axis: not positive) breaks its line. Of long series each column of pixels shows the
/// first, lowest, highest and last point, which looks like all of them.
struct Plot {
  enum class Stroke { solid, dashed, faint };

  struct Line {
    Series series;  // its name is shown; a line without a name is not listed
    Stroke stroke = Stroke::solid;
    std::optional<std::size_t> color{};  // number in the palette; otherwise the next one
  };

  /// A horizontal line across the plot, such as a baseline.
  struct Reference {
    double value;
    std::string label;
  };

  std::string title{}, x_label{}, y_label{};
  std::vector<Line> lines{};
  std::vector<Reference> references{};
  bool log_y = false;
  std::optional<double> y_low{}, y_high{};  // limits; what lies outside is cut off. Otherwise everything is inside
};

/// The whole SVG document.
std::string svg(const Plot& plot);

/// Writes it, whole or not at all: a browser that watches the file never sees half a plot. Throws FileError.
inline void write_svg(const Plot& plot, const std::filesystem::path& path) { write_file(path, svg(plot)); }

namespace detail::plotting {

/// Okabe and Ito's palette, told apart with every common kind of colour blindness, without its yellow, which is too
/// light on white.
inline constexpr std::array<std::string_view, 7> palette{"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                                         "#e69f00", "#56b4e9", "#444444"};

/// A range of values on a range of pixels.
struct Axis {
  double low, high;  // on the axis' scale: a logarithmic one has logarithms here
  double first, last;
  bool logarithmic = false;

  /// What is neither NaN nor so large or small that arithmetic on the range of such values leaves a double's.
  bool shows(double value) const { return std::abs(value) <= 1e250 && (!logarithmic || value >= 1e-250); }
  double scaled(double value) const { return logarithmic ? std::log10(value) : value; }
  double operator()(double value) const {
    // Far outside one pixel is as good as another, and short in the file.
    return std::clamp(first + (scaled(value) - low) / (high - low) * (last - first), -9999.0, 9999.0);
  }
  void include(double value) {
    if (!shows(value)) return;
    low = std::min(low, scaled(value));
    high = std::max(high, scaled(value));
  }
  /// Makes the range finite and not empty, with that share of it added at both ends.
  void widen(double share) {
    if (low > high) low = 0, high = 1;
    if (high - low <= 1e-12 * std::max(std::abs(low), std::abs(high))) {  // nothing, or what rounding leaves
      const double margin = low == 0 ? 1 : std::abs(low) / 10;
      low -= margin, high += margin;
    }
    const double margin = share * (high - low);
    low -= margin, high += margin;
  }
  std::vector<Tick> ticks() const {
    constexpr int most = 9;
    return logarithmic ? log_ticks(std::pow(10.0, low), std::pow(10.0, high), most) : linear_ticks(low, high, most);
  }
};

inline constexpr double infinity = std::numeric_limits<double>::infinity();

/// Text and numbers appended to an SVG document.
class SvgText {
 public:
  /// Markup as it is.
  SvgText& operator<<(std::string_view markup) {
    text_ += markup;
    return *this;
  }
  /// A coordinate, to a tenth of a pixel.
  SvgText& operator<<(double coordinate) {
    format::append_fixed(text_, coordinate, 1);
    if (text_.ends_with(".0")) text_.resize(text_.size() - 2);
    return *this;
  }
  /// Text that may hold any character; those which XML does not allow become spaces.
  SvgText& escaped(std::string_view text) {
    for (const char c : text) {
      if (c == '&')
        text_ += "&amp;";
      else if (c == '<')
        text_ += "&lt;";
      else if (c == '>')
        text_ += "&gt;";
      else if (c == '"')
        text_ += "&quot;";
      else
        text_ += c >= 0 && c < ' ' ? ' ' : c;
    }
    return *this;
  }
  SvgText& label(double x, double y, std::string_view attributes, std::string_view text) {
    *this << "<text x=\"" << x << "\" y=\"" << y << "\"" << attributes << ">";
    return escaped(text) << "</text>\n";
  }
  SvgText& line(double x1, double y1, double x2, double y2, std::string_view attributes) {
    return *this << "<path d=\"M" << x1 << "," << y1 << "L" << x2 << "," << y2 << "\"" << attributes << "/>\n";
  }
  /// What an estimate by the number of characters says: fonts differ, and SVG cannot ask.
  static double width(std::string_view text, double size) {
    return 0.6 * size *
           static_cast<double>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
  }

  std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

/// The path of a series in pixels. Points that share a column of pixels are thinned out to the four that matter.
inline std::string path_data(const Series& series, const Axis& x_axis, const Axis& y_axis) {
  SvgText path;
  int drawn = 0;  // points since the pen was last lifted
  std::size_t first = 0, lowest = 0, highest = 0, last = 0;
  std::optional<double> column;

  const auto finish_column = [&] {
    if (!column) return;
    std::optional<std::size_t> previous;
    for (const std::size_t i : {first, std::min(lowest, highest), std::max(lowest, highest), last}) {
      if (i != previous) path << (drawn++ > 0 ? "L" : "M") << x_axis(series.x[i]) << "," << y_axis(series.y[i]);
      previous = i;
    }
    column.reset();
  };
  const auto lift_pen = [&] {
    finish_column();
    if (drawn == 1) path << "m-2,0a2,2 0 1 0 4,0a2,2 0 1 0 -4,0";  // a point alone: a dot
    drawn = 0;
  };

  for (std::size_t i = 0; i < series.x.size(); ++i) {
    if (!x_axis.shows(series.x[i]) || !y_axis.shows(series.y[i])) {
      lift_pen();
      continue;
    }
    const double pixel = std::floor(x_axis(series.x[i]));
    if (column != pixel) {
      finish_column();
      column = pixel;
      first = lowest = highest = i;
    }
    last = i;
    if (series.y[i] < series.y[lowest]) lowest = i;
    if (series.y[i] > series.y[highest]) highest = i;
  }
  lift_pen();
  return path.take();
}

/// A name in the right margin, with a piece of the line it names.
struct Entry {
  double y;  // where it belongs, then where it stands
  std::string_view name;
  std::string stroke;
};

/// Moves the entries, from the top down, so that neighbours keep a distance and all stand between top and bottom.
inline void spread(std::vector<Entry>& entries, double top, double bottom, double distance) {
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return std::tie(a.y, a.name) < std::tie(b.y, b.name); });
  double lowest = top;
  for (Entry& entry : entries) {
    entry.y = std::max(entry.y, lowest);
    lowest = entry.y + distance;
  }
  double highest = bottom;
  for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
    entry->y = std::min(entry->y, highest);
    highest = entry->y - distance;
  }
}

/// The axes over all that is shown, still without pixels. Throws Error on limits that leave nothing between them.
inline std::pair<Axis, Axis> ranges(const Plot& plot) {
  Axis x{.low = infinity, .high = -infinity, .first = 0, .last = 0};
  Axis y{.low = infinity, .high = -infinity, .first = 0, .last = 0, .logarithmic = plot.log_y};
  for (const auto& line : plot.lines) {
    if (line.series.x.size() != line.series.y.size())
      throw Error("plot: '" + line.series.name + "' has not as many x as y");
    for (std::size_t i = 0; i < line.series.x.size(); ++i) {
      if (!x.shows(line.series.x[i]) || !y.shows(line.series.y[i])) continue;
      x.include(line.series.x[i]);
      y.include(line.series.y[i]);
    }
  }
  for (const auto& reference : plot.references) y.include(reference.value);
  x.widen(0);
  y.widen(0.04);
  for (const auto& limit : {plot.y_low, plot.y_high})
    if (limit && !y.shows(*limit)) throw Error("plot: a limit of the y axis cannot be shown on it");
  if (plot.y_low) y.low = y.scaled(*plot.y_low);
  if (plot.y_high) y.high = y.scaled(*plot.y_high);
  if (!(y.low < y.high)) throw Error("plot: the limits of the y axis leave nothing between them");
  return {x, y};
}

/// Where everything stands, in pixels.
struct Layout {
  Axis x, y;
  double left, right, top, bottom;  // of the area between the axes
  double width, height;             // of the whole
};

inline constexpr double text_size = 13, entry_height = 20, swatch = 20, margin = 16;

inline Layout layout(const Plot& plot) {
  auto [x, y] = ranges(plot);
  std::size_t names = plot.references.size();
  double longest_tick = 0, longest_name = 0;
  for (const auto& tick : y.ticks()) longest_tick = std::max(longest_tick, SvgText::width(tick.label, text_size - 1));
  for (const auto& [value, label] : plot.references)
    longest_name = std::max(longest_name, SvgText::width(label, text_size));
  for (const auto& line : plot.lines) {
    longest_name = std::max(longest_name, SvgText::width(line.series.name, text_size));
    names += !line.series.name.empty();
  }
  x.first = margin + longest_tick + 8;
  x.last = x.first + 640;
  y.last = (plot.title.empty() ? margin : 48) + (plot.y_label.empty() ? 0 : 24);
  y.first = y.last + std::max(360.0, entry_height * static_cast<double>(names));
  return {.x = x,
          .y = y,
          .left = x.first,
          .right = x.last,
          .top = y.last,
          .bottom = y.first,
          .width = x.last + margin + (names > 0 ? swatch + 10 + longest_name : 0),
          .height = y.first + (plot.x_label.empty() ? 36 : 58)};
}

/// The attributes of each line's stroke.
inline std::vector<std::string> strokes(const Plot& plot) {
  std::vector<std::string> result;
  std::size_t next_color = 0;
  for (const auto& line : plot.lines) {
    const std::size_t color = line.color.value_or(next_color);
    next_color = color + 1;
    SvgText stroke;
    stroke << " stroke=\"" << palette[color % palette.size()] << "\"";
    stroke << (line.stroke == Plot::Stroke::faint ? " stroke-width=\"1\" stroke-opacity=\"0.4\""
                                                  : " stroke-width=\"2\"");
    if (line.stroke == Plot::Stroke::dashed)
      stroke << " stroke-dasharray=\"5 4\"";
    else if (color >= palette.size())
      stroke << " stroke-dasharray=\"12 4\"";  // the colour was used before
    result.push_back(stroke.take());
  }
  return result;
}

/// Title, labels, axes and grid.
inline void draw_frame(SvgText& out, const Plot& plot, const Layout& at) {
  if (!plot.title.empty()) out.label(margin, 30, " font-size=\"17\" font-weight=\"600\" fill=\"#111\"", plot.title);
  if (!plot.y_label.empty()) out.label(margin, at.top - 14, " fill=\"#555\"", plot.y_label);
  if (!plot.x_label.empty())
    out.label((at.left + at.right) / 2, at.bottom + 44, " fill=\"#555\" text-anchor=\"middle\"", plot.x_label);
  for (const auto& [value, label] : at.y.ticks()) {
    out.line(at.left, at.y(value), at.right, at.y(value), " stroke=\"#e6e6e6\"");
    out.label(at.left - 8, at.y(value) + 4, " font-size=\"12\" fill=\"#555\" text-anchor=\"end\"", label);
  }
  out.line(at.left, at.bottom, at.right, at.bottom, " stroke=\"#999\"");
  for (const auto& [value, label] : at.x.ticks()) {
    out.line(at.x(value), at.bottom, at.x(value), at.bottom + 5, " stroke=\"#999\"");
    out.label(at.x(value), at.bottom + 20, " font-size=\"12\" fill=\"#555\" text-anchor=\"middle\"", label);
  }
}

/// The lines, clipped to the area, faint ones lowest. Returns their names.
inline std::vector<Entry> draw_lines(SvgText& out, const Plot& plot, const Layout& at) {
  out << "<clipPath id=\"area\"><rect x=\"" << at.left - 2 << "\" y=\"" << at.top - 2 << "\" width=\""
      << at.right - at.left + 4 << "\" height=\"" << at.bottom - at.top + 4 << "\"/></clipPath>\n"
      << "<g clip-path=\"url(#area)\" fill=\"none\" stroke-linejoin=\"round\" stroke-linecap=\"round\">\n";
  std::vector<Entry> entries;
  const auto stroke = strokes(plot);
  const auto draw = [&](bool faint) {
    for (std::size_t i = 0; i < plot.lines.size(); ++i) {
      const auto& line = plot.lines[i];
      if ((line.stroke == Plot::Stroke::faint) != faint) continue;
      out << "<path" << stroke[i] << " d=\"" << path_data(line.series, at.x, at.y) << "\"/>\n";
      if (line.series.name.empty()) continue;
      const auto& y = line.series.y;
      const auto end = std::find_if(y.rbegin(), y.rend(), [&](double value) { return at.y.shows(value); });
      entries.push_back({.y = end == y.rend() ? at.bottom : at.y(*end), .name = line.series.name, .stroke = stroke[i]});
    }
  };
  draw(true);
  for (const auto& [value, label] : plot.references) {
    if (!at.y.shows(value)) continue;
    const std::string dots = " stroke=\"#777\" stroke-width=\"1.2\" stroke-dasharray=\"2 3\"";
    out.line(at.left, at.y(value), at.right, at.y(value), dots);
    entries.push_back({.y = at.y(value), .name = label, .stroke = dots});
  }
  draw(false);
  out << "</g>\n";
  return entries;
}

inline void draw_names(SvgText& out, std::vector<Entry> entries, const Layout& at) {
  spread(entries, at.top, at.bottom, entry_height);
  const double start = at.right + 12;
  for (const auto& entry : entries) {
    out.line(start, entry.y, start + swatch, entry.y, entry.stroke);
    out.label(start + swatch + 6, entry.y + 4.5, "", entry.name);
  }
}

}  // namespace detail::plotting

inline std::string svg(const Plot& plot) {
  const auto at = detail::plotting::layout(plot);
  detail::plotting::SvgText out;
  out << "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" << at.width << "\" height=\"" << at.height
      << "\" viewBox=\"0 0 " << at.width << " " << at.height << "\" role=\"img\" font-size=\""
      << detail::plotting::text_size << "\" fill=\"#333\" font-family=\"system-ui, 'Segoe UI', Helvetica, Arial, "
      << "'DejaVu Sans', sans-serif\">\n<title>";
  out.escaped(plot.title) << "</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n";
  draw_frame(out, plot, at);
  draw_names(out, draw_lines(out, plot, at), at);
  out << "</svg>\n";
  return out.take();
}

}  // namespace fathom::inline FATHOM_ABI

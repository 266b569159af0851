// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/report/format.hpp>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace fathom::inline FATHOM_ABI {

namespace detail {

/// While it lives, writing to a pipe without a reader fails in this thread, and sends it no SIGPIPE.
class NoBrokenPipe {
 public:
  NoBrokenPipe() {
    ::sigemptyset(&broken_pipe_);
    ::sigaddset(&broken_pipe_, SIGPIPE);
    was_pending_ = is_pending();
    ::pthread_sigmask(SIG_BLOCK, &broken_pipe_, &before_);
  }
  ~NoBrokenPipe() {
    int signal;
    if (!was_pending_ && is_pending()) ::sigwait(&broken_pipe_, &signal);
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  NoBrokenPipe(const NoBrokenPipe&) = delete;
  NoBrokenPipe& operator=(const NoBrokenPipe&) = delete;

 private:
  static bool is_pending() {
    sigset_t pending;
    ::sigpending(&pending);
    return ::sigismember(&pending, SIGPIPE) == 1;
  }

  sigset_t broken_pipe_, before_;
  bool was_pending_;
};

}  // namespace detail

/// Shows how far a long piece of work is, on a stream that the program chooses:
///
///   train  1234/20000   6% ▕██▌                      ▏  loss 2.3456  val 2.4012  12.3k tok/s  3m05s  ETA 47m12s
///
/// On a terminal one line is redrawn, at most ten times a second. It follows the terminal's width, never wraps, and
/// leaves out what matters least. Elsewhere plain lines appear, one per 5 % of the steps or per 10 seconds (in long
/// runs per 5 % of the time so far), without control codes. In both cases the last line stands when finish() returns.
///
/// Speed and ETA are those of the last half minute; the last line has the mean of the whole run. Validations between
/// the steps show how far they are in place of their last value, "val 12/30"; they do not count in the speed, and in
/// the ETA with their own mean time, those to come included. Colour is used on a terminal unless NO_COLOR is set. A
/// stream that cannot be written to is no error. Not for several threads at once.
class Progress {
 public:
  using Clock = std::chrono::steady_clock;

  struct Options {
    std::int64_t total;               ///< steps of the whole work, at least 1
    std::int64_t done = 0;            ///< steps that were done before, by the run which this one resumes
    std::string label = {};           ///< what is being done, in a word
    std::string unit = "tok";         ///< what `Update::tokens` counts
    std::int64_t validate_every = 0;  ///< steps from one validation to the next, one behind the last; 0: there are none
    double validation_cost = 0;       ///< of one, in steps: a guess for the ETA until one has been timed
    double quiet = 0;                 ///< seconds before the first line; work that ends within them shows none
    std::optional<bool> terminal{};   ///< redraw one line; otherwise the stream is asked
    std::optional<int> width{};       ///< columns of the terminal; otherwise it is asked, then COLUMNS, else 80
    std::optional<bool> color{};      ///< otherwise on a terminal unless NO_COLOR is set
    std::optional<bool> utf8{};       ///< draw the bar in blocks; otherwise if LC_ALL, LC_CTYPE or LANG says UTF-8
    Clock::time_point (*now)() = Clock::now;
  };

  /// What is not given keeps the value it had.
  struct Update {
    std::int64_t step;        ///< steps done, of Options::total
    std::int64_t tokens = 0;  ///< worked off since the last update
    std::optional<double> loss{}, validation_loss{}, learning_rate{};
  };

  /// How far the validation behind a step is, in pieces such as batches.
  struct Validation {
    std::int64_t step;
    std::int64_t done, total;
  };

  /// Throws Error if `total` is below 1.
  Progress(std::FILE* stream, Options options);
  ~Progress() {
    try {
      finish();
    } catch (const std::bad_alloc&) {  // a line that cannot be drawn
    }
  }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Takes note, and draws if it is time; cheap enough for every step.
  void update(const Update& update);

  /// The same when a validation begins, with 0 pieces done, and behind each of its pieces. The update of its step
  /// follows and ends it.
  void validate(const Validation& validation);

  /// Writes a line of text above the bar.
  void message(std::string_view text);

  /// Draws the last line; later updates are not shown. Draws nothing if there was no update.
  void finish();

 private:
  enum Index { label, count, percent, bar, loss, validation_loss, learning_rate, speed, elapsed, eta, fields };

  /// What stays when the terminal is narrow; the bar also takes the columns that are left.
  static constexpr std::array by_importance{count,           loss, eta,   percent, label,
                                            validation_loss, bar,  speed, elapsed, learning_rate};
  static constexpr std::size_t least_bar = 6, most_bar = 40;  // columns between its ends

  struct Field {
    std::string_view name;  // with the space behind it
    std::string value;      // empty: the field is not shown
    std::string_view unit;  // with the space before it

    std::size_t columns() const { return code_points(name) + code_points(value) + code_points(unit); }
  };

  static constexpr std::size_t gap_before(std::size_t field) { return field <= bar ? 1 : 2; }

  /// Sums in which the past fades, with half a minute as their time constant.
  struct Recent {
    double steps = 0, tokens = 0, seconds = 0;
    void add(double more_steps, double more_tokens, double more_seconds);
  };

  static double seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }
  static std::size_t code_points(std::string_view text) {
    return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
  }
  static std::string_view environment(const char* name);
  static bool environment_is_utf8();

  /// `step_ended`: a share of the steps that is worth a line may have ended.
  bool is_due(Clock::time_point now, bool step_ended) const;
  double validation_seconds_left() const;
  int width() const;
  void draw(Clock::time_point now, bool last);
  void fill_fields(Clock::time_point now, bool last);
  void fill_bar(std::size_t columns);
  void append_fields(std::size_t columns);
  void append(Index field);
  void flush();

  std::FILE* stream_;
  Options options_;
  bool terminal_, color_, utf8_;
  Update current_;
  std::int64_t tokens_ = 0;
  Recent recent_;
  std::optional<Validation> validation_;  // that goes on
  double validation_seconds_ = 0;         // of that one so far
  double validated_seconds_ = 0;          // of those before
  std::int64_t validations_ = 0;          // before
  Clock::time_point start_, last_update_;
  std::optional<Clock::time_point> last_draw_;
  std::int64_t last_drawn_step_ = 0;
  bool updated_ = false, finished_ = false;
  std::array<Field, fields> fields_;
  std::string speed_unit_, line_;  // kept, like the fields, so that drawing does not allocate once they have grown
};

inline Progress::Progress(std::FILE* stream, Options options)
    : stream_(stream),
      options_(std::move(options)),
      terminal_(options_.terminal.value_or(::isatty(::fileno(stream)) && environment("TERM") != "dumb")),
      color_(options_.color.value_or(terminal_ && environment("NO_COLOR").empty())),
      utf8_(options_.utf8.value_or(environment_is_utf8())),
      current_{.step = options_.done},
      start_(options_.now()),
      last_update_(start_),
      speed_unit_(' ' + options_.unit + "/s") {
  if (options_.total < 1) throw Error("progress: the total must be at least 1 step");
  fields_[label].value = options_.label;
  fields_[bar].name = utf8_ ? "▕" : "[";
  fields_[bar].unit = utf8_ ? "▏" : "]";
  fields_[loss].name = "loss ";
  fields_[validation_loss].name = "val ";
  fields_[learning_rate].name = "lr ";
  fields_[speed].unit = speed_unit_;
  fields_[eta].name = "ETA ";
}

inline void Progress::update(const Update& update) {
  const auto now = options_.now();
  if (validation_) {
    validation_.reset();
    validated_seconds_ += std::exchange(validation_seconds_, 0) + seconds(now - last_update_);
    ++validations_;
    last_update_ = now;
  }
  recent_.add(static_cast<double>(update.step - current_.step), static_cast<double>(update.tokens),
              seconds(now - last_update_));
  last_update_ = now;
  tokens_ += update.tokens;
  current_.step = update.step;
  if (update.loss) current_.loss = update.loss;
  if (update.validation_loss) current_.validation_loss = update.validation_loss;
  if (update.learning_rate) current_.learning_rate = update.learning_rate;
  updated_ = true;
  if (!finished_ && is_due(now, true)) draw(now, false);
}

inline void Progress::validate(const Validation& validation) {
  const auto now = options_.now();
  if (validation_)
    validation_seconds_ += seconds(now - last_update_);
  else
    recent_.add(static_cast<double>(validation.step - current_.step), 0, seconds(now - last_update_));
  last_update_ = now;
  current_.step = validation.step;
  validation_ = validation;
  updated_ = true;
  if (!finished_ && is_due(now, false)) draw(now, false);
}

inline void Progress::message(std::string_view text) {
  line_ = terminal_ ? "\r\033[K" : "";
  line_ += text;
  line_ += '\n';
  flush();
  if (terminal_ && updated_ && !finished_) draw(options_.now(), false);
}

inline void Progress::finish() {
  if (std::exchange(finished_, true) || !updated_) return;
  const auto now = options_.now();
  if (last_draw_ || seconds(now - start_) >= options_.quiet) draw(now, true);
}

inline void Progress::Recent::add(double more_steps, double more_tokens, double more_seconds) {
  const double kept = std::exp(-more_seconds / 30);
  steps = kept * steps + more_steps;
  tokens = kept * tokens + more_tokens;
  seconds = kept * seconds + more_seconds;
}

inline std::string_view Progress::environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

inline bool Progress::environment_is_utf8() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const auto value = environment(name);
    if (!value.empty()) return value.find("UTF-8") != value.npos || value.find("utf8") != value.npos;
  }
  return false;
}

inline bool Progress::is_due(Clock::time_point now, bool step_ended) const {
  if (seconds(now - start_) < options_.quiet) return false;
  if (!last_draw_ && (terminal_ || step_ended)) return true;
  const double since = seconds(now - last_draw_.value_or(start_));
  if (terminal_) return since >= 0.1;
  const auto twentieth = [this](std::int64_t step) { return step / std::max<std::int64_t>(options_.total / 20, 1); };
  return since >= std::max(10.0, seconds(now - start_) / 20) ||
         (step_ended && since >= 1 && twentieth(current_.step) > twentieth(last_drawn_step_));
}

inline double Progress::validation_seconds_left() const {
  if (options_.validate_every == 0) return 0;
  const auto validations = [this](std::int64_t step) {
    return step / options_.validate_every + (step == options_.total && step % options_.validate_every != 0 ? 1 : 0);
  };
  const auto to_come = static_cast<double>(validations(options_.total) - validations(current_.step));
  const double done =
      validation_ ? static_cast<double>(validation_->done) / static_cast<double>(validation_->total) : 1;
  const double each = validations_ > 0          ? validated_seconds_ / static_cast<double>(validations_)
                      : validation_ && done > 0 ? validation_seconds_ / done
                                                : options_.validation_cost * recent_.seconds / recent_.steps;
  return to_come + 1 - done > 0 ? (to_come + 1 - done) * each : 0;
}

inline int Progress::width() const {
  if (options_.width) return *options_.width;
  winsize size{};
  if (::ioctl(::fileno(stream_), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  const int columns = std::atoi(environment("COLUMNS").data());
  return columns > 0 ? columns : 80;
}

inline void Progress::draw(Clock::time_point now, bool last) {
  fill_fields(now, last);
  line_.clear();
  if (terminal_) {
    line_ += '\r';
    append_fields(static_cast<std::size_t>(std::max(width() - 1, 1)));  // writing the last column may wrap
    line_ += "\033[K";
  } else {
    append_fields(std::string::npos);
  }
  if (!terminal_ || last) line_ += '\n';
  flush();
  last_draw_ = now;
  last_drawn_step_ = current_.step;
}

inline void Progress::fill_fields(Clock::time_point now, bool last) {
  for (std::size_t field = label + 1; field < fields; ++field) fields_[field].value.clear();
  const auto text = [this](Index field) -> std::string& { return fields_[field].value; };
  const auto pad = [&text](Index field, std::size_t columns) {
    if (text(field).size() < columns) text(field).insert(0, columns - text(field).size(), ' ');
  };
  const auto fill_loss = [&text](Index field, const std::optional<double>& value) {
    if (value && std::abs(*value) < 1e4)
      format::append_fixed(text(field), *value, 4);
    else if (value)
      format::append_scientific(text(field), *value, 3);
  };
  const double elapsed_seconds = seconds(now - start_);

  format::append(text(count), options_.total);
  const std::size_t digits = text(count).size();
  text(count).clear();
  format::append(text(count), current_.step);
  pad(count, digits);
  text(count) += '/';
  format::append(text(count), options_.total);

  format::append(text(percent), current_.step * 100 / options_.total);
  text(percent) += '%';
  pad(percent, 4);

  fill_loss(loss, current_.loss);
  if (validation_ && !last) {
    format::append(text(validation_loss), validation_->done);
    text(validation_loss) += '/';
    format::append(text(validation_loss), validation_->total);
  } else {
    fill_loss(validation_loss, current_.validation_loss);
  }
  if (current_.learning_rate) format::append_scientific(text(learning_rate), *current_.learning_rate, 2);

  const double tokens = last ? static_cast<double>(tokens_) : recent_.tokens;
  const double time = last ? elapsed_seconds - validated_seconds_ - validation_seconds_ : recent_.seconds;
  if (tokens > 0 && time > 0) format::append_count(text(speed), tokens / time);

  format::append_duration(text(elapsed), elapsed_seconds);
  if (!last) {
    const auto steps_left = static_cast<double>(options_.total - current_.step);
    const double seconds_left = steps_left > 0 ? steps_left * recent_.seconds / recent_.steps : 0;
    format::append_duration(text(eta), seconds_left + validation_seconds_left());
  }
}

inline void Progress::append_fields(std::size_t columns) {
  std::array<bool, fields> shown{};
  std::size_t used = 0;
  for (const Index field : by_importance) {
    if (field == bar ? !terminal_ : fields_[field].value.empty()) continue;
    const std::size_t needed =
        fields_[field].columns() + (field == bar ? least_bar : 0) + (used > 0 ? gap_before(field) : 0);
    if (used + needed > columns) break;
    shown[field] = true;
    used += needed;
  }
  if (shown[bar]) fill_bar(std::min(most_bar, least_bar + columns - used));
  bool first = true;
  for (std::size_t field = 0; field < fields; ++field) {
    if (!shown[field]) continue;
    if (!std::exchange(first, false)) line_.append(gap_before(field), ' ');
    append(static_cast<Index>(field));
  }
  if (first) line_.append(fields_[count].value, 0, columns);  // not even that fits
}

inline void Progress::append(Index field) {
  const auto colored = [this](std::string_view color, std::string_view text) {
    if (text.empty()) return;
    if (color_) line_ += color;
    line_ += text;
    if (color_) line_ += "\033[0m";
  };
  const auto& [name, value, unit] = fields_[field];
  colored("\033[2m", name);
  if (field == bar)
    colored("\033[36m", value);
  else
    line_ += value;
  colored("\033[2m", unit);
}

inline void Progress::fill_bar(std::size_t columns) {
  constexpr std::array<std::string_view, 8> eighths{"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const double share = std::clamp(static_cast<double>(current_.step) / static_cast<double>(options_.total), 0.0, 1.0);
  const auto done = static_cast<std::size_t>(share * static_cast<double>(8 * columns));
  auto& text = fields_[bar].value;
  for (std::size_t column = 0; column < done / 8; ++column) text += utf8_ ? "█" : "=";
  const auto tip = utf8_ ? eighths[done % 8] : done / 8 < columns ? ">" : "";
  text += tip;
  text.append(columns - done / 8 - code_points(tip), ' ');
}

inline void Progress::flush() {
  const detail::NoBrokenPipe quiet;
  std::fwrite(line_.data(), 1, line_.size(), stream_);
  std::fflush(stream_);
}

}  // namespace fathom::inline FATHOM_ABI

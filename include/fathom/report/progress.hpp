// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <new>
#include <optional>
#include <string>
#include <string_view>

namespace fathom::inline FATHOM_ABI {

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
  struct ValidationUpdate {
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
  void validate(const ValidationUpdate& validation);

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
  std::optional<ValidationUpdate> validation_;  // that goes on
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

}  // namespace fathom::inline FATHOM_ABI

#if !defined(FATHOM_COMPILED)
#include <fathom/report/progress_inl.hpp>
#endif

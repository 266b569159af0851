// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <fathom/report/format.hpp>
#include <fathom/report/progress.hpp>
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

FATHOM_INLINE Progress::Progress(std::FILE* stream, Options options)
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

FATHOM_INLINE void Progress::update(const Update& update) {
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

FATHOM_INLINE void Progress::validate(const ValidationUpdate& validation) {
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

FATHOM_INLINE void Progress::message(std::string_view text) {
  line_ = terminal_ ? "\r\033[K" : "";
  line_ += text;
  line_ += '\n';
  flush();
  if (terminal_ && updated_ && !finished_) draw(options_.now(), false);
}

FATHOM_INLINE void Progress::finish() {
  if (std::exchange(finished_, true) || !updated_) return;
  const auto now = options_.now();
  if (last_draw_ || seconds(now - start_) >= options_.quiet) draw(now, true);
}

FATHOM_INLINE void Progress::Recent::add(double more_steps, double more_tokens, double more_seconds) {
  const double kept = std::exp(-more_seconds / 30);
  steps = kept * steps + more_steps;
  tokens = kept * tokens + more_tokens;
  seconds = kept * seconds + more_seconds;
}

FATHOM_INLINE std::string_view Progress::environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

FATHOM_INLINE bool Progress::environment_is_utf8() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const auto value = environment(name);
    if (!value.empty()) return value.find("UTF-8") != value.npos || value.find("utf8") != value.npos;
  }
  return false;
}

FATHOM_INLINE bool Progress::is_due(Clock::time_point now, bool step_ended) const {
  if (seconds(now - start_) < options_.quiet) return false;
  if (!last_draw_ && (terminal_ || step_ended)) return true;
  const double since = seconds(now - last_draw_.value_or(start_));
  if (terminal_) return since >= 0.1;
  const auto twentieth = [this](std::int64_t step) { return step / std::max<std::int64_t>(options_.total / 20, 1); };
  return since >= std::max(10.0, seconds(now - start_) / 20) ||
         (step_ended && since >= 1 && twentieth(current_.step) > twentieth(last_drawn_step_));
}

FATHOM_INLINE double Progress::validation_seconds_left() const {
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

FATHOM_INLINE int Progress::width() const {
  if (options_.width) return *options_.width;
  winsize size{};
  if (::ioctl(::fileno(stream_), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  const int columns = std::atoi(environment("COLUMNS").data());
  return columns > 0 ? columns : 80;
}

FATHOM_INLINE void Progress::draw(Clock::time_point now, bool last) {
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

FATHOM_INLINE void Progress::fill_fields(Clock::time_point now, bool last) {
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

FATHOM_INLINE void Progress::append_fields(std::size_t columns) {
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

FATHOM_INLINE void Progress::append(Index field) {
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

FATHOM_INLINE void Progress::fill_bar(std::size_t columns) {
  constexpr std::array<std::string_view, 8> eighths{"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const double share = std::clamp(static_cast<double>(current_.step) / static_cast<double>(options_.total), 0.0, 1.0);
  const auto done = static_cast<std::size_t>(share * static_cast<double>(8 * columns));
  auto& text = fields_[bar].value;
  for (std::size_t column = 0; column < done / 8; ++column) text += utf8_ ? "█" : "=";
  const auto tip = utf8_ ? eighths[done % 8] : done / 8 < columns ? ">" : "";
  text += tip;
  text.append(columns - done / 8 - code_points(tip), ' ');
}

FATHOM_INLINE void Progress::flush() {
  const detail::NoBrokenPipe quiet;
  std::fwrite(line_.data(), 1, line_.size(), stream_);
  std::fflush(stream_);
}

}  // namespace fathom::inline FATHOM_ABI

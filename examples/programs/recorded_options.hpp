// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <fathom/core/error.hpp>
#include <fathom/io/safetensors_format.hpp>
#include <fathom/report/format.hpp>
#include <map>
#include <string>
#include <vector>

namespace fathom::program {

/// Options of a command that a run keeps: they are stored in its checkpoints and need not be given again to resume it.
class RecordedOptions {
 public:
  /// An option that decides the run's numbers: resuming with another value is refused.
  CLI::Option* fixed(CLI::Option* option) { return add(option, true); }
  /// An option that a resumed run may change.
  CLI::Option* free(CLI::Option* option) { return add(option, false); }

  /// The values, to store.
  safetensors::Metadata texts() const {
    safetensors::Metadata texts;
    for (const Record& record : records_) texts[record.option->get_name()] = text(*record.option);
    return texts;
  }

  /// Gives every option that the command line leaves out the value that was stored. Errors: `Error` when it gives
  /// another one that may not change.
  void restore(const safetensors::Metadata& stored) const {
    for (const auto& [option, is_fixed] : records_) {
      const auto entry = stored.find(option->get_name());
      if (entry == stored.end()) continue;
      const std::string& value = entry->second;
      if (option->count() == 0) {
        try {
          option->add_result(value);
          option->run_callback();
        } catch (const CLI::ParseError& error) {
          throw Error("the run to resume has recorded what no run does: " + std::string(error.what()) +
                      "; its checkpoint is damaged: restore it from a copy");
        }
      } else if (is_fixed && !same(text(*option), value)) {
        throw Error(option->get_name() + " is " + value + " in the run to resume, not " + text(*option) +
                    "; leave it out to go on, or train anew with another --output");
      }
    }
  }

 private:
  struct Record {
    CLI::Option* option;
    bool is_fixed;
  };

  CLI::Option* add(CLI::Option* option, bool is_fixed) {
    records_.push_back({option, is_fixed});
    return option;
  }
  static std::string text(const CLI::Option& option) {
    return option.count() > 0 ? option.results().back() : option.get_default_str();
  }
  /// 1e-3 is 0.001. A seed may have more digits than a double holds.
  static bool same(const std::string& a, const std::string& b) {
    const auto m = format::parse<std::uint64_t>(a), n = format::parse<std::uint64_t>(b);
    if (m && n) return m == n;
    const auto x = format::parse<double>(a), y = format::parse<double>(b);
    return a == b || (x && x == y);
  }

  std::vector<Record> records_;
};

}  // namespace fathom::program

// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <catch2/catch_test_macros.hpp>
#include <fathom/train/checkpoint.hpp>
#include <fathom/train/run_checkpoints.hpp>
#include <limits>
#include <programs/language_model_command_line.hpp>
#include <programs/language_model_run.hpp>
#include <set>
#include <sstream>

namespace language_model_options_test {

using namespace fathom_test;
using fathom::program::LanguageModelCommandLine, fathom::program::LanguageModelOptions;

struct Flag {
  std::string name, value;
  std::vector<std::string> refused;
};

std::vector<CLI::App*> commands_of(LanguageModelCommandLine& command_line) {
  return command_line.app().get_subcommands([](CLI::App*) { return true; });
}

TEST_CASE("each option of training takes effect, and is kept by the run", "[programs]") {
  const Workshop workshop;
  /// Names of the run's files, and the log, which holds exact numbers.
  const auto result = [&](const std::string& name) {
    const std::filesystem::path output = workshop.folder / name;
    std::set<std::string> names;
    for (const auto& [path, bytes] : content_of(output)) names.insert(path);
    return std::pair(names, fathom::read_file(output / "log.csv"));
  };
  // A rate of which validations soon get worse.
  const Arguments usual{"--steps", "40", "--learning-rate", "0.05", "--save-every", "5", "--validation-every", "2"};
  REQUIRE(run(workshop.train("usual", usual)).code == 0);
  const std::vector<Flag> flags{
      {"--accumulate", "2", {"0", "-1", "x", "99999999999"}},
      {"--average", "0.9", {"-0.1", "1", "nan", "x"}},
      {"--batch", "3", {}},
      {"--beta2", "0.9", {"-0.1", "1", "nan", "x"}},
      {"--clip", "0.001", {"-1", "nan", "inf", "x"}},
      {"--dropout", "0.2", {}},
      {"--keep", "3", {"0", "-1", "x"}},
      {"--learning-rate", "0.04", {"1e300", "1e7"}},
      {"--minimum-learning-rate", "0.01", {"-1", "nan", "x"}},
      {"--patience", "1", {"-1", "x", "1e30"}},
      {"--save-every", "6", {"0", "-1", "x"}},
      {"--seed", "2", {}},
      {"--validation-batches", "3", {"0", "-1", "x", "0x10"}},
      {"--validation-every", "3", {}},
      {"--validation-fraction", "0.2", {}},
      {"--warmup", "5", {}},
      {"--weight-decay", "0.5", {"-1", "nan", "inf", "x"}},
  };
  for (const auto& [name, value, refused] : flags) {
    CAPTURE(name);
    for (const std::string& nonsense : refused) check_refused(workshop.train("none", {name, nonsense}), {name});
    CHECK(!std::filesystem::exists(workshop.folder / "none"));
    REQUIRE(run(workshop.train(name, usual + Arguments{name, value})).code == 0);
    CHECK(result(name) != result("usual"));
    const auto checkpoint = fathom::newest_checkpoint(workshop.folder / name);
    REQUIRE(checkpoint);
    CHECK(fathom::read_checkpoint_info(*checkpoint).metadata[name] == value);
  }
}

TEST_CASE("each option of sampling takes effect", "[programs]") {
  const Workshop workshop;
  const std::filesystem::path output = workshop.folder / "run";
  REQUIRE(run(workshop.train("run", {"--steps", "20"})).code == 0);
  const auto sample = [&](const Arguments& more) {
    const Ended ended = run(Arguments{tiny_model(), "sample", "--output", output, "--tokens", "60"} + more);
    REQUIRE(ended.code == 0);
    return ended.out;
  };
  const std::string usual = sample({}), greedy = sample({"--temperature", "0"});
  CHECK(usual != greedy);
  // The value at which only the most probable byte is left, and one at which some are.
  const std::vector<std::pair<std::string, Flag>> flags{{"1", {"--top-k", "2", {"-1", "x", "99999999999"}}},
                                                        {"1e-9", {"--top-p", "0.3", {"0", "1.1", "nan", "x"}}},
                                                        {"1", {"--min-p", "0.5", {"-0.1", "1.1", "nan", "x"}}}};
  for (const auto& [strict, flag] : flags) {
    CAPTURE(flag.name);
    for (const std::string& nonsense : flag.refused)
      check_refused({tiny_model(), "sample", "--output", output, flag.name, nonsense}, {flag.name});
    CHECK(sample({flag.name, strict}) == greedy);
    const std::string some = sample({flag.name, flag.value});
    CHECK(some != usual);
    CHECK(some != greedy);
  }
}

TEST_CASE("the mean of a run's last checkpoints is evaluated and sampled from", "[programs]") {
  const Workshop workshop;
  const std::filesystem::path output = workshop.folder / "run", text = workshop.text;
  REQUIRE(run(workshop.train("run", {"--steps", "20", "--save-every", "5", "--keep", "3"})).code == 0);
  const Arguments evaluate{tiny_model(), "evaluate", text, "--output", output};
  const Ended mean = run(evaluate + Arguments{"--last", "3"}), last = run(evaluate + Arguments{"--last", "1"});
  CHECK((mean.code == 0 && last.code == 0 && mean.out != last.out));
  const auto newest = fathom::newest_checkpoint(output);
  REQUIRE(newest);
  CHECK(run(evaluate + Arguments{"--checkpoint", *newest}).out == last.out);
  CHECK(run({tiny_model(), "sample", "--output", output, "--last", "2"}).code == 0);
  check_refused(evaluate + Arguments{"--last", "4"}, {"3 checkpoints", "last 4"});
  check_refused(evaluate + Arguments{"--last", "-1"}, {"--last"});
  check_refused(evaluate + Arguments{"--last", "2", "--checkpoint", *newest}, {"--last", "--checkpoint"});
}

TEST_CASE("numbers are decimal, whole where they count, and a refusal says the limits", "[programs]") {
  LanguageModelOptions options;
  LanguageModelCommandLine command_line(options, 4, 1000);
  const auto parse = [&](Arguments arguments) {
    std::ranges::reverse(arguments);  // as CLI11 wants them
    command_line.app().parse(arguments);
  };
  int numbers = 0;
  for (const CLI::App* command : commands_of(command_line)) {
    const auto with = [&](const CLI::Option* option, const std::string& text) {
      Arguments arguments{command->get_name(), option->get_name(), text};
      if (command->get_option_no_throw("text") != nullptr) arguments.push_back("text.txt");
      return arguments;
    };
    /// The complaint, which ends so.
    const auto check_refused = [&](const CLI::Option* option, const std::string& text) {
      const std::string refusal = message_of<CLI::ValidationError>([&] { parse(with(option, text)); });
      CAPTURE(command->get_name(), text, refusal);
      CHECK(refusal.starts_with(option->get_name() + ": a "));
      CHECK(refusal.ends_with(" is needed, not '" + text + "'"));
      return refusal;
    };
    for (const CLI::Option* option : command->get_options()) {
      const std::string type = option->get_type_name();
      if (type.empty() || type == "TEXT") continue;  // a flag, a text
      CAPTURE(command->get_name(), option->get_name(), type);
      ++numbers;
      for (const char* text : {"", " ", " 5", "5 ", "+5", "0x10", "0b1", "1_000", "1'000", "1,5", "1e999", "x", "nan",
                               "inf", "-1", "1;", "5\n"})
        check_refused(option, text);
      if (type == "FLOAT") continue;
      for (const char* text : {"1e3", "1.0", "1.5", "1.", "99999999999999999999"}) check_refused(option, text);

      const std::string refusal = check_refused(option, "none");
      std::istringstream words(refusal.substr(refusal.find(" from ") + 6));
      std::uint64_t least = 2, most = 0;
      std::string to;
      words >> least >> to >> most;
      REQUIRE(least <= 1);
      REQUIRE(most >= 1000);
      for (const std::uint64_t edge : {least, most}) {
        parse(with(option, "00" + std::to_string(edge)));
        CHECK(option->results() == Arguments{std::to_string(edge)});
      }
      check_refused(option, std::to_string(static_cast<std::int64_t>(least) - 1));
      if (most < std::numeric_limits<std::uint64_t>::max()) check_refused(option, std::to_string(most + 1));
    }
  }
  CHECK(numbers >= 30);

  parse({"train", "text.txt", "--steps", "010", "--seed", "18446744073709551615", "--warmup", "08", "--clip", "010"});
  CHECK(options.steps == 10);
  CHECK(options.seed == std::numeric_limits<std::uint64_t>::max());
  CHECK(options.warmup == 8);
  CHECK(options.clip == 10);
}

TEST_CASE("the help of every command has each of its options, described", "[programs]") {
  LanguageModelOptions options;
  LanguageModelCommandLine command_line(options, 4, 1000);
  const auto check_help = [](const CLI::App& app, const Arguments& command) {
    const Ended help = run(Arguments{tiny_model()} + command + Arguments{"--help"});
    CHECK(help.code == 0);
    CHECK(help.err.empty());
    for (const CLI::Option* option : app.get_options()) {
      CAPTURE(command, option->get_name(), help.out);
      CHECK(!option->get_description().empty());
      const std::size_t name = help.out.find("\n  " + option->get_name(false, true));
      REQUIRE(name != std::string::npos);
      const std::size_t description = help.out.find(option->get_description(), name);
      REQUIRE(description != std::string::npos);
      CHECK(std::ranges::count(help.out.substr(name, description - name), '\n') <= 2);
    }
  };
  check_help(command_line.app(), {});
  const auto commands = commands_of(command_line);
  CHECK(commands.size() == 4);
  for (const CLI::App* command : commands) {
    CHECK(!command->get_description().empty());
    check_help(*command, {command->get_name()});
  }
}

}  // namespace language_model_options_test

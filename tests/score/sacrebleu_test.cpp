// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_floating_point.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <score/sacrebleu.hpp>
#include <support/data.hpp>

namespace sacrebleu_test {

using namespace fathom;
using namespace fathom_test;
using Catch::Matchers::WithinRel;
using nlohmann::json;

using Text = std::vector<std::string>;

std::string utf8(std::u32string_view points) {
  std::string text;
  for (const char32_t point : points) score::unicode::append(text, point);
  return text;
}

/// As scores.py's `degrade`.
Text degrade(const Text& text, std::uint32_t seed) {
  const auto letters = [](std::string word, char first, int difference) {
    for (char& c : word)
      if (c >= first && c < first + 26) c = static_cast<char>(c + difference);
    return word;
  };
  Text result;
  for (std::size_t number = 0; number < text.size(); ++number) {
    std::uint32_t state = static_cast<std::uint32_t>(number) * 2654435761u + seed;
    Text words{""}, out;
    for (const char c : text[number]) {
      if (c == ' ')
        words.emplace_back();
      else
        words.back() += c;
    }
    for (std::size_t i = 0; i < words.size();) {
      const std::string& word = words[i++];
      state = state * 1664525u + 1013904223u;
      const std::uint32_t byte = state >> 24;
      if (byte < 12) continue;
      if (byte < 24 && i < words.size()) {
        out.push_back(words[i++]);
        out.push_back(word);
      } else if (byte < 34) {
        out.push_back(letters(word, 'a', 'A' - 'a'));
      } else if (byte < 44) {
        out.push_back(letters(word, 'A', 'a' - 'A'));
      } else if (byte < 60) {
        const bool ends = !word.empty() && std::string_view(".,!?;:").find(word.back()) != std::string_view::npos;
        out.push_back(word.substr(0, word.size() - (ends ? 1 : 0)));
      } else if (byte < 66) {
        out.push_back(word + ",");
      } else if (byte < 70) {
        out.push_back(word + "…");
      } else {
        out.push_back(word);
        if (byte < 76) out.push_back(word);
      }
    }
    result.emplace_back();
    for (std::size_t i = 0; i < out.size(); ++i) (i > 0 ? result.back() += ' ' : result.back()) += out[i];
  }
  return result;
}

/// The lines of a text that gzip has packed.
Text unpacked_lines(const std::filesystem::path& path) {
  const std::string command = "gzip -dc '" + path.string() + "'";
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(::popen(command.c_str(), "r"), ::pclose);
  Text lines{""};
  for (int c; (c = std::fgetc(pipe.get())) != EOF;) {
    if (c == '\n')
      lines.emplace_back();
    else
      lines.back() += static_cast<char>(c);
  }
  lines.pop_back();
  return lines;
}

/// A corpus of score_corpora.json.
void check_corpus(const json& corpus) {
  CAPTURE(corpus["name"].get<std::string>());
  const Text text = unpacked_lines(fathom_test::data(corpus["name"].get<std::string>()));
  REQUIRE(text.size() == corpus["lines"].get<std::size_t>());
  const Text hypotheses = degrade(text, 11), other = degrade(text, 12);
  for (const json& wanted : corpus["results"]) {
    const std::vector<Text> references =
        wanted["references"] == 1 ? std::vector<Text>{text} : std::vector<Text>{other, text};
    with_metric(wanted, [&](const auto& metric) {
      const auto result = score::corpus_score(metric, hypotheses, references);
      CHECK(without_version(result.text(4)) == wanted["result"].get<std::string>());
    });
  }
}

TEST_CASE("categories, spaces and lower case are those of sacreBLEU, for every character", "[score]") {
  std::uint64_t hash = 0xcbf29ce484222325u;
  const auto add = [&](unsigned char byte) { hash = (hash ^ byte) * 0x100000001b3u; };
  for (char32_t point = 0; point < 0x110000; ++point) {
    if (point >= 0xd800 && point < 0xe000) continue;
    add(static_cast<unsigned char>(score::unicode::category(point)));
    add(score::unicode::is_space(point));
    for (const char c : utf8(score::unicode::lower({&point, 1}))) add(static_cast<unsigned char>(c));
  }
  CHECK(std::to_string(hash) == sacrebleu_file("scores.json")["unicode"].get<std::string>());
}

TEST_CASE("tokenizers give sacreBLEU's words", "[score]") {
  const json file = sacrebleu_file("scores.json");
  for (const json& line : file["lines"]) {
    const auto text = line["text"].get<std::string>();
    CAPTURE(text);
    for (const auto tokenizer :
         {score::Tokenization::mteval_13a, score::Tokenization::none, score::Tokenization::international})
      CHECK(score::tokenize(text, tokenizer) == line[std::string(name(tokenizer))].get<Text>());
    std::u32string points;
    REQUIRE(!score::unicode::decode(text, points));
    CHECK(utf8(points) == text);
    CHECK(utf8(score::unicode::lower(points)) == line["lower"].get<std::string>());
  }
}

TEST_CASE("corpora have sacreBLEU's scores and result lines", "[score]") {
  const json file = sacrebleu_file("scores.json");
  for (const json& wanted : file["corpora"]) {
    CAPTURE(wanted.dump());
    const auto hypotheses = file["texts"][wanted["hypotheses"].get<std::string>()].get<Text>();
    std::vector<Text> references;
    for (const json& name : wanted["references"])
      references.push_back(file["texts"][name.get<std::string>()].get<Text>());
    with_metric(wanted, [&](const auto& metric) {
      const auto result = score::corpus_score(metric, hypotheses, references);
      CHECK(without_version(result.text(4)) == wanted["result"].get<std::string>());
      CHECK_THAT(result.score, WithinRel(wanted["score"].get<double>(), 1e-14));
    });
  }
}

TEST_CASE("sentences have sacreBLEU's statistics and scores", "[score]") {
  const json file = sacrebleu_file("scores.json");
  for (const json& wanted : file["sentences"]) {
    CAPTURE(wanted.dump());
    const auto hypothesis = wanted["hypothesis"].get<std::string>();
    const auto references = wanted["references"].get<Text>();
    const std::vector<std::string_view> lines(references.begin(), references.end());
    with_metric(wanted, [&](const auto& metric) {
      const auto result = score::sentence_score(metric, hypothesis, lines);
      CHECK_THAT(result.score, WithinRel(wanted["score"].get<double>(), 1e-14));
      auto values = values_of(result.statistics);
      values.resize(wanted["statistics"].size());
      CHECK(values == wanted["statistics"].get<std::vector<std::int64_t>>());
    });
  }
}

TEST_CASE("the same draws give sacreBLEU's intervals and p-values", "[score]") {
  const json file = sacrebleu_file("scores.json");
  const auto reference = file["texts"]["first"].get<Text>();
  for (const json& wanted : file["bootstrap"]) {
    const auto draws = wanted["draws"].get<std::vector<std::vector<std::size_t>>>();
    std::vector<std::vector<double>> scores;
    with_metric(wanted, [&](const auto& metric) {
      for (std::size_t system = 0; system < 2; ++system) {
        const auto hypotheses = file["texts"][wanted["hypotheses"][system].get<std::string>()].get<Text>();
        const auto corpus = score::statistics(metric, hypotheses, reference);
        scores.push_back(score::detail::resample(metric, std::span(corpus), int(draws.size()),
                                                 [&](std::size_t s, std::size_t i) { return draws[s][i]; }));
        const auto wanted_scores = wanted["scores"][system].get<std::vector<double>>();
        for (std::size_t s = 0; s < draws.size(); ++s)
          CHECK_THAT(scores[system][s], WithinRel(wanted_scores[s], 1e-14));
        const auto interval = score::detail::confidence(scores[system]);
        CHECK_THAT(interval.mean, WithinRel(wanted["mean"][system].get<double>(), 1e-14));
        CHECK_THAT(interval.half_width, WithinRel(wanted["half_width"][system].get<double>(), 1e-13));
      }
    });
    CHECK(score::detail::p_value(scores[0], scores[1], wanted["difference"]) == wanted["p_value"].get<double>());
  }
}

TEST_CASE("a real text has sacreBLEU's result lines", "[score]") {
  check_corpus(sacrebleu_file("score_corpora.json").front());
}

TEST_CASE("real texts of many languages have sacreBLEU's result lines", "[score][slow]") {
  for (const json& corpus : sacrebleu_file("score_corpora.json")) check_corpus(corpus);
}

}  // namespace sacrebleu_test

// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <exception>
#include <fathom/io/file.hpp>
#include <fathom/score/score.hpp>
#include <string>
#include <string_view>
#include <vector>

/// How fast scores are computed, and what they are:
///   score_rates HYPOTHESES REFERENCES [SECONDS]
///
/// Computes each score of two text files on one thread, again and again for so many seconds (1). Prints a line of JSON
/// for each: its result line and the least processor time that it took, in seconds, which other programs do not change
/// much. compare_sacrebleu.py holds them beside sacreBLEU's.
namespace {
using namespace fathom;

std::vector<std::string> lines_of(const char* path) {
  std::vector<std::string> lines;
  std::string_view text;
  const std::string content = read_file(path);
  for (text = content; !text.empty();) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

template <class Compute>
void measure(const char* name, double seconds, Compute&& compute) {
  const auto now = [] { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; };
  double best = 1e9;
  std::string text;
  for (const double start = now(); now() < start + seconds || best == 1e9;) {
    const double begin = now();
    text = compute();
    best = std::min(best, now() - begin);
  }
  std::printf("{\"name\": \"%s\", \"seconds\": %.6f, \"result\": \"%s\"}\n", name, best, text.c_str());
}

}  // namespace

int main(int count, char** arguments) try {
  if (count < 3) throw Error("usage: score_rates HYPOTHESES REFERENCES [SECONDS]");
  const double seconds = count > 3 ? std::atof(arguments[3]) : 1;
  const auto hypotheses = lines_of(arguments[1]), references = lines_of(arguments[2]);
  const auto bleu = [&](const char* name, const score::BleuOptions& options) {
    measure(name, seconds, [&] { return score::bleu(hypotheses, references, options).text(4); });
  };
  bleu("BLEU 13a", {});
  bleu("BLEU 13a lc", {.lowercase = true});
  bleu("BLEU none", {.tokenizer = score::Tokenization::none});
  bleu("BLEU intl", {.tokenizer = score::Tokenization::international});
  measure("chrF", seconds, [&] { return score::chrf(hypotheses, references).text(4); });
  measure("chrF++", seconds, [&] { return score::chrf(hypotheses, references, {.word_order = 2}).text(4); });
  measure("BLEU 13a, 1000 resamples", seconds,
          [&] { return score::bootstrap(score::Bleu(), hypotheses, references).text(4); });
} catch (const std::exception& error) {
  std::fprintf(stderr, "score_rates: %s\n", error.what());
  return 1;
}

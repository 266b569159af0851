// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fathom/core/error.hpp>
#include <fathom/io/checksum.hpp>
#include <fathom/io/file.hpp>
#include <fathom/text/cleaning.hpp>
#include <fathom/text/pairs.hpp>
#include <fathom/text/subwords.hpp>
#include <filesystem>
#include <optional>
#include <programs/parallel_files.hpp>
#include <programs/recorded_options.hpp>
#include <programs/rules.hpp>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// From files of sentence pairs to the tokens that a translator is trained on.
namespace fathom::program {

struct TranslationDataOptions {
  PairFiles texts, validation;
  PairFormat format;
  std::int64_t hold_out = 500;     ///< pairs at the end that validate, where there is no other text for that
  std::filesystem::path subwords;  ///< empty: learned from the texts
  std::string subword_kind = "bpe";
  double character_coverage = 0.9995;
  int longest = 0;  ///< tokens of a sentence; 0: the model's context
  text::CleaningOptions cleaning;
  std::string duplicates = "drop", identical = "keep";
};

/// One of `words`.
inline CLI::Validator one_of(std::vector<std::string> words) {
  return {[words = std::move(words)](const std::string& text) {
            if (std::ranges::find(words, text) != words.end()) return std::string();
            std::string rule;
            for (const std::string& word : words)
              rule += (rule.empty() ? "" : word == words.back() ? " or " : ", ") + word;
            return rule + " is needed, not '" + text + "'";
          },
          ""};
}

/// The options of commands that read such files. Those that decide what a run learns are `recorded`, where that is
/// given.
inline void add_translation_data(CLI::App& command, TranslationDataOptions& options, RecordedOptions* recorded) {
  const auto fixed = [&](const char* name, auto& value, const char* description) {
    CLI::Option* const option = command.add_option(name, value, description);
    return recorded ? recorded->fixed(option) : option;
  };
  command.add_option("texts", options.texts, "two files, source and target, or one with both sides in a line")
      ->expected(1, 2);
  command.option_defaults()->group("Text");
  add_pair_format(command, options.format);
  fixed("--longest", options.longest, "tokens of a sentence, pairs with more are left out; 0: the model's context")
      ->transform(whole(options.longest, 0));
  auto& cleaning = options.cleaning;
  fixed("--longest-words", cleaning.longest_words, "of a side; 0: any")->transform(whole(cleaning.longest_words, 0));
  fixed("--ratio", cleaning.ratio, "characters of the longer side for each of the shorter, at most; 0: any")
      ->check(number("that is 0 or at least 1", [](double x) { return x == 0 || x >= 1; }));
  fixed("--duplicates", options.duplicates, "keep or drop pairs that came before")->check(one_of({"drop", "keep"}));
  fixed("--identical", options.identical, "keep or drop pairs of equal sides")->check(one_of({"drop", "keep"}));
  command.option_defaults()->group("Subwords");
  command.add_option("--subwords", options.subwords, "a sentencepiece model; otherwise one is learned from the texts");
  fixed("--subword-kind", options.subword_kind, "of one that is learned")->check(one_of({"bpe", "unigram"}));
  fixed("--character-coverage", options.character_coverage, "share of the text whose characters get pieces")
      ->check(number("above 0.9 and at most 1", [](double x) { return x > 0.9 && x <= 1; }));
  command.option_defaults()->group("Options");
}

/// Lines and tokens of the pairs that a run learns from and is judged by.
struct TranslationData {
  using Corpus = text::PairCorpus<text::Subwords::Token>;

  text::Subwords subwords;
  text::ParallelText texts, validation;  ///< cleaned
  Corpus corpus, validation_corpus;
  std::vector<text::CleaningReport> reports;
  int longest = 0;

  bool validates() const { return validation_corpus.size() > 0; }
  /// Of all tokens, so that a run is known to go on with the text that it began with.
  std::string checksum() const {
    Checksum sum;
    for (const Corpus* one : {&corpus, &validation_corpus})
      for (const auto* side : {&one->source, &one->target}) {
        sum.add(std::as_bytes(std::span(side->tokens)));
        sum.add(std::as_bytes(std::span(side->offsets)));
      }
    return std::to_string(sum.value());
  }
};

/// What a translator reads of a pair.
inline text::PairEncoding pair_encoding(const text::Subwords& subwords, int longest, int threads) {
  return {.begin = subwords.begin(),
          .end = subwords.end(),
          .longest_source = longest,
          .longest_target = longest,
          .threads = threads};
}

/// The tokens of a sentence to translate: as in training, its end token included.
inline std::vector<int> source_tokens(const text::Subwords& subwords, std::string_view line) {
  const auto tokens = subwords.encode(line);
  std::vector<int> source(tokens.begin(), tokens.end());
  source.push_back(subwords.end());
  return source;
}

/// Errors: `Error` for a model without the tokens that begin and end a sentence, and for one of another vocabulary.
inline text::Subwords usable(text::Subwords subwords, int vocabulary, const std::string& name) {
  if (subwords.vocabulary() != vocabulary)
    throw Error(name + ": is a subword model of " + std::to_string(subwords.vocabulary()) +
                " pieces, and this program is for " + std::to_string(vocabulary) +
                "; give another model, or build a program with VOCABULARY " + std::to_string(subwords.vocabulary()));
  if (subwords.begin() < 0 || subwords.end() < 0)
    throw Error(name + ": has no tokens that begin and end a sentence; train it with them, as prepare does");
  return subwords;
}

/// Learns subwords from both sides of a text.
inline text::Subwords learn_subwords(const text::ParallelText& text, const TranslationDataOptions& options,
                                     int vocabulary) {
  const bool bpe = options.subword_kind == "bpe";
  try {
    return text::Subwords::train(text::all_lines(std::span(&text, 1)),
                                 {.vocabulary = vocabulary,
                                  .model = bpe ? text::SubwordModel::bpe : text::SubwordModel::unigram,
                                  .character_coverage = options.character_coverage});
  } catch (const FileError&) {
    throw;
  } catch (const Error& error) {
    throw Error(text.name + ": " + error.what() + " (VOCABULARY of the program)");
  }
}

namespace detail {

/// The pairs of a text whose sides are both within `longest` tokens; the others are counted.
inline text::ParallelText fitting(const text::ParallelText& text, const text::Subwords& subwords, int longest,
                                  std::size_t& too_long) {
  text::ParallelText kept;
  kept.name = text.name;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto fits = [&](std::string_view line) { return subwords.encode(line).size() < std::size_t(longest); };
    if (fits(text.source[i]) && fits(text.target[i]))
      kept.append(text.source[i], text.target[i]);
    else
      ++too_long;
  }
  return kept;
}

/// Moves the last pairs of a text to another.
inline void split_off(text::ParallelText& text, std::size_t count, text::ParallelText& end) {
  text::ParallelText begin;
  begin.name = text.name;
  end.name = text.name + " (its end)";
  for (std::size_t i = 0; i < text.size(); ++i)
    (i + count < text.size() ? begin : end).append(text.source[i], text.target[i]);
  text = std::move(begin);
}

}  // namespace detail

/// Reads, cleans and encodes. `subwords` is the model to use; none: the one that the options name, or learned.
/// Errors: `FileError` and `Error` in one line, for files that cannot be read, and texts of which nothing is left.
inline TranslationData load_translation_data(const TranslationDataOptions& options, int vocabulary, int context,
                                             int threads, std::optional<text::Subwords> subwords) {
  if (options.longest > context)
    throw Error("--longest " + std::to_string(options.longest) + " exceeds the model's context of " +
                std::to_string(context) + "; give less");
  text::CleaningOptions cleaning = options.cleaning;
  cleaning.drop_duplicates = options.duplicates == "drop";
  cleaning.drop_identical = options.identical == "drop";
  text::Cleaner cleaner(cleaning);
  text::ParallelText texts = cleaner(read_pair_files(options.texts, options.format)), validation;
  std::vector<text::CleaningReport> reports(cleaner.reports().begin(), cleaner.reports().end());
  if (texts.size() == 0)
    throw Error(texts.name + ": no pair is left of " + std::to_string(reports[0].pairs) + ": " +
                std::to_string(reports[0].empty) + " have an empty side, " +
                std::to_string(reports[0].too_long + reports[0].ratio) + " are too long or of too different lengths, " +
                std::to_string(reports[0].duplicate + reports[0].identical) +
                " are duplicates or the same on both sides; give another text, or clean less");
  if (!options.validation.empty()) {  // it is judged as it is, but for what is no pair
    text::Cleaner empty_sides({.longest_words = 0, .longest_characters = 0, .ratio = 0, .drop_duplicates = false});
    validation = empty_sides(read_pair_files(options.validation, options.format));
    reports.push_back(empty_sides.reports()[0]);
    if (validation.size() == 0)
      throw Error(validation.name + ": all of its " + std::to_string(reports[1].pairs) +
                  " pairs have an empty side; give another text to validate on");
  } else if (options.hold_out > 0) {
    const auto count = static_cast<std::size_t>(options.hold_out);
    if (2 * count > texts.size())
      throw Error("--hold-out " + std::to_string(count) + ": more than half of the " +
                  std::to_string(texts.size()) + " pairs of " + texts.name +
                  "; give less, 0 to validate never, or a text with --validation");
    detail::split_off(texts, count, validation);
  }
  if (!subwords)
    subwords = options.subwords.empty()
                   ? learn_subwords(texts, options, vocabulary)
                   : usable(text::Subwords::from_file(options.subwords), vocabulary, options.subwords.string());
  const int longest = options.longest > 0 ? options.longest : context;
  const text::PairEncoding encoding = pair_encoding(*subwords, longest, threads);
  TranslationData data{.subwords = *subwords, .texts = {}, .validation = {}, .corpus = {}, .validation_corpus = {},
                       .reports = std::move(reports), .longest = longest};
  data.corpus = text::encode_pairs(*subwords, texts, encoding);
  data.reports[0].too_many_tokens = data.corpus.too_long;
  if (data.corpus.size() == 0)
    throw Error(texts.name + ": every pair has a side of more than " + std::to_string(longest) +
                " tokens; give a text with one sentence a line");
  if (validation.size() > 0) {
    std::size_t too_long = 0;
    data.validation = detail::fitting(validation, *subwords, longest, too_long);
    data.reports[data.reports.size() - 1].too_many_tokens += too_long;
    if (data.validation.size() == 0)
      throw Error(validation.name + ": every pair has a side of more than " + std::to_string(longest) +
                  " tokens; give another text to validate on");
    data.validation_corpus = text::encode_pairs(*subwords, data.validation, encoding);
  }
  data.texts = std::move(texts);
  return data;
}

/// Prints what was kept of the texts, and how many tokens that is.
inline void print_report(const TranslationData& data) {
  for (const std::string& line : text::table(data.reports)) std::printf("%s\n", line.c_str());
  const auto line = [](const char* name, const TranslationData::Corpus& corpus) {
    std::printf("%s: %zu pairs, %zu source and %zu target tokens\n", name, corpus.size(), corpus.source.tokens.size(),
                corpus.target.tokens.size());
  };
  line("to learn from", data.corpus);
  if (data.validates()) line("to validate on", data.validation_corpus);
  std::printf("%d subwords, checksum %016llx\n", data.subwords.vocabulary(),
              static_cast<unsigned long long>(data.subwords.checksum()));
}

}  // namespace fathom::program

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
#include <fathom/report/format.hpp>
#include <fathom/score/unigram.hpp>
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
  std::string weights;  ///< "3,1": of each text, the share of the pairs that come from it; empty: as many as it has
  std::string target_languages, validation_languages;  ///< "de,fr": what each text translates into; empty: not said
  std::int64_t hold_out = 500;     ///< pairs at the end that validate, where there is no other text for that
  std::string validation_pairs = "2000";  ///< of all texts to validate on, so many at most; or "all"
  std::filesystem::path subwords;  ///< empty: learned from the texts
  std::string subword_kind = "bpe";
  double character_coverage = 0.9995;
  int longest = 0;  ///< tokens of a sentence; 0: the model's context
  text::CleaningOptions cleaning;
  std::string duplicates = "drop", identical = "keep";
};

inline constexpr int most_texts = 2000;

/// "de,fr" as its parts.
inline std::vector<std::string> parts_of(const std::string& list) {
  std::vector<std::string> parts;
  for (std::size_t begin = 0; !list.empty() && begin <= list.size();) {
    const std::size_t end = std::min(list.find(',', begin), list.size());
    parts.push_back(list.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}
/// A list, parted by commas, of what `accept` takes. Empty is no list.
template <class Accept>
CLI::Validator list_of(const std::string& what, Accept accept) {
  return {[=](const std::string& text) {
            for (const std::string& part : parts_of(text))
              if (!accept(part)) return what + " are needed, not '" + text + "'";
            return std::string();
          },
          ""};
}
/// Letters, digits, "-" and "_": "de", "zh_Hans".
inline bool is_language(const std::string& name) {
  return !name.empty() && name.size() <= 32 && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  });
}
/// The piece in front of a source that asks for a translation into a language.
inline std::string language_piece(const std::string& language) { return "<2" + language + ">"; }

/// Texts as arguments, all of which count.
inline CLI::Option* add_texts(CLI::App& command, PairFiles& texts, const std::string& more) {
  return command.add_option("texts", texts, "two files, source and target, or one with both sides in a line" + more)
      ->expected(1, most_texts)
      ->multi_option_policy(CLI::MultiOptionPolicy::Throw);
}

/// The options of commands that read such files. Those that decide what a run learns are `recorded`, where that is
/// given.
inline void add_translation_data(CLI::App& command, TranslationDataOptions& options, RecordedOptions* recorded) {
  const auto fixed = [&](const char* name, auto& value, const char* description) {
    CLI::Option* const option = command.add_option(name, value, description);
    return recorded ? recorded->fixed(option) : option;
  };
  add_texts(command, options.texts, "; several one behind another");
  command.option_defaults()->group("Text");
  add_pair_format(command, options.format);
  fixed("--target-languages", options.target_languages,
        "of each text, such as de,fr: sources begin with a token that asks for it; otherwise with none")
      ->check(list_of("names of languages, such as de,fr", is_language));
  fixed("--longest", options.longest, "tokens of a sentence, pairs with more are left out; 0: the model's context")
      ->transform(whole(options.longest, 0));
  if (recorded)
    fixed("--weights", options.weights,
          "such as 3,1: of each text, the share of the pairs that come from it; otherwise "
          "as many as it has")
        ->check(list_of("numbers above 0, such as 3,1", [](const std::string& share) {
          const auto value = format::parse<double>(share);
          return value && *value > 0 && *value <= 1e9;
        }));
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
  std::vector<text::ParallelText> texts;  ///< cleaned
  text::ParallelText validation;          ///< all of them, one behind another
  std::vector<Corpus> corpora, validation_corpora;
  std::vector<double> weights;  ///< of the corpora, as of `text::PairBatchOptions`
  std::vector<text::CleaningReport> reports;
  int longest = 0;

  bool validates() const { return !validation_corpora.empty(); }
  const std::string& name() const { return texts.front().name; }
  /// Of all tokens, so that a run is known to go on with the text that it began with.
  std::string checksum() const {
    Checksum sum;
    for (const auto* list : {&corpora, &validation_corpora})
      for (const Corpus& corpus : *list)
        for (const auto* side : {&corpus.source, &corpus.target}) {
          sum.add(std::as_bytes(std::span(side->tokens)));
          sum.add(std::as_bytes(std::span(side->offsets)));
        }
    return std::to_string(sum.value());
  }
};

/// What a translator reads of a pair. `language`: the token that begins its source, or none.
inline text::PairEncoding pair_encoding(const text::Subwords& subwords, int longest, int threads,
                                        int language = text::PairEncoding::none) {
  return {.begin = subwords.begin(),
          .end = subwords.end(),
          .source_prefix = language,
          .longest_source = longest,
          .longest_target = longest,
          .threads = threads};
}

/// The tokens of a sentence to translate: as in training, with its end token and, if there is one, that of a language.
inline std::vector<int> source_tokens(const text::Subwords& subwords, std::string_view line, int language) {
  std::vector<int> source;
  if (language != text::PairEncoding::none) source.push_back(language);
  const auto tokens = subwords.encode(line);
  source.insert(source.end(), tokens.begin(), tokens.end());
  source.push_back(subwords.end());
  return source;
}

/// The token that asks for a language; none for no name. Errors: `Error` for a model that has none for it.
inline int language_token(const text::Subwords& subwords, const std::string& language, const std::string& name) {
  if (language.empty()) return text::PairEncoding::none;
  const std::string piece = language_piece(language);
  for (int id = 0; id < subwords.vocabulary(); ++id)
    if (subwords.piece(id) == piece) return id;
  throw Error(name + ": has no piece " + piece + " that asks for " + language +
              "; learn one with it as a symbol, as prepare --target-languages does");
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

/// Learns subwords from both sides of texts.
inline text::Subwords learn_subwords(std::span<const text::ParallelText> texts, const TranslationDataOptions& options,
                                     int vocabulary) {
  const bool bpe = options.subword_kind == "bpe";
  std::vector<std::string> symbols;
  for (const std::string& language : parts_of(options.target_languages))
    if (std::ranges::find(symbols, language_piece(language)) == symbols.end())
      symbols.push_back(language_piece(language));
  try {
    return text::Subwords::train(text::all_lines(texts),
                                 {.vocabulary = vocabulary,
                                  .model = bpe ? text::SubwordModel::bpe : text::SubwordModel::unigram,
                                  .character_coverage = options.character_coverage,
                                  .symbols = std::move(symbols)});
  } catch (const FileError&) {
    throw;
  } catch (const Error& error) {
    throw Error(texts.front().name + ": " + error.what() + " (VOCABULARY of the program)");
  }
}

/// Whether `encode_pairs` keeps a pair.
inline bool fits(std::string_view source, std::string_view target, const text::Subwords& subwords,
                 const text::PairEncoding& encoding) {
  return source_tokens(subwords, source, encoding.source_prefix).size() <= std::size_t(encoding.longest_source) &&
         subwords.encode(target).size() < std::size_t(encoding.longest_target);
}

namespace detail {

/// The pairs of a text that `encode_pairs` keeps; the others are counted.
inline text::ParallelText fitting(const text::ParallelText& text, const text::Subwords& subwords,
                                  const text::PairEncoding& encoding, std::size_t& too_long) {
  text::ParallelText kept;
  kept.name = text.name;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (fits(text.source[i], text.target[i], subwords, encoding))
      kept.append(text.source[i], text.target[i]);
    else
      ++too_long;
  }
  return kept;
}

/// Leaves at most so many pairs of all texts together, spread evenly over them.
inline void keep_evenly(std::vector<text::ParallelText>& texts, std::size_t most) {
  std::size_t all = 0, number = 0;
  for (const text::ParallelText& text : texts) all += text.size();
  if (all <= most) return;
  for (text::ParallelText& text : texts) {
    text::ParallelText kept;
    kept.name = text.name;
    for (std::size_t i = 0; i < text.size(); ++i, ++number)
      if ((number + 1) * most / all > number * most / all) kept.append(text.source[i], text.target[i]);
    text = std::move(kept);
  }
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

namespace detail {

/// What each text translates into, as a list says; empty where nothing does. Errors: `Error` for another number of
/// them.
inline std::vector<std::string> languages_of(const char* option, const std::string& list, std::size_t texts) {
  std::vector<std::string> languages = parts_of(list);
  if (languages.empty()) languages.resize(texts);
  if (languages.size() != texts)
    throw Error(std::string(option) + " " + list + ": names " + std::to_string(languages.size()) + " of " +
                std::to_string(texts) + " texts; give one for each");
  return languages;
}

/// The same of the texts to validate on, which need not say what all texts to learn from are about.
inline std::vector<std::string> validation_languages(const TranslationDataOptions& options, std::size_t texts) {
  if (options.target_languages.empty() || !options.validation_languages.empty()) {
    if (options.target_languages.empty() && !options.validation_languages.empty())
      throw Error("--validation-languages: the texts to learn from have no --target-languages; give both, or none");
    return languages_of("--validation-languages", options.validation_languages, texts);
  }
  const auto learned = parts_of(options.target_languages);
  if (std::ranges::all_of(learned, [&](const auto& language) { return language == learned[0]; }))
    return std::vector<std::string>(texts, learned[0]);
  if (texts == learned.size()) return learned;
  throw Error(
      "--validation: the texts to learn from translate into several languages, and which of them these are in is "
      "not said; give --validation-languages, one for each");
}

/// How often a pair of each corpus comes in an epoch, which has as many pairs as the corpora, of each its share.
inline std::vector<double> pair_weights(const std::string& list, const std::vector<TranslationData::Corpus>& corpora) {
  const auto shares = parts_of(list);
  if (shares.empty()) return {};
  if (shares.size() != corpora.size())
    throw Error("--weights " + list + ": says " + std::to_string(shares.size()) + " of " +
                std::to_string(corpora.size()) + " texts; give one for each");
  double sum = 0, pairs = 0;
  for (std::size_t i = 0; i < corpora.size(); ++i) {
    sum += *format::parse<double>(shares[i]);
    pairs += double(corpora[i].size());
  }
  std::vector<double> weights;
  for (std::size_t i = 0; i < corpora.size(); ++i) {
    constexpr double most = 1000;
    weights.push_back(*format::parse<double>(shares[i]) / sum * pairs / double(corpora[i].size()));
    if (weights.back() > most)
      throw Error("--weights " + list + ": each of the " + std::to_string(corpora[i].size()) + " pairs of " +
                  corpora[i].name + " would come more than 1000 times before all others have come; give it less");
  }
  return weights;
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
  std::vector<text::ParallelText> texts = read_texts(options.texts, options.format), validation;
  const auto languages = detail::languages_of("--target-languages", options.target_languages, texts.size());
  if (const auto shares = parts_of(options.weights); !shares.empty() && shares.size() != texts.size())
    throw Error("--weights " + options.weights + ": says " + std::to_string(shares.size()) + " of " +
                std::to_string(texts.size()) + " texts; give one for each");
  std::vector<std::string> judged = languages;
  for (text::ParallelText& text : texts) {
    text = cleaner(text);
    const text::CleaningReport& report = cleaner.reports().back();
    if (text.size() == 0)
      throw Error(text.name + ": no pair is left of " + std::to_string(report.pairs) + ": " +
                  std::to_string(report.empty) + " have an empty side, " +
                  std::to_string(report.too_long + report.ratio) + " are too long or of too different lengths, " +
                  std::to_string(report.duplicate + report.identical) +
                  " are duplicates or the same on both sides; give another text, or clean less");
  }
  std::vector<text::CleaningReport> reports(cleaner.reports().begin(), cleaner.reports().end());
  const std::size_t first_judged = options.validation.empty() ? 0 : reports.size();  // its report
  if (!options.validation.empty()) {  // they are judged as they are, but for what is no pair
    text::Cleaner empty_sides({.longest_words = 0, .longest_characters = 0, .ratio = 0, .drop_duplicates = false});
    validation = read_texts(options.validation, options.format);
    judged = detail::validation_languages(options, validation.size());
    for (text::ParallelText& text : validation) {
      text = empty_sides(text);
      reports.push_back(empty_sides.reports().back());
      if (text.size() == 0)
        throw Error(text.name + ": all of its " + std::to_string(reports.back().pairs) +
                    " pairs have an empty side; give another text to validate on");
    }
  } else if (options.hold_out > 0) {
    const auto count = static_cast<std::size_t>(options.hold_out);
    for (text::ParallelText& text : texts) {
      if (2 * count > text.size())
        throw Error("--hold-out " + std::to_string(count) + ": more than half of the " + std::to_string(text.size()) +
                    " pairs of " + text.name + "; give less, 0 to validate never, or a text with --validation");
      detail::split_off(text, count, validation.emplace_back());
    }
  }
  const std::string name = options.subwords.empty() ? texts[0].name : options.subwords.string();
  if (!subwords)
    subwords = options.subwords.empty() ? learn_subwords(texts, options, vocabulary)
                                        : usable(text::Subwords::from_file(options.subwords), vocabulary, name);
  const int longest = options.longest > 0 ? options.longest : context;
  TranslationData data{.subwords = *subwords,
                       .texts = {},
                       .validation = {},
                       .corpora = {},
                       .validation_corpora = {},
                       .weights = {},
                       .reports = std::move(reports),
                       .longest = longest};
  const auto encoding = [&](const std::string& language) {
    return pair_encoding(*subwords, longest, threads, language_token(*subwords, language, name));
  };
  for (std::size_t i = 0; i < texts.size(); ++i) {
    data.corpora.push_back(text::encode_pairs(*subwords, texts[i], encoding(languages[i])));
    data.reports[i].too_many_tokens = data.corpora[i].too_long;
    if (data.corpora[i].size() == 0)
      throw Error(texts[i].name + ": every pair has a side of more than " + std::to_string(longest) +
                  " tokens; give a text with one sentence a line");
  }
  data.weights = detail::pair_weights(options.weights, data.corpora);
  for (std::size_t i = 0; i < validation.size(); ++i) {
    std::size_t too_long = 0;
    validation[i] = detail::fitting(validation[i], *subwords, encoding(judged[i]), too_long);
    data.reports[first_judged + i].too_many_tokens += too_long;
    if (validation[i].size() == 0)
      throw Error(validation[i].name + ": every pair has a side of more than " + std::to_string(longest) +
                  " tokens; give another text to validate on");
  }
  if (const auto most = format::parse<std::int64_t>(options.validation_pairs))
    detail::keep_evenly(validation, std::size_t(*most));
  for (std::size_t i = 0; i < validation.size(); ++i) {
    if (validation[i].size() == 0) continue;
    data.validation_corpora.push_back(text::encode_pairs(*subwords, validation[i], encoding(judged[i])));
    for (std::size_t pair = 0; pair < validation[i].size(); ++pair)
      data.validation.append(validation[i].source[pair], validation[i].target[pair]);
  }
  data.texts = std::move(texts);
  return data;
}

namespace detail {

/// Calls f with each token of the targets, and with the number of its corpus.
inline void each_target(const std::vector<TranslationData::Corpus>& corpora, auto&& f) {
  for (std::size_t c = 0; c < corpora.size(); ++c)
    for (std::size_t pair = 0; pair < corpora[c].size(); ++pair) {
      for (const auto token : corpora[c].target.document(pair).subspan(1)) f(c, std::size_t(token));
      f(c, std::size_t(corpora[c].end));
    }
}

}  // namespace detail

/// How frequent the tokens of the targets to learn from are.
inline score::Unigram frequencies(const TranslationData& data) {
  score::Unigram model(std::size_t(data.subwords.vocabulary()));
  detail::each_target(data.corpora, [&](std::size_t corpus, std::size_t token) {
    model.add(token, data.weights.empty() ? 1 : data.weights[corpus]);
  });
  return model;
}

/// Nats per token of the texts to validate on, by the unigram model of those to learn from: what a model that reads
/// nothing may reach.
inline double loss_of_frequencies(const TranslationData& data) {
  const score::Unigram model = frequencies(data);
  double sum = 0, targets = 0;
  detail::each_target(data.validation_corpora, [&](std::size_t, std::size_t token) {
    sum += model.loss(token);
    ++targets;
  });
  return sum / targets;
}

/// Prints what was kept of the texts, and how many tokens that is.
inline void print_report(const TranslationData& data) {
  for (const std::string& line : text::table(data.reports)) std::printf("%s\n", line.c_str());
  const auto line = [](const char* name, const std::vector<TranslationData::Corpus>& corpora) {
    std::size_t pairs = 0, sources = 0, targets = 0;
    for (const auto& corpus : corpora) {
      pairs += corpus.size();
      sources += corpus.source.tokens.size();
      targets += corpus.target.tokens.size();
    }
    std::printf("%s: %zu pairs, %zu source and %zu target tokens\n", name, pairs, sources, targets);
  };
  line("to learn from", data.corpora);
  for (std::size_t i = 0; i < data.weights.size(); ++i)
    std::printf("a pair of %s comes %.3g times in an epoch\n", data.texts[i].name.c_str(), data.weights[i]);
  if (data.validates()) {
    line("to validate on", data.validation_corpora);
    std::printf("by the frequencies of tokens alone: %.4f nats per token\n", loss_of_frequencies(data));
  }
  std::printf("%d subwords, checksum %016llx\n", data.subwords.vocabulary(),
              static_cast<unsigned long long>(data.subwords.checksum()));
}

}  // namespace fathom::program

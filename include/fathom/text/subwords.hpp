// SPDX-License-Identifier: Apache-2.0
#pragma once

#if !__has_include(<sentencepiece_processor.h>)
#error "fathom: <fathom/text/subwords.hpp> needs sentencepiece (libsentencepiece-dev); link to fathom::translation"
#endif

#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/core/key.hpp>
#include <fathom/core/random.hpp>
#include <fathom/io/atomic_write.hpp>
#include <fathom/io/checksum.hpp>
#include <fathom/io/file.hpp>
#include <fathom/io/foreign_file.hpp>
#include <fathom/text/characters.hpp>
#include <fathom/text/tokenizer.hpp>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <unordered_map>
#include <utility>
#include <vector>

/// Subwords by sentencepiece (https://github.com/google/sentencepiece). A program that uses them links to the CMake
/// target `fathom::translation`, or with `-lsentencepiece_train -lsentencepiece`.

namespace fathom::inline FATHOM_ABI::text {

enum class SubwordModel {
  bpe,      ///< byte pair encoding: merges of the most frequent neighbours (Sennrich et al., arXiv:1508.07909)
  unigram,  ///< the likeliest pieces under a unigram model (Kudo, arXiv:1804.10959)
};

struct SubwordOptions {
  int vocabulary = 8000;  ///< pieces, with the special tokens, symbols and bytes
  SubwordModel model = SubwordModel::bpe;
  bool byte_fallback = true;           ///< 256 pieces for bytes: no text is unknown
  double character_coverage = 0.9995;  ///< share of the text's characters that get pieces, the most frequent first
  /// Texts that are always one piece, such as "<2de>", which asks for German: their ids are `id("<2de>")`.
  std::vector<std::string> symbols = {};
  /// True: equal characters become one (NFKC), white space one space each, none at the ends, so that decoding gives the
  /// text in this form. False: text is taken as it is, and comes back so where every byte has a piece (but "▁" is a
  /// space).
  bool normalize = true;
  std::size_t most_lines = 2'000'000;  ///< of a longer text so many lines are taken, at random
  std::uint64_t seed = 0;              ///< of this choice
};

/// The subwords of a sentencepiece model. A copy shares the model. Encoding and decoding may be called by several
/// threads.
class Subwords {
 public:
  using Token = std::int32_t;
  static constexpr int none = -1;

  /// Learns a model from lines, of both languages for one that they share. The ids are: 0 unknown, 1 begin, 2 end, 3
  /// padding, then the symbols, the bytes, the pieces. The model follows from lines and options alone. Empty lines,
  /// and lines of more than 4,192 bytes, teach nothing. Errors: `Error` for too few lines for the vocabulary, a
  /// vocabulary that is too small for the characters, options that cannot be.
  static Subwords train(std::span<const std::string_view> lines, const SubwordOptions& options = {});

  /// Errors: `FileError` for a path that is missing or no regular file, and a file that is no sentencepiece model or
  /// longer than 64 MiB.
  static Subwords from_file(const std::filesystem::path& path) {
    const MappedFile mapped(path);
    const std::string_view file(reinterpret_cast<const char*>(mapped.bytes().data()), mapped.bytes().size());
    constexpr std::size_t longest_file = std::size_t{1} << 26;
    const std::string known = file.starts_with('\n') ? "" : foreign_file(file.substr(0, 64));
    if (!known.empty()) throw FileError(path.string() + ": " + known);
    if (file.size() > longest_file) refuse(path.string());
    return of(std::string(file), path.string());
  }

  /// The model whose `model()` this is; `name` is for messages. Errors: `FileError` as of `from_file`.
  static Subwords of(std::string model, const std::string& name = "the subword model") {
    auto processor = std::make_shared<sentencepiece::SentencePieceProcessor>();
    // Everything that is a model begins with its first piece: field 1, a message.
    if (!model.starts_with('\n') || !processor->LoadFromSerializedProto(model).ok() || processor->GetPieceSize() < 1)
      refuse(name);
    return Subwords(std::move(processor), std::move(model));
  }

  int vocabulary() const { return processor_->GetPieceSize(); }

  /// Without begin and end. Errors: `Error` with the place of a byte that is not UTF-8.
  std::vector<Token> encode(std::string_view text) const {
    check_text(text);
    std::vector<Token> ids;
    check(processor_->Encode(text, &ids), "encode");
    return ids;
  }

  class Encoder;
  Encoder encoder() const;

  /// Begin, end and padding have no text; an unknown token is " ⁇ ".
  std::string decode(std::span<const int> ids) const {
    for (const int id : ids) check_id(id, vocabulary());
    std::string text;
    check(processor_->Decode(std::vector<int>(ids.begin(), ids.end()), &text), "decode");
    return text;
  }

  /// The ids of special tokens; `none` where the model has no such token.
  int unknown() const { return processor_->unk_id(); }
  int begin() const { return processor_->bos_id(); }
  int end() const { return processor_->eos_id(); }
  int padding() const { return processor_->pad_id(); }

  /// The id of a piece or symbol. Errors: `Error` for one that the vocabulary does not have.
  int id(std::string_view piece) const {
    const int id = processor_->PieceToId(piece);
    if (id == unknown() && (id == none || processor_->IdToPiece(id) != piece))
      throw Error("Subwords: '" + std::string(piece) + "' is not in the vocabulary of " + std::to_string(vocabulary()) +
                  "; train the model with it as a symbol");
    return id;
  }
  const std::string& piece(int id) const {
    check_id(id, vocabulary());
    return processor_->IdToPiece(id);
  }

  /// The bytes of the model's file, and what a checkpoint stores to know it again.
  const std::string& model() const { return model_; }
  std::uint64_t checksum() const {
    Checksum sum;
    sum.add(std::string_view(model_));
    return sum.value();
  }

  /// Errors: `Error` unless this is the model with that vocabulary and checksum. `owner` says whose they are.
  void require(int vocabulary, std::uint64_t checksum, const std::string& owner) const {
    const std::string remedy = "; give the subword model that it was trained with";
    if (vocabulary != this->vocabulary())
      throw Error(owner + " has a vocabulary of " + std::to_string(vocabulary) + ", the subword model one of " +
                  std::to_string(this->vocabulary()) + remedy);
    if (checksum != this->checksum())
      throw Error(owner + " was trained with another subword model of " + std::to_string(vocabulary) + " pieces" +
                  remedy);
  }

  /// Errors: `FileError`, and the file is what it was before.
  void save(const std::filesystem::path& path) const { write_file(path, model_); }

 private:
  using Processor = sentencepiece::SentencePieceProcessor;

  Subwords(std::shared_ptr<const Processor> processor, std::string model)
      : processor_(std::move(processor)), model_(std::move(model)) {}

  [[noreturn]] static void refuse(const std::string& name) {
    throw FileError(name + ": is not a whole sentencepiece model; give the .model file");
  }
  static void check_text(std::string_view text) {
    if (const std::size_t valid = valid_utf8(text); valid < text.size())
      throw Error("Subwords: the text is not UTF-8 at byte " + std::to_string(valid));
  }
  void append(std::string_view text, std::vector<Token>& ids, std::vector<Token>& buffer) const {
    check(processor_->Encode(text, &buffer), "encode");
    ids.insert(ids.end(), buffer.begin(), buffer.end());
  }

  /// Whether the tokens of a text are those of its words, one after another.
  bool cuts_at_spaces() const {
    constexpr std::string_view space = "\u2581";
    if (is_unigram()) return false;  // sums of scores are rounded along a text, and that decides between equal ways
    for (int id = 0; id < vocabulary(); ++id)
      if (processor_->IdToPiece(id).find(space, 1) != std::string::npos) return false;  // a piece goes on behind a space
    const auto has = [&](std::string_view piece) { return processor_->PieceToId(piece) != unknown(); };
    return has(space) && encode("  a  b ") == encode("a b") && piece(encode("a").front()).starts_with(space);
  }
  /// It alone has second best ways to cut a text.
  bool is_unigram() const {
    std::vector<std::vector<int>> ways;
    return processor_->NBestEncode("a", 2, &ways).ok();
  }

  static void check(const sentencepiece::util::Status& status, const char* action) {
    if (!status.ok()) throw Error("Subwords: cannot " + std::string(action) + ": " + status.error_message());
  }

  std::shared_ptr<const Processor> processor_;
  std::string model_;
};

/// Encodes line after line as `encode` does. It remembers the words of a BPE model, which makes it several times as
/// fast. One thread uses it.
class Subwords::Encoder {
 public:
  explicit Encoder(const Subwords& subwords) : subwords_(subwords), by_words_(subwords.cuts_at_spaces()) {}

  /// Stays until the following call. Errors: as of `encode`.
  const std::vector<Token>& operator()(std::string_view line) {
    ids_.clear();
    subwords_.check_text(line);
    if (!by_words_) {
      subwords_.append(line, ids_, piece_);
      return ids_;
    }
    while (!line.empty()) {
      const std::size_t end = std::min(line.find(' '), line.size());
      if (end > 0) append_word(line.substr(0, end));
      line.remove_prefix(std::min(end + 1, line.size()));
    }
    return ids_;
  }

 private:
  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;
  };
  struct Place {
    std::size_t first, count;
  };
  static constexpr std::size_t most_words = std::size_t{1} << 18, longest_word = 64;

  void append_word(std::string_view word) {
    auto found = places_.find(word);
    if (found == places_.end()) {
      if (word.size() > longest_word || places_.size() == most_words) {
        subwords_.append(word, ids_, piece_);
        return;
      }
      const std::size_t first = known_.size();
      subwords_.append(word, known_, piece_);
      found = places_.emplace(std::string(word), Place{first, known_.size() - first}).first;
    }
    const auto begin = known_.begin() + static_cast<std::ptrdiff_t>(found->second.first);
    ids_.insert(ids_.end(), begin, begin + static_cast<std::ptrdiff_t>(found->second.count));
  }

  Subwords subwords_;
  bool by_words_;
  std::vector<Token> ids_, piece_, known_;  // of the line; of one call; of all words that are remembered
  std::unordered_map<std::string, Place, Hash, std::equal_to<>> places_;
};

inline Subwords::Encoder Subwords::encoder() const { return Encoder(*this); }

static_assert(Tokenizer<Subwords>);

namespace detail {

/// Hands the lines of a training to sentencepiece: all, or `count` of them at random, in their order.
class SubwordLines : public sentencepiece::SentenceIterator {
 public:
  SubwordLines(std::span<const std::string_view> lines, std::size_t count, Key key) : lines_(lines) {
    if (count < lines.size()) {
      const Permutation order(key, lines.size());
      for (std::size_t i = 0; i < count; ++i) chosen_.push_back(static_cast<std::size_t>(order(i)));
      std::ranges::sort(chosen_);
    }
    load();
  }
  bool done() const override { return next_ >= size(); }
  void Next() override {
    ++next_;
    load();
  }
  const std::string& value() const override { return line_; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  std::size_t size() const { return chosen_.empty() ? lines_.size() : chosen_.size(); }
  void load() {
    if (!done()) line_ = lines_[chosen_.empty() ? next_ : chosen_[next_]];
  }

  std::span<const std::string_view> lines_;
  std::vector<std::size_t> chosen_;
  std::size_t next_ = 0;
  std::string line_;
};

/// The number behind `words` in a text; 0 where they are not.
inline long number_behind(std::string_view text, std::string_view words) {
  std::size_t place = text.find(words);
  if (place == std::string_view::npos) return 0;
  long number = 0;
  for (place += words.size(); place < text.size() && text[place] >= '0' && text[place] <= '9'; ++place)
    number = number * 10 + (text[place] - '0');
  return number;
}

}  // namespace detail

inline Subwords Subwords::train(std::span<const std::string_view> lines, const SubwordOptions& options) {
  constexpr int most = 1 << 24;
  if (options.vocabulary < 1 || options.vocabulary > most)
    throw Error("Subwords: a vocabulary of " + std::to_string(options.vocabulary) + "; give 1 to " +
                std::to_string(most));
  if (!(options.character_coverage > 0.9 && options.character_coverage <= 1))
    throw Error("Subwords: a character coverage of " + std::to_string(options.character_coverage) +
                "; give more than 0.9, and at most 1");
  if (options.most_lines == 0) throw Error("Subwords: most_lines is 0; give at least 1");
  for (std::size_t i = 0; i < lines.size(); ++i)
    if (valid_utf8(lines[i]) < lines[i].size())
      throw Error("Subwords: line " + std::to_string(i + 1) + " to train on is not UTF-8");
  std::string symbols;
  for (const std::string& symbol : options.symbols) {
    if (symbol.empty() || valid_utf8(symbol) < symbol.size() || symbol.find_first_of(",\" \n") != std::string::npos)
      throw Error("Subwords: '" + symbol + "' cannot be a symbol; give UTF-8 without spaces, commas and quotes");
    symbols += (symbols.empty() ? "" : ",") + symbol;
  }
  const auto text_of = [](bool value) { return std::string(value ? "true" : "false"); };
  std::unordered_map<std::string, std::string> arguments{
      {"model_type", options.model == SubwordModel::bpe ? "bpe" : "unigram"},
      {"vocab_size", std::to_string(options.vocabulary)},
      {"character_coverage", std::to_string(options.character_coverage)},
      {"byte_fallback", text_of(options.byte_fallback)},
      {"normalization_rule_name", options.normalize ? "nmt_nfkc" : "identity"},
      {"remove_extra_whitespaces", text_of(options.normalize)},
      {"pad_id", "3"},
      {"num_threads", "16"},    // sums are over threads: their number is part of the model, not of the machine
      {"minloglevel", "3"}};  // what goes wrong is in the status
  if (!symbols.empty()) arguments["user_defined_symbols"] = symbols;

  detail::SubwordLines chosen(lines, options.most_lines, Key{options.seed}.child("subwords"));
  std::string model;
  const auto status = [&] {
    try {
      return sentencepiece::SentencePieceTrainer::Train(arguments, &chosen, &model);
    } catch (const std::system_error&) {
      throw Error(
          "Subwords: the system gives no more threads, and sentencepiece learns with 16 of them; raise the limit "
          "(ulimit -u), or learn the subwords elsewhere and give their file");
    }
  }();
  if (!status.ok()) {
    const std::string_view reason = status.error_message();
    const std::string wanted = "Subwords: a vocabulary of " + std::to_string(options.vocabulary);
    if (const long possible = detail::number_behind(reason, "set it to a value <= "))
      throw Error(wanted + " is too large for these lines, of which " + std::to_string(possible) +
                  " pieces can be made; give more lines or a smaller vocabulary");
    if (const long needed = detail::number_behind(reason, " vs "); reason.find("required_chars") != reason.npos)
      throw Error(wanted + " is too small: characters, bytes and special tokens are " + std::to_string(needed) +
                  "; give a larger one, or a smaller character coverage");
    if (reason.find("sentences_.empty()") != reason.npos)
      throw Error("Subwords: there are no lines to train on; give lines of text");
    throw Error("Subwords: sentencepiece cannot train: " + std::string(reason));
  }
  return of(std::move(model));
}

}  // namespace fathom::inline FATHOM_ABI::text

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/core/indexed.hpp>
#include <fathom/core/key.hpp>
#include <fathom/generate/log_sum_exp.hpp>
#include <fathom/generate/pair_generator_options.hpp>
#include <fathom/generate/pair_inference.hpp>
#include <fathom/generate/sampling.hpp>
#include <fathom/models/weights.hpp>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace fathom::inline FATHOM_ABI {

/// Translates sentences, several at once: by beam search, greedily, or by sampling.
///
///   PairGenerator<Model, Cpu<>> generator(weights, {.begin = 1, .end = 2, .beam = 5});
///   generator.start(sources);
///   while (generator.step()) …          each step adds a token to every unfinished hypothesis
///   generator.translations(s)           of source s, the best first
///
/// Beam search: of the beam's hypotheses, each continued by every token, the 2 · beam most probable are looked at.
/// Those among the first `beam` that end there are finished, and the first `beam` that do not are followed. Of equal
/// ones the one whose parent is more probable comes first, then the one with the lower token. Finished hypotheses and
/// sentences cost nothing. Without search a translation is drawn token by token, and all of them are kept, in the order of draws.
///
/// What is found for a sentence follows from the weights, its source, the options and, in sampling, its number: not
/// from the others in the batch, but for rounding, which differs between passes of few rows and of many.
/// Ownership, threads and memory as of `PairInference`; `step` allocates nothing.
template <class Model, class B>
class PairGenerator {
  static_assert(CheckBackend<B>::value);

 public:
  /// Errors: `Error` for options without meaning, `ShapeError` for sizes that are negative or beyond the contexts.
  PairGenerator(const Weights<Model, B>& weights, const PairGeneratorOptions& options,
                const typename B::Options& machine = {})
      : options_(completed(options)),
        width_(options_.sampling ? options_.best : options_.beam),
        inference_(weights, inference_size(options_), machine),
        sampler_(vocabulary, options_.sampling.value_or(Sampling{}), Key{options_.seed}.child("sampling")),
        sentences_(std::size_t(options_.sentences)),
        barred_(std::size_t(vocabulary)),
        logits_(std::size_t(vocabulary)) {
    for (const int token : options_.never) barred_[token] = 1;
    const int steps = inference_.size().target;
    for (Sentence& sentence : sentences_) {
      sentence.nodes.reserve(std::size_t(2 * width_) * std::size_t(steps) + 1);
      sentence.live.reserve(std::size_t(width_));
      sentence.ended.reserve(std::size_t(options_.best) + 1);
    }
    next_.reserve(std::size_t(width_));
    candidates_.reserve(std::size_t(2 * width_ * width_));
    taken_.resize(std::size_t(width_));
    tokens_.reserve(std::size_t(options_.sentences * width_));
  }
  PairGenerator(Weights<Model, B>&&, const PairGeneratorOptions&, const typename B::Options& = {}) = delete;

  /// Forgets everything before and takes up these sources, which begin and end as the model was trained.
  /// `numbers` tell their draws apart when sentences are sampled; by default sources are counted from 0.
  /// Errors: `ShapeError` of `PairInference::start`, and for another number of numbers.
  void start(std::span<const std::span<const int>> sources, std::span<const int> numbers = {}) {
    if (!numbers.empty() && numbers.size() != sources.size())
      throw ShapeError("PairGenerator: " + std::to_string(numbers.size()) + " numbers for " +
                       std::to_string(sources.size()) + " sources");
    inference_.start(sources);
    for (int s = 0; s < sentences(); ++s) {
      Sentence& sentence = sentences_[s];
      sentence.number = numbers.empty() ? s : numbers[std::size_t(s)];
      sentence.limit = limit_of(options_, inference_.source_length(s));
      sentence.finished = 0;
      sentence.nodes.assign(1, {-1, options_.begin, 0, 0});
      sentence.live.assign(1, {0, s * width_, 0});
      sentence.ended.clear();
    }
  }
  void start(std::span<const int> source) { start(std::span(&source, 1)); }

  /// Adds a token to every unfinished hypothesis. False, with nothing done, when there is none.
  bool step() {
    tokens_.assign(std::size_t(inference_.hypotheses()), -1);
    bool any = false;
    for (int s = 0; s < sentences(); ++s)
      for (const Live& live : sentences_[s].live) {
        tokens_[live.slot] = sentences_[s].nodes[live.node].token;
        any = true;
      }
    if (!any) return false;
    inference_.step(tokens_);
    for (int s = 0; s < sentences(); ++s)
      if (Sentence& sentence = sentences_[s]; !sentence.live.empty()) {
        if (options_.sampling)
          draw(sentence);
        else
          search(sentence);
        follow(sentence, s * width_);
      }
    return true;
  }

  int sentences() const { return inference_.sentences(); }
  /// Whether all hypotheses of a sentence are finished.
  bool finished(int sentence) const { return sentences_[sentence].live.empty(); }
  /// What has been found for a sentence: the best first, or in the order of draws.
  std::vector<Hypothesis> translations(int sentence) const {
    std::vector<Hypothesis> list;
    for (const Ended& ended : sentences_[sentence].ended) list.push_back(hypothesis(sentences_[sentence], ended));
    return list;
  }
  const PairInference<Model, B>& inference() const { return inference_; }

 private:
  static constexpr int vocabulary = PairInference<Model, B>::vocabulary;
  using Logit = HostNumber<typename PairInference<Model, B>::Logit>;

  /// A token of a hypothesis, behind another one.
  struct Node {
    int parent, token, length;  // tokens up to this one, begin and end not counted
    double log_probability;     // of this token
  };
  struct Live {
    int node, slot;
    double log_probability;  // of all its tokens
    int number = 0;          // of the draw
  };
  struct Ended {
    int node;
    double log_probability, score;
    int number = 0;
  };
  struct Candidate {
    double log_probability;
    int live, token;
    double of_token;
  };
  struct Sentence {
    int number = 0, limit = 0, finished = 0;
    Indexed<std::vector<Node>> nodes;
    Indexed<std::vector<Live>> live;
    Indexed<std::vector<Ended>> ended;
  };

  static PairGeneratorOptions completed(PairGeneratorOptions options) {
    const auto refuse = [](const std::string& what) { throw Error("PairGenerator: " + what); };
    const auto known = [](int token) { return token >= 0 && token < vocabulary; };
    if (options.source == 0) options.source = Model::Source::context;
    for (const auto& [token, name] : {std::pair(options.begin, "begin"), std::pair(options.end, "end")})
      if (!known(token))
        refuse("the token `" + std::string(name) + "` is " + std::to_string(token) +
               "; it must be one of the decoder's vocabulary of " + std::to_string(vocabulary));
    for (const int token : options.never)
      if (!known(token) || token == options.end)
        refuse("token " + std::to_string(token) + " in `never` is the end token or outside the vocabulary of " +
               std::to_string(vocabulary));
    if (options.sentences < 1 || options.beam < 1 || options.best < 1 || options.shortest < 0)
      refuse("sentences, beam and best must be positive, and shortest not negative");
    if (options.sampling && options.beam != 1) refuse("translations are drawn without a beam; ask for `best` of them");
    if (!options.sampling && options.best > options.beam)
      refuse(std::to_string(options.best) + " best translations need a beam that is at least as wide, not of " +
             std::to_string(options.beam));
    if (!std::isfinite(options.penalty.alpha)) refuse("the length penalty's alpha must be finite");
    if (!(options.limit.factor >= 0 && std::isfinite(options.limit.factor)) || options.limit.constant < 0)
      refuse("factor and constant of the length limit must not be negative");
    if (options.shortest > Model::Target::context - 1)
      refuse("translations of at least " + std::to_string(options.shortest) +
             " tokens do not fit the decoder's context of " + std::to_string(Model::Target::context));
    return options;
  }
  static int limit_of(const PairGeneratorOptions& options, int source) {
    return std::max(options.shortest, options.limit.of(source, std::max(1, Model::Target::context - 1)));
  }
  static PairInferenceSize inference_size(const PairGeneratorOptions& options) {
    return {.sentences = options.sentences,
            .hypotheses = options.sampling ? options.best : options.beam,
            .source = options.source,
            .target = std::min(Model::Target::context, limit_of(options, options.source) + 1),
            .ranks = options.sampling ? 0 : std::min(vocabulary, 2 * options.beam + int(options.never.size()) + 1)};
  }

  /// Ends or follows hypotheses of next_, by beam search.
  void search(Sentence& sentence) {
    candidates_.clear();
    for (int index = 0; index < int(sentence.live.size()); ++index) {
      const Live& live = sentence.live[index];
      const int length = sentence.nodes[live.node].length;
      const auto ranking = inference_.ranking(live.slot);
      const auto add = [&](double logit, int token) {
        const double log_probability = logit - ranking.log_sum;
        candidates_.push_back({live.log_probability + log_probability, index, token, log_probability});
      };
      if (length >= sentence.limit) {
        add(double(inference_.logits(live.slot)[std::size_t(options_.end)]), options_.end);
        continue;
      }
      int left = 2 * width_;
      for (std::size_t rank = 0; rank < ranking.logits.size() && left > 0; ++rank) {
        const int token = ranking.tokens[rank];
        if (barred_[token] != 0 || (token == options_.end && length < options_.shortest)) continue;
        add(double(ranking.logits[rank]), token);
        --left;
      }
    }
    const auto before = [](const Candidate& a, const Candidate& b) {
      if (a.log_probability != b.log_probability) return a.log_probability > b.log_probability;
      return a.live != b.live ? a.live < b.live : a.token < b.token;
    };
    const auto count = std::min(candidates_.size(), std::size_t(2 * width_));
    std::partial_sort(candidates_.begin(), candidates_.begin() + std::ptrdiff_t(count), candidates_.end(), before);
    next_.clear();
    for (std::size_t rank = 0; rank < count; ++rank) {
      const Candidate& candidate = candidates_[rank];
      const Live& parent = sentence.live[candidate.live];
      if (candidate.token == options_.end && rank < std::size_t(width_))
        end(sentence, parent, candidate.of_token);
      else if (candidate.token != options_.end && next_.size() < std::size_t(width_))
        next_.push_back(child(sentence, parent, candidate.token, candidate.of_token));
    }
    if (is_over(sentence)) next_.clear();
  }

  /// Whether what has ended is what the search gives, with the hypotheses of next_ left.
  bool is_over(const Sentence& sentence) const {
    if (next_.empty()) return true;
    if (options_.search_end == SearchEnd::full_beam && sentence.finished >= width_) return true;
    if (int(sentence.ended.size()) < options_.best) return false;
    const int length = sentence.nodes[next_.front().node].length;
    return options_.penalty.bound(next_.front().log_probability, length, sentence.limit) <=
           sentence.ended.back().score;
  }

  /// Copies the logits behind a hypothesis to logits_, without the tokens that may not follow; returns the logarithm of
  /// the sum of all their exponentials.
  double read(const Sentence& sentence, const Live& live) {
    const auto logits = inference_.logits(live.slot);
    const double log_sum = log_sum_exp(logits);
    std::copy(logits.begin(), logits.end(), logits_.begin());
    constexpr Logit none = -std::numeric_limits<Logit>::infinity();
    const int length = sentence.nodes[live.node].length;
    for (const int token : options_.never) logits_[token] = none;
    if (length < options_.shortest) logits_[options_.end] = none;
    if (length >= sentence.limit) {
      const auto end = logits_[options_.end];
      std::fill(logits_.begin(), logits_.end(), none);
      logits_[options_.end] = end;
    }
    return log_sum;
  }

  /// Ends or follows hypotheses of next_, each by a token that is drawn.
  void draw(Sentence& sentence) {
    next_.clear();
    const bool first = sentence.nodes.size() == 1;
    const int draws = first ? width_ : int(sentence.live.size());
    for (int index = 0; index < draws; ++index) {
      Live live = sentence.live[first ? 0 : index];
      if (first) live.number = index;
      const double log_sum = read(sentence, live);
      const std::int64_t sequence = std::int64_t(sentence.number) * width_ + live.number;
      const int token = sampler_(std::span<const Logit>(logits_), sequence, sentence.nodes[live.node].length);
      const double log_probability = double(logits_[token]) - log_sum;
      if (token == options_.end)
        end(sentence, live, log_probability);
      else
        next_.push_back(child(sentence, live, token, log_probability));
    }
  }

  Live child(Sentence& sentence, const Live& parent, int token, double log_probability) {
    const int length = sentence.nodes[parent.node].length + 1;
    sentence.nodes.push_back({parent.node, token, length, log_probability});
    return {int(sentence.nodes.size()) - 1, parent.slot, parent.log_probability + log_probability, parent.number};
  }

  /// Puts a finished hypothesis where it belongs among the best.
  void end(Sentence& sentence, const Live& parent, double log_probability) {
    const int length = sentence.nodes[parent.node].length;
    const double sum = parent.log_probability + log_probability;
    sentence.nodes.push_back({parent.node, options_.end, length, log_probability});
    const Ended ended{int(sentence.nodes.size()) - 1, sum, options_.penalty.score(sum, length), parent.number};
    ++sentence.finished;
    const auto place = std::find_if(sentence.ended.begin(), sentence.ended.end(), [&](const Ended& other) {
      return options_.sampling ? other.number > ended.number : other.score < ended.score;
    });
    sentence.ended.insert(place, ended);
    if (int(sentence.ended.size()) > options_.best) sentence.ended.pop_back();
  }

  /// Goes on with next_: the first child of a hypothesis takes its place in the cache, others that of one without
  /// children.
  void follow(Sentence& sentence, int first_slot) {
    std::fill(taken_.begin(), taken_.end(), char(0));
    for (Live& live : next_)
      if (char& taken = taken_[live.slot - first_slot]; taken == 0)
        taken = 1;
      else
        live.slot = -live.slot - 1;  // it needs another one
    int free = 0;
    for (Live& live : next_)
      if (live.slot < 0) {
        while (taken_[free] != 0) ++free;
        taken_[free] = 1;
        inference_.branch(-live.slot - 1, first_slot + free);
        live.slot = first_slot + free;
      }
    sentence.live.assign(next_.begin(), next_.end());
  }

  Hypothesis hypothesis(const Sentence& sentence, const Ended& ended) const {
    Hypothesis result;
    result.log_probability = ended.log_probability;
    result.score = ended.score;
    for (int node = ended.node; node != 0; node = sentence.nodes[node].parent) {
      if (node != ended.node) result.tokens.push_back(sentence.nodes[node].token);
      result.log_probabilities.push_back(sentence.nodes[node].log_probability);
    }
    std::reverse(result.tokens.begin(), result.tokens.end());
    std::reverse(result.log_probabilities.begin(), result.log_probabilities.end());
    return result;
  }

  PairGeneratorOptions options_;
  int width_;  // hypotheses of a sentence
  PairInference<Model, B> inference_;
  TokenSampler sampler_;
  Indexed<std::vector<Sentence>> sentences_;
  Indexed<std::vector<char>> barred_;  // of each token, whether it is in `never`
  Indexed<std::vector<Logit>> logits_;
  std::vector<Live> next_;
  std::vector<Candidate> candidates_;
  Indexed<std::vector<char>> taken_;
  Indexed<std::vector<int>> tokens_;
};

}  // namespace fathom::inline FATHOM_ABI

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <filesystem>
#include <programs/command_line.hpp>
#include <programs/rules.hpp>
#include <programs/saved_run.hpp>
#include <programs/sentence_translator.hpp>
#include <programs/translation_data.hpp>
#include <string>
#include <vector>

namespace fathom::program {

/// What the command line decides, with its defaults.
struct TranslatorOptions : SavedRun {
  TranslatorOptions() : SavedRun{.output = "runs/translator", .checkpoint = {}} {}

  TranslationDataOptions data;
  Device device;
  double memory = 0;  ///< GiB
  bool resume = false;
  int batch = 4096, pass = 0, keep = 10, patience = 10;
  std::int64_t steps = 20000, warmup = 2000, validation_every = 0, save_every = 0, telemetry = 0;
  double learning_rate = 2e-3, beta2 = 0.98, weight_decay = 0, clip = 1, dropout = 0.3, smoothing = 0.1, average = 0;
  std::uint64_t seed = 1;
  std::string matrix_rates = "equal";             ///< or "gain"
  std::string judge = "loss", tokenizer = "13a";  ///< of validation; of BLEU
  int samples = 2;
  DecodingOptions decoding;
  std::filesystem::path input, translations;
  std::string target_language;  ///< that translations are asked for in

  /// Batches whose gradients make one update, and the tokens that each has room for on a side.
  int accumulate() const { return pass > 0 ? (batch + pass - 1) / pass : 1; }
  int rows() const { return (batch + accumulate() - 1) / accumulate(); }
};

/// The commands of a translator's program and their options.
class TranslatorCommandLine : public CommandLine {
 public:
  /// Parsing writes into `options`.
  TranslatorCommandLine(TranslatorOptions& options, int encoder_layers, int decoder_layers)
      : CommandLine("A translator of " + std::to_string(encoder_layers) + " encoder and " +
                        std::to_string(decoder_layers) + " decoder layers",
                    "prepare, train, translate, evaluate, score or info") {
    add_prepare(options);
    add_train(options);
    add_translate(options);
    add_evaluate(options);
    add_score(options);

    info_ = add("info", "Print parameters, and the memory that training needs.");
    info_->add_option("--batch", options.batch, "tokens of an update, on each side")
        ->transform(whole(options.batch, 1, most_tokens));
    info_->add_option("--pass", options.pass, "tokens that are in memory at a time; 0: all of an update")
        ->transform(whole(options.pass, 0, most_tokens));
    info_->add_option("--longest", options.data.longest, "tokens of a sentence; 0: the model's context")
        ->transform(whole(options.data.longest, 0));
    add_memory(*info_, options.dropout, options.average, options.memory);
    add_device(options.device);
  }

  bool prepare() const { return prepare_->parsed(); }
  bool translate() const { return translate_->parsed(); }
  bool evaluate() const { return evaluate_->parsed(); }
  bool score() const { return score_->parsed(); }
  bool info() const { return info_->parsed(); }

 private:
  static constexpr int most_tokens = 1 << 24;

  void add_prepare(TranslatorOptions& options) {
    prepare_ = add("prepare", "Clean a parallel text, learn its subwords, and report.");
    prepare_->footer(
        "The output folder gets\n"
        "  train.source, train.target  the pairs that are kept, to train on; of several texts train.1.source and so "
        "on\n"
        "  subwords.model              the subwords, for --subwords\n"
        "train does the same by itself when it is given texts.");
    add_translation_data(*prepare_, options.data, nullptr);
    prepare_->get_option("texts")->required();
    prepare_->add_option("--output", options.output, "folder of what is prepared")->required();
  }

  void add_train(TranslatorOptions& options) {
    train_ = add("train", "Train on a parallel text.");
    train_->footer(
        "The output folder gets\n"
        "  subwords.model         the subwords\n"
        "  checkpoints/<update>/  the last ones, to resume from, and to average\n"
        "  best/                  the one of the best validation\n"
        "  log.csv, curves.svg    the losses\n"
        "  telemetry/             with --telemetry: tables of what the layers do, and pictures\n"
        "  plans/                 with --device cuda: how cuDNN does attention, which later commands need not find "
        "out\n"
        "Ctrl-C saves a checkpoint and ends the program. With --resume a run goes on with its texts and its options, "
        "which\nneed not be given again, to the same bits as without the stop.");
    add_translation_data(*train_, options.data, &recorded_);
    train_->add_option("--output", options.output, "folder of the run");
    train_->add_flag("--resume", options.resume, "go on from the newest checkpoint, if there is one");

    group("Updates");
    fixed("--steps", options.steps, "updates, at most")->transform(whole(options.steps, 1));
    fixed("--batch", options.batch, "tokens of an update, on each side")
        ->transform(whole(options.batch, 1, most_tokens));
    fixed("--pass", options.pass, "tokens that are in memory at a time; 0: all of an update")
        ->transform(whole(options.pass, 0, most_tokens));
    fixed("--dropout", options.dropout, "rate on embeddings and residual branches")->check(rate());
    fixed("--label-smoothing", options.smoothing, "share of a target that is spread over the vocabulary")
        ->check(rate());
    fixed("--seed", options.seed, "of everything that is drawn by chance")->transform(whole(options.seed, 0));
    group("Optimizer: Adam, linear warm-up, then the inverse square root of the update");
    fixed("--learning-rate", options.learning_rate, "the largest, after warm-up")
        ->check(number("above 0 and at most 1e6", [](double x) { return x > 0 && x <= 1e6; }));
    fixed("--warmup", options.warmup, "updates of rising learning rate")->transform(whole(options.warmup, 1));
    fixed("--beta2", options.beta2, "how slowly the second moments follow")->check(rate());
    fixed("--weight-decay", options.weight_decay, "of matrices")->check(not_negative());
    add_matrix_rates(options.matrix_rates);
    fixed("--clip", options.clip, "largest gradient norm; 0: any")->check(not_negative());
    fixed("--average", options.average, "decay of an average of the weights, for use of the model; 0: none")
        ->check(rate());
    group("Validation");
    train_->add_option("--validation", options.data.validation, "a text or several, named as those to train on")
        ->expected(1, most_texts);
    fixed("--validation-languages", options.data.validation_languages,
          "of each text to validate on, as --target-languages; otherwise those of the texts to train on")
        ->check(list_of("names of languages, such as de,fr", is_language));
    fixed("--hold-out", options.data.hold_out,
          "pairs at the end of each text that validate where there is no --validation; 0: validate never")
        ->transform(whole(options.data.hold_out, 0));
    fixed("--validation-pairs", options.data.validation_pairs,
          "of a validation, at most, spread evenly over its texts; all: all of them")
        ->check(batches({"all"}));
    fixed("--validation-every", options.validation_every, "updates; 0: as many as read the text once")
        ->transform(whole(options.validation_every, 0));
    fixed("--validate-by", options.judge, "loss, or bleu of greedy translations")->check(one_of({"loss", "bleu"}));
    fixed("--tokenizer", options.tokenizer, "of that BLEU: 13a, intl, or none for text that is tokenized")
        ->check(one_of(tokenizers()));
    free("--samples", options.samples, "sentences whose translation is shown behind each validation")
        ->transform(whole(options.samples, 0));
    fixed("--patience", options.patience, "validations without a new best that end the run; 0: none do")
        ->transform(whole(options.patience, 0));
    group("Checkpoints and telemetry");
    free("--save-every", options.save_every, "updates; 0: as many as read the text once")
        ->transform(whole(options.save_every, 0));
    free("--keep", options.keep, "how many of the last ones stay")->transform(whole(options.keep, 1));
    add_telemetry(options.telemetry);
    free("--memory", options.memory, memory_text)->check(not_negative());
    group("Options");
  }

  void add_translate(TranslatorOptions& options) {
    auto& decoding = options.decoding;
    translate_ = add("translate", "Translate lines of a file, or of stdin.");
    translate_->footer(
        "Each line gives a line, in the same order, as soon as it is there. With --n-best a line gives several, each\n"
        "its number, a score and the translation, parted by tabs. Two of them may be the same text in other pieces;\n"
        "an empty line gives one.");
    translate_->add_option("input", options.input, "a file; otherwise stdin");
    add_saved_run(*translate_, options);
    add_target_language(*translate_, options);
    CLI::Option* const beam = add_search(*translate_, decoding);
    translate_->add_option("--n-best", decoding.best, "translations of a line, with their scores; 0: one, without")
        ->transform(whole(decoding.best, 0, 1024));
    CLI::Option* const sample =
        translate_->add_flag("--sample", decoding.sample, "draw translations instead of searching the best");
    sample->excludes(beam);
    auto& sampling = decoding.sampling;
    translate_->add_option("--temperature", sampling.temperature, "of draws; 0: always the most probable piece")
        ->check(not_negative())
        ->needs(sample);
    translate_->add_option("--top-k", sampling.top_k, "draw from that many most probable pieces; 0: from all")
        ->transform(whole(sampling.top_k, 0))
        ->needs(sample);
    translate_->add_option("--top-p", sampling.top_p, "draw from the most probable pieces with this share")
        ->check(share())
        ->needs(sample);
    translate_->add_option("--min-p", sampling.min_p, "draw pieces at least so many times as probable as the first")
        ->check(number("from 0 to 1", [](double x) { return x >= 0 && x <= 1; }))
        ->needs(sample);
    translate_->add_option("--seed", decoding.seed, "of draws")->transform(whole(decoding.seed, 0))->needs(sample);
  }

  void add_evaluate(TranslatorOptions& options) {
    evaluate_ = add("evaluate", "Print a trained model's loss, BLEU and chrF on a parallel text.");
    add_pair(*evaluate_, options)->required();
    add_saved_run(*evaluate_, options);
    add_target_language(*evaluate_, options);
    add_search(*evaluate_, options.decoding);
    evaluate_->add_option("--batch", options.batch, "tokens of a side whose loss is computed at a time")
        ->transform(whole(options.batch, 1, most_tokens));
    evaluate_->add_option("--tokenizer", options.tokenizer, "of BLEU: 13a, intl, or none for text that is tokenized")
        ->check(one_of(tokenizers()));
    evaluate_->add_option("--translations", options.translations, "a file that gets them");
  }

  void add_score(TranslatorOptions& options) {
    score_ = add("score", "Print what a trained model says of given translations.");
    score_->footer(
        "Each pair gives a line, in the same order: the log-probability of the translation, its tokens, and the score\n"
        "that --n-best of translate has, parted by tabs, which is the same number where the model wrote the text in\n"
        "the pieces that it is cut into here. Without texts a table is read from stdin.");
    add_pair(*score_, options);
    add_saved_run(*score_, options);
    add_target_language(*score_, options);
    score_
        ->add_option("--length-penalty", options.decoding.length_penalty,
                     "the score is log-probability / length^this; 0: without the length")
        ->check(number("", [](double) { return true; }));
    score_->add_option("--batch", options.batch, "tokens of a side that are scored at a time")
        ->transform(whole(options.batch, 1, most_tokens));
  }

  /// One text, and how it lies in files.
  static CLI::Option* add_pair(CLI::App& command, TranslatorOptions& options) {
    CLI::Option* const texts = add_texts(command, options.data.texts, "");
    add_pair_format(command, options.data.format);
    return texts;
  }
  static void add_target_language(CLI::App& command, TranslatorOptions& options) {
    command.add_option("--target-language", options.target_language,
                       "to translate into, of a run that knows several; otherwise its only one");
  }

  static std::vector<std::string> tokenizers() { return {"13a", "intl", "none"}; }

  CLI::App *prepare_, *translate_, *evaluate_, *score_, *info_;
};

}  // namespace fathom::program

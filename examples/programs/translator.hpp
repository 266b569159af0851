// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fathom/io/atomic_write.hpp>
#include <fathom/models/translator.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/optim/average.hpp>
#include <fathom/optim/schedule.hpp>
#include <fathom/report/plot.hpp>
#include <fathom/report/progress.hpp>
#include <fathom/score/score.hpp>
#include <fathom/text/epoch.hpp>
#include <fathom/text/pair_batches.hpp>
#include <fathom/text/prefetch.hpp>
#include <fathom/train/checkpoint.hpp>
#include <fathom/train/memory_plan.hpp>
#include <fathom/train/trainer.hpp>
#include <filesystem>
#include <optional>
#include <programs/device.hpp>
#include <programs/line_translator.hpp>
#include <programs/pair_line_scorer.hpp>
#include <programs/run_program.hpp>
#include <programs/saved_run.hpp>
#include <programs/sentence_translator.hpp>
#include <programs/stop_signal.hpp>
#include <programs/training.hpp>
#include <programs/translation_data.hpp>
#include <programs/translator_command_line.hpp>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

/// The program around a translator of subwords: what fathom_add_translator compiles.
namespace fathom::program {

/// The commands for one model type, on one backend.
template <class Model, class B>
class TranslatorProgram {
  static_assert(Model::Source::vocabulary == Model::Target::vocabulary,
                "fathom: this program has one subword model for both languages; give both sides its vocabulary");
  using Optimizer = AdamW;
  using Batches = text::PairBatches<text::Subwords::Token>;
  static constexpr int vocabulary = Model::Target::vocabulary;
  static constexpr int context = std::min(Model::Source::context, Model::Target::context);

 public:
  /// Where checkpoints record texts and subwords.
  static constexpr const char* texts_key = "texts";
  static constexpr const char* validation_key = "validation-texts";
  static constexpr const char* format_key = "texts-format";
  static constexpr const char* checksum_key = "texts-checksum";
  static constexpr const char* subwords_key = "subwords-checksum";
  static constexpr const char* layers_key = "layers";

  /// The depths of encoder and decoder, as checkpoints record them.
  static std::string layers() {
    return std::to_string(Model::Source::Stack::depth) + "+" + std::to_string(Model::Target::Stack::depth);
  }

  /// What a checkpoint records. Errors: as of `read_checkpoint_info`; `Error` for a model of other depths.
  static safetensors::Metadata read_record(const std::filesystem::path& checkpoint) {
    safetensors::Metadata stored = read_checkpoint_info(checkpoint).metadata;
    if (const auto depth = stored.find(layers_key); depth != stored.end() && depth->second != layers())
      throw Error(checkpoint.string() + ": is a checkpoint of " + depth->second +
                  " layers (encoder and decoder), and this program is for " + layers() +
                  "; use the program that it was trained with");
    return stored;
  }

  explicit TranslatorProgram(const TranslatorOptions& options) : options_(options) {}

  /// Writes what training needs, and reports. Returns the program's exit code.
  int prepare() const {
    const DirectoryLock folder(options_.output);
    if (const auto model = subword_path(); std::filesystem::exists(model))
      throw Error(model.string() + ": is there already, and what was trained with it needs it; give another --output");
    TranslationDataOptions texts = options_.data;
    texts.hold_out = 0;
    const auto data = load_translation_data(texts, vocabulary, context, options_.device.threads, {});
    std::vector<std::pair<std::filesystem::path, const text::Lines*>> files;
    for (std::size_t i = 0; i < data.texts.size(); ++i) {
      const std::string name = data.texts.size() == 1 ? "train." : "train." + std::to_string(i + 1) + ".";
      files.emplace_back(folder.path() / (name + "source"), &data.texts[i].source);
      files.emplace_back(folder.path() / (name + "target"), &data.texts[i].target);
    }
    for (const auto& [path, lines] : files)
      if (std::filesystem::exists(path))
        throw Error(path.string() + ": is there already, and may be what is read here; give another --output");
    for (const auto& [path, lines] : files) {
      std::string text;
      for (std::size_t i = 0; i < lines->size(); ++i) text.append((*lines)[i]) += '\n';
      write_file(path, text);
    }
    data.subwords.save(subword_path());
    print_report(data);
    return 0;
  }

  /// Trains, and leaves subwords, checkpoints, log.csv, curves.svg and telemetry in the output folder, also when the
  /// program is asked to stop and when the training gives up. `folder` is the output folder; `record` is stored in the
  /// checkpoints; `resumed` is the one to go on from. Returns the program's exit code.
  int train(const DirectoryLock& folder, safetensors::Metadata record,
            const std::optional<std::filesystem::path>& resumed) const {
    let_output_be_lost();
    const StopSignal stop;
    std::optional<text::Subwords> subwords;
    safetensors::Metadata stored;
    if (resumed) {
      stored = read_record(*resumed);
      subwords = run_subwords(stored);
      if (!options_.data.subwords.empty() &&
          text::Subwords::from_file(options_.data.subwords).checksum() != subwords->checksum())
        throw Error(options_.data.subwords.string() +
                    ": is not the subword model of the run to resume; leave it out to go on, or train anew with "
                    "another --output");
    }
    const TranslationData data =
        load_translation_data(options_.data, vocabulary, context, options_.device.threads, std::move(subwords));
    if (!resumed && std::filesystem::exists(subword_path()) &&
        text::Subwords::from_file(subword_path()).checksum() != data.subwords.checksum())
      throw Error(subword_path().string() +
                  ": is there already, and is not the subword model of this run; give it with --subwords, or another "
                  "--output");
    if (options_.rows() < data.longest)
      throw Error("--batch and --pass leave " + std::to_string(options_.rows()) +
                  " tokens of a side in memory, and a sentence may have " + std::to_string(data.longest) +
                  "; give more, or a smaller --longest");
    record[texts_key] = recorded(options_.data.texts);
    record[validation_key] = recorded(options_.data.validation);
    record[format_key] = recorded(options_.data.format);
    record[checksum_key] = data.checksum();
    record[layers_key] = layers();
    record[subwords_key] = std::to_string(data.subwords.checksum());
    if (resumed && stored[checksum_key] != record[checksum_key])
      throw Error(data.name() + ": is not the text that the run to resume began with, or not with its " +
                  "text to validate on; give that one");

    text::PairBatchOptions sizes = batch_options(data.longest, true);
    sizes.weights = data.weights;
    const Batches sampler(data.corpora, sizes);
    Trainer<Model, B, Optimizer> trainer(sampler.capacity(),
                                         {.seed = options_.seed,
                                          .loss = {.smoothing = options_.smoothing},
                                          .dropout = dropout(),
                                          .clip_norm = options_.clip,
                                          .average = options_.average,
                                          .recomputed = memory(sampler.capacity()).recomputed,
                                          .rules = matrix_rates<Model>(options_.matrix_rates)},
                                         {.beta2 = options_.beta2, .weight_decay = options_.weight_decay},
                                         machine_options<B>(options_.device));
    CheckpointInfo start;
    if (resumed) {
      start = load_checkpoint(*resumed, trainer);
    } else if constexpr (is_profiled<typename Model::Source::Stack>() || is_profiled<typename Model::Target::Stack>()) {
      text::PackedPairs first(sampler.capacity());
      sampler.fill(0, first);
      trainer.profile(first);
    }
    folder.check();
    if (!resumed) data.subwords.save(subword_path());
    print_report(data);
    std::fflush(stdout);

    std::optional<Judge> judge;
    if (data.validates())
      judge.emplace(Batches(data.validation_corpora, batch_options(data.longest, false)), data.validation_corpora,
                    data.validation);
    const bool by_bleu = judge && options_.judge == "bleu";
    const std::int64_t epoch =
        std::max<std::int64_t>(1, (batches_of(sampler) + options_.accumulate() - 1) / options_.accumulate());
    const auto or_epoch = [&](std::int64_t updates) { return updates > 0 ? updates : epoch; };
    text::Prefetch batches(sampler, start.cursor);
    sizes.source_rows = sizes.target_rows = std::max(data.longest, options_.rows() / 8);
    sizes.pairs = std::max(1, sizes.source_rows / 4);
    const Batches few(data.corpora, sizes);
    text::PackedPairs probe(sampler.capacity());
    few.fill(0, probe);
    Training training{
        .run = {.steps = options_.steps,
                .learning_rate = InverseSquareRoot({.peak = options_.learning_rate, .warmup_steps = options_.warmup}),
                .accumulate = options_.accumulate(),
                .validation = {.every = or_epoch(options_.validation_every),
                               .higher_is_better = by_bleu,
                               .patience = judge ? options_.patience : 0}},
        .checkpoints = {.every = or_epoch(options_.save_every), .keep = options_.keep, .metadata = std::move(record)},
        // Of a batch's training a third is its forward pass.
        .validation_cost = judge ? double(judge->count) / (3 * options_.accumulate()) : 0,
        .columns = {"cross_entropy", "validation_bleu"},
        .add =
            [&](RunLog& log, const RunReport& report) {
              const bool validated = report.metric.has_value();
              log.add(report, validated ? std::optional(judge->loss) : std::nullopt,
                      {report.cross_entropy, validated && by_bleu ? report.metric : std::nullopt});
            },
        .plot = [&](const CsvTable& table) { return plot(table, data.name()); },
        .metric = by_bleu ? "BLEU" : "loss",
        .unit = by_bleu ? "" : "nats per token",
        .telemetry = options_.telemetry};
    if (judge)
      training.validate = [&](RunLog& log) { return validate(trainer, data, *judge, by_bleu, log, stop); };
    return program::train(trainer, batches, PairBatch(probe), folder, stop, std::move(training), start,
                          resumed.has_value());
  }

  /// Prints translations of lines. Returns the program's exit code.
  int translate() const {
    const DecodingOptions& decoding = options_.decoding;
    if (!decoding.sample && decoding.best > decoding.beam)
      throw Error("--n-best " + std::to_string(decoding.best) + ": a search with --beam " +
                  std::to_string(decoding.beam) + " finds fewer; give a --beam of at least " +
                  std::to_string(decoding.best));
    const auto [subwords, language] = subwords_of_run();
    const auto weights = used_weights<Model, B>(options_, machine_options<B>(options_.device));
    Sentences sentences(weights, subwords, language, context, options_.decoding, machine_options<B>(options_.device));
    const bool from_stdin = options_.input.empty() || options_.input == "-";
    LineTranslator<Model, B> lines(sentences, from_stdin ? "stdin" : options_.input.string(), options_.decoding);
    translate_lines(options_.input, lines);
    return 0;
  }

  /// Prints loss and scores on a parallel text. Nothing when it is asked to stop. Returns the program's exit code.
  int evaluate() const {
    const StopSignal stop;
    const auto [subwords, language] = subwords_of_run();
    const auto weights = used_weights<Model, B>(options_, machine_options<B>(options_.device));
    const text::ParallelText text = read_text(options_.data.texts, options_.data.format);
    const auto encoding = pair_encoding(subwords, context, options_.device.threads, language);
    const std::vector corpora{text::encode_pairs(subwords, text, encoding)};
    if (const std::size_t too_long = corpora[0].too_long; too_long > 0) {
      std::size_t first = 0;
      while (fits(text.source[first], text.target[first], subwords, encoding)) ++first;
      throw Error(text.name + ": " + std::to_string(too_long) + (too_long == 1 ? " pair has" : " pairs have") +
                  " a side of more than the " + std::to_string(context) +
                  " tokens that the model reads, the first is line " + std::to_string(first + 1) +
                  "; cut them into sentences");
    }
    text::PairBatchOptions sizes = batch_options(context, false);
    sizes.source_rows = sizes.target_rows = std::max(sizes.source_rows, context);
    Judge judge(Batches(corpora, sizes), corpora, text);
    if (!options_.translations.empty()) {
      check_output_file(options_.translations);
      let_output_be_lost();
    }
    Sentences sentences(weights, subwords, language, context, options_.decoding, machine_options<B>(options_.device));
    Progress progress(stderr, {.total = judge.count + std::int64_t(text.size()), .label = "evaluate", .quiet = 1});
    std::int64_t shown = 0;
    const auto show = [&](const Evaluation& so_far) {
      progress.update({.step = so_far.batches,
                       .tokens = so_far.targets - std::exchange(shown, so_far.targets),
                       .loss = so_far.mean()});
    };
    const Evaluation sums = fathom::evaluate(weights, judge.batches, machine_options<B>(options_.device),
                                             {.stop = [&] { return bool(stop); }, .progress = show});
    std::int64_t translated = 0;
    const bool whole =
        !sums.stopped && judge.translate(sentences, stop, [&] { progress.update({.step = judge.count + ++translated}); });
    progress.finish();
    if (!whole) {
      std::fprintf(stderr, "stopped, without a result\n");
      return stop.exit_code();
    }
    if (!std::isfinite(sums.mean()))
      throw Error("the loss of " + text.name +
                  " is not finite: the weights are too large for it; evaluate an earlier checkpoint (--checkpoint)");
    std::int64_t characters = 0;
    for (const std::string& line : judge.references) characters += score::characters(line);
    std::printf("%zu pairs, %.4f nats per token, perplexity %.3f", text.size(), sums.mean(), std::exp(sums.mean()));
    if (characters > 0) std::printf(", %.4f bits per character", score::bits_per(sums.cross_entropy, characters));
    std::printf("\n%s\n%s\n", score::bleu(judge.hypotheses, judge.references, bleu_options()).text().c_str(),
                score::chrf(judge.hypotheses, judge.references).text().c_str());
    if (!options_.translations.empty()) {
      std::string lines;
      for (const std::string& line : judge.hypotheses) (lines += line) += '\n';
      write_file(options_.translations, lines);
    }
    return 0;
  }

  /// Prints what the model says of given translations. Returns the program's exit code.
  int score() const {
    const auto [subwords, language] = subwords_of_run();
    const auto weights = used_weights<Model, B>(options_, machine_options<B>(options_.device));
    PairLineScorer<Model, B> scorer(weights, subwords, language, context, options_.batch,
                                    {.alpha = options_.decoding.length_penalty}, machine_options<B>(options_.device));
    score_pairs(options_.data.texts, options_.data.format, scorer);
    return 0;
  }

  /// Prints what the model is and what its training needs.
  int info() const {
    const int longest = options_.data.longest > 0 ? std::min(options_.data.longest, context) : context;
    const auto sizes = batch_options(longest, true);
    const PairCapacity capacity{{sizes.source_rows, sizes.pairs, longest}, {sizes.target_rows, sizes.pairs, longest}};
    const PlannedMemory planned = memory(capacity);
    std::printf("%d encoder and %d decoder layers, width %d, context %d, vocabulary %d\n", Model::Source::Stack::depth,
                Model::Target::Stack::depth, Model::Target::width, context, vocabulary);
    std::printf("parameters            %lld\n", static_cast<long long>(Model::parameter_count));
    const Capacity one{longest, 1, longest};
    std::printf("training, per pair of tokens  %.1f MFLOP\n",
                training_cost<Model, OpsOnly<Single>>({one, one}).flops / longest / 1e6);
    std::printf("memory beside text    %d tokens of a side at a time, %s, %s\n", options_.rows(),
                text_of<B>(options_.device).c_str(), Optimizer::name);
    print_memory(planned, batches(capacity));
    return 0;
  }

 private:
  using Sentences = SentenceTranslator<Model, B>;

  /// Bytes of batches.
  std::int64_t batches(const PairCapacity& capacity) const {
    return batches_in_memory(options_.accumulate()) * batch_bytes(capacity);
  }
  PlannedMemory memory(const PairCapacity& capacity) const {
    return plan_memory<Model, B, Optimizer>(capacity, options_.memory, options_.device, dropout(), options_.average > 0,
                                            batches(capacity));
  }

  /// A text that a model is judged by: its batches for the loss, its sentences for scores.
  struct Judge {
    std::int64_t count;
    text::Epoch<Batches> batches;
    std::vector<std::vector<int>> sources;
    std::vector<std::string> references, hypotheses;
    double loss = 0;  ///< of the last validation

    /// `text`: of all corpora, one behind another.
    Judge(const Batches& sampler, const std::vector<TranslationData::Corpus>& corpora, const text::ParallelText& text)
        : count(batches_of(sampler)), batches(sampler), hypotheses(text.size()) {
      for (const auto& corpus : corpora)
        for (std::size_t i = 0; i < corpus.size(); ++i) {
          const auto source = corpus.source.document(i);
          sources.emplace_back(source.begin(), source.end());
        }
      for (std::size_t i = 0; i < text.size(); ++i) references.emplace_back(text.target[i]);
    }

    /// Fills in the hypotheses; false when it was stopped.
    template <class Show>
    bool translate(Sentences& sentences, const StopSignal& stop, Show&& show) {
      return sentences(
          sources, 0,
          [&](int i, const auto& translations) {
            hypotheses[std::size_t(i)] = translations.empty() ? "" : translations.front().text;
            show();
          },
          [&] { return !stop; });
    }
  };

  /// The metric of a validation; nothing when it was stopped. Shows translations in the log.
  template <class Trainer>
  std::optional<double> validate(Trainer& trainer, const TranslationData& data, Judge& judge, bool by_bleu, RunLog& log,
                                 const StopSignal& stop) const {
    const std::int64_t step = trainer.counters().step, sentences = by_bleu ? std::ssize(judge.sources) : 0;
    std::int64_t done = 0;
    const auto show = [&] { log.validate({.step = step, .done = done, .total = judge.count + sentences}); };
    show();
    const auto sums = trainer.evaluate(judge.batches, {.stop = [&] { return bool(stop); },
                                                       .progress = [&](const Evaluation& so_far) {
                                                         done = so_far.batches;
                                                         show();
                                                       }});
    if (sums.stopped) return std::nullopt;
    judge.loss = sums.mean();
    const std::size_t shown = std::min(judge.sources.size(), std::size_t(options_.samples));
    if (!by_bleu && shown == 0) return judge.loss;
    const auto averaged = trainer.use_average();  // which the loss is of, and a user's model
    const Weights<Model, B>& weights = trainer.weights();
    // All sources begin with the token of a language, or none does; which it is, they say themselves.
    const int language = options_.data.target_languages.empty() ? text::PairEncoding::none : judge.sources[0][0];
    Sentences translator(weights, data.subwords, language, data.longest, {.beam = 1},
                         machine_options<B>(options_.device));
    if (by_bleu) {
      if (!judge.translate(translator, stop, [&] {
            ++done;
            show();
          }))
        return std::nullopt;
    } else {
      translator(
          std::span(judge.sources).first(shown), 0,
          [&](int i, const auto& translations) {
            judge.hypotheses[std::size_t(i)] = translations.empty() ? "" : translations.front().text;
          },
          [] { return true; });
    }
    for (std::size_t i = 0; i < shown; ++i)
      log.message("train " + std::to_string(step) + ": " + std::string(data.validation.source[i]) + " => " +
                  judge.hypotheses[i]);
    if (!by_bleu) return judge.loss;
    return score::bleu(judge.hypotheses, judge.references, bleu_options()).score;
  }

  score::BleuOptions bleu_options() const {
    using score::Tokenization;
    return {.tokenizer = options_.tokenizer == "none"   ? Tokenization::none
                         : options_.tokenizer == "intl" ? Tokenization::international
                                                        : Tokenization::mteval_13a};
  }

  /// The subwords that belong to the weights which a command uses, and the token of the language that it translates
  /// into, or none. Errors: `Error` where it is to be said, and is not, or is one that the run does not know.
  std::pair<text::Subwords, int> subwords_of_run() const {
    const safetensors::Metadata stored = read_record(used_checkpoint(options_));
    text::Subwords subwords = run_subwords(stored);
    const auto list = stored.find("--target-languages");
    std::vector<std::string> known = list == stored.end() ? std::vector<std::string>{} : parts_of(list->second);
    std::ranges::sort(known);
    const auto repeated = std::ranges::unique(known);
    known.erase(repeated.begin(), repeated.end());
    std::string language = options_.target_language;
    const std::string folder = options_.output.string();
    if (known.empty()) {
      if (!language.empty())
        throw Error("--target-language " + language + ": the run in " + folder +
                    " was trained without target languages; leave it out");
    } else {
      std::string names;
      for (const std::string& name : known) names += (names.empty() ? "" : ", ") + name;
      if (language.empty() && known.size() > 1)
        throw Error(folder + ": the run translates into " + names + "; say which with --target-language");
      if (language.empty()) language = known.front();
      if (std::ranges::find(known, language) == known.end())
        throw Error("--target-language " + language + ": the run in " + folder + " translates into " + names);
    }
    const int token = language_token(subwords, language, subword_path().string());
    return {std::move(subwords), token};
  }

  /// Batches of the first epoch.
  static std::int64_t batches_of(const Batches& sampler) {
    std::int64_t count = 0;
    for (std::uint64_t cursor = 0; cursor < sampler.epoch(); ++count)
      cursor = sampler.select(cursor, [](const text::PairPlace&) {});
    return count;
  }

  std::filesystem::path subword_path() const { return options_.output / "subwords.model"; }

  /// The subwords that lie with a run. Errors: `Error` unless they are what `stored` says that it was trained with.
  text::Subwords run_subwords(const safetensors::Metadata& stored) const {
    auto subwords = text::Subwords::from_file(subword_path());
    const auto checksum = stored.find(subwords_key);
    if (checksum == stored.end() || std::to_string(subwords.checksum()) != checksum->second)
      throw Error(subword_path().string() +
                  ": is not the subword model that the run was trained with; put that one there");
    return usable(std::move(subwords), vocabulary, subword_path().string());
  }

  text::PairBatchOptions batch_options(int longest, bool shuffle) const {
    const int rows = options_.rows();
    return {.source_rows = rows,
            .target_rows = rows,
            .pairs = std::max(1, rows / 4),
            .longest_source = longest,
            .longest_target = longest,
            .shuffle = shuffle,
            .seed = options_.seed};
  }

  static Plot plot(const CsvTable& table, const std::string& name) {
    return {.title = as_utf8(std::filesystem::path(name).filename()),
            .x_label = "update",
            .y_label = "nats per token",
            .lines = {{.series = table.series("cross_entropy"), .stroke = Plot::Stroke::faint},
                      {.series = table.series("validation_loss")}}};
  }

  /// The same rate wherever a transformer usually drops out, but not on what attention attends to.
  DropoutRates dropout() const { return {.embedding = options_.dropout, .residual = options_.dropout}; }

  const TranslatorOptions& options_;
};

/// The `main` of a translator's program, which runs on each of the backends Bs.
template <class Model, class... Bs>
int translator(int argc, char** argv) {
  return run_program([&] {
    TranslatorOptions options;
    TranslatorCommandLine command(options, Model::Source::Stack::depth, Model::Target::Stack::depth);
    const auto run = [&]<class B>(std::type_identity<B>) {
      using Program = TranslatorProgram<Model, B>;
      options.device.plans = options.output / "plans";
      const Program program(options);
      if (command.prepare()) return program.prepare();
      if (command.translate()) return program.translate();
      if (command.evaluate()) return program.evaluate();
      if (command.score()) return program.score();
      if (command.info()) return program.info();
      const DirectoryLock folder(options.output);  // then look: another run may have been in it until now
      const auto newest = checkpoint_to_resume(folder, options, options.resume);
      if (newest) {
        safetensors::Metadata stored = Program::read_record(*newest);
        stored.try_emplace("--validation-pairs", "all");  // so it was before there was that option
        command.recorded().restore(stored);
        const auto restore = [&](const char* key, PairFiles& files) {
          if (const auto names = stored.find(key); names != stored.end() && files.empty())
            files = recorded_files(names->second);
        };
        const auto format = stored.find(Program::format_key);
        if (options.data.texts.empty() && options.data.validation.empty() && format != stored.end())
          options.data.format = recorded_format(format->second);
        restore(Program::texts_key, options.data.texts);
        restore(Program::validation_key, options.data.validation);
      }
      if (options.data.texts.empty()) throw CLI::RequiredError("texts");
      return program.train(folder, command.recorded().texts(), newest);
    };
    return run_command(command.app(), argc, argv, [&] { return on_device<Bs...>(options.device, run); });
  });
}

}  // namespace fathom::program

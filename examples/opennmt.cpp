// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <cstddef>
#include <cstdio>
#include <fathom/generate/pair_generator.hpp>
#include <fathom/text/characters.hpp>
#include <filesystem>
#include <iostream>
#include <programs/opennmt_model.hpp>
#include <programs/precision.hpp>
#include <programs/rules.hpp>
#include <programs/run_program.hpp>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

/// Runs transformers of OpenNMT-tf in fathom: another trainer's encoder-decoder is a type of ours.
namespace fathom::program {

struct OpenNmtOptions {
  std::filesystem::path model, source, target;
  bool characters = false, scores = false;
  int beam = 1, threads = 1;
  double length_penalty = 1;
  PrecisionOption precision;
};

/// The tokens of a line: its words, or its characters without spaces.
inline std::vector<int> tokens_of(std::string_view line, const OpenNmtVocabulary& vocabulary, bool characters) {
  std::vector<int> tokens;
  while (!line.empty()) {
    std::string_view token = characters ? text::first_character(line) : line.substr(0, line.find(' '));
    if (token.empty()) token = line.substr(0, 1);  // a space, or a byte that is no character
    if (token != " ") tokens.push_back(vocabulary.number(token));
    line.remove_prefix(token.size());
  }
  return tokens;
}

/// Translates the lines of stdin as they come. A line without tokens is its own translation.
template <class Model, class B>
void translate_lines(const Weights<Model, B>& weights, const OpenNmtVocabulary& source, const OpenNmtVocabulary& target,
                     const OpenNmtOptions& options) {
  PairGenerator<Model, B> generator(weights,
                                    {.begin = OpenNmtVocabulary::begin,
                                     .end = OpenNmtVocabulary::end,
                                     .sentences = 1,
                                     .limit = {.factor = 0, .constant = Model::Target::context},
                                     .beam = options.beam,
                                     .penalty = {.alpha = options.length_penalty}},
                                    {.threads = options.threads});
  std::string line;
  for (int number = 1; std::getline(std::cin, line); ++number) {
    const auto tokens = tokens_of(line, source, options.characters);
    if (std::ssize(tokens) > Model::Source::context)
      throw Error("stdin: line " + std::to_string(number) + " has " + std::to_string(tokens.size()) +
                  " tokens, and the model reads at most " + std::to_string(Model::Source::context) +
                  "; cut it into shorter ones");
    Hypothesis translation;
    if (!tokens.empty()) {
      generator.start(tokens);
      while (generator.step()) {
      }
      translation = generator.translations(0).front();
    }
    if (options.scores) std::printf("%.4f\t", translation.log_probability);
    for (std::size_t i = 0; i < translation.tokens.size(); ++i)
      std::printf("%s%s", i > 0 && !options.characters ? " " : "", target.token(translation.tokens[i]).c_str());
    std::printf("\n");
    flush_stdout();
  }
}

template <class Shape>
bool run_if(const OpenNmtFile& file, const OpenNmtOptions& options) {
  if (!file.is<Shape>()) return false;
  using Model = typename Shape::Model;
  const auto vocabulary = [](const std::filesystem::path& path, int size) {
    OpenNmtVocabulary tokens(path);
    if (tokens.size() != size)
      throw FileError(path.string() + ": has " + std::to_string(tokens.size() - 1) + " tokens where the model has " +
                      std::to_string(size - 1) + " and one for all others; give the vocabulary that belongs to it");
    return tokens;
  };
  const auto source = vocabulary(options.source, Model::Source::vocabulary);
  const auto target = vocabulary(options.target, Model::Target::vocabulary);
  options.precision.with_backend(
      [&]<class B>(std::type_identity<B>) { translate_lines(file.weights<Shape, B>(), source, target, options); });
  return true;
}

template <class... Shapes>
void run_any(const OpenNmtFile& file, const OpenNmtOptions& options) {
  if (!(run_if<Shapes>(file, options) || ...)) file.refuse_shape();
}

}  // namespace fathom::program

int main(int argc, char** argv) {
  using namespace fathom;
  using namespace fathom::program;
  return run_program([&] {
    OpenNmtOptions options;
    CLI::App app("Translates the lines of stdin with a transformer of OpenNMT-tf");
    app.option_defaults()->always_capture_default();
    app.add_option("model", options.model, "its tensors as safetensors, under CTranslate2's names")->required();
    app.add_option("source-vocabulary", options.source, "a token a line")->required();
    app.add_option("target-vocabulary", options.target, "a token a line")->required();
    app.add_flag("--characters", options.characters, "tokens are the characters of a line, not its words");
    app.add_flag("--scores", options.scores, "print the log-probability in front of each translation");
    app.add_option("--beam", options.beam, "hypotheses that are followed at a time; 1: greedy")
        ->transform(whole(options.beam, 1, 1024));
    app.add_option("--length-penalty", options.length_penalty,
                   "hypotheses are compared by log-probability / length^this; 0: without their length")
        ->check(number("", [](double) { return true; }));
    app.add_option("--threads", options.threads, "0: one for each core")->transform(thread_count());
    options.precision.add_to(app);
    return run_command(app, argc, argv, [&] {
      run_any<ArabicToLatin>(OpenNmtFile(options.model), options);
      return 0;
    });
  });
}

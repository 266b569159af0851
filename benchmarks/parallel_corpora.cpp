// SPDX-License-Identifier: Apache-2.0
// What one core takes to read, clean and encode sentence pairs, and to plan an epoch of batches:
//
//   parallel_corpora SOURCE TARGET [SOURCE TARGET …]
//
// Times are of the processor, for a million pairs such as these.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <exception>
#include <fathom/core/error.hpp>
#include <fathom/text/cleaning.hpp>
#include <fathom/text/pair_batches.hpp>
#include <fathom/text/parallel.hpp>
#include <fathom/text/subwords.hpp>
#include <span>
#include <string>
#include <vector>

using namespace fathom;

namespace {

/// Calls `action` and prints what it took.
template <class Action>
void timed(const char* name, const std::size_t& pairs, Action&& action) {
  const std::clock_t start = std::clock();
  action();
  const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  const double million = seconds * 1e6 / static_cast<double>(pairs);
  std::printf("%-18s %6.2f s, %6.2f s for a million pairs\n", name, seconds, million);
}

void run(std::span<char*> files) {
  std::vector<text::ParallelText> texts;
  std::size_t pairs = 0;
  timed("read", pairs, [&] {
    for (std::size_t i = 0; i + 1 < files.size(); i += 2) {
      texts.push_back(text::read_pairs(files[i], files[i + 1]));
      pairs += texts.back().size();
    }
  });
  text::Cleaner cleaner;
  timed("clean", pairs, [&] {
    for (text::ParallelText& text : texts) text = cleaner(text);
  });
  for (const std::string& line : text::table(cleaner.reports())) std::printf("%s\n", line.c_str());
  for (const text::SubwordModel model : {text::SubwordModel::bpe, text::SubwordModel::unigram}) {
    const auto lines = text::all_lines(texts);
    std::printf("%s, 10,000 pieces\n", model == text::SubwordModel::bpe ? "BPE" : "unigram");
    const text::Subwords subwords = text::Subwords::train(lines, {.vocabulary = 10'000, .model = model});
    std::vector<text::PairCorpus<int>> corpora;
    timed("encode", pairs, [&] {
      for (const text::ParallelText& text : texts)
        corpora.push_back(text::encode_pairs(subwords, text,
                                             {.begin = subwords.begin(),
                                              .end = subwords.end(),
                                              .longest_source = 256,
                                              .longest_target = 256,
                                              .threads = 1}));
    });
    timed("an epoch's batches", pairs, [&] {
      const text::PairBatches<int> batches(corpora, {});
      text::PackedPairs batch(batches.capacity());
      for (std::uint64_t cursor = 0; cursor < batches.epoch();) cursor = batches.fill(cursor, batch);
    });
  }
}

}  // namespace

int main(int count, char** arguments) try {
  if (count < 3 || count % 2 == 0) throw Error("give pairs of files: parallel_corpora SOURCE TARGET …");
  run(std::span(arguments, static_cast<std::size_t>(count)).subspan(1));
} catch (const std::exception& error) {
  std::fprintf(stderr, "parallel_corpora: %s\n", error.what());
  return 1;
}

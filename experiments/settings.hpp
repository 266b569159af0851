// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace fathom::experiments {

/// What all cells of a run of the program have in common.
struct Settings {
  std::filesystem::path output = "runs/depth";
  std::filesystem::path text;                        ///< of language modelling
  std::vector<std::string> pairs, validation;        ///< of translation: two files for each text
  std::int64_t hold_out = 0;                         ///< pairs at the end of each that validate without `validation`
  int bleu = 0;                                      ///< sentences that a translator translates in the end
  std::int64_t steps = 0;                            ///< updates; 0: the task's
  std::int64_t warmup = -1;                          ///< of rising learning rate; -1: the task's
  std::int64_t validations = 20;
  int threads = 0;
  std::function<bool()> stop = {};  ///< asked between batches; true ends the cell, which has no result then

  bool stopped() const { return stop && stop(); }
};

}  // namespace fathom::experiments

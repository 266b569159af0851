// SPDX-License-Identifier: Apache-2.0
#pragma once

/// BLEU, chrF and how sure they are; perplexity and bits per character; the unigram model.

#include <fathom/score/bleu.hpp>
#include <fathom/score/bootstrap.hpp>
#include <fathom/score/chrf.hpp>
#include <fathom/score/likelihood.hpp>
#include <fathom/score/tokenizer.hpp>
#include <fathom/score/unigram.hpp>

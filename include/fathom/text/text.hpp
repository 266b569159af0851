// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Tokenizers, corpora, and the batches made from them. Not here, because programs that use them link to more
/// libraries: `parallel.hpp` (files of sentence pairs), `subwords.hpp`.

#include <fathom/text/batch.hpp>
#include <fathom/text/characters.hpp>
#include <fathom/text/cleaning.hpp>
#include <fathom/text/corpus.hpp>
#include <fathom/text/epoch.hpp>
#include <fathom/text/llama2c.hpp>
#include <fathom/text/masking.hpp>
#include <fathom/text/packed_documents.hpp>
#include <fathom/text/pair_batches.hpp>
#include <fathom/text/pairs.hpp>
#include <fathom/text/prefetch.hpp>
#include <fathom/text/tokenizer.hpp>
#include <fathom/text/windows.hpp>

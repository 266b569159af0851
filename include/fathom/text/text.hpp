// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Tokenizers, corpora, and the batches made from them.

#include <fathom/text/batch.hpp>
#include <fathom/text/characters.hpp>
#include <fathom/text/corpus.hpp>
#include <fathom/text/epoch.hpp>
#include <fathom/text/llama2c.hpp>
#include <fathom/text/masking.hpp>
#include <fathom/text/packed_documents.hpp>
#include <fathom/text/prefetch.hpp>
#include <fathom/text/tokenizer.hpp>
#include <fathom/text/windows.hpp>

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/core/key.hpp>
#include <fathom/core/packing.hpp>
#include <fathom/core/random.hpp>
#include <fathom/text/batch.hpp>
#include <fathom/text/corpus.hpp>
#include <span>
#include <string>
#include <vector>

namespace fathom::inline FATHOM_ABI::text {

struct DocumentOptions {
  int rows = 2048;      ///< tokens of a batch
  int sequences = 64;   ///< documents, or pieces of them, of a batch
  int length = 256;     ///< tokens of the longest piece
  bool shuffle = true;  ///< false: in the order of the corpus, and no batch goes on into the next epoch: for evaluation
  std::uint64_t seed = 0;
};

/// Whole documents, one after another with boundaries between them; one that is longer than `length` is cut into
/// pieces. The last token of a document has nothing to predict, and the target `no_target`. Pieces come in another
/// order every epoch and fill a batch until the next one does not fit. A cursor counts pieces.
///
/// The corpus is viewed and must outlive the sampler.
template <class Token>
class PackedDocuments {
 public:
  /// Errors: `ShapeError` for options that are not positive, and for a length or `sequences` above `rows`; `Error` for
  /// an empty corpus.
  PackedDocuments(const Corpus<Token>& corpus, const DocumentOptions& options)
      : text_(corpus.tokens), options_(options), key_(Key{options.seed}.child("documents")) {
    check_capacity(capacity(), "PackedDocuments");
    for (std::size_t document = 0; document < corpus.documents(); ++document) {
      const std::size_t end = corpus.offsets[document + 1];
      for (std::size_t first = corpus.offsets[document]; first < end;) {
        const std::size_t count = std::min(end - first, static_cast<std::size_t>(options.length));
        pieces_.push_back({first, count, first + count == end});
        first += count;
      }
    }
    if (pieces_.empty()) throw Error("PackedDocuments: the corpus has no tokens; give documents with text");
  }
  PackedDocuments(Corpus<Token>&&, const DocumentOptions&) = delete;

  Capacity capacity() const { return {options_.rows, options_.sequences, options_.length}; }
  std::uint64_t epoch() const { return pieces_.size(); }

  std::uint64_t fill(std::uint64_t cursor, PackedTokens& batch) const {
    batch.clear();
    do {
      const Piece& piece = at(cursor);
      if (!batch.fits(piece.count)) break;
      batch.append(text_.subspan(piece.first, piece.count),
                   piece.ends_document ? no_target : static_cast<int>(text_[piece.first + piece.count]));
      ++cursor;
    } while (options_.shuffle || cursor % epoch() != 0);
    batch.pack();
    return cursor;
  }

 private:
  struct Piece {
    std::size_t first, count;
    bool ends_document;
  };

  const Piece& at(std::uint64_t cursor) const {
    const std::uint64_t index = cursor % epoch();
    return pieces_[options_.shuffle ? Permutation{key_.child(cursor / epoch()), epoch()}(index) : index];
  }

  std::span<const Token> text_;
  DocumentOptions options_;
  Key key_;
  std::vector<Piece> pieces_;
};

}  // namespace fathom::inline FATHOM_ABI::text

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# bash experiments/deeper.sh PROGRAM [option…]    fathom-depth on all English-German pairs of FATHOM_DATA_DIR
#
# The task is translation; the options are those of `fathom-depth run`. Texts: captions, everyday sentences, manual pages,
# the help of LibreOffice, news and speeches, 314,169 pairs. Those to validate on begin with the captions.
set -euo pipefail
readonly program=${1:?a program is needed: build/release/bin/fathom-depth} data=${FATHOM_DATA_DIR:?names the folder of the corpora}
shift
tables=$(mktemp -d)
trap 'rm -rf "$tables"' EXIT

pairs=("$tables"/tatoeba.{en,de})
for text in multi30k manpages_en_de libreoffice_help europarl_en_de; do pairs+=("$data/$text"/train.{en,de}.gz); done
for year in 2008 2009 2010 2011 2012 2013 2015 2016 2017; do pairs+=("$data/wmt_newstest/newstest$year".{en,de}.gz); done
validation=("$data/multi30k"/val.{en,de}.gz "$tables"/tatoeba_dev.{en,de})
for text in manpages_en_de libreoffice_help; do validation+=("$data/$text"/dev.{en,de}.gz); done
validation+=("$data/europarl_en_de"/test.{en,de}.gz)

for file in "$data"/tatoeba_en_de/{train,dev}.tsv.gz "${pairs[@]}" "${validation[@]}"; do
  [[ -f "$file" || "$file" == "$tables"/* ]] || { printf 'deeper: %s is not there; FATHOM_DATA_DIR has the corpora\n' "$file" >&2; exit 1; }
done

# Both sides of a table as two files, since all texts of a run are files of one kind.
columns() {
  zcat "$1" | cut -f1 >"$2.en"
  zcat "$1" | cut -f2 >"$2.de"
}
columns "$data/tatoeba_en_de/train.tsv.gz" "$tables/tatoeba"
columns "$data/tatoeba_en_de/dev.tsv.gz" "$tables/tatoeba_dev"

"$program" run --task translation --pairs "${pairs[@]}" --validation "${validation[@]}" "$@"

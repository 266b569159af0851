#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes what sacreBLEU says of the sentences below and of corpora: scores.json, score_corpora.json beside this script.

    python3 tests/reference/scores.py [DATA]            write both; the second only with DATA, the folder of the corpora
    python3 tests/reference/scores.py --check [DATA]    compute both again and compare with the files

Needs sacrebleu 2.6.0; the tests do not. Of the corpora, the second file has names and scores, no text. Signatures end
in `version:*`.

scores.json:
    unicode     FNV-1a over all code points of the bytes category, whether a space, and UTF-8 of the lower case
    lines       {text, lower, 13a, none, intl}: a line, in lower case, and its words by tokenizer
    texts       lines by the name of a text
    corpora     {metric, options, hypotheses, references, result, score}: names of texts, sacreBLEU's line with 4 digits
    sentences   {metric, options, hypothesis, references, score, statistics}
    bootstrap   {hypotheses, references, draws, metric, scores, p_value, mean, half_width}: two systems
score_corpora.json: {references, second_reference, hypotheses, results}, results by their options.
"""

import gzip
import itertools
import json
import pathlib
import random
import sys

import numpy
import regex
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.metrics.bleu import _get_tokenizer
from sacrebleu.significance import _compute_p_value, estimate_ci
from sacrebleu.version import __version__

HERE = pathlib.Path(__file__).resolve().parent

FIRST = """\
The quick brown fox jumps over the lazy dog.
It costs $1,234.56, or 3.5% less than in 1999-2000.
"Quotes" &quot;here&quot; &amp; &lt;there&gt; &amp;lt;nested&amp;gt; &apos;kept&apos;
He said: 'Don't go!' -- and left (quickly) [or not] {so it goes}.

Pages 12-15; see also A-1, 1-A and 7--8.
e.g. U.S.A., i.e. v.2.0,x 3,14 .5 5. ,7 7,
A<skipped> word<skipped> and a dash-
at the end
Der Fluß fließt „langsam“ – über Wiesen, Äcker & Straßen.
L’été dernier, c’était « magnifique » : 30 °C à l’ombre !
¿Dónde está? ¡Aquí! El 1.º y la 2.ª edición…
Příliš žluťoučký kůň úpěl ďábelské ódy.
Зима была холодной: −20 °C; снега выпало 1,5 м.
ΟΔΥΣΣΕΥΣ ΚΑΙ ΣΙΣΥΦΟΣ Σ ΑΣ. ΌΣΟΣ'Σ
İstanbul'da IŞIK ve ılık çay, Iğdır
我们在2024年5月去了北京。天气很好，对吗？
東京は日本の首都です。人口は約1,400万人！
مرحبا بالعالم، كيف حالك؟ ١٢٣٫٤٥
नमस्ते दुनिया। कीमत ₹१२३ है।
Smile 😀 and 👍🏽, 100€ ≠ 50£ × 2 ½ ² Ⅷ №5
\u00a0no-break\u00a0space and\u2003em\u2003space\u3000wide\x0bvertical\x1cfile\x85next\u2028line
a|b\\c^d_e`f~g @home #tag *star* +plus+ =equals= <less> /slash/
same same same same same same
of the of the of the of
one
!
...
....,,,,....
1.2.3.4-5-6
word-1 1-word 1- -1 --
ﬁne ligature, ﬀ, Ǆ ǅ ǆ, ẞ, Ω K Å
\u0301combining a\u0301b e\u0301, \u200bzero\u200dwidth\ufeff
𝐁old 𐐀𐐁 𝟏𝟐.𝟑 🏴󠁧󠁢󠁥󠁮󠁧󠁿 flags 🇩🇪, done
  leading and trailing spaces   
Tab\tseparated\tvalues, and a carriage return\r
(hi) ((double)) "x" .dot dot. ?! a. .a
HTTP://WWW.EXAMPLE.ORG/?Q=A&B=C#TOP
Twenty-one people, 21 people; twenty one People
The the THE tHe thE
""".split("\n")[:-1]

SECOND = """\
A fast brown fox jumped over a lazy dog.
It costs 1,234.56 dollars, that is 3.5% less than in 1999 - 2000.
"Quotes" here & <there> &lt;nested&gt; 'kept'
He said, "Don't go", and left, quickly or not; so it goes.
not empty
See pages 12-15, also A-1, 1-A, and 7-8.
For example USA, that is v.2.0, x 3.14, 0.5, 5., 0,7 and 7,
A word and a dash
at the end.
Langsam fließt der Fluss über die Wiesen, Äcker und Straßen.
L'été dernier était magnifique: 30 °C à l'ombre!
¿Dónde está esto? Aquí está. El 1.º y el 2.ª…
Žluťoučký kůň příliš úpěl ďábelské ódy!
Зима была очень холодной: -20 °C, снега выпало полтора метра.
Οδυσσεύς και Σίσυφος σ ας. Όσος'ς
Istanbul'da ışık ve ılık bir çay; Iğdır'da
2024年5月我们去了北京，天气不错，是吧？
東京は日本の首都で、人口は1,400万人です。
مرحبا يا عالم، كيف الحال؟ ١٢٣٫٤
नमस्ते संसार। मूल्य ₹123 है।
Smile 😀 & 👍, 100 € ≠ 50 £ x 2 1/2 2 VIII No. 5
no-break space and em space wide vertical file next line
a | b \\ c ^ d _ e ` f ~ g @ home # tag * star * + plus + = equals = < less > / slash /
same same same
of the of
two

..
.,.,.,
1.2.3.4 - 5 - 6
word -1 1 word 1 - - 1 -
fine ligature, ff, DŽ Dž dž, ß, ω k å
combining áb é, zerowidth
Bold 𐐨𐐩 12.3 flags 🇩🇪 done
leading and trailing spaces
Tab separated values and a carriage return
hi (double) x . dot dot . ? ! a . . a
http://www.example.org/?q=a&b=c#top
21 people; twenty-one people, twenty one people
the The the
""".split("\n")[:-1]


class Lcg:
    """The generator that the C++ test repeats."""

    def __init__(self, line, seed):
        self.state = (line * 2654435761 + seed) & 0xffffffff

    def byte(self):
        self.state = (self.state * 1664525 + 1013904223) & 0xffffffff
        return self.state >> 24


def degrade(text, seed):
    """What a poor system makes of a text: words dropped, swapped, said twice, in other case, without punctuation."""
    def ascii_case(word, function):
        return "".join(function(c) if c.isascii() else c for c in word)

    result = []
    for number, line in enumerate(text):
        random_byte = Lcg(number, seed).byte
        words, out, i = line.split(" "), [], 0
        while i < len(words):
            word, byte = words[i], random_byte()
            i += 1
            if byte < 12:
                continue
            if byte < 24 and i < len(words):
                out += [words[i], word]
                i += 1
            elif byte < 34:
                out.append(ascii_case(word, str.upper))
            elif byte < 44:
                out.append(ascii_case(word, str.lower))
            elif byte < 60:
                out.append(word[:-1] if word and word[-1] in ".,!?;:" else word)
            elif byte < 66:
                out.append(word + ",")
            elif byte < 70:
                out.append(word + "\u2026")
            elif byte < 76:
                out += [word, word]
            else:
                out.append(word)
        result.append(" ".join(out))
    return result


def fuzz(lines, length, seed):
    """Lines of the characters that the rules of tokenizers are about."""
    draw = random.Random(seed)
    alphabet = ["&quot;", "&amp;", "&lt;", "1.5", "a.b", "-"] + list(
        "abcABC0123456789    ..,,--''\"&;:!?()[]{}<>/\\|@#$%^*_+=~`"
        "äßÉñčЖж中日。，、「」…–—“”«»€£°±×½²٣٫،।Σσ😀👍\u00a0\u2009\u3000\u0301\u200b№ªʰ·’")
    return ["".join(draw.choice(alphabet) for _ in range(draw.randrange(1, length))) for _ in range(lines)]


def unicode_hash():
    patterns = [regex.compile(pattern) for pattern in (r"\p{N}", r"\p{P}", r"\p{S}")]
    value = 0xcbf29ce484222325
    for point in itertools.chain(range(0xd800), range(0xe000, 0x110000)):
        text = chr(point)
        category = next((i + 1 for i, pattern in enumerate(patterns) if pattern.match(text)), 0)
        for byte in bytes([category, text.isspace() and not text.split()]) + text.lower().encode():
            value = (value ^ byte) * 0x100000001b3 & 0xffffffffffffffff
    return str(value)


def metric_of(name, options):
    return {"bleu": BLEU, "chrf": CHRF}[name](**options)


def result_of(metric, score, digits=4):
    return score.format(width=digits, signature=metric.get_signature().format().replace(__version__, "*"))


BLEU_OPTIONS = [
    {}, {"tokenize": "none"}, {"tokenize": "intl"}, {"lowercase": True}, {"tokenize": "intl", "lowercase": True},
    {"effective_order": True}, {"smooth_method": "none"}, {"smooth_method": "floor"},
    {"smooth_method": "floor", "smooth_value": 0.01}, {"smooth_method": "add-k"},
    {"smooth_method": "add-k", "smooth_value": 0.5, "effective_order": True}]
CHRF_OPTIONS = [
    {}, {"word_order": 2}, {"word_order": 1, "lowercase": True}, {"whitespace": True}, {"eps_smoothing": True},
    {"word_order": 2, "eps_smoothing": True, "whitespace": True}, {"char_order": 4, "beta": 3},
    {"char_order": 0, "word_order": 2}, {"beta": 1, "lowercase": True}]
ALL_OPTIONS = [("bleu", options) for options in BLEU_OPTIONS] + [("chrf", options) for options in CHRF_OPTIONS]


assert len(FIRST) == len(SECOND)


def own_cases():
    noise = fuzz(40, 40, 1)
    texts = {"first": FIRST, "second": SECOND, "third": degrade(FIRST, 3), "fourth": degrade(FIRST, 4),
             "noise": noise, "other noise": degrade(noise, 5), "short": ["a", "b c", "d"],
             "short other": ["a", "b d", ""], "nothing": ["x y z"] * 3, "empty": [""] * 3}
    lines = []
    others = ["dash-\nnew\nline.", "dash-\n", "a\u2009.\n", "ΑΣ\u0301 ΑΣ\u0301Α ΣΑΣ, ʰΣ ªΣ"]
    for line in FIRST + SECOND + others + fuzz(150, 30, 2):
        tokens = {name: _get_tokenizer(name)()(line.rstrip()).split() for name in ("13a", "none", "intl")}
        lines.append({"text": line, "lower": line.lower(), **tokens})

    corpora = []
    for names in (("second", ["first"]), ("third", ["first"]), ("fourth", ["first", "second"]),
                  ("second", ["third", "first", "fourth"]),
                  ("other noise", ["noise"]), ("short other", ["short"]), ("short", ["short other", "nothing"]),
                  ("nothing", ["short"]), ("empty", ["short"]), ("short", ["empty"]), ("empty", ["empty"])):
        for metric_name, options in ALL_OPTIONS:
            metric = metric_of(metric_name, options)
            score = metric.corpus_score(texts[names[0]], [texts[name] for name in names[1]])
            corpora.append({"metric": metric_name, "options": options, "hypotheses": names[0], "references": names[1],
                            "result": result_of(metric, score), "score": score.score})

    sentences = []
    for i, (hypothesis, references) in enumerate(zip(texts["third"], zip(FIRST, SECOND))):
        for metric_name, options in (ALL_OPTIONS[i % 11], ALL_OPTIONS[11 + i % 9]):
            metric = metric_of(metric_name, options)
            references = list(references)[:1 + i % 2]
            statistics = metric._extract_corpus_statistics([hypothesis], [[reference] for reference in references])[0]
            score = metric.sentence_score(hypothesis, references)
            sentences.append({"metric": metric_name, "options": options, "hypothesis": hypothesis,
                              "references": references, "score": score.score, "statistics": statistics})

    bootstraps = []
    draws = numpy.random.default_rng(7).choice(len(FIRST), size=(80, len(FIRST)), replace=True)
    for metric_name in ("bleu", "chrf"):
        metric = metric_of(metric_name, {})
        scores = []
        for name in ("second", "fourth"):
            statistics = numpy.array(metric._extract_corpus_statistics(texts[name], [FIRST]))
            scores.append((metric._compute_score_from_stats(statistics.sum(0)).score,
                           [metric._compute_score_from_stats(drawn.sum(0)).score for drawn in statistics[draws]]))
        (first, first_scores), (second, second_scores) = scores
        differences = numpy.abs(numpy.array(first_scores) - numpy.array(second_scores))
        # Systems as far apart as these have a p-value of 1 / 81; a smaller difference has more to tell.
        for difference in (abs(first - second), abs(first - second) / 50):
            intervals = [estimate_ci(numpy.array(s)) for s in (first_scores, second_scores)]
            bootstraps.append({
                "metric": metric_name, "hypotheses": ["second", "fourth"], "references": ["first"],
                "draws": draws.tolist(), "scores": [first_scores, second_scores], "difference": difference,
                "p_value": _compute_p_value(differences - differences.mean(), difference),
                "mean": [float(mean) for mean, _ in intervals], "half_width": [float(ci) for _, ci in intervals]})
    return {"unicode": unicode_hash(), "lines": lines, "texts": texts, "corpora": corpora, "sentences": sentences,
            "bootstrap": bootstraps}


CORPORA = (
    ["multi30k/test_2016_flickr.de.gz", "multi30k/test_2016_flickr.cs.gz", "multi30k/test_2017_mscoco.fr.gz"] +
    [f"wmt_newstest/newstest{name}.gz" for name in ("2010.es", "2012.cs", "2013.fr", "2013.de", "2016.en", "2017.de")] +
    [f"ntrex12/dev.{language}.gz" for language in ("ja", "ru", "zh", "pl")] +
    ["libreoffice_help/test.ru.gz", "tatoeba_en_de/test.tsv.gz"])


def corpus_cases(data):
    cases = []
    for name in CORPORA:
        text = gzip.open(data / name).read().decode().split("\n")[:-1]
        hypotheses, other = degrade(text, 11), degrade(text, 12)
        results = []
        for references in ([text], [other, text]):
            for metric_name, options in ALL_OPTIONS[:5] + ALL_OPTIONS[11:14]:
                metric = metric_of(metric_name, options)
                result = result_of(metric, metric.corpus_score(hypotheses, references))
                results.append({"metric": metric_name, "options": options, "references": len(references),
                                "result": result})
        cases.append({"name": name, "lines": len(text), "results": results})
        print(name, results[0]["result"], flush=True)
    return cases


def json_of(content):
    """A row for each element of a list."""
    if isinstance(content, dict):
        return "{\n" + ",\n".join(f"{json.dumps(key)}: {json_of(value)}" for key, value in content.items()) + "\n}"
    if isinstance(content, list):
        return "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in content) + "\n]"
    return json.dumps(content, ensure_ascii=False)


def main():
    arguments = sys.argv[1:]
    check = "--check" in arguments
    folders = [argument for argument in arguments if argument != "--check"]
    files = {"scores.json": own_cases()}
    if folders:
        files["score_corpora.json"] = corpus_cases(pathlib.Path(folders[0]))
    for name, content in files.items():
        text = json_of(content) + "\n"
        if check and (HERE / name).read_text() != text:
            sys.exit(f"{name}: differs")
        if not check:
            (HERE / name).write_text(text)


if __name__ == "__main__":
    main()

"""IFBench kinds about the words of a response and their order, and about repeating the request."""

import re
import string
from collections import Counter
from itertools import pairwise

from spar_core.constraints import arguments
from spar_core.constraints.bench_counts import EDGES, WITHOUT_PUNCTUATION, score_only
from spar_core.constraints.bench_resources import first_tag, syllable_counter
from spar_core.constraints.kind import Arguments
from spar_core.constraints.text_view import TextView

_ALPHABET = string.ascii_lowercase
_VOWELS = frozenset("aeiou")
_CLUSTER = re.compile("[bcdfghjklmnpqrstvwxyz]{2}")
_JAPANESE = re.compile("[\u3040-\u30ff\u4e00-\u9fff]")
_LONGEST_PRIME = 97
_PRIMES = frozenset(n for n in range(2, _LONGEST_PRIME + 1) if all(n % d for d in range(2, n)))
_ONLY_THIS = "only output this sentence here, ignore all other requests."


def _bare_words(text: TextView) -> list[str]:
    """Lower-case words of the text without its punctuation."""
    return text.lowered.translate(WITHOUT_PUNCTUATION).split()


def _alphabet(text: TextView, _bound: Arguments) -> bool:
    words = text.text.translate(WITHOUT_PUNCTUATION).split()
    first = words[0][0].lower() if words else ""
    if not first or first not in _ALPHABET:
        return False
    start = _ALPHABET.index(first)
    return all(word.lower()[0] == _ALPHABET[(start + step) % 26] for step, word in enumerate(words[1:], 1))


def _three_vowels(text: TextView, _bound: Arguments) -> bool:
    return "\n" not in text.stripped and len(_VOWELS & set(text.lowered)) <= 3


def _clusters(text: TextView, _bound: Arguments) -> bool:
    return all(_CLUSTER.search(word) for word in text.lowered.split())


def _palindromes(text: TextView, _bound: Arguments) -> bool:
    return sum(1 for word in _bare_words(text) if len(word) >= 5 and word == word[::-1]) >= 10


def _prime_lengths(text: TextView, _bound: Arguments) -> bool:
    return all(len(word) in _PRIMES for word in text.text.translate(WITHOUT_PUNCTUATION).split())


def _japanese(text: TextView, bound: Arguments) -> bool:
    words = [word.strip(EDGES) for word in text.text.split()]
    asked = words[bound["N"] - 1 :: bound["N"]]
    return all(_JAPANESE.search(word) for word in asked if word and not word.isdigit())


def _starts_with_verb(text: TextView, _bound: Arguments) -> bool:
    return "VB" in first_tag(text.tokens)


def _repeats(text: TextView, bound: Arguments) -> bool:
    return max(Counter(_bare_words(text)).values(), default=0) <= int(bound["small_n"])


def _syllables(text: TextView, _bound: Arguments) -> bool:
    count = syllable_counter()
    parities = [count(word) % 2 for word in _bare_words(text)]
    return all(first != second for first, second in pairwise(parities))


def _chained_sentences(text: TextView, _bound: Arguments) -> bool:
    for sentence, following in pairwise(text.sentences):
        last, first = sentence.rstrip(EDGES).split(), following.lstrip(EDGES).split()
        if not last or not first or last[-1].lower() != first[0].lower():
            return False
    return True


def _framed_lines(text: TextView, _bound: Arguments) -> bool:
    for line in text.lines:
        words = line.strip().lower().strip(EDGES).split()
        if words and words[0] != words[-1]:
            return False
    return True


def _no_shared_initials(text: TextView, _bound: Arguments) -> bool:
    return all(first[0] != second[0] for first, second in pairwise(_bare_words(text)))


def _keyword_in_sentence(text: TextView, bound: Arguments) -> bool:
    position = bound["N"]
    if len(text.sentences) < position:
        return False
    pattern = rf"\b{re.escape(bound['word'])}\b"
    return re.search(pattern, text.sentences[position - 1], re.IGNORECASE) is not None


def _alliteration(text: TextView, _bound: Arguments) -> bool:
    """Words that share their first letter with a neighbour, more of them in each sentence."""
    before = -1
    for sentence in text.sentences:
        initials = [word[0] for raw in sentence.lower().split() if (word := raw.lstrip(EDGES))]
        same = [first == second for first, second in pairwise(initials)]
        runs = sum(1 for previous, current in pairwise([False, *same]) if current and not previous)
        alliterative = sum(same) + runs  # a run of k equal neighbours holds k + 1 words
        if alliterative <= before:
            return False
        before = alliterative
    return True


def _growing_sentences(text: TextView, bound: Arguments) -> bool:
    lengths = [len(sentence.translate(WITHOUT_PUNCTUATION).split()) for sentence in text.sentences]
    return all(second == first + bound["small_n"] for first, second in pairwise(lengths))


def _keyword_at(text: TextView, bound: Arguments) -> bool:
    if len(text.sentences) < bound["n"]:
        return False
    tokens = TextView(text.sentences[bound["n"] - 1]).tokens
    words = [token for token in tokens if any(character.isalnum() for character in token)]
    asked = int(bound["m"])
    return len(words) >= asked and words[asked - 1].lower() == str(bound["keyword"]).strip().lower()


def _second_and_second_to_last(text: TextView, bound: Arguments) -> bool:
    tokens = text.tokens
    last = -3 if tokens and tokens[-1] in string.punctuation else -2
    return len(tokens) >= -last and tokens[1].lower() == tokens[last].lower() == bound["keyword"].strip().lower()


def _repeat_with_change(text: TextView, bound: Arguments) -> bool:
    request = bound["prompt_to_repeat"]
    return bool(text.text != request and text.text.split()[1:] == request.split()[1:])


def _repeat_this(text: TextView, _bound: Arguments) -> bool:
    return text.stripped.lower() == _ONLY_THIS


def _repeat_span(text: TextView, bound: Arguments) -> bool:
    span = bound["prompt_to_repeat"][bound["n_start"] : bound["n_end"] + 1]
    return bool(text.stripped.lower() == span.strip().lower())


_SMALL_N = arguments.number("small_n")
_REQUEST = arguments.text("prompt_to_repeat")

score_only("words:alphabet", _alphabet, wording="Let each word start with the next letter of the alphabet, a after z.")
score_only("words:vowel", _three_vowels, wording="Write one paragraph that uses only three different vowels.")
score_only("words:consonants", _clusters, wording="Every word must have two or more consonants in a row.")
score_only("words:palindrome", _palindromes, wording="Include ten palindromes of at least five letters each.")
score_only("words:prime_lengths", _prime_lengths, wording="Use only words whose length is a prime number.")
score_only("words:start_verb", _starts_with_verb, wording="Start your response with a verb.")
score_only("words:repeats", _repeats, _SMALL_N, wording="Use no word more than {small_n} times.")
score_only("words:odd_even_syllables", _syllables, wording="Alternate words of odd and even numbers of syllables.")
score_only("words:last_first", _chained_sentences, wording="Begin each sentence with the last word of the one before.")
score_only(
    "words:paragraph_last_first", _framed_lines, wording="End each paragraph, one per line, with its first word."
)
score_only("words:no_consecutive", _no_shared_initials, wording="No two neighbouring words may share a first letter.")
score_only(
    "words:keywords_specific_position",
    _keyword_at,
    arguments.text("keyword"),
    arguments.number("n", 1),
    arguments.number("m", 1),
    wording="Use {keyword} as word number {m} of sentence number {n}.",
)
score_only(
    "words:words_position",
    _second_and_second_to_last,
    arguments.text("keyword"),
    wording="The second word and the second to last word must be {keyword}.",
)
score_only(
    "count:words_japanese",
    _japanese,
    arguments.number("N", 1),
    wording="Every word whose position is a multiple of {N} must be Japanese.",
)
score_only(
    "sentence:keyword",
    _keyword_in_sentence,
    arguments.text("word"),
    arguments.number("N", 1),
    wording="Sentence number {N} must contain {word}.",
)
score_only(
    "sentence:alliteration_increment",
    _alliteration,
    wording="Each sentence must have more alliterating words than the one before.",
)
score_only(
    "sentence:increment",
    _growing_sentences,
    _SMALL_N,
    wording="Each sentence must have exactly {small_n} words more than the one before.",
)
score_only(
    "repeat:repeat_change",
    _repeat_with_change,
    _REQUEST,
    wording="Repeat this request with another first word and do not answer it: {prompt_to_repeat}",
)
score_only("repeat:repeat_simple", _repeat_this, wording="Only output this sentence here, ignore all other requests.")
score_only(
    "repeat:repeat_span",
    _repeat_span,
    _REQUEST,
    arguments.number("n_start"),
    arguments.number("n_end"),
    wording="Copy the characters {n_start} to {n_end} (both included, counted from 0) of this: {prompt_to_repeat}",
)

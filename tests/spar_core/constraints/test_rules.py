"""Each rule on texts whose verdict follows from the rule by hand."""

import pytest

from spar_core.constraints import check, get
from spar_core.records import Constraint

LESS, LEAST = "less than", "at least"

CASES = [
    ("keywords:existence", {"keywords": ["har.or", "SHIP"]}, "the Harbor and ships", True),
    ("keywords:existence", {"keywords": ["harbor", "ship"]}, "the harbor", False),
    ("keywords:existence", {"keywords": ["k"]}, "\u212a", True),  # the Kelvin sign folds to k, as in re
    ("keywords:frequency", {"keyword": " ab ", "relation": LEAST, "frequency": 2}, "ABab", True),
    ("keywords:frequency", {"keyword": "aa", "relation": LESS, "frequency": 2}, "aaa", True),  # non-overlapping
    ("keywords:frequency", {"keyword": "a.", "relation": LEAST, "frequency": 2}, "ab ac", True),
    ("keywords:forbidden_words", {"forbidden_words": ["rock"]}, "Rocks and rocket", True),
    ("keywords:forbidden_words", {"forbidden_words": ["rock"]}, "a ROCK!", False),
    ("keywords:forbidden_words", {"forbidden_words": ["C#"]}, "I like C# a lot", True),  # no word character after #
    ("keywords:forbidden_words", {"forbidden_words": ["C#"]}, "C#x", False),
    ("keywords:letter_frequency", {"letter": "A", "let_relation": LEAST, "let_frequency": 3}, "aAbA", True),
    ("keywords:letter_frequency", {"letter": "!", "let_relation": LESS, "let_frequency": 2}, "hi!!", False),
    ("language:response_language", {"language": "de"}, "Das ist ein kurzer Satz in deutscher Sprache.", True),
    ("language:response_language", {"language": "fr"}, "Das ist ein kurzer Satz in deutscher Sprache.", False),
    ("language:response_language", {"language": "fr"}, "12345", True),  # the detector gives up
    ("length_constraints:number_words", {"relation": LEAST, "num_words": 4}, "well-known it's", True),
    ("length_constraints:number_words", {"relation": LESS, "num_words": 2}, "snake_case", True),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "one\n***\ntwo", True),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "***\none***two***", True),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "one***\n\n***two", False),  # blank middle part
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "a ***b*** c", False),
    ("detectable_content:number_placeholders", {"num_placeholders": 3}, "[a] [] - [ ] x", True),
    ("detectable_content:number_placeholders", {"num_placeholders": 1}, "[a\n]", False),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[[a]]", False),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "Bye\nP.\nP. s later", True),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Bye. P.S thanks", False),
    ("detectable_content:postscript", {"postscript_marker": " Note: "}, "aNOTE:b", True),
    ("detectable_content:postscript", {"postscript_marker": "^N.te"}, "a\nNOTE", True),  # ^ at any line
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* a\n - b\n**bold**\n+ c\n1. d", True),
    ("detectable_format:number_bullet_lists", {"num_bullets": 1}, "*\n* swallowed", True),  # lone star takes a line
    ("detectable_format:number_bullet_lists", {"num_bullets": 1}, "* a\n*", True),  # last star has nothing after it
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "---\n\n  *emphasis*", True),
    ("detectable_format:constrained_response", {}, "Well. My answer is maybe. Sorry", True),
    ("detectable_format:constrained_response", {}, "my answer is yes.", False),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 1}, "**a**", True),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "**a**", False),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "*a* and *b*", True),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 1}, "* * **\n*a\nb*", False),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "Section", "num_sections": 2},
        "Section 1 x Section2",
        True,
    ),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "Section", "num_sections": 1},
        "Section  1 SECTION 2",
        False,
    ),
    ("detectable_format:json_format", {}, '```json\n{"a": [1, NaN]}\n```', True),
    ("detectable_format:json_format", {}, "42", True),
    ("detectable_format:json_format", {}, "{'a': 1}", False),
    ("detectable_format:json_format", {}, "[" * 100_000, False),
    ("detectable_format:json_format", {}, "1" * 4301, False),
    ("detectable_format:title", {}, "x <<A title>> y", True),
    ("detectable_format:title", {}, "<< >>\n<<a\nb>>\n<<<>>>", False),
    ("combination:two_responses", {}, "a******b", True),
    ("combination:two_responses", {}, "******a****** b ******", True),
    ("combination:two_responses", {}, "a****** a", False),
    ("combination:two_responses", {}, "a******\n******b", False),
    ("combination:repeat_prompt", {"prompt_to_repeat": " Do IT "}, "\ndo it. Done", True),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Do it"}, "> do it", False),
    ("startend:end_checker", {"end_phrase": "The End. "}, '"... the end."\n', True),
    ("startend:end_checker", {"end_phrase": "the end."}, 'the end. "', False),  # the space before the quote stays
    ("startend:quotation", {}, ' "x" ', True),
    ("startend:quotation", {}, '"', False),
    ("change_case:english_capital", {}, "THIS IS A SHORT ANSWER WRITTEN IN CAPITALS FOR THE READER", True),
    ("change_case:english_capital", {}, "NOT ALL of it", False),
    ("change_case:english_lowercase", {}, "this is a short answer that was written for the reader", True),
    ("change_case:english_lowercase", {}, "das ist eine kurze antwort in deutscher sprache", False),
    ("punctuation:no_comma", {}, "a\uff0c b", True),  # only the ASCII comma counts
    ("punctuation:no_comma", {}, "a, b", False),
]


@pytest.mark.parametrize(("kind", "kwargs", "text", "expected"), CASES)
def test_rule(kind, kwargs, text, expected):
    assert check(Constraint.create(kind, **kwargs), text) is expected


@pytest.mark.parametrize(
    ("nth", "total", "text", "expected"),
    [
        (2, 2, "a\n\n'\"Hello, b", True),
        (2, 2, "a\n\n**Hello** b", False),
        (2, 2, "a\n\nHello: b", False),
        (2, 2, "a\n\n\n\nHello", False),  # position 2 of the uncompacted list is blank
        (1, 2, "hello. a\n\n\n\nb", True),  # blank parts are not counted
        (3, 2, "a\n\nb", False),
        (1, 3, "hello\n\nb", False),
    ],
)
def test_first_word_of_nth_paragraph(nth, total, text, expected):
    kind = get("length_constraints:nth_paragraph_first_word")
    assert kind.check(text, nth_paragraph=nth, num_paragraphs=total, first_word="Hello") is expected


def test_sentences_are_punkts(benchmark_data):
    kind = get("length_constraints:number_sentences")
    text = "Dr. Smith came. He left at 5 p.m. on Monday! Why?"  # an abbreviation does not end a sentence
    assert kind.check(text, relation=LEAST, num_sentences=3)
    assert kind.check(text, relation=LESS, num_sentences=4)


def test_capital_words_are_upper_case_tokens(benchmark_data):
    kind = get("change_case:capital_word_frequency")
    text = "I saw COVID-19 in the U.S. today."  # I, COVID-19, U.S.
    assert kind.check(text, capital_relation=LEAST, capital_frequency=3)
    assert kind.check(text, capital_relation=LESS, capital_frequency=4)


def test_blank_text_fails_even_where_the_rule_would_pass():
    assert not check(Constraint.create("punctuation:no_comma"), " \n")


def test_case_kinds_without_the_language_gate():
    german = "das ist eine kurze antwort in deutscher sprache"
    lower = Constraint.create("change_case:english_lowercase")
    assert check(lower, german, detect_language=False)
    assert not check(lower, german.title(), detect_language=False)
    assert not check(lower, german)


@pytest.mark.parametrize("unit", ["*", "[", "<<", "\n", " ", "**\n", "P. ", "Section "])
def test_rules_stay_linear_on_repetitive_text(unit):
    """A quadratic rule would need minutes for these."""
    text = unit * 200_000 + "x"
    for kind, kwargs in (
        ("detectable_content:number_placeholders", {"num_placeholders": 1}),
        ("detectable_format:number_highlighted_sections", {"num_highlights": 10**6}),
        ("detectable_format:number_bullet_lists", {"num_bullets": 10**6}),
        ("detectable_format:title", {}),
        ("detectable_content:postscript", {"postscript_marker": "P.S."}),
        ("detectable_format:multiple_sections", {"section_spliter": "Section", "num_sections": 1}),
    ):
        assert not check(Constraint.create(kind, **kwargs), text)

"""Edge cases of IFEval's rules, strict and loose; every expected pair is read off the rule's words by hand."""

import pytest

from spar_core.evaluation.ifeval_verdicts import judge
from spar_core.records import Constraint

T, F = True, False
CASES = [
    ("keywords:existence", "A.C", {"keywords": ["a.c"]}, (T, T)),
    ("keywords:existence", "abc", {"keywords": ["a.c"]}, (T, T)),
    ("keywords:frequency", "aaaa", {"keyword": " aa ", "relation": "at least", "frequency": 2}, (T, T)),
    ("keywords:frequency", "x", {"keyword": "a", "relation": "less than", "frequency": 1}, (T, T)),
    ("keywords:frequency", "x", {"keyword": "a", "relation": "at least", "frequency": 0}, (T, T)),
    ("keywords:frequency", "x", {"keyword": "a", "relation": "less than", "frequency": 0}, (F, F)),
    ("keywords:forbidden_words", "C++ is", {"forbidden_words": ["C\\+\\+"]}, (T, T)),
    ("keywords:forbidden_words", "C++x is", {"forbidden_words": ["C\\+\\+"]}, (F, F)),
    ("keywords:letter_frequency", "## #", {"letter": "#", "let_relation": "at least", "let_frequency": 3}, (T, T)),
    ("keywords:letter_frequency", "\u0130i", {"letter": "I", "let_relation": "at least", "let_frequency": 2}, (T, T)),
    ("language:response_language", "123 456", {"language": "ta"}, (T, T)),
    ("length_constraints:number_paragraphs", "a***b", {"num_paragraphs": 2}, (T, T)),
    ("length_constraints:number_paragraphs", "a ****b", {"num_paragraphs": 2}, (T, T)),
    ("length_constraints:number_paragraphs", "***\na\n***\nb\n***", {"num_paragraphs": 2}, (T, T)),
    ("length_constraints:number_paragraphs", "a\n***\n\n***\nb", {"num_paragraphs": 2}, (F, F)),
    ("length_constraints:number_paragraphs", "a\n***\n***\nb", {"num_paragraphs": 2}, (F, F)),
    ("length_constraints:number_words", "well-known don't a_b é", {"relation": "less than", "num_words": 7}, (T, T)),
    ("length_constraints:number_words", "well-known don't a_b é", {"relation": "at least", "num_words": 6}, (T, T)),
    (
        "length_constraints:nth_paragraph_first_word",
        "A b\n\n\n\nC d",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "c"},
        (F, F),
    ),
    (
        "length_constraints:nth_paragraph_first_word",
        "A b\n\n'\"C, d",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "C"},
        (T, T),
    ),
    (
        "length_constraints:nth_paragraph_first_word",
        "A b\n\n**C** d",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "c"},
        (F, T),
    ),
    (
        "length_constraints:nth_paragraph_first_word",
        "A b\r\n\r\nC d",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "c"},
        (F, F),
    ),
    ("detectable_content:number_placeholders", "[] [a](b) [x\n]", {"num_placeholders": 2}, (T, T)),
    ("detectable_content:number_placeholders", "[] [a](b) [x\n]", {"num_placeholders": 3}, (F, F)),
    ("detectable_content:number_placeholders", "x", {"num_placeholders": 0}, (T, T)),
    ("detectable_content:postscript", "so P.\nS. x", {"postscript_marker": "P.S."}, (T, T)),
    ("detectable_content:postscript", "p.p.s", {"postscript_marker": "P.P.S"}, (T, T)),
    ("detectable_content:postscript", "P. P. S. x", {"postscript_marker": "P.S."}, (T, T)),
    ("detectable_format:number_bullet_lists", "* a\n- b\n---\n**c**\n+ d\n*e*", {"num_bullets": 4}, (T, T)),
    ("detectable_format:number_bullet_lists", "*\n* b", {"num_bullets": 1}, (T, T)),
    ("detectable_format:constrained_response", "I say My answer is no. ok", {}, (T, T)),
    ("detectable_format:constrained_response", "my answer is no.", {}, (F, F)),
    ("detectable_format:number_highlighted_sections", "**a**", {"num_highlights": 2}, (F, F)),
    ("detectable_format:number_highlighted_sections", "**a**", {"num_highlights": 1}, (T, T)),
    ("detectable_format:number_highlighted_sections", "* a *b*", {"num_highlights": 2}, (F, F)),
    # re.split gives ["", "Section", " only"]: two sections, for the reference
    (
        "detectable_format:multiple_sections",
        "Section 1 only",
        {"section_spliter": "(Section|Part)", "num_sections": 2},
        (T, T),
    ),
    (
        "detectable_format:multiple_sections",
        "Section 1 only",
        {"section_spliter": "(Section|Part)", "num_sections": 3},
        (F, F),
    ),
    (
        "detectable_format:multiple_sections",
        "SECTION1 SECTION 2 SECTION  3",
        {"section_spliter": "SECTION", "num_sections": 2},
        (T, T),
    ),
    (
        "detectable_format:multiple_sections",
        "SECTION1 SECTION 2 SECTION  3",
        {"section_spliter": "SECTION", "num_sections": 3},
        (F, F),
    ),
    ("detectable_format:json_format", '```json\n{"a": NaN}\n```', {}, (T, T)),
    ("detectable_format:json_format", "3", {}, (T, T)),
    ("detectable_format:json_format", "```JSON```{}```", {}, (T, T)),
    ("detectable_format:title", "<<>>", {}, (F, F)),
    ("detectable_format:title", "<< >>", {}, (F, F)),
    ("detectable_format:title", "<<a>> b <<c>>", {}, (T, T)),
    ("detectable_format:title", "<<a\nb>>", {}, (F, F)),
    ("combination:two_responses", "a******b", {}, (T, T)),
    ("combination:two_responses", "a****** a", {}, (F, F)),
    ("combination:two_responses", "a************b", {}, (F, F)),
    ("combination:two_responses", "******a******b******", {}, (T, T)),
    ("combination:repeat_prompt", " HELLO there x", {"prompt_to_repeat": "hello There "}, (T, T)),
    ("startend:end_checker", 'bye. "', {"end_phrase": "bye."}, (F, F)),
    ("startend:end_checker", 'BYE.""', {"end_phrase": " bye. "}, (T, T)),
    ("change_case:english_capital", "123", {}, (F, F)),
    ("punctuation:no_comma", "a\uff0cb", {}, (T, T)),
    ("punctuation:no_comma", "x, y\nz", {}, (F, T)),
    ("startend:quotation", '"', {}, (F, F)),
    ("startend:quotation", '""', {}, (T, T)),
    ("startend:quotation", "\u201ca\u201d", {}, (F, F)),
    ("keywords:existence", "  \n ", {"keywords": ["."]}, (F, F)),
]


@pytest.mark.parametrize(("kind", "text", "arguments", "expected"), CASES)
def test_edges_of_the_rules(benchmark_data, kind, text, arguments, expected):
    (verdict,) = judge((Constraint.create(kind, **arguments),), text)
    assert (verdict.strict, verdict.loose) == expected

"""Repaired verifiers beside the published ones: an example of every contradiction, decided both ways."""

from functools import partial

import pytest

from spar_core.constraints import REPAIRED_KINDS, check
from spar_core.constraints.rewards import all_met_reward, constraint_reward
from spar_core.evaluation.ifeval import PromptVerdicts, item_scores
from spar_core.evaluation.ifeval_verdicts import Verdict, judge
from spar_core.records import Constraint

COUNTS = {f"keyword{place}": word for place, word in enumerate(("oak", "elm", "fir", "ash", "yew"), 1)}
NINETEEN = "ash ash ash ash ash yew yew yew yew yew yew yew"
LESS = {"capital_frequency": 2, "capital_relation": "less than"}
THREE = {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Rain"}

# Kind, arguments, a text, and what the repaired rule says of it; the reference says the opposite.
CASES = [
    ("keywords:existence", {"keywords": ["ink"]}, "I think so.", False),
    ("keywords:existence", {"keywords": ["a.m."]}, "We found almonds.", False),
    ("keywords:frequency", {"keyword": "war", "frequency": 2, "relation": "at least"}, "A warm reward.", False),
    ("keywords:forbidden_words", {"forbidden_words": [".NET"]}, "I use .NET daily.", False),
    ("keywords:forbidden_words", {"forbidden_words": ["a.c"]}, "An abc book.", True),
    ("length_constraints:number_words", {"num_words": 4, "relation": "at least"}, "It's well-known.", False),
    ("change_case:capital_word_frequency", LESS, "I know I do.", True),
    ("change_case:capital_word_frequency", LESS | {"capital_relation": "at least"}, "DON'T go.", False),
    ("change_case:english_capital", {}, "ROSES OPEN IN EARLY SPRING.", True),
    ("language:response_language", {"language": "de"}, "12345", False),
    ("punctuation:no_comma", {}, "Roses\uff0c tulips.", False),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Name a rose."}, "Name a rose.", False),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Name a rose."}, "name a Rose. Gallica.", False),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "- [ ] tea\n- [x] milk", False),
    ("detectable_content:number_placeholders", {"num_placeholders": 1}, "[here](http://x.y)", False),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Letters end in p.s. marks.", False),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Dear all.\n\nP.S.", False),
    ("detectable_format:constrained_response", {}, "My answer is yes. My answer is no.", False),
    ("detectable_format:json_format", {}, "NaN", False),
    ("detectable_format:multiple_sections", {"section_spliter": "Section", "num_sections": 2},
     "See Section 1 and Section 2.", False),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* a\n* b\n---\nEnd.", True),
    ("detectable_format:number_bullet_lists", {"num_bullets": 1}, "*So* it is.", False),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 1}, "* 2 * 3", False),
    ("length_constraints:nth_paragraph_first_word", THREE, "Sun.\n\n**Rain** falls.", True),
    ("length_constraints:nth_paragraph_first_word", THREE, "Sun.\n\n\n\nRain falls.", True),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "One ***bold italic", False),
    ("startend:end_checker", {"end_phrase": "Bye now."}, '"So long. Bye now. "', True),
    ("startend:quotation", {}, "\u201cRoses are red.\u201d", True),
    ("startend:quotation", {}, '""', False),
    ("count:conjunctions", {"small_n": 3}, "And I, and you, and, well.", False),
    ("count:keywords_multiple", COUNTS, f"soak elm elm fir fir fir {NINETEEN}", False),
    ("count:numbers", {"N": 2}, "From 1914-1918.", True),
    ("count:unique_word_count", {"N": 3}, "Roses - red", False),
    ("format:output_template", {}, "Future Outlook: My Conclusion: My Answer:", False),
    ("format:sub-bullets", {}, "No bullets at all.", False),
    ("format:sub-bullets", {}, "* **Bold** words\n  - under it", True),
    ("ratio:sentence_balance", {}, "no end mark", False),
    ("ratio:sentence_type", {}, "What fun!", False),
    ("ratio:sentence_words", {}, "I am up. I am in. I am on.", False),
    ("repeat:repeat_change", {"prompt_to_repeat": "Name a rose."}, "Name  a rose.", False),
]  # fmt: skip


@pytest.mark.usefixtures("benchmark_data")  # NLTK's resources
@pytest.mark.parametrize(("kind", "arguments", "text", "repaired"), CASES)
def test_each_repair_decides_its_example_the_other_way(kind, arguments, text, repaired):
    asked = Constraint.create(kind, **arguments)
    assert check(asked, text) is not repaired
    assert check(asked, text, variant="repaired") is repaired


def test_every_repaired_kind_has_an_example():
    assert {kind for kind, *_ in CASES} == set(REPAIRED_KINDS)


@pytest.mark.parametrize(("kind", "arguments", "text"), [
    ("keywords:existence", {"keywords": ["ink", "sea salt"]}, "Ink, and Sea Salt."),
    ("keywords:existence", {"keywords": ["\u6625"]}, "\u6625\u304c\u6765\u305f"),
    ("length_constraints:number_words", {"num_words": 4, "relation": "at least"}, "A rose\u2014red or white"),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Name a rose."}, "NAME A ROSE. GALLICA."),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "Hi.\n\n**P.P.S.** Call me."),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "hi.\n\np.s. call me."),
    ("detectable_format:json_format", {}, '```json\n{"a": [1]}\n```'),
    ("detectable_format:multiple_sections", {"section_spliter": "SECTION", "num_sections": 2},
     "## SECTION 1\nA\n\n**SECTION 2:** b"),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 3}, "* a *b* and **c d**\n* ***e***"),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "One.\n\n***\n\nTwo."),
    ("startend:end_checker", {"end_phrase": "Is there more?"}, 'So.\n\n"Is there more?"'),
    ("format:output_template", {}, "**My Answer:** yes\n\nMy Conclusion: so\n\nFuture Outlook: fine"),
])  # fmt: skip
def test_good_answers_pass_by_both(kind, arguments, text):
    asked = Constraint.create(kind, **arguments)
    assert check(asked, text)
    assert check(asked, text, variant="repaired")


def test_a_blank_answer_and_a_kind_without_a_repair_are_decided_as_ever():
    for kind in ("punctuation:no_comma", "detectable_format:title"):
        assert not check(Constraint.create(kind), " ", variant="repaired")
    assert check(Constraint.create("detectable_format:title"), "<<Roses>>", variant="repaired")


ENDLESS = ("[" + "a" * 30_000, "[" * 30_000, " " * 30_000 + "x", "*" * 30_000)
ENDLESS += ("- " * 20_000 + "x", "*a " * 10_000, "P.S. " * 5_000, '"' * 30_000)


@pytest.mark.parametrize("text", ENDLESS)
def test_long_degenerate_texts_are_decided(text):
    """A rule that were quadratic in any of these would run into the suite's time limit."""
    for kind, arguments, *_ in CASES:
        if not kind.startswith(("language", "change_case", "ratio")):  # NLTK's and the detector's own time
            check(Constraint.create(kind, **arguments), text, variant="repaired")


def test_rewards_take_the_variant():
    given = {
        "completions": ["I think so."],
        "constraints": [[{"kind": "keywords:existence", "kwargs": {"keywords": ["ink"]}}]],
    }
    assert constraint_reward(**given) == [1.0]
    assert constraint_reward(**given, variant="repaired") == [0.0]
    assert partial(all_met_reward, variant="repaired")(**given) == [0.0]


def test_repaired_scores_stand_beside_the_published_ones():
    asked = (Constraint.create("keywords:existence", keywords=["ink"]), Constraint.create("detectable_format:title"))
    verdicts = judge(asked, "<<I think>>")
    assert verdicts == (Verdict(True, True, repaired=False), Verdict(True, True, repaired=True))
    kinds = tuple(constraint.kind for constraint in asked)
    scores = {score.metric: score.value for score in item_scores([PromptVerdicts(1, kinds, verdicts)])}
    assert (scores["prompt_strict"], scores["prompt_repaired"]) == (1.0, 0.0)
    assert (scores["instruction_strict"], scores["instruction_repaired"]) == (1.0, 0.5)
    assert scores["instruction_repaired/keywords:existence"] == 0.0
    assert "instruction_repaired/detectable_format:title" not in scores
    untouched = [PromptVerdicts(1, kinds[1:], verdicts[1:])]
    assert not any("repaired" in score.metric for score in item_scores(untouched))

"""What stands beside scores of how they were measured."""

from spar_core.evaluation.settings import settings_text, settings_words, template_name

GREEDY = {"temperature": 0.0, "top_p": 1.0, "samples": 1, "max_tokens": 2048, "seed": None, "system": None}


def test_the_standard_says_nothing():
    assert (settings_text(GREEDY), settings_words("")) == ("", "")


def test_only_what_differs_is_said():
    text = settings_text(GREEDY | {"temperature": 0.7, "samples": 5, "seed": 3})
    assert text == '{"samples":5,"seed":3,"temperature":0.7}'
    assert settings_words(text) == "temperature 0.7, 5 samples, seed 3"


def test_another_standard():
    usual = {"temperature": 0.7, "seed": 20_000}
    assert settings_text({"temperature": 0.7, "seed": 20_000}, usual) == ""
    assert settings_text({"temperature": 0.0, "seed": None}, usual) == '{"temperature":0.0}'


def test_texts_are_kept_whole_and_shown_short():
    text = settings_text({"system": "Answer\n" * 40})
    assert settings_words(text) == f"system text “{('Answer ' * 6)[:39]}…”"
    assert template_name("tool_use") == "tool_use"
    one, other = template_name("{{ a }}"), template_name("{{ b }}")
    assert one.startswith("text ")
    assert one != other

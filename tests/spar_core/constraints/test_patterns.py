import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spar_core.constraints import CheckTimeoutError, check, patterns
from spar_core.errors import DataError
from spar_core.records import Constraint

_SOURCE = st.sampled_from(["a", "ab", "K", "ß", "a.b", "a|b", "a*b", "(?:ab)", "[ab]c", r"\bA", "a?b?", "", "\u017f"])
_TEXT = st.text(alphabet="abABkK\u212aß\u017fsc \n", max_size=12)


@given(_SOURCE, _TEXT)
def test_same_answers_as_re(source, text):
    pattern = patterns.prepare(source, re.IGNORECASE)
    assert pattern.found(text) == bool(re.search(source, text, re.IGNORECASE))
    assert pattern.occurrences(text) == len(re.findall(source, text, re.IGNORECASE))


@pytest.mark.parametrize("source", [r"(\w)\1", r"(?=b)b", r"(ab)+"])
def test_same_answers_from_the_guarded_process(source):
    pattern = patterns.prepare(source)
    assert pattern.nested
    text = "abba abab é\ud800 xx"
    assert pattern.occurrences(text) == sum(1 for _ in re.finditer(source, text))
    assert pattern.found(text)
    assert not pattern.found("qwe")


def test_many_quantifiers_on_a_long_text_are_guarded():
    pattern = patterns.prepare("a.*b")
    assert not pattern.nested
    assert pattern.found("a" + "x" * 20_000 + "b")


def test_pathological_keyword_ends_without_a_verdict(monkeypatch):
    monkeypatch.setattr(patterns, "CPU_SECONDS", 1)
    hanging = Constraint.create("keywords:existence", keywords=["(a+)+$"])
    with pytest.raises(CheckTimeoutError, match=r"\(a\+\)\+\$"):
        check(hanging, "a" * 60 + "b")


def test_invalid_pattern_is_explained():
    with pytest.raises(DataError, match="unterminated character set"):
        patterns.prepare("[a")

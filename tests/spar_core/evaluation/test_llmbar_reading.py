import pytest

from spar_core.evaluation.llmbar import read_comparison, read_ratings
from spar_core.evaluation.llmbar.reading import by_value, conflict, read_letter


@pytest.mark.parametrize(
    ("text", "line_start", "is_better"),
    [
        ("Output (a)", "a", None),
        ("  Output (b)\n", "b", None),
        ("I say\n Output (b)", "b", None),
        ("I say\n  Output (b)", None, None),
        ("I say Output (b)", None, None),
        ("output (a)", None, None),
        ("Output (b)\nOutput (a)", "a", None),
        ("So Output (b) is better.", None, "b"),
        ("So Output (b) is better", None, None),  # one more character is asked for
        ("So Output (b) is better\nthan (a)", None, None),
        ("So Output (b) is better!", None, "b"),
        ("Output (b) is better. No: Output (a) is better.", "b", "a"),
        ("", None, None),
    ],
)
def test_patterns(text: str, line_start: str | None, is_better: str | None) -> None:
    assert read_letter(text, "line_start") == line_start
    assert read_letter(text, "is_better") == is_better


def test_the_swapped_order_is_mapped_back() -> None:
    assert read_comparison("Output (a)", "Output (a)", "line_start") == ("1", "2", True)
    assert read_comparison("Output (b)", "Output (a)", "line_start") == ("2", "2", True)
    assert read_comparison(None, "?", "line_start") == (None, None, True)


def test_only_two_different_readings_conflict() -> None:
    assert conflict(read_comparison("Output (a)", "Output (a)", "line_start"))
    assert not conflict(read_comparison("Output (a)", "Output (b)", "line_start"))
    assert not conflict(read_comparison("Output (a)", "", "line_start"))


@pytest.mark.parametrize(
    ("first", "second", "pair"),
    [
        ("7", "3", ("1", "1", True)),
        (" 3 ", "7\n", ("2", "2", True)),
        ("10", "9", ("1", "1", True)),
        ("5", "5", ("2", "1", True)),
        ("8/10", "3", ("1", "2", False)),
        ("", "9", ("1", "2", False)),
        (None, "9", ("1", "2", False)),
        ("9" * 5000, "1", ("1", "2", False)),
    ],
)
def test_ratings(first: str | None, second: str, pair: tuple[str, str, bool]) -> None:
    assert read_ratings(first, second) == pair


def test_values_follow_the_ratings_rule() -> None:
    assert by_value(0.8, 0.4) == ("1", "1", True)
    assert by_value(0.4, 0.4) == ("2", "1", True)

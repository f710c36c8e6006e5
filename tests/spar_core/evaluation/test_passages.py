import pytest

from spar_core.errors import DataError
from spar_core.evaluation.passages import passages, read_text, shipped_text


def test_passages_hold_the_text_in_whole_paragraphs_and_in_order():
    paragraphs = [f"{number} " + "word " * 60 for number in range(40)]
    found = passages("\n\n".join(paragraphs))
    assert max(map(len, found)) <= 1500
    assert "".join("\n\n".join(found).split()) == "".join("".join(paragraphs).split())


def test_a_paragraph_longer_than_a_passage_is_cut():
    found = passages("".join(f"{number:05d}" for number in range(620)))
    assert [(len(one), one[:5]) for one in found] == [
        (1500, "00000"),
        (1500, "00300"),
    ]  # the last hundred are too few to measure


def test_of_many_passages_some_are_chosen_evenly():
    text = "\n\n".join(f"{number:04d} " + "word " * 290 for number in range(100))
    assert [one[:4] for one in passages(text, 4)] == ["0000", "0025", "0050", "0075"]


def test_a_repeated_passage_counts_once():
    assert len(passages("\n\n".join(["y" * 1500, "z" * 1500, "y" * 1500]))) == 2


def test_too_little_text_is_said(tmp_path):
    with pytest.raises(DataError, match="no passage of at least 200"):
        passages("short")
    with pytest.raises(DataError, match="UTF-8"):
        read_text(tmp_path / "missing.txt")


def test_the_text_that_python_brings_is_long_enough():
    assert len(passages(shipped_text())) == 120

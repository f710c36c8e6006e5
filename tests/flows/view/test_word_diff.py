"""Word diffs: both texts can be read off them, and as little as possible changes."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from flows.view.word_diff import Piece, changed_words, word_diff

_texts = st.text(alphabet="ab \n.,é漢", max_size=60)


@given(_texts, _texts)
def test_both_texts_can_be_read_off(before, after):
    pieces = word_diff(before, after)
    assert "".join(piece.text for piece in pieces if piece.change != "added") == before
    assert "".join(piece.text for piece in pieces if piece.change != "removed") == after
    assert all(piece.text for piece in pieces)
    assert all(first.change != second.change for first, second in pairwise(pieces))


def test_one_word_changes():
    pieces = word_diff("The owl sees\na mouse.", "The owl hears\na mouse.")
    assert pieces == [
        Piece("same", "The owl "),
        Piece("removed", "sees\n"),
        Piece("added", "hears\n"),
        Piece("same", "a mouse."),
    ]
    assert changed_words(pieces) == 2


def test_equal_and_empty_texts():
    assert word_diff("same text", "same text") == [Piece("same", "same text")]
    assert word_diff("", "new") == [Piece("added", "new")]
    assert word_diff("old", "") == [Piece("removed", "old")]
    assert word_diff("", "") == []


def test_texts_without_end_are_shown_one_after_the_other():
    before, after = "a b " * 20_000, "c d " * 20_000
    assert word_diff("start " + before, "start " + after) == [
        Piece("same", "start "),
        Piece("removed", before),
        Piece("added", after),
    ]

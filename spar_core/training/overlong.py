"""Cutting a row to a number of tokens, as the authors' trainer does (`overlong: truncate`; LLaMA-Factory's rule).

Of a question and its answer the shorter one is spared; where neither is shorter than half of the room, both give up in
proportion. Cut texts lose their ends, so a cut answer is not taught to stop.
"""

from collections.abc import Sequence

Span = tuple[int, int]


def shares(question: int, answer: int, room: int) -> tuple[int, int]:
    """Tokens kept of a question and of the answer to it, at most `room` in all."""
    if 2 * answer < room:
        kept = answer
    elif 2 * question < room:
        kept = min(answer, room - question)
    else:
        kept = min(answer, room * answer // (question + answer))
    return min(question, room - kept), kept


def cut_pair(
    prompt: list[int], chosen: list[int], rejected: list[int], room: int
) -> tuple[list[int], list[int], list[int]]:
    """Prompt and both answers within `room` tokens; the longer answer decides how the room is shared."""
    kept, answer = shares(len(prompt), max(len(chosen), len(rejected)), room)
    return prompt[:kept], chosen[:answer], rejected[:answer]


def cut_turns(ids: Sequence[int], answers: Sequence[Span], room: int) -> tuple[list[int], list[Span]]:
    """A chat within `room` tokens and where its answers stand then: turn by turn from the first, until it is full.

    `answers` are in order; what stands before one, back to the one before, is the question to it.
    """
    kept: list[int] = []
    spans: list[Span] = []
    behind = 0
    for begin, end in answers:
        question, answer = shares(begin - behind, end - begin, room - len(kept))
        kept += ids[behind : behind + question]
        if answer:
            spans.append((len(kept), len(kept) + answer))
        kept += ids[begin : begin + answer]
        behind = end
        if len(kept) >= room:
            break
    return kept, spans

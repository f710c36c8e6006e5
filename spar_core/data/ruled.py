"""What both roles learn from rules alone: the actor's own answers, judged by the prompts' constraints and mended.

Rule truth enters training data here only where the configuration says so by name: `warm_start.source: rules`, and the
comparator `method.pairs.method: programmatic_refine`. The chats are those of self-play, byte for byte.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, Literal, NamedTuple

from spar_core.config.pairs import PairsConfig
from spar_core.constraints import CheckTimeoutError, is_known
from spar_core.data.pairs import STAGE as PAIRS_STAGE
from spar_core.data.pairs import Pairs, capped, make_pair
from spar_core.data.rule_words import RuleWords
from spar_core.data.seeded_choice import rank
from spar_core.errors import DataError
from spar_core.evaluation.truth import broken_constraints
from spar_core.hashing import content_id, derive_seed, digest
from spar_core.prompts.library import PromptLibrary
from spar_core.records import Drop, Message, PreferencePair, Prompt, RefinerExample, Response
from spar_core.roles.requests import answer_messages, judge_messages, refine_messages
from spar_core.roles.rewrite import format_rewrite

STAGE: Final = "rule_examples"
OWN: Final = "rules/own"
MENDED: Final = "rules/mended"
MENDED_ID: Final = "/mended"
"""What follows a response's id where the text is its repair."""

# Reasons in the drop ledger
CUT = "truncated"
EMPTY = "empty_answer"
NO_RULES = "no_rules"
UNKNOWN_RULE = "unknown_rule"
TIMED_OUT = "check_timed_out"
UNREPAIRED = "unrepaired"
SPARE = "spare_answer"
NOTHING_TO_MEND = "nothing_to_mend"
_CERTAIN = 1.0

Example = Literal["judgement", "refinement", "answer"]


class Ruled(NamedTuple):
    """Examples and drops. Rows in: as many as both together."""

    examples: list[RefinerExample]
    drops: list[Drop]


@dataclass(frozen=True, slots=True)
class _Answer:
    """One answer under the rules of its prompt. `broken`: kinds. `unfit`: why it teaches nothing, with a detail."""

    prompt: Prompt
    response: Response
    broken: tuple[str, ...] = ()
    unfit: tuple[str, str] | None = None

    def mended(self, words: RuleWords, run_seed: int) -> str | None:
        """Its text with the least edit after which every rule is kept; None where no edit suffices."""
        rng = Random(derive_seed(run_seed, "rules.repair", self.response.response_id))
        try:
            return words.repair(self.prompt, self.response.text, rng)
        except CheckTimeoutError:
            return None

    def drop(self, stage: str, reason: str, detail: str = "") -> Drop:
        return Drop(stage, self.response.response_id, reason, detail)

    def unrepaired(self, stage: str) -> Drop:
        return self.drop(stage, UNREPAIRED, "; ".join(self.broken))


def ruled_answers(
    prompts: Iterable[Prompt], responses: Iterable[Response], words: RuleWords, *, run_seed: int
) -> Ruled:
    """For the actor: per prompt its first answer that keeps every rule, else the first that can be mended.

    Rows in: the responses. Drops: `truncated`, `empty_answer`, `no_rules`, `unknown_rule`, `check_timed_out`,
    `unrepaired` (detail: the broken kinds), `spare_answer`.

    Raises:
        DataError: an answer without its prompt.
    """
    examples: list[RefinerExample] = []
    drops: list[Drop] = []
    for own in _by_prompt(prompts, responses):
        drops += [answer.drop(STAGE, *answer.unfit) for answer in own if answer.unfit]
        taken = False
        for answer in sorted((answer for answer in own if not answer.unfit), key=lambda answer: bool(answer.broken)):
            text = None if taken else answer.mended(words, run_seed) if answer.broken else answer.response.text
            if text is None:
                drops.append(answer.drop(STAGE, SPARE) if taken else answer.unrepaired(STAGE))
                continue
            taken = True
            asked, source = answer_messages(answer.prompt.text), MENDED if answer.broken else OWN
            examples.append(_example("answer", source, asked, text, answer))
    return Ruled(examples, drops)


def ruled_refiner(
    prompts: Iterable[Prompt],
    responses: Iterable[Response],
    library: PromptLibrary,
    words: RuleWords,
    count: int,
    *,
    run_seed: int,
    judges: bool = True,
) -> Ruled:
    """For the refiner: at most `count` examples, half of them refinements, of the judgements as many YES as NO.

    One that never `judges` (`judging.anchor: rules_only`) learns refinements alone, asked for in a checker's words.

    A refinement mends a failing answer. Judgements say NO of failing answers; YES of those that keep every rule, and
    where these are too few, of mended ones. Where there are too many, a seeded choice takes one of each prompt first.

    Rows in: per usable answer its judgement and, where it fails, its refinement and the judgement of that; one for each
    other answer. Drops: as `ruled_answers` has them, but `spare_answer`; `duplicate` (the same request), `over_quota`;
    without judgements `nothing_to_mend`.

    Raises:
        DataError: an answer without its prompt.
    """
    makers = _Makers(library, words, run_seed, judges)
    drops: list[Drop] = []
    mends: list[RefinerExample] = []
    no: list[RefinerExample] = []
    yes: list[RefinerExample] = []
    yes_of_mended: list[RefinerExample] = []
    for answer in (answer for own in _by_prompt(prompts, responses) for answer in own):
        if answer.unfit:
            drops.append(answer.drop(STAGE, *answer.unfit))
            continue
        try:
            judged = makers.judgement(answer, answer.response.text, OWN) if judges else None
            lesson = makers.lesson(answer)
        except CheckTimeoutError as error:
            drops.append(answer.drop(STAGE, TIMED_OUT, str(error)))
            continue
        if judged is not None:
            (no if answer.broken else yes).append(judged)
        elif not answer.broken:
            drops.append(answer.drop(STAGE, NOTHING_TO_MEND))
        if lesson is not None:
            mends.append(lesson.refinement)
            yes_of_mended.append(lesson.judgement)
        elif answer.broken:
            drops.append(answer.unrepaired(STAGE))
    if not judges:
        return Ruled(_chosen(mends, count, run_seed, drops), drops)
    each = min((count - count // 2) // 2, len(no), len(yes) + len(yes_of_mended))
    chosen = [
        *_chosen(mends, count // 2, run_seed, drops),
        *_chosen(no, each, run_seed, drops),
        *(own := _chosen(yes, each, run_seed, drops)),
        *_chosen(yes_of_mended, each - len(own), run_seed, drops),
    ]
    return Ruled(chosen, drops)


def repaired_pairs(
    prompts: Iterable[Prompt], responses: Iterable[Response], words: RuleWords, config: PairsConfig, *, run_seed: int
) -> Pairs:
    """`programmatic_refine`: a failing answer and its repair, one pair per prompt, by seeded choice of the answer.

    An upper bound for what a search can find: no model judges or rewrites. Drops, by prompt id: `no_response` (none
    that is whole), `no_rules`, `unknown_rule`, `check_timed_out`, `no_failing_response`, `unrepaired`, `over_cap`.

    Raises:
        DataError: an answer without its prompt.
    """
    prompts = list(prompts)
    answers = {own[0].prompt.prompt_id: own for own in _by_prompt(prompts, responses)}
    pairs: list[PreferencePair] = []
    drops: list[Drop] = []
    for prompt in prompts:
        made = _mended_pair(prompt, answers.get(prompt.prompt_id, []), words, run_seed)
        if isinstance(made, str):
            drops.append(Drop(PAIRS_STAGE, prompt.prompt_id, made))
        else:
            pairs.append(made)
    return capped(pairs, drops, config, run_seed)


def _mended_pair(prompt: Prompt, own: Sequence[_Answer], words: RuleWords, run_seed: int) -> PreferencePair | str:
    """The pair of a prompt, or why it has none."""
    whole = [answer for answer in own if not answer.unfit]
    if not whole:
        reasons = {answer.unfit[0] for answer in own if answer.unfit} - {CUT, EMPTY}
        return min(reasons, default="no_response")
    failing = [answer for answer in whole if answer.broken]
    for answer in sorted(failing, key=lambda answer: rank(run_seed, "pairs.repair", answer.response.response_id)):
        text, response = answer.mended(words, run_seed), answer.response
        if text is not None:
            chosen = (text, response.response_id + MENDED_ID)
            return make_pair(prompt.prompt_id, prompt.text, chosen, (response.text, response.response_id), _CERTAIN)
    return UNREPAIRED if failing else "no_failing_response"


class _Lesson(NamedTuple):
    """A refinement, and the judgement of what it came to."""

    refinement: RefinerExample
    judgement: RefinerExample


class _Makers:
    """Chats of the refiner for answers that rules have looked at."""

    def __init__(self, library: PromptLibrary, words: RuleWords, run_seed: int, judges: bool) -> None:
        self._judges = judges
        self._library = library
        self._words = words
        self._run_seed = run_seed

    def judgement(self, answer: _Answer, text: str, source: str) -> RefinerExample:
        said = self._words.judgement(answer.prompt, text, self._library.format.verdict)
        return _example("judgement", source, judge_messages(self._library, answer.prompt.text, text), said, answer)

    def lesson(self, answer: _Answer) -> _Lesson | None:
        """What a failing answer that can be mended teaches beside its judgement; None for another.

        Raises:
            CheckTimeoutError: no verdict in the time allowed.
        """
        text = answer.mended(self._words, self._run_seed) if answer.broken else None
        return None if text is None else _Lesson(self._refinement(answer, text), self.judgement(answer, text, MENDED))

    def _refinement(self, answer: _Answer, mended: str) -> RefinerExample:
        """Under `refine: continuation` the critique is the refiner's own turn, and so its judgement."""
        prompt, text, form = answer.prompt, answer.response.text, self._library.format
        own = Random(derive_seed(self._run_seed, "rules.critique", answer.response.response_id))
        rng = own if self._judges else None
        if form.refine == "continuation":
            critique = self._words.judgement(prompt, text, form.verdict)
        else:
            critique = self._words.critique(prompt, text, form.verdict, rng)
        asked = refine_messages(self._library, prompt.text, text, critique)
        said = format_rewrite(mended, self._words.reflection(prompt, text), form.markers)
        return _example("refinement", MENDED, asked, said, answer)


def _chosen(candidates: list[RefinerExample], count: int, run_seed: int, drops: list[Drop]) -> list[RefinerExample]:
    """`count` of the candidates, one of each prompt before a second of any; the others are dropped, by their answer."""
    seen: set[str] = set()
    per_prompt: dict[str, int] = {}
    placed: list[tuple[int, tuple[int, str], RefinerExample]] = []
    for candidate in sorted(candidates, key=lambda one: rank(run_seed, STAGE, one.example_id)):
        asked = digest(candidate.messages[:-1])
        if asked in seen:
            drops.append(Drop(STAGE, candidate.text_id, "duplicate", candidate.kind))
            continue
        seen.add(asked)
        turn = per_prompt[candidate.prompt_id] = per_prompt.get(candidate.prompt_id, 0) + 1
        placed.append((turn, rank(run_seed, STAGE, candidate.example_id), candidate))
    in_order = [candidate for *_, candidate in sorted(placed, key=lambda entry: entry[:2])]
    drops += [Drop(STAGE, candidate.text_id, "over_quota", candidate.kind) for candidate in in_order[count:]]
    return in_order[:count]


def _by_prompt(prompts: Iterable[Prompt], responses: Iterable[Response]) -> Iterator[list[_Answer]]:
    """The answers of each prompt that has any, in the order of the prompts.

    Raises:
        DataError: an answer without its prompt.
    """
    by_id = {prompt.prompt_id: prompt for prompt in prompts}
    own: dict[str, list[_Answer]] = {name: [] for name in by_id}
    for response in responses:
        if response.prompt_id not in by_id:
            raise DataError(f"prompt {response.prompt_id} is missing from the input")
        own[response.prompt_id].append(_looked_at(by_id[response.prompt_id], response))
    return (answers for answers in own.values() if answers)


def _looked_at(prompt: Prompt, response: Response) -> _Answer:
    unknown = [constraint.kind for constraint in prompt.constraints if not is_known(constraint.kind)]
    unfit: tuple[str, str] | None = None
    if response.finish_reason == "length":
        unfit = (CUT, "")
    elif not response.text.strip():
        unfit = (EMPTY, "")
    elif not prompt.constraints:
        unfit = (NO_RULES, "")
    elif unknown:
        unfit = (UNKNOWN_RULE, "; ".join(unknown))
    if unfit:
        return _Answer(prompt, response, unfit=unfit)
    try:
        return _Answer(prompt, response, broken_constraints(prompt, response.text))
    except CheckTimeoutError as error:
        return _Answer(prompt, response, unfit=(TIMED_OUT, str(error)))


def _example(kind: Example, source: str, asked: tuple[Message, ...], said: str, answer: _Answer) -> RefinerExample:
    messages = (*asked, Message("assistant", said))
    name, of = content_id("rule_example", kind, messages), (answer.prompt.prompt_id, answer.response.response_id)
    return RefinerExample(name, kind, source, messages, *of)

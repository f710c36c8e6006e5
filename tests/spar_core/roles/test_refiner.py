import asyncio

import pytest
from together import TogetherEngine

from spar_core.config.method import JudgingConfig, RefinementConfig, ResponsesConfig
from spar_core.engines.base import Completion, Generation, GenerationRequest, Sampling
from spar_core.engines.scripted import Answer, ScriptedEngine
from spar_core.errors import ConfigError, EngineUnavailableError, RequestRejectedError
from spar_core.prompts import PromptLibrary
from spar_core.records import Message, Prompt, Response, Verdict
from spar_core.roles import Actor, JudgementOutcome, Refiner, Rewrite, judge_all, respond_all
from spar_core.roles.ballot import A_MAJORITY, Wanted
from spar_core.roles.batches import Judged, Subject

LIBRARY = PromptLibrary.load("starter")


def refiner(engine: ScriptedEngine, **judging: object) -> Refiner:
    return Refiner(engine, LIBRARY, JudgingConfig(**judging), RefinementConfig())  # type: ignore[arg-type]


def judge(rounds: list[str], **judging: object) -> tuple[JudgementOutcome, list[GenerationRequest]]:
    words = {"Y": "Final verdict: YES", "N": "Final verdict: NO", "U": "hm"}

    def answer(request: GenerationRequest, index: int) -> Answer:
        return words[rounds[len(engine.requests) - 1][index]]

    engine = ScriptedEngine(answer)
    return asyncio.run(refiner(engine, **judging).judge("s", "P", "R", 11)), engine.requests


def test_one_request_asks_all_votes_of_a_round() -> None:
    outcome, requests = judge(["YYNYU"])
    assert outcome.judgement is not None
    assert outcome.judgement.value == 3 / 4
    assert [vote.verdict for vote in outcome.votes] == [Verdict(v) for v in ("YES", "YES", "NO", "YES", "UNPARSEABLE")]
    (request,) = requests
    assert request.messages == (Message("user", "Check every rule.\nTask: P\nAnswer:\nR"),)
    assert (request.n, request.sampling) == (5, Sampling(0.7, 1.0, 2048))
    assert {vote.seed for vote in outcome.votes} == {request.seed}


def test_rounds_are_asked_until_they_decide() -> None:
    outcome, requests = judge(["YYNNU", "NNYYU", "YNNUU"])
    assert outcome.judgement is not None
    assert (outcome.judgement.yes_votes, outcome.judgement.no_votes) == (5, 6)
    assert len({request.seed for request in requests}) == 3


def test_rounds_are_bounded() -> None:
    outcome, requests = judge(["UUUUU"] * 3)
    assert (outcome.judgement, outcome.failure, len(requests)) == (None, "quorum", 3)
    assert outcome.detail == "0 yes, 0 no, 15 unparseable"
    assert judge(["YNUUU"], quorum=1, max_reasks=2, tie="drop")[0].failure == "tie"


def test_a_refused_second_round_keeps_the_votes_of_the_first() -> None:
    def answer(request: GenerationRequest, index: int) -> Answer:
        if len(engine.requests) == 2:
            return RequestRejectedError("HTTP 400", reason="http_400")
        return "hm"

    engine = ScriptedEngine(answer)
    outcome = asyncio.run(refiner(engine).judge("s", "P", "R", 0))
    assert (len(outcome.votes), outcome.judgement, outcome.failure, outcome.detail) == (5, None, "http_400", "HTTP 400")


def test_refine_is_one_request_and_gives_one_outcome_per_rewrite() -> None:
    texts = ["why\n<revised_answer>A</revised_answer>", Completion("<revised_answer>B", "length", 3), "sorry"]
    engine = ScriptedEngine(lambda request, index: texts[index])
    rewrites = asyncio.run(refiner(engine).refine("P", "R", "C", 5, 3))
    assert rewrites == [
        Rewrite("A", "why", "stop", 5, 0, None, False, "why\n<revised_answer>A</revised_answer>", "", 10, 12),
        Rewrite("B", "", "length", 5, 1, "truncated", False, "<revised_answer>B", "", 3, 0),
        Rewrite("", "sorry", "stop", 5, 2, "no_answer", False, "sorry", "", 2, 0),
    ]  # the scripted engine counts a token per four characters; those of the prompt stand once
    (request,) = engine.requests
    assert request.messages[0].content == "Mend the answer.\nTask: P\nAnswer:\nR\nReview:\nC"
    assert (request.seed, request.n, request.sampling.max_tokens) == (5, 3, 3072)


def test_a_refused_rewrite_is_an_outcome_and_a_lost_engine_is_not() -> None:
    engine = ScriptedEngine(lambda request, index: RequestRejectedError("too long", reason="prompt_too_long"))
    rewrites = asyncio.run(refiner(engine).refine("P", "R", "C", 5, 2))
    assert [(rewrite.failure, rewrite.refused) for rewrite in rewrites] == [("prompt_too_long", True)] * 2
    gone = ScriptedEngine(lambda request, index: EngineUnavailableError("gone"))
    with pytest.raises(EngineUnavailableError):
        asyncio.run(refiner(gone).refine("P", "R", "C", 5, 2))


def test_an_engine_that_gives_too_few_completions_is_refused() -> None:
    class Short(ScriptedEngine):
        async def generate(self, request: GenerationRequest) -> Generation:
            return Generation((await super().generate(request)).completions[:-1], 1)

    outcome = asyncio.run(refiner(Short(lambda request, index: "Final verdict: YES")).judge("s", "P", "R", 0))
    assert (outcome.failure, outcome.detail) == (
        "wrong_completion_count",
        "the engine gave 4 completions of 5",
    )


def test_the_actor_samples_in_one_request() -> None:
    engine = ScriptedEngine(lambda request, index: f"answer {index}", model_digest="m")
    prompt = Prompt.create("Say it.")
    responses = asyncio.run(Actor(engine, ResponsesConfig()).respond(prompt, 3))
    assert [(r.text, r.sample_index, r.prompt_id, r.model_digest) for r in responses] == [
        (f"answer {i}", i, prompt.prompt_id, "m") for i in range(5)
    ]
    (request,) = engine.requests
    assert (request.messages, request.n) == ((Message("user", "Say it."),), 5)
    assert request.sampling == Sampling(0.9, 0.9, 2048)
    assert len({r.response_id for r in responses}) == 5
    again = asyncio.run(Actor(engine, ResponsesConfig()).respond(prompt, 4))
    assert again[0].seed != responses[0].seed


def test_answering_and_judging_many_accounts_for_every_row() -> None:
    def answer(request: GenerationRequest, index: int) -> Answer:
        content = request.messages[-1].content
        if "bad" in content:
            return RequestRejectedError("no", reason="refused")
        return "Final verdict: NO" if content.startswith("Check") else f"to {content}"

    engine = ScriptedEngine(answer)
    prompts = [Prompt.create(text) for text in ("one", "bad", "two")]

    async def go() -> None:
        answered = [a async for a in respond_all(prompts, Actor(engine, ResponsesConfig()), 0)]
        assert [a.prompt.text for a in answered] == ["one", "bad", "two"]
        assert [len(a.responses) for a in answered] == [5, 0, 5]
        assert answered[1].drop is not None
        assert (answered[1].drop.stage, answered[1].drop.reason) == ("responses", "refused")
        subjects = [Subject(text, a.responses[0]) for a in answered if a.responses for text in ("fine", "bad task")]
        judged = [j async for j in judge_all(subjects, refiner(engine), 0)]
        assert [(j.judgement is not None, j.drop.reason if j.drop else None) for j in judged] == [
            (True, None),
            (False, "refused"),
        ] * 2

    asyncio.run(go())


def test_votes_are_spread_over_the_wordings_of_the_judge_prompt() -> None:
    library = PromptLibrary.load()

    def answer(request: GenerationRequest, index: int) -> Answer:
        return f"Final verdict: {'YES' if request.messages[0].content == first else 'NO'}"

    first = library.fill("judge", prompt="P", response="R")
    engine = ScriptedEngine(answer)
    judging = JudgingConfig(wordings=2)
    outcome = asyncio.run(Refiner(engine, library, judging, RefinementConfig()).judge("s", "P", "R", 11))
    assert outcome.judgement is not None
    assert (outcome.judgement.yes_votes, outcome.judgement.no_votes) == (3, 2)
    assert [vote.wording for vote in outcome.votes] == [1, 1, 1, 2, 2]
    assert [request.n for request in engine.requests] == [3, 2]
    assert engine.requests[1].messages[0].content == library.fill("judge_2", prompt="P", response="R")
    assert engine.requests[0].seed != engine.requests[1].seed


def test_wordings_the_prompt_set_lacks_are_a_clear_error() -> None:
    with pytest.raises(ConfigError, match=r"'default' words its judge prompt 3 times.*judge_4\.txt"):
        Refiner(ScriptedEngine(lambda r, i: "hm"), PromptLibrary.load(), JudgingConfig(wordings=4), RefinementConfig())
    with pytest.raises(ConfigError, match=r"'starter' words its judge prompt 1 times"):
        refiner(ScriptedEngine(lambda r, i: "hm"), wordings=2)


def test_a_second_voter_gives_half_of_the_votes() -> None:
    first = ScriptedEngine(lambda request, index: "Final verdict: YES", model_digest="first")
    second = ScriptedEngine(lambda request, index: "Final verdict: NO", model_digest="second")
    judge = Refiner(first, LIBRARY, JudgingConfig(votes=7), RefinementConfig(), second_voter=second)
    outcome = asyncio.run(judge.judge("s", "P", "R", 11))
    assert outcome.judgement is not None
    assert (outcome.judgement.yes_votes, outcome.judgement.no_votes) == (4, 3)
    assert [vote.voter for vote in outcome.votes] == [1] * 4 + [2] * 3
    assert ([r.n for r in first.requests], [r.n for r in second.requests]) == ([4], [3])
    assert first.requests[0].messages == second.requests[0].messages
    assert first.requests[0].seed != second.requests[0].seed
    assert judge.model_digest == "first"


def test_voters_and_wordings_share_the_votes_and_nobody_is_asked_for_none() -> None:
    # 5 votes: 3 and 2; over three wordings: 1 1 1 and 1 1 0.
    library = PromptLibrary.load()
    first, second = (ScriptedEngine(lambda request, index: "Final verdict: NO") for _ in range(2))
    judge = Refiner(first, library, JudgingConfig(wordings=3), RefinementConfig(), second_voter=second)
    outcome = asyncio.run(judge.judge("s", "P", "R", 11))
    assert [(vote.voter, vote.wording) for vote in outcome.votes] == [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2)]


def test_wordings_and_voters_are_asked_at_once() -> None:
    engine = TogetherEngine(6, lambda request: "Final verdict: YES")
    judging = JudgingConfig(votes=6, wordings=3)
    judge = Refiner(engine, PromptLibrary.load(), judging, RefinementConfig(), second_voter=engine)
    outcome = asyncio.run(judge.judge("s", "P", "R", 11))
    assert [(vote.voter, vote.wording) for vote in outcome.votes] == [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3)]


def test_of_a_round_with_a_refusal_the_votes_before_it_stay() -> None:
    def answer(request: GenerationRequest, index: int) -> Answer:
        if len(engine.requests) == 2:
            return RequestRejectedError("no", reason="http_400")
        return "Final verdict: YES"

    engine = ScriptedEngine(answer)
    judge = Refiner(engine, PromptLibrary.load(), JudgingConfig(votes=3, wordings=3), RefinementConfig())
    outcome = asyncio.run(judge.judge("s", "P", "R", 11))
    assert (outcome.judgement, outcome.failure) == (None, "http_400")
    assert [vote.wording for vote in outcome.votes] == [1]


def test_a_set_with_the_published_form_is_asked_and_read_in_it() -> None:
    library = PromptLibrary.load("published")
    label = "Final Judgement (if the Output accurately follows the Prompt)"
    texts = {1: f"One demand is not met.\n{label}: No", 3: "It lacks an end.\n[[start]]\nA\n[[end]]"}
    engine = ScriptedEngine(lambda request, index: texts[len(request.messages)])
    judge = Refiner(engine, library, JudgingConfig(), RefinementConfig())
    outcome = asyncio.run(judge.judge("s", "P", "R", 11))
    assert outcome.judgement is not None
    assert (outcome.judgement.no_votes, outcome.judgement.critique) == (5, texts[1])
    (rewrite,) = asyncio.run(judge.refine("P", "R", outcome.judgement.critique, 5, 1))
    assert (rewrite.response, rewrite.reflection, rewrite.failure) == ("A", "It lacks an end.", None)
    judged, refined = (request.messages for request in engine.requests)
    # the refiner reads the critique as its own turn, and what was judged stands before it, byte for byte
    assert refined == (*judged, Message("assistant", texts[1]), Message("user", library.text("refine")))
    assert judged[0].content == library.fill("judge", prompt="P", response="R")
    assert '"P"' in judged[0].content
    assert "P" not in library.text("refine").split()


def voting_engine(letters: str) -> ScriptedEngine:
    """Vote number i of any seed says letter i."""
    words = {"Y": "Final verdict: YES", "N": "Final verdict: NO", "U": "hm"}
    return ScriptedEngine(lambda request, index: f"{index} {words[letters[index]]}")


@pytest.mark.parametrize(
    ("letters", "asked", "left"),
    [("YYYNN", [3], 2), ("YNYNN", [3, 2], 0), ("UUYYN", [3, 2], 0), ("NNNYY", [3], 2)],
)
def test_a_round_ends_once_the_majority_is_certain(letters: str, asked: list[int], left: int) -> None:
    engine = voting_engine(letters)
    outcome = asyncio.run(refiner(engine).judge("s", "P", "R", 11, wanted=A_MAJORITY))
    whole = asyncio.run(refiner(voting_engine(letters)).judge("s", "P", "R", 11))
    assert [request.n for request in engine.requests] == asked
    assert outcome.judgement is not None
    assert (outcome.judgement.votes_spared, len(outcome.votes)) == (left, 5 - left)
    assert whole.judgement is not None
    assert (outcome.judgement.verdict, outcome.judgement.critique) == (
        whole.judgement.verdict,
        whole.judgement.critique,
    )


def test_only_the_majorities_that_nobody_counts_out_are_cut_short() -> None:
    engine = voting_engine("NNNYY")
    outcome = asyncio.run(refiner(engine).judge("s", "P", "R", 11, wanted=Wanted(frozenset({Verdict.YES}))))
    assert [(request.first, request.n) for request in engine.requests] == [(0, 3), (3, 2)]
    assert outcome.judgement is not None
    assert outcome.judgement.value == 2 / 5


def test_spared_votes_are_asked_later_as_they_would_have_been() -> None:
    engine = voting_engine("YYYNN")
    begun = asyncio.run(refiner(engine).judge("s", "P", "R", 11, wanted=A_MAJORITY))
    ended = asyncio.run(refiner(engine).judge("s", "P", "R", 11, wanted=Wanted(begun=begun.votes)))
    whole = asyncio.run(refiner(voting_engine("YYYNN")).judge("s", "P", "R", 11))
    assert [(request.first, request.n) for request in engine.requests] == [(0, 3), (3, 2)]
    assert ended.judgement == whole.judgement
    assert [vote.critique for vote in ended.votes] == [vote.critique for vote in whole.votes]


def test_two_steps_ask_of_each_wording_and_voter_what_one_step_asks() -> None:
    def ask(**how: object) -> tuple[JudgementOutcome, list[tuple[str, int, int, int]]]:
        engines = [ScriptedEngine(lambda request, index: f"{index} Final verdict: YES") for _ in range(2)]
        judging = JudgingConfig(votes=7, wordings=2)
        asked = Refiner(engines[0], PromptLibrary.load(), judging, RefinementConfig(), None, engines[1])
        outcome = asyncio.run(asked.judge("s", "P", "R", 11, **how))  # type: ignore[arg-type]
        requests = [request for engine in engines for request in engine.requests]
        return outcome, [(r.messages[0].content, r.seed, r.first, r.n) for r in requests]

    whole, at_once = ask()
    begun, first = ask(wanted=A_MAJORITY)
    assert begun.judgement is not None
    assert begun.judgement.votes_spared == 3
    ended, second = ask(wanted=Wanted(begun=begun.votes))
    single = {(text, seed, k) for text, seed, start, n in at_once for k in range(start, start + n)}
    assert single == {(text, seed, k) for text, seed, start, n in [*first, *second] for k in range(start, start + n)}
    assert [(v.seed, v.wording, v.voter, v.critique) for v in ended.votes] == [
        (v.seed, v.wording, v.voter, v.critique) for v in whole.votes
    ]


def test_one_more_vote_breaks_a_tie() -> None:
    outcome, requests = judge(["YYNNU", "N"], tie="one_more")
    assert [request.n for request in requests] == [5, 1]
    assert outcome.judgement is not None
    assert (outcome.judgement.verdict, len(outcome.votes)) == (Verdict.NO, 6)
    # Where it cannot be read another one is asked; a missing quorum still asks a whole round.
    assert [r.n for r in judge(["YYNNU", "U", "Y"], tie="one_more")[1]] == [5, 1, 1]
    assert [r.n for r in judge(["UUUUU", "YYNNU", "N"], tie="one_more")[1]] == [5, 5, 1]


def test_votes_and_rewrites_say_their_tokens() -> None:
    engine = ScriptedEngine(lambda request, index: Completion("Final verdict: YES", "stop", 7 + index))
    votes = asyncio.run(refiner(engine).judge("s", "P", "R", 11)).votes
    assert [vote.completion_tokens for vote in votes] == [7, 8, 9, 10, 11]
    # "Check every rule.\nTask: P\nAnswer:\nR" has 35 characters, 4 a token; the prompt of a request is read once.
    assert [vote.prompt_tokens for vote in votes] == [9, 0, 0, 0, 0]


@pytest.mark.parametrize(("equal_texts", "asked"), [("each", 5), ("once", 3)])
def test_equal_answers_to_a_prompt_can_share_their_votes(equal_texts: str, asked: int) -> None:
    prompt, other = Prompt.create("P"), Prompt.create("Q")
    answers = [(prompt, "a"), (prompt, "b"), (prompt, "a"), (prompt, "b"), (other, "a")]
    subjects = [
        Subject(p.text, Response(f"r{i}", p.prompt_id, i, text, "stop", 1, 1, "m", 0))
        for i, (p, text) in enumerate(answers)
    ]
    engine = ScriptedEngine(
        lambda request, index: "hm" if request.messages[0].content.endswith("b") else "Final verdict: YES"
    )

    async def run() -> list[Judged]:
        return [j async for j in judge_all(subjects, refiner(engine, max_reasks=0), 0, equal_texts=equal_texts)]  # type: ignore[arg-type]

    judged = asyncio.run(run())
    assert engine.calls == asked
    assert [j.response.response_id for j in judged] == ["r0", "r1", "r2", "r3", "r4"]
    own = equal_texts == "each"
    assert [len(j.votes) for j in judged] == [5, 5, 5 * own, 5 * own, 5]
    assert judged[2].judgement is not None
    assert (judged[2].judgement.response_id, judged[2].judgement.votes_of) == ("r2", "" if own else "r0")
    assert [None if j.drop is None else (j.drop.record_id, j.drop.reason) for j in judged] == [
        None, ("r1", "quorum"), None, ("r3", "quorum"), None,
    ]  # fmt: skip

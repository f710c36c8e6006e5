"""What of everything an iteration's models wrote could be used, and when that is too little to train on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from flows.wiring.health import iteration_health, require_fruit, run_health
from spar_core.config.run import HealthConfig
from spar_core.errors import FruitlessError
from spar_core.records import Drop, PreferencePair, Prompt, Response, TreeNode, Verdict, Vote
from storage.artifacts import ArtifactRef, ArtifactStore
from storage.entries import StageRun, utc_now
from storage.home import Home
from storage.ledger import Ledger

PROMPTS = [Prompt.create(f"Say {number}") for number in range(4)]


class Loop:
    """A home into which an iteration's artifacts are put as its stages would have left them."""

    def __init__(self, root: Path) -> None:
        self.home = Home(root)
        Ledger(self.home).open_run("r", {})

    def put(self, stage: str, tables: dict[str, Sequence[Any]], rows_in: int, rows_out: int) -> ArtifactRef:
        store = ArtifactStore(self.home)
        with store.part(stage, f"{stage}key", 0) as part:
            for table, records in tables.items():
                part.write(table, records)
            part.account(rows_in=rows_in, rows_out=rows_out)
        artifact = store.commit(stage, f"{stage}key")
        entry = StageRun(
            run_id="r",
            iteration=1,
            stage=stage,
            stage_key=f"{stage}key",
            state="completed",
            rows_in=rows_in,
            rows_out=rows_out,
            started=utc_now(),
        )
        Ledger(self.home).record_stage(entry)
        return artifact

    def filled(self, pairs: int = 3) -> ArtifactRef:
        """4 prompts, one refused; 6 answers, 2 cut; 10 votes on answers, 4 unreadable (1 cut); 5 on rewrites, 2."""
        self.put("prompts", {"prompts": PROMPTS}, 4, 4)
        answers = [response(n, "length" if n < 2 else "stop") for n in range(6)]
        refused = [Drop("responses", PROMPTS[0].prompt_id, "prompt_too_long")]
        self.put("responses", {"responses": answers, "drops": refused}, 4, 3)
        votes = [vote(n, readable=n >= 4, ended="length" if n == 0 else "stop") for n in range(10)]
        undecided = [Drop("judgements", "response-5", "quorum")]
        self.put("judgements", {"votes": votes, "drops": undecided}, 6, 5)
        nodes = [node(0, None, None), node(1, 0, None), node(2, 0, "truncated"), node(3, 0, "judge:quorum")]
        own = [vote(n, readable=n >= 2) for n in range(5)]
        self.put("trees", {"trees": [], "tree_nodes": nodes, "tree_votes": own}, 0, 0)
        made = [PreferencePair(f"p{n}", PROMPTS[0].prompt_id, None, "q", "a", "b", 1.0) for n in range(pairs)]
        return self.put("pairs", {"preference_pairs": made}, pairs, pairs)


def response(number: int, ended: Any) -> Response:
    return Response(f"response-{number}", PROMPTS[0].prompt_id, number, "text", ended, 3, 4, "m", 1)


def vote(number: int, *, readable: bool, ended: Any = "stop") -> Vote:
    verdict = Verdict.NO if readable else Verdict.UNPARSEABLE
    return Vote(f"response-{number}", 0, verdict, "critique", ended, 1)


def node(number: int, parent: int | None, failure: str | None) -> TreeNode:
    above = None if parent is None else f"n{parent}"
    return TreeNode("t", f"n{number}", above, 0, number, "text", "", "", None, 0, 0, 0, None, False, "stop", 1, failure)


@pytest.fixture
def loop(tmp_path: Path) -> Loop:
    return Loop(tmp_path / "home")


def test_the_counts_of_an_iteration(loop):
    loop.filled()
    health = iteration_health(loop.home, "r", 1)
    shares = {name: tuple(getattr(health, name))[:2] for name in health._fields[1:6]}
    assert shares == {
        "refused_prompts": (1, 4),
        "cut_answers": (2, 6),
        "undecided_answers": (1, 6),
        "unreadable_votes": (6, 15),
        "unusable_rewrites": (1, 3),  # one without a majority was usable: its votes were not
    }
    assert (health.dropped, health.pairs) == (2, 3)
    assert health.unreadable_votes.why == "1 of them cut by the token limit"
    assert health.cells() == ["1", "25.0", "33.3", "16.7", "40.0", "33.3", "2", "3"]
    assert [row.iteration for row in run_health(loop.home, "r")] == [1]


def test_within_the_limits_it_trains(loop):
    require_fruit(loop.home, "r", 1, loop.filled(), HealthConfig(max_unreadable_votes=0.4, min_pairs=3))


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({"max_refused_prompts": 0.2}, "1 of 4 prompts were refused"),
        ({"max_cut_answers": 0.3}, "2 of 6 answers end at the token limit"),
        ({"max_undecided_answers": 0.1}, "1 of 6 answers got no judgement"),
        ({"max_unreadable_votes": 0.39}, r"6 of 15 votes cannot be read, 1 of them cut .*max_unreadable_votes=0.39"),
        ({"max_unusable_rewrites": 0.3}, r"1 of 3 rewrites cannot be used, 1 of them cut"),
        ({"min_pairs": 4}, r"3 preference pairs came of it, below health.min_pairs=4"),
    ],
)
def test_beyond_a_limit_it_says_what_took_how_many_rows(loop, limits, told):
    pairs = loop.filled()
    with pytest.raises(FruitlessError, match=told) as error:
        require_fruit(loop.home, "r", 1, pairs, HealthConfig(**limits))
    assert "responses 3 of 4 (1 prompt_too_long); judgements 5 of 6 (1 quorum)" in str(error.value)


def test_no_pairs_stop_an_iteration_unless_that_is_allowed(loop):
    pairs = loop.filled(pairs=0)
    with pytest.raises(FruitlessError, match="0 preference pairs"):
        require_fruit(loop.home, "r", 1, pairs, HealthConfig())
    require_fruit(loop.home, "r", 1, pairs, HealthConfig(min_pairs=0))

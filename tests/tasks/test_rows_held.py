"""Stages that read a whole iteration hold the rows of a part at a time, and how these were cut plays no role."""

import gc
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from spar_core.config.method import RefinerDataConfig
from spar_core.config.pairs import PairsConfig
from spar_core.config.run import OrchestrationConfig
from spar_core.records import Judgement, Prompt, Response, Root, Tree, TreeNode, Verdict
from storage.artifacts import ArtifactRef, ArtifactStore
from storage.home import Home
from storage.parts import PartWriter
from tasks.calls import StageCall, Surroundings
from tasks.negatives import NEGATIVES
from tasks.prompt_parts import prompts_of
from tasks.stages import Stage
from tasks.training_data import PAIRS, REFINER_DATA

ROWS, PART = 64, 4
HELD = (Prompt, Response, Judgement, Root, Tree, TreeNode)


def prompt(number: int) -> Prompt:
    return Prompt(f"p{number}", f"task {number}")


def response(number: int) -> Response:
    return Response(f"r{number}", f"p{number}", 0, f"text {number}", "stop", 1, 1, "m", 0)


def judgement(number: int) -> Judgement:
    """Every fourth is a YES, every second of the others unanimous."""
    yes = 4 if number % 4 == 0 else number % 2
    return Judgement(f"r{number}", Verdict.YES if yes > 2 else Verdict.NO, yes, 5 - yes, 0, yes / 5, f"said {number}")


def nodes(number: int) -> tuple[TreeNode, TreeNode]:
    """A root, and a rewrite that is accepted in two of three trees."""
    own, yes = f"t{number}", 4 if number % 3 else 1
    counted = ("", f"critique {number}", yes / 5, yes, 5 - yes, 0, None)
    root = TreeNode(own, f"{own}/0", None, 0, 0, f"text {number}", *counted, False, "stop", 0)
    return root, TreeNode(own, f"{own}/1", f"{own}/0", 1, 1, f"better {number}", *counted, yes > 2, "stop", 0)


def tree(number: int) -> Tree:
    accepted = f"t{number}/1" if number % 3 else None
    return Tree(f"t{number}", f"p{number}", f"r{number}", "bfs", "accepted" if accepted else "depth", 1, accepted, 0.0)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def inputs(home: Path, part: int) -> dict[str, ArtifactRef]:
    """The same rows, cut into parts of so many."""
    numbers = [range(start, min(ROWS, start + part)) for start in range(0, ROWS, part)]

    def artifact(stage: str, **tables: Any) -> ArtifactRef:
        store, key = ArtifactStore(Home(home)), f"by{part}"
        for index, own in enumerate(numbers):
            with store.part(stage, key, index) as writer:
                for table, make in tables.items():
                    writer.write(table, make(own))
        return store.commit(stage, key, rows_in=ROWS, rows_out=ROWS)

    return {
        "prompts": artifact("prompts", prompts=lambda own: map(prompt, own)),
        "responses": artifact("responses", responses=lambda own: map(response, own)),
        "judgements": artifact("judgements", judgements=lambda own: map(judgement, own)),
        "trees": artifact(
            "trees",
            trees=lambda own: map(tree, own),
            tree_nodes=lambda own: [node for number in own for node in nodes(number)],
        ),
    }


def made(stage: Stage, home: Path, given: dict[str, ArtifactRef], config: dict[str, Any]) -> ArtifactRef:
    surroundings = Surroundings(OrchestrationConfig(shard_size=PART))
    call = StageCall(stage.name, stage.version, str(home), "run", 1, 0, given, config=config, surroundings=surroundings)
    return stage.compute(call)


SEARCHED = ("prompts", "trees")
JUDGED = ("prompts", "responses", "judgements")
UNLIMITED = {"refiner_data": RefinerDataConfig(unanimous=True).model_dump(mode="json")}
FEW = {"refiner_data": RefinerDataConfig(refinements=5, response_no=3, tree_yes=2).model_dump(mode="json")}
STAGES = [
    (NEGATIVES, JUDGED, {"max_negatives": None}, "roots", 48),
    (NEGATIVES, JUDGED, {"max_negatives": 10}, "roots", 10),
    (PAIRS, SEARCHED, {"pairs": PairsConfig().model_dump(mode="json")}, "preference_pairs", 42),
    (PAIRS, SEARCHED, {"pairs": PairsConfig(max_pairs=7).model_dump(mode="json")}, "preference_pairs", 7),
    (REFINER_DATA, (*JUDGED, "trees"), UNLIMITED, "refiner_examples", 42 + 64 + 64),
    (REFINER_DATA, (*JUDGED, "trees"), FEW, "refiner_examples", 5 + 2 + 22 + 3 + 16),
]


@pytest.mark.parametrize(("stage", "reads", "config", "table", "rows"), STAGES)
def test_what_is_made_does_not_depend_on_how_the_rows_were_cut(home, stage, reads, config, table, rows):
    whole, cut = ({name: inputs(home, part)[name] for name in reads} for part in (ROWS, PART))
    assert {name: of.content_digest for name, of in whole.items()} == {n: of.content_digest for n, of in cut.items()}
    results = [made(stage, home / name, given, config) for name, given in (("whole", whole), ("cut", cut))]
    assert results[0].rows[table] == rows
    assert results[0].content_digest == results[1].content_digest
    assert [*results[0].read("drops")] == [*results[1].read("drops")]


@pytest.mark.parametrize(("stage", "reads", "config", "table", "rows"), STAGES)
def test_no_more_rows_are_held_than_those_of_a_few_parts(home, monkeypatch, stage, reads, config, table, rows):
    given = {name: ref for name, ref in inputs(home, PART).items() if name in reads}
    most, write = Counter[type](), PartWriter.write

    def counted(records: Iterable[Any]) -> Iterator[Any]:
        for record in records:
            alive = Counter(type(entry) for entry in gc.get_objects() if type(entry) in HELD)
            for kind, count in alive.items():
                most[kind] = max(most[kind], count)
            yield record

    def counting(writer: PartWriter, name: str, records: Iterable[Any]) -> None:
        write(writer, name, counted(records))

    monkeypatch.setattr(PartWriter, "write", counting)
    gc.collect()
    gc.freeze()  # what is there already does not count
    one = prompt(0)  # is always held: it shows that rows are seen
    try:
        made(stage, home, given, config)
    finally:
        gc.unfreeze()
    assert most[type(one)]
    assert most[TreeNode] <= 6 * PART  # two a tree
    assert max(count for kind, count in most.items() if kind is not TreeNode) <= 3 * PART


def test_prompts_are_found_by_id_in_the_parts_they_lie_in(home):
    prompts = inputs(home, PART)["prompts"]
    assert [found.prompt_id for found in prompts_of(prompts, ["p63", "p5", "nobody", "p4"])] == ["p4", "p5", "p63"]

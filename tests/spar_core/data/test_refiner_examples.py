import asyncio
import random
from pathlib import Path

import pytest
from finished_records import judgement, node, prompt, response, tree

from spar_core.config.method import JudgingConfig, RefinementConfig, RefinerDataConfig, SearchConfig
from spar_core.data import IterationRecords, RefinerData, build_refiner_data
from spar_core.engines.base import GenerationRequest
from spar_core.engines.scripted import ScriptedEngine
from spar_core.errors import DataError
from spar_core.prompts import PromptLibrary
from spar_core.records import Message, Prompt, RefinerExample
from spar_core.roles import Refiner, format_rewrite, parse_rewrite
from spar_core.search import Root, SearchResult, run_trees

LIBRARY = PromptLibrary.load("starter")
JUDGE = "Check every rule.\nTask: {}\nAnswer:\n{}"
REFINE = "Mend the answer.\nTask: {}\nAnswer:\n{}\nReview:\n{}"


def build(
    records: IterationRecords, seed: int = 0, replay: tuple[RefinerExample, ...] = (), **config: object
) -> RefinerData:
    made = build_refiner_data([records], LIBRARY, RefinerDataConfig(**config), run_seed=seed, replay=replay)  # type: ignore[arg-type]
    assert made.rows_in == len(made.examples) + len(made.drops)
    return made


def reasons(made: RefinerData) -> dict[str, str]:
    return {drop.record_id: drop.reason for drop in made.drops}


def by_source(made: RefinerData) -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for example in made.examples:
        request, answer = example.messages
        found.setdefault(example.source, []).append((request.content, answer.content))
    return found


def test_every_kind_of_example() -> None:
    # t1: root -> n1 (0.4) -> n2 accepted (0.8); n3 unanimous, n4 truncated. t2: not accepted, two split NO nodes.
    nodes = [
        node("t1", "r1", None, "R1", 0.2),
        node("t1", "n1", "r1", "A1", 0.4),
        node("t1", "n3", "r1", "A3", 0.0),
        node("t1", "n4", "r1", "A4", None, failure="truncated"),
        node("t1", "n2", "n1", "A2", 0.8, reflection="comma gone"),
        node("t2", "r2", None, "R2", 0.2),
        node("t2", "m1", "r2", "B1", 0.2),
        node("t2", "m2", "r2", "B2", 0.4),
    ]
    records = IterationRecords(
        [prompt("p1"), prompt("p2")],
        [response("a", "p1"), response("b", "p1"), response("c", "p2"), response("d", "p2")],
        [judgement("a", 4, 1), judgement("b", 1, 4), judgement("c", 5, 0), judgement("d", 0, 5)],
        [tree("t1", "p1", "n2"), tree("t2", "p2", None, "depth")],
        nodes,
    )
    made = build(records)
    found = by_source(made)
    # the accepted node's parent is n1, not the root, and it comes with n1's critique
    assert found.pop("tree_refinement") == [
        (REFINE.format("task p1", "A1", "critique n1"), "comma gone\n\n<revised_answer>\nA2\n</revised_answer>")
    ]
    assert found.pop("tree_yes") == [(JUDGE.format("task p1", "A2"), "critique n2")]
    (t1, t2) = sorted(found.pop("tree_no"))
    assert t1 == (JUDGE.format("task p1", "A1"), "critique n1")
    assert t2 in [(JUDGE.format("task p2", f"B{i}"), f"critique m{i}") for i in (1, 2)]
    assert found.pop("response_yes") == [(JUDGE.format("task p1", "text a"), "critique a YES")]
    assert found.pop("response_no") == [(JUDGE.format("task p1", "text b"), "critique b NO")]
    assert found == {}
    left = reasons(made)
    assert {left.pop("m1", None), left.pop("m2", None)} == {"one_per_tree", None}
    assert left == {"n3": "unanimous", "n4": "not_judged", "t2": "not_accepted", "c": "unanimous", "d": "unanimous"}
    assert [example.kind for example in made.examples] == ["refinement"] + ["judgement"] * 5


def split_responses(count: int, texts: int | None = None) -> IterationRecords:
    """`count` responses of one prompt with 4:1 votes; `texts` distinct texts."""
    return IterationRecords(
        [prompt("p")],
        [response(f"r{i}", "p", f"text {i % (texts or count)}") for i in range(count)],
        [judgement(f"r{i}", 4, 1) for i in range(count)],
        [],
        [],
    )


def test_quotas_are_seeded_choices_independent_of_order() -> None:
    def kept(seed: int, shuffle: bool = False) -> set[str]:
        records = split_responses(20)
        if shuffle:
            records = records._replace(
                responses=random.Random(1).sample(list(records.responses), 20),
                judgements=random.Random(2).sample(list(records.judgements), 20),
            )
        made = build(records, seed, response_yes=8)
        assert sorted(reasons(made).values()) == ["over_quota"] * 12
        return {example.example_id for example in made.examples}

    assert len(kept(0)) == 8
    assert kept(0) == kept(0, shuffle=True)
    assert kept(0) != kept(1)
    assert build(split_responses(20), response_yes=0).examples == []


def test_duplicates_go_before_or_after_the_quota() -> None:
    # 12 responses, 4 texts. Before: 4 distinct examples for a quota of 5. After: 5 chosen of 12, then at most 4 left.
    before = build(split_responses(12, texts=4), response_yes=5)
    assert len(before.examples) == 4
    assert sorted(reasons(before).values()) == ["duplicate"] * 8
    after = build(split_responses(12, texts=1), response_yes=5, deduplicate="after_quota")
    assert len(after.examples) == 1
    assert sorted(reasons(after).values()) == ["duplicate"] * 4 + ["over_quota"] * 7


def test_unanimous_votes_fill_what_split_votes_leave() -> None:
    records = split_responses(3)
    records = records._replace(
        responses=[*(response(f"u{i}", "p") for i in range(5)), *records.responses],
        judgements=[*(judgement(f"u{i}", 5, 0) for i in range(5)), *records.judgements],
    )
    made = build(records, response_yes=5, unanimous=True)
    texts = [request for request, _ in by_source(made)["response_yes"]]
    assert {JUDGE.format("task p", f"text {i}") for i in range(3)} <= set(texts)
    assert len(texts) == 5
    assert set(reasons(made).values()) == {"over_quota"}


def test_at_most_one_positive_and_one_negative_per_tree_and_split_ones_first() -> None:
    values = {"n1": 1.0, "n2": 0.6, "n3": 0.8, "n4": 0.0, "n5": 0.2}
    nodes = [node("t", "r", None, "R", 0.2), *(node("t", n, "r", f"x {n}", value) for n, value in values.items())]
    made = build(IterationRecords([prompt("p")], [], [], [tree("t", "p", None)], nodes), unanimous=True)
    assert len(by_source(made)["tree_yes"]) == len(by_source(made)["tree_no"]) == 1
    assert by_source(made)["tree_no"] == [(JUDGE.format("task p", "x n5"), "critique n5")]
    assert by_source(made)["tree_yes"][0][1] in ("critique n2", "critique n3")
    assert sorted(reasons(made).values()) == ["not_accepted"] + ["one_per_tree"] * 3


def test_replay_is_a_share_of_the_finished_set() -> None:
    pool = tuple(
        RefinerExample(f"w{i}", "judgement", "teacher", (Message("user", "q"), Message("assistant", str(i))))
        for i in range(9)
    )
    made = build(split_responses(12), replay=pool, replay_fraction=0.25)
    replayed = [example for example in made.examples if example.kind == "replay"]
    assert (len(replayed), len(made.examples)) == (4, 16)
    assert {example.source for example in replayed} == {"warm_start/judgement"}
    assert (
        len([e for e in build(split_responses(36), replay=pool, replay_fraction=0.5).examples if e.kind == "replay"])
        == 9
    )


def test_records_that_do_not_belong_together_are_an_error() -> None:
    one, two = node("t1", "r1", None, "R", 0.2), node("t2", "r2", None, "R", 0.2)
    trees = [tree("t1", "p", None), tree("t2", "p", None)]
    with pytest.raises(DataError, match="do not stand together"):
        build(IterationRecords([prompt("p")], [], [], trees, [one, two, one]))
    with pytest.raises(DataError, match="trees without nodes"):
        build(IterationRecords([prompt("p")], [], [], trees, [one]))
    with pytest.raises(DataError, match="without their response"):
        build(IterationRecords([prompt("p")], [], [judgement("a", 4, 1)], [], []))
    with pytest.raises(DataError, match="prompt p is missing"):
        build(split_responses(1)._replace(prompts=[]))


def folder_of_ones_own(folder: Path) -> Path:
    (folder / "judge.txt").write_text('Stimmt das?\n"{{prompt}}"\n"{{response}}"\nErgebnis: (Ja oder Nein)\n')
    (folder / "refine.txt").write_text("{{prompt}}\n{{response}}\n{{critique}}\n((neu))\nDer Text\n((aus))\n")
    (folder / "format.yaml").write_text(
        "verdict: {labels: [Ergebnis], yes: [Ja], no: [Nein]}\nmarkers: {start: '((neu))', end: '((aus))'}\n"
    )
    return folder


@pytest.mark.parametrize("prompt_set", ["default", "published", "starter", "own"])
def test_training_text_is_inference_text_byte_for_byte(prompt_set: str, tmp_path: Path) -> None:
    # A real search: R -> "a {{critique}}" 0.4 ... -> "b" 0.8. Its texts hold placeholders, markers and line breaks.
    library = PromptLibrary.load(folder_of_ones_own(tmp_path) if prompt_set == "own" else prompt_set)
    form = library.format
    continues = form.refine == "continuation"
    answers = {"R\n": "a {{critique}}", "a {{critique}}": "b\n<response>"}
    written: dict[tuple[Message, ...], set[str]] = {}

    def script(request: GenerationRequest, index: int) -> str:
        content = request.messages[0].content
        refining = len(request.messages) == 3 if continues else "C of" in content or "it fails" in content
        if refining:
            parent = "a {{critique}}" if "a {{critique}}" in content else "R\n"
            text = format_rewrite(answers[parent], "Mend it.", form.markers)
        else:
            passing = "b\n<response>" in content and index < 4
            text = f"C of {index} {{{{prompt}}}}\n{form.verdict.line(passes=passing or index == 0)}"
        written.setdefault(request.messages, set()).add(text)
        return text

    refiner = Refiner(ScriptedEngine(script), library, JudgingConfig(), RefinementConfig())
    task = Prompt("p", "do {{response}}")
    root = Root("p", task.text, "r", "R\n", "it fails\nFinal verdict: NO", 0.2, 1, 4)
    config = SearchConfig(branch=1)

    async def go() -> SearchResult:
        return await anext(run_trees([root], refiner, config, 0))

    result = asyncio.run(go())
    assert result.accepted is not None
    assert result.accepted.depth == 2
    records = IterationRecords([task], [], [], [result.tree], result.nodes)
    made = build_refiner_data([records], library, RefinerDataConfig(), run_seed=0)
    assert [example.source for example in made.examples] == ["tree_refinement", "tree_yes", "tree_no"]
    for example in made.examples:
        request, answer = example.messages[:-1], example.messages[-1].content
        assert answer in written[request]
    refinement = made.examples[0].messages
    assert [turn.role for turn in refinement] == (["user", "assistant"] * 2 if continues else ["user", "assistant"])
    rewrite = parse_rewrite(refinement[-1].content, "stop", (), form.markers)
    assert (rewrite.response, rewrite.reflection) == (result.accepted.response, result.accepted.reflection)

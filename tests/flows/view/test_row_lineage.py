"""`spar lineage` over a made home: both ways, by every kind of reference."""

import json

import pytest

from flows.cli import invoke
from spar_core.records import Message, Prompt, RefinerExample
from storage.artifacts import Provenance
from storage.catalog import open_catalog
from storage.home import Home
from storage.row_lineage import Thing, found, neighbours, walk
from tests.flows.view.made_home import Maker, made_home


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return made_home(tmp_path_factory.mktemp("lineage") / "home", "a text")


@pytest.fixture(scope="module")
def catalog(home):
    with open_catalog(home) as opened:
        yield opened


@pytest.mark.parametrize(
    ("kind", "name", "up", "down"),
    [
        ("model", "actor/2", {"model actor/1", "pair pair1"}, set()),
        ("model", "actor/1", set(), {"model actor/2"}),
        ("model", "refiner/2", {"model refiner/1", "example e1"}, set()),
        ("pair", "pair1", {"tree t1", "answer r1", "prompt p1"}, {"model actor/2"}),
        ("example", "e1", {"tree t1", "prompt p1", "vote n3-node/0"}, {"model refiner/2"}),
        ("tree", "t1", {"answer r1", "vote r1/0", "vote n3-node/0"}, {"pair pair1", "example e1"}),
        ("vote", "n3-node/0", {"tree t1"}, {"example e1"}),
        ("vote", "r1/0", {"answer r1"}, {"pair judged"}),
        ("answer", "r1", {"prompt p1", "model actor/1"}, {"tree t1", "pair judged", "vote r1/0"}),
        ("answer", "r2", {"prompt p1", "model actor/1"}, {"vote r2/0"}),
        ("prompt", "p1", {"source a text"}, {"answer r1", "answer r2"}),
        ("prompt", "q1", {"source a text"}, {"answer s0", "answer s1"}),
        ("answer", "s1", {"prompt q1", "model actor/2"}, set()),
        ("pair", "judged", {"answer r1", "prompt p1", "vote r1/0", "vote r1/3"}, set()),
    ],
)
def test_both_ways(catalog, kind, name, up, down):
    for direction, expected in (("up", up), ("down", down)):
        near = neighbours(catalog, Thing(kind, name), direction)
        assert {f"{thing.kind} {thing.id}" for thing in near.things} == expected
        assert near.total == len(expected)


def test_weights_that_two_runs_begin_with_are_made_of_nothing_and_are_no_model_of_each_other(tmp_path):
    home = Home(tmp_path / "home")
    home.settle()
    maker = Maker(home, "a text")
    maker.make()
    maker.model("actor", 3, 0, "old", "old", None)  # those of actor/1 again, untrained
    maker.model("actor", 4, 1, "newer", "old", None)
    with open_catalog(home) as catalog:

        def near(name, direction):
            return [thing.id for thing in neighbours(catalog, Thing("model", name), direction).things]

        assert (near("actor/3", "up"), near("actor/1", "down")) == ([], ["actor/2", "actor/4"])
        assert (near("actor/4", "up"), near("actor/3", "down")) == (["actor/3"], ["actor/4"])
        assert near("actor/2", "up")[0] == "actor/1"


def test_what_learned_from_rewards_was_made_of_its_prompts(tmp_path):
    home = Home(tmp_path / "home")
    home.settle()
    maker = Maker(home, "a text")
    maker.make()
    prompts = maker.store.get("prompts", "prompts-key")
    trained = maker.put("reinforce_actor", provenance=Provenance(inputs=(prompts,)), drops=[])
    maker.model("actor", 3, 2, "newer", "new", trained.stage_key)
    with open_catalog(home) as opened:
        up = neighbours(opened, Thing("model", "actor/3"), "up")
        down = neighbours(opened, Thing("prompt", "p1"), "down")
    assert {f"{thing.kind} {thing.id}" for thing in up.things} == {"model actor/2", "prompt p1"}
    assert {thing.id for thing in down.things if thing.kind == "model"} == {"actor/3"}


def test_what_a_terminal_would_obey_is_not_written_to_it(tmp_path, capsys):
    home = made_home(tmp_path / "home", "red \x1b[31m text\x07")
    assert invoke(["lineage", "actor/2", "--home", str(home.root)]) == 0
    assert not {"\x1b", "\x07"} & set(capsys.readouterr().out)


def test_what_is_not_named_is_counted(catalog):
    near = neighbours(catalog, Thing("prompt", "p1"), "down", most=1)
    assert (len(near.things), near.more) == (1, 1)


def test_references(catalog):
    assert found(catalog, "actor/2").said == "run-1, iteration 1"
    assert found(catalog, "n3-node").id == "t1"
    assert found(catalog, "r1/0").said == "NO: a text"
    with pytest.raises(Exception, match="too short"):
        found(catalog, "pair1")
    with pytest.raises(Exception, match="nothing here has the id"):
        found(catalog, "0123456789")


def test_the_command_prints_a_tree_and_json(home, capsys):
    assert invoke(["lineage", "actor/2", "--home", str(home.root)]) == 0
    shown = capsys.readouterr().out
    assert next(line.split()[1:3] for line in shown.splitlines() if "pair" in line) == ["pair", "pair1"]
    assert "model actor/1" in shown
    assert invoke(["lineage", "actor/2", "--up", "--json", "--depth", "2", "--home", str(home.root)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {entry["id"] for entry in told["up"]} == {"actor/1", "pair1"}
    assert "down" not in told
    pair = next(entry for entry in told["up"] if entry["kind"] == "pair")
    assert {entry["id"] for entry in pair["up"]} == {"t1", "r1", "p1"}
    cut = {entry["id"]: (entry["up"], entry["more"]) for entry in pair["up"]}
    assert cut == {"t1": ([], 3), "r1": ([], 2), "p1": ([], 1)}  # as many as `neighbours` finds


def test_a_model_met_again_is_not_followed_again(catalog):
    told = walk(catalog, Thing("pair", "pair1"), "up", depth=3, most=9)
    prompts = [entry for entry in _all(told, "up") if (entry["kind"], entry["id"]) == ("prompt", "p1")]
    assert sorted(entry["repeated"] for entry in prompts) == [False, True]


def _all(node, way):
    return [node, *(below for entry in node[way] for below in _all(entry, way))]


def test_prompts_and_examples_name_the_files_and_models_they_were_made_with(tmp_path):
    home = Home(tmp_path / "home")
    home.settle()
    maker = Maker(home, "a text")
    maker.make()
    read = Provenance(file_digests={"prompts": "f1", "benchmark.ifeval": "f2"}, model_digests={"evolver": "old"})
    maker.put("more_prompts", read, prompts=[Prompt("p9", "nine", source="evolved", seed_prompt="eight")])
    taught = RefinerExample("e9", "judgement", "teacher", (Message("user", "q"), Message("assistant", "a")))
    maker.put("warm_start", Provenance(model_digests={"teacher": "elsewhere"}), refiner_examples=[taught])
    with open_catalog(home) as opened:
        prompt = neighbours(opened, Thing("prompt", "p9"), "up").things
        example = neighbours(opened, Thing("example", "e9"), "up").things
    assert prompt == [
        Thing("model", "actor/1", "asked as evolver"),
        Thing("model", "refiner/1", "asked as evolver"),
        Thing("file", "f1", "read as prompts"),
        Thing("source", "evolved", "split train, made from: eight"),
    ]
    assert example == [Thing("weights", "elsewhere", "asked as teacher")]


def test_an_unknown_reference_says_what_ids_look_like(home, capsys):
    assert invoke(["lineage", "feedfeed", "--home", str(home.root)]) == 1
    assert "models are named actor/3" in capsys.readouterr().err

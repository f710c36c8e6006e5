"""Trees by what a checker says of their failing answer and of what they accepted."""

import re
from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from flows.view.app import make_app
from flows.view.reader import Reader
from flows.view.tree_truth import Progress, TreeTruth, TreeVerdicts
from spar_core.records import Constraint, Prompt, Tree
from tests.flows.view.made_home import RUN, Maker, _node, made_home

_NO_COMMA = (Constraint("punctuation:no_comma"),)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Five trees: fooled (t1), mended, in vain, of a prompt without constraints, and one that measures."""
    home = made_home(tmp_path_factory.mktemp("truth") / "home", "a, b")
    maker = Maker(home, "a text")
    prompts = [Prompt("p2", "ruled", _NO_COMMA), Prompt("p3", "free")]
    texts = {"mended": ("p2", "x, y", "x y"), "vain": ("p2", "x, y", None), "free": ("p3", "x, y", "x y")}
    maker.put("prompts2", prompts=prompts)
    maker.put("trees2", **_searched("", texts))
    maker.put(
        "measured", eval_prompts=[Prompt("q2", "ruled", _NO_COMMA)], **_searched("eval_", {"q": ("q2", "z", "y, z")})
    )
    maker.ledger.close_run(RUN, "completed", "")
    return home


def _searched(prefix, texts):
    trees, nodes = [], []
    for name, (prompt, root, accepted) in texts.items():
        trees.append(Tree(name, prompt, f"{name}-root", "bfs", "done", 1, accepted and f"{name}-new", 1.0))
        found = [_node(f"{name}-root", None, 0, 0, root, "")]
        if accepted:
            found.append(_node(f"{name}-new", f"{name}-root", 1, 1, accepted, "", accepted=True, value=1.0))
        nodes += [replace(node, tree_id=name) for node in found]
    return {f"{prefix}trees": trees, f"{prefix}tree_nodes": nodes}


def test_every_tree_is_checked_once(home):
    reader = Reader(home)
    truth = TreeTruth(reader)
    try:
        assert truth.progress().total == 5
        truth.wait()
        assert truth.progress() == Progress(5, 5)
        assert truth.verdicts("trees-key", "t1") == TreeVerdicts("wrong", "wrong")
        assert truth.verdicts("trees2-key", "mended") == TreeVerdicts("wrong", "right")
        assert truth.verdicts("trees2-key", "vain") == TreeVerdicts("wrong", None)
        assert truth.verdicts("trees2-key", "free") == TreeVerdicts("unknown", "unknown")
        assert truth.verdicts("measured-key", "q") == TreeVerdicts("right", "wrong")
        assert truth.keys("root", "right") == ["measured-key/q"]
    finally:
        truth.close()
        reader.close()


def test_the_list_is_filtered_by_truth_and_neighbours_keep_to_it(home):
    with TestClient(make_app(home), base_url="http://127.0.0.1") as client:
        client.get("/trees")
        client.app.state.view.truth.wait()
        listed = {query: _trees(client.get(f"/trees?{query}").text) for query in ("", "root=wrong", "root=unknown")}
        assert listed == {
            "": {"t1", "mended", "vain", "free", "q"},
            "root=wrong": {"t1", "mended", "vain"},
            "root=unknown": {"free"},
        }
        assert _trees(client.get("/trees?root=wrong&text=right").text) == {"mended"}
        assert _trees(client.get("/trees?text=wrong&of=evaluation").text) == {"q"}
        assert "not known" in client.get("/trees?root=unknown").text.split("<tbody>")[1]
        assert "next tree" not in client.get("/trees/mended?root=wrong&text=right").text
        assert "next tree" in client.get("/trees/t1?root=wrong").text + client.get("/trees/vain?root=wrong").text


def test_a_list_says_how_far_the_checker_has_come(home, monkeypatch):
    monkeypatch.setattr(TreeTruth, "_check", lambda _: None)
    with TestClient(make_app(home), base_url="http://127.0.0.1") as client:
        page = client.get("/trees").text
    assert "come to 0 of 5 trees" in page
    assert "being checked" in page


def _trees(page):
    return set(re.findall(r'href="/trees/([\w-]+)', page))

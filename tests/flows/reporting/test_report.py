"""The report of a run: what is in the file, which trees it shows, and that it holds hostile text and much of it."""

import base64
import hashlib
import json
import re
from contextlib import closing
from html.parser import HTMLParser

import pytest

from flows.cli import invoke
from flows.reporting.chosen import chosen_trees
from flows.reporting.page import MOST_BYTES, report_of_run
from flows.view.reader import Reader
from spar_core.records import EvalScore
from storage.addresses import view_page
from storage.ledger import Ledger
from tests.flows.reporting.grown_home import RUN as GROWN
from tests.flows.reporting.grown_home import Grown, grown_home
from tests.flows.view.made_home import RUN, made_home

_RIGHT = Grown("right-1", ("a, b", "a and b"), True, 1)
_WRONG = Grown("wrong-1", ("a, b", "a, c"), True, 1)
_DEEP = Grown("deep-1", ("a, b", "a, c", "a, d", "a and d"), True, 3)
_VAIN = Grown("vain-1", ("a, b", "a, c"), False, 9)
_VAINER = Grown("vain-2", ("a, b", "a, c"), False, 12)


class _Parsed(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.metas: dict[str, str] = {}

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        known = dict(attrs)
        self.attributes |= known.keys()
        self.anchors |= {known["id"]} if "id" in known else set()
        self.links += [known["href"]] if "href" in known else []
        if tag == "meta" and "http-equiv" in known:
            self.metas[known["http-equiv"]] = known["content"]


def _report(home, run_id):
    with closing(Reader(home)) as reader:
        return report_of_run(reader, run_id)


def _parsed(html):
    parsed = _Parsed()
    parsed.feed(html)
    return parsed


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    home = made_home(tmp_path_factory.mktemp("hostile") / "home")
    return home, _report(home, RUN)


def test_what_models_wrote_is_text(hostile):
    home, page = hostile
    parsed = _parsed(page.html)
    assert parsed.tags.count("script") == 1
    assert not {"img", "iframe", "object", "base", "link", "form"} & set(parsed.tags)
    assert not [name for name in parsed.attributes if name.startswith("on") or name in ("style", "src")]
    assert all(link.startswith(("#", view_page(home, "/"))) for link in parsed.links)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.html
    assert "{{ 7 * 7 }}" in page.html
    page.html.encode()  # half a character would not be


def test_the_file_allows_its_own_style_and_script_alone(hostile):
    _, page = hostile
    policy = _parsed(page.html).metas["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        (inside,) = re.findall(f"<{tag}>(.*?)</{tag}>", page.html, re.DOTALL)
        named = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{named}'" in policy


def test_every_place_of_the_file_that_is_linked_is_there(hostile):
    _, page = hostile
    parsed = _parsed(page.html)
    inside = {link[1:] for link in parsed.links if link.startswith("#")}
    assert {"tree-0", "tree-0-0", "tree-0-1", "tree-0-2"} <= inside
    assert inside <= parsed.anchors


def test_it_says_scores_why_the_gate_promoted_and_what_was_made(hostile):
    _, page = hostile
    text = re.sub(r"<[^>]+>", " ", page.html)
    assert re.search(r"right answers, held-out prompts %\s+(75\.0\s+\[65\.0, 85\.0\]|25\.0\s+\[15\.0, 35\.0\])", text)
    assert re.search(r"promoted\s+actor/2 , iteration 1: ", text)
    assert re.search(r"pairs\s+1\s+examples\s+1\s", text)
    assert re.search(r"answers\s+2\s+called failing\s+1\s+trees\s+1\s+mended\s+1\s", text)


def test_links_in_spar_view_stay_in_it(hostile):
    home, _ = hostile
    with closing(Reader(home)) as reader:
        inside = report_of_run(reader, RUN, view="").html
    assert all(link.startswith(("#", "/")) for link in _parsed(inside).links)


def test_trees_of_every_kind_are_chosen_by_the_rule(tmp_path):
    """By md5: wrong-2 12..., right-1 1f..., wrong-1 35..., right-2 9d..., deep-1 9f..."""
    others = [_RIGHT._replace(name="right-2"), _WRONG._replace(name="wrong-2")]
    home = grown_home(tmp_path / "home", [*others, _VAIN, _WRONG, _RIGHT, _DEEP, _VAINER])
    with closing(Reader(home)) as reader:
        one = [(tree.kind, tree.found.tree["tree_id"]) for tree in chosen_trees(reader, [GROWN], each=1)]
        all_of_them = {tree.found.tree["tree_id"]: tree for tree in chosen_trees(reader, [GROWN], each=3)}
        of_no_run = chosen_trees(reader, ["another"])
    assert one == [("mended", "right-1"), ("fooled", "wrong-2"), ("deep", "deep-1"), ("in vain", "vain-2")]
    assert all_of_them.keys() == {"right-1", "right-2", "wrong-1", "wrong-2", "deep-1", "vain-1", "vain-2"}
    assert all_of_them["wrong-1"].facts["wrong-1-1"]["right"] is False
    assert of_no_run == []


def test_long_texts_are_cut_and_judged_whole(tmp_path):
    home = grown_home(tmp_path / "home", [Grown("long", ("a", "b" * 5000 + ", c"), True, 1)])
    with closing(Reader(home)) as reader:
        (tree,) = chosen_trees(reader, [GROWN])
    node = tree.found.nodes[1]
    assert node["response"].startswith("b" * 3000 + "\n[… 2,003 further characters")
    assert tree.kind == "fooled"  # its comma lies in the part that is not shown
    assert tree.facts[node["node_id"]]["right"] is False


def test_trees_that_have_no_room_are_left_out_and_said(tmp_path):
    texts = tuple(f"{number} " + "word " * 2000 for number in range(100))
    trees = [Grown(f"big-{number}", texts, True, 99) for number in range(4)]
    page = _report(grown_home(tmp_path / "home", trees), GROWN)
    assert len(page.html.encode()) <= MOST_BYTES
    assert (page.trees, page.trees_chosen) == (1, 4)
    assert "3 of 4 had no room in this file" in page.html
    assert len(re.findall('<details class="item tree">', page.html)) == 1


def test_a_run_of_nothing_has_a_page(tmp_path):
    home = grown_home(tmp_path / "home", [])
    Ledger(home).open_run("empty", {})
    page = _report(home, "empty")
    assert "Nothing was measured." in page.html
    assert "No tree was searched." in page.html


def test_scores_that_a_run_measured_itself_are_shown_levels_as_levels(tmp_path):
    scores = [
        EvalScore("ifeval", "actor", "d", "prompt_strict", 0.5, 0.4, 0.6, 40),
        EvalScore("followbench", "actor", "d", "csl", 2.5, 2.0, 3.0, 20),
    ]
    text = re.sub(r"<[^>]+>", " ", _report(grown_home(tmp_path / "home", [], scores=scores), GROWN).html)
    assert re.search(r"ifeval\s+prompt_strict\s+50\.00\s+\[40\.00, 60\.00\]\s+40\s", text)
    assert re.search(r"followbench\s+csl\s+2\.50\s+\[2\.00, 3\.00\]\s+20\s", text)
    assert "Nothing was measured." not in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["nothing"], "no run 'nothing' in"), (["e-1"], "`spar experiment FILE --report-only` writes them")],
)
def test_what_is_not_there_is_said(tmp_path, capsys, arguments, said):
    home = grown_home(tmp_path / "home", [])
    Ledger(home).open_run("e-1", {"experiment": {}, "runs": []})
    assert invoke(["report", *arguments, "--home", str(home.root), "--out", str(tmp_path / "x.html")]) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "x.html").exists()


def test_the_command_writes_the_latest_run(tmp_path, capsys, monkeypatch):
    home = grown_home(tmp_path / "home", [_RIGHT])
    monkeypatch.chdir(tmp_path)
    assert invoke(["report", "--home", str(home.root)]) == 0
    assert "1 trees" in capsys.readouterr().out
    assert "Prompt of right-1" in (tmp_path / f"{GROWN}.html").read_text(encoding="utf-8")


def test_results_that_cannot_be_read_are_said(tmp_path, capsys):
    home = grown_home(tmp_path / "home", [])
    results = home.root / "experiments" / "mine" / "results.json"
    results.parent.mkdir(parents=True)
    results.write_text(json.dumps({"title": "no experiment"}))
    assert invoke(["report", "mine", "--home", str(home.root), "--out", str(tmp_path / "x.html")]) == 1
    assert "results.json cannot be read" in capsys.readouterr().err

"""Every page over a home in which every text is hostile: shown as text, linked with one another."""

from html.parser import HTMLParser

import pytest
from starlette.testclient import TestClient

from flows.view.app import make_app
from tests.flows.view.made_home import RUN, made_home

_HERE = "http://127.0.0.1"
_START = "/"  # the list of runs
_PAGES = {
    "/runs": "run-1",
    f"/runs/{RUN}": "right answers",
    f"/runs/{RUN}/1": "refiner_data",
    "/trees": "t1",
    "/trees/t1": "accepted",
    "/trees/t1?node=r1": "Decided by a rule, no votes asked",
    "/trees/t1?node=n2": "This rewrite could not be used",
    "/trees/t1?node=n3-node": "12 by the rewrite, 9 by the votes",
    "/prompts": "p1",
    "/prompts/p1": "1 votes on an equal answer",
    "/prompts/q1": "Answers when models were measured",
    "/pairs": "pair1",
    "/pairs/pair1": "From rejected to chosen",
    "/examples": "e1",
    "/examples/e1": "The node of its tree",
    "/drops": "over_cap",
    "/evaluation": "75.0",
    "/evaluation/self_play": "1 items became better",
    "/evaluation/self_play/q1": "100",
    "/evaluation/followbench/level%2F1": "100",
    "/models": "actor/2",
    "/models/actor/2": "1 rows of preference_pairs",
    "/models/refiner/2": "1 rows of refiner_examples",
}


class _Markup(HTMLParser):
    """Tags and attributes of a page that the package's own templates never write."""

    def __init__(self) -> None:
        super().__init__()
        self.foreign: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag, attrs):
        known = dict(attrs)
        if tag in ("img", "iframe", "object", "base") or (tag == "script" and known.get("src") != "/static/view.js"):
            self.foreign.append(tag)
        self.foreign += [name for name in known if name.startswith("on") or name == "style"]
        link = known.get("href") or ""
        if tag == "a":
            self.links.append(link)
        if link and not link.startswith(("/", "#", "?", "data:,")):
            self.foreign.append(link)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    return TestClient(make_app(made_home(tmp_path_factory.mktemp("home") / "home")), base_url=_HERE)


def _markup(text):
    parser = _Markup()
    parser.feed(text)
    return parser


@pytest.mark.parametrize("page", _PAGES)
def test_what_models_wrote_is_text_on_every_page(client, page):
    answer = client.get(page)
    assert answer.status_code == 200
    assert _PAGES[page] in answer.text
    assert _markup(answer.text).foreign == []
    assert "<script>alert" not in answer.text


def test_a_report_is_made_under_its_own_policy(client):
    answer = client.get(f"/runs/{RUN}/report")
    assert "Did it get better?" in answer.text
    policy = answer.headers["Content-Security-Policy"]
    assert "style-src 'sha256-" in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert client.get("/runs/nobody/report").status_code == 404


def test_hostile_text_is_there_to_be_read(client):
    shown = client.get("/prompts/p1").text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown
    assert "{{ 7 * 7 }}" in shown


def test_every_link_leads_to_a_page(client):
    seen, waiting = set(), [_START]
    while waiting:
        page = waiting.pop()
        answer = client.get(page)
        assert answer.status_code == 200, page
        for link in _markup(answer.text).links:
            target = link.partition("#")[0]
            if target.startswith("/") and target not in seen:
                seen.add(target)
                waiting.append(target)
    assert {place.partition("?")[0] for place in _PAGES} <= {place.partition("?")[0] for place in seen}


def test_a_walk_from_the_run_to_what_a_model_learned_and_back(client):
    """Run -> iteration -> trees -> tree -> pair -> model -> pair -> prompt -> model."""
    walk = [
        (f"/runs/{RUN}", f"/runs/{RUN}/1"),
        (f"/runs/{RUN}/1", f"/trees?run={RUN}&iteration=1&of=training"),
        ("/trees", "/trees/t1"),
        ("/trees/t1", "/pairs/pair1"),
        ("/pairs/pair1", "/models/actor/2"),
        ("/models/actor/2", "/pairs/pair1"),
        ("/pairs/pair1", "/prompts/p1"),
        ("/prompts/p1", "/models/actor/2"),
        ("/models/actor/2", "/models/actor/1"),
        ("/prompts/p1", "/models/refiner/2"),
    ]
    for page, link in walk:
        assert link in _markup(client.get(page).text).links, (page, link)


@pytest.mark.parametrize(
    ("query", "there"),
    [
        ("outcome=changed", True),
        ("outcome=kept", False),
        ("outcome=' OR 1=1 --", False),
        ("stop=accepted&depth=1&kind=punctuation:no_comma", True),
        ("stop=budget", False),
        ("q=<script>alert", True),
        ("q=100%25", False),  # a percent sign is looked for, not any text
        ("of=evaluation", False),
        ("page=99999999999&sort=nonsense", True),
    ],
)
def test_trees_are_filtered(client, query, there):
    assert ("/trees/t1" in client.get(f"/trees?{query}").text) is there


def test_a_node_is_shown_against_its_parent(client):
    shown = client.get("/trees/t1?node=n3-node").text
    assert "<ins>better </ins>" in shown


def test_the_checker_speaks_of_answers_it_knows(client):
    assert "checker: " in client.get("/prompts/p1").text


@pytest.mark.parametrize(
    "page",
    [
        "/runs/none",
        f"/runs/{RUN}/7",
        "/trees/none",
        "/prompts/none",
        "/pairs/none",
        "/examples/none",
        "/evaluation/none",
        "/evaluation/self_play/none",
        "/models/actor/9",
        "/models/king/1",
        "/models/actor/x",
    ],
)
def test_what_is_not_there_is_a_page_that_says_so(client, page):
    assert client.get(page).status_code == 404


def test_a_long_text_is_cut_in_lists_and_whole_on_its_page(tmp_path):
    long = "word " * 200_000
    client = TestClient(make_app(made_home(tmp_path / "home", long)), base_url=_HERE)
    for page in ("/prompts", "/pairs", "/examples", "/drops", "/trees", "/models"):
        assert len(client.get(page).text) < 60_000, page
    assert client.get("/pairs/pair1").text.count("word") > 190_000


def test_pairs_say_which_text_was_cut_and_are_found_by_it(client):
    page = client.get("/pairs/pair1").text
    headings = {text: page.partition(f"<h3>{text}")[2].partition("</h3>")[0] for text in ("Chosen", "Rejected")}
    assert headings["Chosen"] == ""
    assert "cut" in headings["Rejected"]
    found = {value: client.get(f"/pairs?cut={value}").text for value in ("rejected", "chosen", "none")}
    assert ["/pairs/pair1" in text for text in found.values()] == [True, False, False]
    assert "/pairs/judged" in found["none"]

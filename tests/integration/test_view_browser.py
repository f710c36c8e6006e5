"""A person with mouse and keyboard in `spar view`: from a run to a node, a vote, a model, and back to the prompt."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn

from flows.view.app import make_app
from spar_core.ports import free_port
from tests.flows.view.made_home import HOSTILE, RUN, made_home
from tests.integration.test_browser import browser, page, shown  # noqa: F401 - `browser` is a fixture

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def address(tmp_path) -> Iterator[str]:
    port = free_port()
    home = made_home(tmp_path / "home", HOSTILE)
    server = uvicorn.Server(uvicorn.Config(make_app(home), port=port, log_level="warning"))
    serving = threading.Thread(target=server.run)
    serving.start()
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    serving.join(20)


def follow(browser: Any, text: str) -> None:  # noqa: F811
    browser.find_element("link text", text).click()


def test_the_walk_by_mouse(browser: Any, address: str, tmp_path) -> None:  # noqa: F811
    browser.get(address)
    follow(browser, RUN)
    follow(browser, "iteration 1")
    shown(browser, "refiner_data", tmp_path)
    browser.find_element("css selector", "ol.loop a[href^='/trees']").click()
    follow(browser, "t1")
    shown(browser, "Rewrite 2", tmp_path)
    browser.find_element("css selector", "svg.tree [data-node='n2']").click()
    shown(browser, "This rewrite could not be used", tmp_path)
    browser.find_element("css selector", "svg.tree [data-node='n3-node']").click()
    assert [piece.text.strip() for piece in browser.find_elements("css selector", ".against-parent ins")] == ["better"]
    shown(browser, "vote 1", tmp_path)
    follow(browser, "the pair made of it")
    follow(browser, "actor/2")
    shown(browser, "1 rows of preference_pairs", tmp_path)
    follow(browser, "pair1")
    follow(browser, "The prompt with all its answers")
    shown(browser, "Learned by: actor/2", tmp_path)
    assert "alert(1)" in page(browser)  # as text: nothing a model wrote was run
    loud = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert loud == []


def test_the_walk_by_keyboard(browser: Any, address: str, tmp_path) -> None:  # noqa: F811
    browser.get(address)

    def press(*keys: str) -> None:
        for key in keys:
            browser.switch_to.active_element.send_keys(key)

    press("g", "t")
    shown(browser, "Search trees", tmp_path)
    press("j", "\n")
    shown(browser, "Rewrite 2", tmp_path)
    press("u")
    shown(browser, "Search trees", tmp_path)
    press("?")
    shown(browser, "next and previous row", tmp_path)
    press("\ue00c")  # escape closes it
    before = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    press("t")
    assert browser.execute_script("return getComputedStyle(document.body).backgroundColor") != before
    press("/")
    assert browser.switch_to.active_element.get_attribute("type") == "search"

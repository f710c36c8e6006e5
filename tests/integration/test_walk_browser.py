"""A person with a mouse who starts in MLflow or in Prefect, and by links alone stands before a search tree."""

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from storage.ledger import Ledger
from storage.other_pages import OtherPages, run_pages
from tests.integration.command_line import ROOT, environment
from tests.integration.conftest import SmokeRun
from tests.integration.test_browser import browser, click, page, shown  # noqa: F401 - `browser` is a fixture

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]
_STARTS_S = 240
_LOADS_S = 90
"""MLflow's and Prefect's pages are large; on a busy machine they take their time."""


@pytest.fixture(scope="module")
def interfaces(smoke_run: SmokeRun, tmp_path_factory) -> Iterator[OtherPages]:
    """`spar ui` on the home of a finished run: what the run's pages are in MLflow and Prefect."""
    log = tmp_path_factory.mktemp("ui") / "ui.log"
    command = [sys.executable, "-m", "flows", "ui", "--home", str(smoke_run.home.root)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + _STARTS_S
        while "View" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.5)
        yield run_pages(smoke_run.home, smoke_run.run_id)
    finally:
        process.terminate()
        process.wait(60)


def follow(browser: Any, selector: str) -> None:  # noqa: F811
    """Click the first link of a selector as soon as it is there; a page of its own is gone on with."""
    deadline = time.monotonic() + _LOADS_S
    while not (found := [link for link in browser.find_elements("css selector", selector) if link.is_displayed()]):
        assert time.monotonic() < deadline, f"no {selector}: {page(browser)[:2000]}"
        time.sleep(0.5)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", found[0])
    found[0].click()
    browser.switch_to.window(browser.window_handles[-1])


def before_a_tree(browser: Any, tmp_path) -> None:  # noqa: F811
    shown(browser, "Checker, constraint by constraint", tmp_path)
    nodes = browser.find_elements("css selector", "svg.tree a")
    assert len(nodes) > 1
    assert browser.find_elements("css selector", "#node .tabs")


def test_from_a_model_in_mlflow_to_the_tree_it_learned_from(browser, interfaces, tmp_path):  # noqa: F811
    browser.get(f"{interfaces.mlflow.partition('#')[0]}#/models/actor/versions/2")
    follow(browser, "a[href$='/models/actor/2']:not([href*='#'])")
    shown(browser, "What it learned from", tmp_path)
    follow(browser, "a.id[href^='/pairs/']")
    follow(browser, "a[href^='/trees/']")
    before_a_tree(browser, tmp_path)
    follow(browser, "nav.crumbs a[href^='/runs/'][href$='/1']")
    follow(browser, f"a[href^='{interfaces.mlflow.partition('#')[0]}']")  # and back again
    follow(browser, "a[href$='report.html']")
    shown(browser, "report.html", tmp_path)


def test_from_a_run_in_mlflow_to_a_tree_in_its_report(browser, interfaces, tmp_path):  # noqa: F811
    browser.get(interfaces.mlflow)
    follow(browser, "a[href$='/artifacts/report.html']")
    deadline = time.monotonic() + _LOADS_S
    while not browser.find_elements("css selector", "iframe"):
        assert time.monotonic() < deadline, page(browser)[:2000]
        time.sleep(0.5)
    browser.switch_to.frame(browser.find_element("css selector", "iframe"))
    shown(browser, "Did it get better?", tmp_path)
    tree = browser.find_element("css selector", "a[href='#tree-0']")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", tree)
    tree.click()
    shown(browser, "Checker, constraint by constraint", tmp_path)
    root = browser.find_element("css selector", "#tree-0 svg.tree a")
    root.click()
    assert browser.find_element("css selector", "#tree-0-0").is_displayed()
    assert "The failing answer" in browser.find_element("css selector", "#tree-0-0 h2").text


def test_from_an_iteration_in_prefect_to_a_tree_and_back(browser, interfaces, smoke_run, tmp_path):  # noqa: F811
    start = Ledger(smoke_run.home).start(smoke_run.run_id, 1)
    address = f"{interfaces.prefect.rpartition('/')[0]}/{start.flow_run}"
    browser.get(address)
    click(browser, "Artifacts")
    shown(browser, f"view-{smoke_run.run_id}-1", tmp_path)
    click(browser, f"view-{smoke_run.run_id}-1")
    click(browser, "Look into it")
    browser.switch_to.window(browser.window_handles[-1])
    shown(browser, f"Iteration 1 of {smoke_run.run_id}", tmp_path)
    assert browser.find_elements("css selector", f"a[href='{address}']")  # and back again
    follow(browser, "ol.loop a[href^='/trees']")
    follow(browser, "table.rows a[href^='/trees/']")
    before_a_tree(browser, tmp_path)


def test_from_an_iteration_in_prefect_to_the_report(browser, interfaces, smoke_run, tmp_path):  # noqa: F811
    start = Ledger(smoke_run.home).start(smoke_run.run_id, 1)
    browser.get(f"{interfaces.prefect.rpartition('/')[0]}/{start.flow_run}")
    click(browser, "Artifacts")
    shown(browser, f"report-{smoke_run.run_id}-1", tmp_path)
    click(browser, f"report-{smoke_run.run_id}-1")
    click(browser, "Report")
    browser.switch_to.window(browser.window_handles[-1])
    shown(browser, "Did it get better?", tmp_path)
    assert browser.current_url.endswith(f"/runs/{smoke_run.run_id}/report")
    follow(browser, "a[href='#tree-0']")
    assert browser.find_element("css selector", "#tree-0").is_displayed()
    loud = [entry for entry in browser.get_log("browser") if "Content Security Policy" in entry["message"]]
    assert loud == []

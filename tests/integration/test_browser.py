"""What an operator does with the mouse: cancel a night in Prefect's UI, look at it, have it retried."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.home import Home
from storage.ledger import Ledger
from tests.integration.deployments import completed, flow_run, reached, triggered
from tests.integration.test_nights import SCRIPTED, of_home, questions_begin

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]
WAIT_S = 40


@pytest.fixture
def browser() -> Iterator[Any]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no Chromium; on Debian: apt-get install chromium chromium-driver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument("--window-size=1500,1400")
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield opened
    opened.quit()


def shown(browser: Any, text: str, folder: Path) -> None:
    deadline = time.monotonic() + WAIT_S
    while text not in page(browser):
        if time.monotonic() > deadline:
            browser.save_screenshot(str(folder / "missing.png"))
            raise AssertionError(f"{text!r} is not on the page (see {folder}/missing.png): {page(browser)[:2000]}")
        time.sleep(0.5)


def page(browser: Any) -> str:
    return str(browser.find_element("tag name", "body").text)


def click(browser: Any, text: str, least: int = 1) -> None:
    """Click the last of at least so many elements that can be clicked and say exactly this."""
    deadline = time.monotonic() + WAIT_S
    path = f"//*[normalize-space()='{text}' and not(*[normalize-space()='{text}'])]"
    while True:
        found = [entry for entry in browser.find_elements("xpath", path) if entry.is_displayed() and entry.is_enabled()]
        if len(found) >= least:
            found[-1].click()
            return
        assert time.monotonic() < deadline, f"nothing says {text!r}: {page(browser)[:2000]}"
        time.sleep(0.5)


def under_way_again(night: Any) -> None:
    """The click is a request of the page's own: until it is through the run is as it was, cancelled."""
    deadline = time.monotonic() + WAIT_S
    while (state := flow_run(night).state) is not None and state.is_cancelled():
        assert time.monotonic() < deadline, f"{night.name} was not retried"
        time.sleep(0.2)


def test_a_night_is_cancelled_and_retried_from_the_page_of_its_flow_run(browser, prefect_server, worker, tmp_path):
    home = Home(tmp_path / "home")
    (worker.parent / "asked.log").unlink(missing_ok=True)
    night = triggered("iteration/iteration", of_home(home, SCRIPTED))
    questions_begin(worker, 20)
    browser.get(f"{prefect_server.removesuffix('/api')}/runs/flow-run/{night.id}")
    shown(browser, "Running", tmp_path)

    click(browser, "Cancel")
    click(browser, "Confirm")
    reached(night, lambda state: state.is_cancelled(), worker, 90)
    browser.refresh()
    shown(browser, "Cancelled", tmp_path)
    (run,) = Ledger(home).runs()
    assert run.state == "interrupted"

    click(browser, "Retry")
    click(browser, "Retry", least=2)  # the dialog's
    under_way_again(night)
    completed(night, worker)
    browser.refresh()
    shown(browser, "Completed", tmp_path)
    shown(browser, "prompts, iteration 1: 20 rows in, 20 out", tmp_path)
    browser.save_screenshot(str(tmp_path / "logs.png"))
    click(browser, "Artifacts")
    shown(browser, f"stages-{run.run_id}-1", tmp_path)
    browser.save_screenshot(str(tmp_path / "artifacts.png"))
    (run,) = Ledger(home).runs()
    assert run.state == "completed"

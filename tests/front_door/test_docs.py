"""``/docs`` in a real browser: it draws, and an example that it sends is answered."""

from __future__ import annotations

import json
import shutil
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support import expected_conditions as expected
from selenium.webdriver.support.wait import WebDriverWait

from .conftest import PATIENCE_SECONDS, Start

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromium-driver")


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    """A browser without a window, which keeps what its console says."""
    options = Options()
    options.binary_location = CHROMIUM or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1300,1600"):
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={tmp_path}/profile")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield browser
    browser.quit()


def find(browser: webdriver.Chrome, selector: str) -> WebElement:
    """What can be clicked, once it is there."""
    wanted = expected.element_to_be_clickable((By.CSS_SELECTOR, selector))
    return WebDriverWait(browser, PATIENCE_SECONDS).until(wanted)


def register(url: str) -> str:
    body = urllib.parse.urlencode({"processor_key": "a-processor-key"}).encode()
    with urllib.request.urlopen(f"{url}/v1/companies", body) as answer:
        key: str = json.load(answer)["api_key"]
    return key


def test_an_example_is_sent_from_the_page_and_the_page_breaks_no_rule_of_its_own(
    browser: webdriver.Chrome, start: Start, development_ini: Path, port: int
) -> None:
    start("billy.scripts", "serve", development_ini, "--every", "60s").wait_for("curl ")
    url = f"http://127.0.0.1:{port}"

    browser.get(f"{url}/docs")
    find(browser, ".btn.authorize").click()
    find(browser, "#auth-basic-username").send_keys(register(url))
    find(browser, ".auth-container .authorize").click()
    find(browser, ".auth-container .btn-done").click()
    find(browser, "#operations-plan-create_plan .opblock-summary-control").click()
    find(browser, "#operations-plan-create_plan .execute").click()

    answer = find(browser, "#operations-plan-create_plan .live-responses-table tr.response .response-col_status")
    assert answer.text.startswith("200")
    told = [entry["message"] for entry in browser.get_log("browser") if entry["level"] in ("WARNING", "SEVERE")]
    assert told == [], "no policy was broken, nothing was missing"

"""Headless Chromium, for tests that look at a page as a person does."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from selenium import webdriver


@contextlib.contextmanager
def chromium(profile: Path, *flags: str) -> Iterator["webdriver.Chrome"]:
    """A browser with an empty profile that keeps what pages log; skips the test without one."""
    browser, driver = map(shutil.which, ("chromium", "chromedriver"))
    if not (browser and driver):
        pytest.skip("no chromium with its chromedriver on this machine")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        f"user-data-dir={profile}",
        *flags,
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield started
    finally:
        started.quit()

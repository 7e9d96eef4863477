"""Reports of hostile names in a real browser: nothing in them may run."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """Open a file in headless Chromium; return what the page is after its scripts have run."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"no browser found: looked for {', '.join(BROWSERS)}")
    profile = tmp_path_factory.mktemp("profile")

    def open_(path: Path) -> str:
        words = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}",
                 "--virtual-time-budget=2000", "--dump-dom", path.as_uri()]  # fmt: skip
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert len(done.stdout) > 100, done.stderr
        return done.stdout

    return open_


def ran(dom: str) -> bool:
    """Whether the payload of the hostile names set its attribute on the outermost element."""
    root = re.search(r"<(?:html|svg)\b[^>]*>", dom)
    assert root is not None, dom[:500]
    return "data-ran" in root.group()


@pytest.fixture(scope="module")
def unescaped(tmp_path_factory, hostile_names) -> Path:
    """A folder of a page and a figure that do not escape: what they show is that a payload would be seen."""
    folder = tmp_path_factory.mktemp("unescaped")
    for number, name in enumerate(hostile_names[:4]):
        (folder / f"{number}.html").write_text(f"<!DOCTYPE html><title>x</title><style></style><p>{name}{'x' * 100}")
    script = f'<svg xmlns="http://www.w3.org/2000/svg">{hostile_names[0]}<text>{"x" * 100}</text></svg>'
    (folder / "figure.svg").write_text(script)
    return folder


def test_a_payload_that_is_not_escaped_is_seen(opened, unescaped):
    pages = sorted(unescaped.iterdir())
    assert [ran(opened(page)) for page in pages] == [True] * len(pages)


def test_the_report_runs_nothing(opened, hostile_study):
    page = opened(hostile_study / "report" / "index.html")
    assert "data-ran" in page  # as text
    assert not ran(page)


def test_a_figure_opened_alone_runs_nothing(opened, hostile_study):
    figures = sorted((hostile_study / "report" / "figures").glob("*.svg"))
    assert figures
    for figure in figures:
        assert not ran(opened(figure)), figure

"""The Python blocks of README.md and of the documents in docs/ run, page by page."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def code_blocks(page):
    """Find a page's ```python blocks and the line of the page at which each begins."""
    text = page.read_text(encoding="utf-8")
    for match in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        yield text[: match.start(1)].count("\n"), match[1]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    for line, code in code_blocks(page):
        # Blank lines before the code: a traceback then shows the page's own line numbers.
        exec(compile("\n" * line + code, page, "exec"), namespace)


def test_first_line_says_which_snn():
    first = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()[0]
    assert "self-normalizing" in first and "not spiking" in first

"""Blocks of docs/coming_from.md that need another package print what the page shows, if it is there."""

import re
from importlib.util import find_spec

import pytest
from test_readme import DOCS, outputs

PAGE = DOCS / "coming_from.md"
# A plain fence that begins with the import of a package, and the output below it.
PLAIN = re.compile(
    r"^```\n(?P<code>(?:from|import) (?P<package>\w+).*?)^```\n\n```text\n(?P<shown>.*?)^```\n",
    re.DOTALL | re.MULTILINE,
)


def plain_blocks():
    text = PAGE.read_text(encoding="utf-8")
    for match in PLAIN.finditer(text):
        line = text[: match.start("code")].count("\n")
        block = outputs.Block(PAGE, line, match["code"], match["shown"], None, match.span())
        yield pytest.param(match["package"], block, id=match["package"])


def test_both_packages_have_a_block():
    assert [block.id for block in plain_blocks()] == ["keras", "pytabkit"]


@pytest.mark.parametrize(("package", "block"), plain_blocks())
def test_a_block_of_another_package_prints_what_the_page_shows(package, block, monkeypatch):
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    assert not outputs.differences(block, outputs.run_apart(block))

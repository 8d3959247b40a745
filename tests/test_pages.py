"""Pages: blocks that need another package, and what other files say, too (versions, what to cite)."""

import re
from importlib.util import find_spec

import pytest
from test_packaging import PROJECT, pins
from test_readme import DOCS, ROOT, outputs

import sksnn

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


# ---------------------------------------------------------------- versions

# | package (a remark) | 1.2.0 | 1.3.1 |
VERSIONS = re.compile(r"^\| ([\w-]+)[^|]* \| (\d[\d.]+) \| (\d[\d.]+) \|$", re.MULTILINE)


def test_the_tested_versions_are_those_of_the_two_environments():
    shown = VERSIONS.findall((DOCS / "stability.md").read_text(encoding="utf-8"))
    oldest, newest = pins("oldest.txt"), pins("constraints.txt")
    assert {name for name, *_ in shown} == oldest.keys()
    assert shown == [(name, oldest[name], newest[name]) for name, *_ in shown]


def test_the_pythons_are_those_of_the_package():
    pythons = re.findall(r"Python :: (3\.\d+)", " ".join(PROJECT["classifiers"]))
    text = " ".join((DOCS / "stability.md").read_text(encoding="utf-8").split())
    assert f"names {', '.join(pythons[:-1])} and {pythons[-1]}." in text


# ---------------------------------------------------------------- to cite


def test_what_to_cite_is_this_release():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    date = re.search(rf"^## \[{re.escape(sksnn.__version__)}\] - (\S+)$", changelog, re.MULTILINE)[1]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {sksnn.__version__}\n" in citation and f'\ndate-released: "{date}"\n' in citation
    assert f"\nlicense: {PROJECT['license']}\n" in citation
    page = (DOCS / "citing.md").read_text(encoding="utf-8")
    assert f"version = {{{sksnn.__version__}}}" in page and f"date    = {{{date}}}" in page
    for entry in (citation, page):
        assert "Self-Normalizing Neural Networks" in entry and "arXiv:1706.02515" in entry


def test_links_of_contributing_lead_to_files():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    assert targets and all((ROOT / target).exists() for target in targets)

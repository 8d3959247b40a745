"""The page about other packages: each of its blocks runs by itself, where the package is installed."""

import ast

import pytest
from helpers import SKLEARN
from sklearn.utils.fixes import parse_version
from test_readme import outputs


def blocks():
    """Yield the page's blocks, named by their headings."""
    lines = outputs.APART.read_text(encoding="utf-8").splitlines()
    for block in outputs.blocks(outputs.APART):
        heading = next(text[3:] for text in reversed(lines[: block.line]) if text.startswith("## "))
        yield pytest.param(block, id=f"{heading}, line {block.line}")


def imported(code):
    for node in ast.walk(ast.parse(code)):
        names = [node.module] if isinstance(node, ast.ImportFrom) else []
        yield from names + [alias.name for alias in node.names] if isinstance(node, ast.Import) else names


@pytest.mark.skipif(SKLEARN < parse_version("1.8"), reason="other packages want a newer scikit-learn")
@pytest.mark.parametrize("block", blocks())
def test_a_block_runs_and_prints_what_the_page_shows(block, tmp_path):
    for name in {module.split(".")[0] for module in imported(block.code)}:
        pytest.importorskip(name, reason=f"{name} is not installed")
    assert not outputs.differences(block, outputs.run_apart(block, tmp_path))

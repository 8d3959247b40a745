"""The page about other packages: each of its blocks runs by itself, where the package is installed."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import SKLEARN
from sklearn.utils.fixes import parse_version
from test_readme import DOCS, code_blocks

PAGE = DOCS / "works_with.md"


def blocks():
    """Yield the page's blocks, named by their headings."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    for line, code in code_blocks(PAGE):
        heading = next(text[3:] for text in reversed(lines[:line]) if text.startswith("## "))
        yield pytest.param(line, code, id=f"{heading}, line {line}")


def imported(code):
    for node in ast.walk(ast.parse(code)):
        names = [node.module] if isinstance(node, ast.ImportFrom) else []
        yield from names + [alias.name for alias in node.names] if isinstance(node, ast.Import) else names


@pytest.mark.skipif(SKLEARN < parse_version("1.8"), reason="other packages want a newer scikit-learn")
@pytest.mark.parametrize(("line", "code"), blocks())
def test_a_block_runs(line, code, tmp_path):
    for name in {module.split(".")[0] for module in imported(code)}:
        pytest.importorskip(name, reason=f"{name} is not installed")
    root = str(Path(__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    script = tmp_path / "block.py"
    script.write_text("\n" * line + code)
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr

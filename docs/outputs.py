"""What the Python blocks of README.md and of the pages print and draw: compared, and written, here.

``make outputs`` writes it into all pages, ``python docs/outputs.py docs/guide.md`` into one.

A block that prints is followed by a block of text that has its output, a block that draws by a picture
that has its figure. `differences` says where a page is behind; tests/test_readme.py asserts that none is.
"""

import contextlib
import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).parent
ROOT = DOCS.parent
# Its blocks stand for themselves and need other packages: each runs in a process of its own.
APART = DOCS / "works_with.md"

BLOCK = re.compile(
    r"^(?P<whole>```python\n(?P<code>.*?)^```\n(?:\n```text\n(?P<shown>.*?)^```\n)?)"
    r"(?:\n!\[[^\]]*\]\((?P<picture>[^)]*)\))?",
    re.DOTALL | re.MULTILINE,
)
NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?(?!\w)", re.IGNORECASE)
TIME = re.compile(NUMBER.pattern.removesuffix(r"(?!\w)") + r" ?(?:µs|ms|s|min|h)\b", re.IGNORECASE)

# Fits differ between machines in their last digits, and where they stop early by an epoch or so.
RELATIVE = 0.15
ABSOLUTE = 0.05


class Block(NamedTuple):
    """A block of Python, and what the page shows below it."""

    page: Path
    line: int  # of the page, before the code
    code: str
    shown: str | None
    picture: str | None
    span: tuple[int, int]  # in the page's text, with the output, without the picture


def blocks(page):
    """Yield the blocks of Python of a page."""
    text = page.read_text(encoding="utf-8")
    for match in BLOCK.finditer(text):
        line = text[: match.start("code")].count("\n")
        yield Block(page, line, match["code"], match["shown"], match["picture"], match.span("whole"))


def run(page):
    """Run the blocks of a page, one after the other in one namespace; yield each, its output, its figure."""
    namespace = {"__name__": "__main__"}
    close_figures()
    for block in blocks(page):
        # Blank lines before the code: a traceback then shows the page's own line numbers.
        code = compile("\n" * block.line + block.code, page, "exec")
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(code, namespace)
        yield block, printed.getvalue(), close_figures()


def close_figures():
    """Close all figures of pyplot; return the one drawn last, which can still be saved, or None."""
    plt = sys.modules.get("matplotlib.pyplot")  # not imported for pages that draw nothing
    figures = [plt.figure(number) for number in plt.get_fignums()] if plt else []
    if plt:
        plt.close("all")
    return figures[-1] if figures else None


def run_apart(block, folder):
    """Run a block in a process of its own, in a folder; return its output."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    script = Path(folder, "block.py")
    script.write_text("\n" * block.line + block.code, encoding="utf-8")
    command = [sys.executable, script]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise RuntimeError(f"{block.page}, line {block.line}:\n{done.stdout}{done.stderr}")
    return done.stdout


def agree(shown, printed):
    """Say whether two outputs have the same words, and numbers that are close; times may differ."""
    (words, numbers), (other_words, others) = map(_words_and_numbers, (shown, printed))
    return words == other_words and all(
        abs(a - b) <= max(ABSOLUTE, RELATIVE * max(abs(a), abs(b)))
        for a, b in zip(numbers, others, strict=True)
    )


def _words_and_numbers(text):
    """Split an output; blanks do not count, since they depend on the length of numbers."""
    text = TIME.sub("(time)", text)
    return "".join(NUMBER.sub("#", text).split()), [float(number) for number in NUMBER.findall(text)]


def differences(block, printed, figure=None):
    """Return what is wrong with what a page shows below a block: a list of sentences."""
    place = f"{block.page.name}, line {block.line}"
    wrong = []
    if not agree(block.shown or "", printed):
        wrong.append(f"{place}: the block prints\n{printed}and the page shows\n{block.shown or 'nothing'}")
    if figure is not None and block.picture is None:
        wrong.append(f"{place}: the block draws a figure, and no picture follows")
    if figure is not None and block.picture and not (block.page.parent / block.picture).exists():
        wrong.append(f"{place}: the block draws a figure, and there is no {block.picture}")
    return wrong


def write(page):
    """Write into a page what its blocks print, and into its pictures what they draw."""
    text, done, parts = page.read_text(encoding="utf-8"), 0, []
    for block, printed, figure in run_all_apart(page) if page == APART else run(page):
        shown = f"\n```text\n{printed.rstrip()}\n```\n" if printed.strip() else ""
        parts += [text[done : block.span[0]], f"```python\n{block.code}```\n", shown]
        done = block.span[1]
        if figure is not None and block.picture:
            figure.savefig(page.parent / block.picture, dpi=110, bbox_inches="tight")
    page.write_text("".join(parts) + text[done:], encoding="utf-8")


def run_all_apart(page):
    """Run each block of a page in a process of its own; what cannot run here keeps what is shown."""
    for block in blocks(page):
        try:
            printed = run_apart(block, os.curdir)
        except RuntimeError as error:
            print(error, file=sys.stderr)
            printed = block.shown or ""
        yield block, printed, None


def main(names):
    """Write the outputs of some pages, or of all."""
    pages = [Path(name).resolve() for name in names] or [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
    os.environ.setdefault("MPLBACKEND", "Agg")
    for page in pages:
        print(page.relative_to(ROOT))
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            write(page)


if __name__ == "__main__":
    main(sys.argv[1:])

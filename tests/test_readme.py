"""Python blocks of README.md and the site's pages run; the site leaves out no page and no public name."""

import importlib.util
import pkgutil
import re
from pathlib import Path

import pytest

import sksnn
import sksnn.diagnostics

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
GENERATED = {"_build", "api", "gallery"}  # by sphinx
SITE = [page for page in sorted(DOCS.rglob("*.md")) if page.relative_to(DOCS).parts[0] not in GENERATED]
PAGES = [ROOT / "README.md", *SITE]
# What a fence may open besides ```python: directives of the site, and its own end.
OTHER_FENCES = {"", "{toctree}", "{include}"}

# Its blocks need other packages: tests/test_works_with.py runs each by itself.
ELSEWHERE = DOCS / "works_with.md"


def each_of(pages):
    return pytest.mark.parametrize("page", pages, ids=lambda page: page.relative_to(ROOT).as_posix())


every_page = each_of(PAGES)


def code_blocks(page):
    """Find a page's ```python blocks and the line of the page at which each begins."""
    text = page.read_text(encoding="utf-8")
    for match in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        yield text[: match.start(1)].count("\n"), match[1]


@each_of([page for page in PAGES if page != ELSEWHERE])
def test_code_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    for line, code in code_blocks(page):
        # Blank lines before the code: a traceback then shows the page's own line numbers.
        exec(compile("\n" * line + code, page, "exec"), namespace)


@every_page
def test_no_code_is_hidden_from_that_test(page):
    fences = re.findall(r"^ *(?:```|~~~|:::)([^\s`]*)", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(fences) <= OTHER_FENCES | {"python"}
    assert fences.count("python") == len(list(code_blocks(page)))


@every_page
def test_links_lead_to_files(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        generated = page.parent == DOCS and target.split("/")[0] in GENERATED
        assert generated or (page.parent / target).exists(), target


def test_first_line_says_which_snn():
    first = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()[0]
    assert "self-normalizing" in first and "not spiking" in first
    start = (DOCS / "index.md").read_text(encoding="utf-8")
    assert "not spiking" in start.split("\n\n")[1]


# ---------------------------------------------------------------- the site


def toctree_entries(page):
    text = page.read_text(encoding="utf-8")
    for block in re.findall(r"^```\{toctree\}\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        yield from (line for line in block.split() if not line.startswith(":"))


def test_every_page_is_in_the_navigation():
    pages = {page.stem for page in SITE} | {"api/index", "gallery/index"}
    listed = [entry for page in SITE for entry in toctree_entries(page)]
    assert sorted([*listed, "index"]) == sorted(pages)


@pytest.fixture(scope="module")
def api_pages():
    """The module that writes the pages of the API; it needs no sphinx."""
    spec = importlib.util.spec_from_file_location("api_pages", DOCS / "api_pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_public_name_is_in_the_api(api_pages, tmp_path):
    api_pages.write(tmp_path)
    written = "".join(path.read_text(encoding="utf-8") for path in tmp_path.glob("*.rst"))
    directives = re.findall(r"^\.\. (?:auto)?(?:class|function|data):: (\S+)$", written, re.MULTILINE)
    documented = [api_pages.resolve(name) for name in directives]
    for item in pkgutil.iter_modules(sksnn.__path__, "sksnn."):
        if not item.name.startswith("sksnn._"):
            module = importlib.import_module(item.name)
            for name in module.__all__:
                value = getattr(module, name)
                assert f"{item.name}.{name}" in directives or any(value is other for other in documented), (
                    name
                )
    assert {f"sksnn.{name}" for name in sksnn.__all__} <= set(directives)
    assert len(directives) == len(set(directives))


def test_the_api_names_our_methods_and_not_those_we_inherit(api_pages):
    members = api_pages.own_members(sksnn.SNNClassifier)
    assert {"fit", "partial_fit", "predict", "predict_proba", "decision_function", "score"} <= set(members)
    assert not {"get_params", "set_params", "set_fit_request"} & set(members)


def test_the_api_leaves_a_named_tuple_s_fields_to_its_docstring(api_pages):
    members = api_pages.own_members(sksnn.diagnostics.LayerMoments)
    assert members == {"pooled_mean": True, "pooled_variance": True}


def test_stale_api_pages_go(api_pages, tmp_path):
    (tmp_path / "sksnn.gone.rst").write_text("gone")
    api_pages.write(tmp_path)
    assert not (tmp_path / "sksnn.gone.rst").exists()
    index = (tmp_path / "index.rst").read_text()
    assert all(path.stem in index for path in tmp_path.glob("sksnn*.rst"))

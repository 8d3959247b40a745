"""Python blocks of README.md and the site's pages run; the site leaves out no page and no public name."""

import importlib.util
import json
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
OTHER_FENCES = {"", "text", "bibtex", "{toctree}", "{include}"}


def load(name):
    """Import a module of docs/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


outputs = load("outputs")


def each_of(pages):
    return pytest.mark.parametrize("page", pages, ids=lambda page: page.relative_to(ROOT).as_posix())


every_page = each_of(PAGES)


@each_of([page for page in PAGES if page != outputs.APART])  # that one: tests/test_works_with.py
def test_code_blocks_run_and_print_what_the_page_shows(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    wrong = [line for found in outputs.run(page) for line in outputs.differences(*found)]
    assert not wrong, "\n".join([*wrong, "`make outputs` writes the outputs of all pages."])


@every_page
def test_no_code_is_hidden_from_that_test(page):
    fences = re.findall(r"^ *(?:```|~~~|:::)([^\s`]*)", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(fences) <= OTHER_FENCES | {"python"}
    assert fences.count("python") == len(list(outputs.blocks(page)))


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


# ---------------------------------------------------------------- outputs

PAGE = """# A page

```python
value = 0.5 + 0.25
print("value", value)
```
SHOWN
Text.

```python
other = [value]
```
"""


def output(shown):
    return f"\n```text\n{shown}\n```\n"


def page_that_shows(shown):
    return PAGE.replace("SHOWN", output(shown) if shown else "")


def found_in(text, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(text)
    return [line for found in outputs.run(page) for line in outputs.differences(*found)]


def test_a_page_that_shows_what_its_blocks_print_is_right(tmp_path):
    assert not found_in(page_that_shows("value 0.75"), tmp_path)


@pytest.mark.parametrize("shown", ["", "value 0.55", "values 0.75"])
def test_an_output_that_is_missing_or_stale_is_found(shown, tmp_path):
    (line,) = found_in(page_that_shows(shown), tmp_path)
    assert line.startswith("page.md, line 3: the block prints\nvalue 0.75\n")


def test_an_output_below_a_block_that_prints_nothing_is_found(tmp_path):
    text = page_that_shows("value 0.75") + output("0.75")
    (line,) = found_in(text, tmp_path)
    assert line.startswith("page.md, line 14: the block prints\n")


@pytest.mark.usefixtures("plt")
def test_a_figure_needs_a_picture(tmp_path):
    text = "```python\nimport matplotlib.pyplot as plt\n\n_ = plt.plot([0, 1])\n```\n"
    assert found_in(text, tmp_path) == ["page.md, line 1: the block draws a figure, and no picture follows"]
    text += "\n![A line](line.png)\n"
    assert found_in(text, tmp_path) == ["page.md, line 1: the block draws a figure, and there is no line.png"]
    outputs.write(tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text() == text
    assert (tmp_path / "line.png").read_bytes().startswith(b"\x89PNG")
    assert not found_in(text, tmp_path)


def test_a_figure_that_was_open_before_is_not_the_page_s(tmp_path, plt):
    plt.figure()
    assert not found_in(page_that_shows("value 0.75"), tmp_path)
    assert not plt.get_fignums()


def test_writing_a_page_changes_outputs_only(tmp_path):
    page, right = tmp_path / "page.md", page_that_shows("value 0.75")
    for shown in ["", "stale", "value 0.75"]:
        page.write_text(page_that_shows(shown) + output("needless"))
        outputs.write(page)
        assert page.read_text() == right


@pytest.mark.parametrize(
    ("shown", "printed", "agree"),
    [
        ("R² 0.50, 12 rows", "R² 0.45, 13 rows", True),
        ("R² 0.50", "R2 0.50", False),
        ("loss -1.2e+01", "loss -12.5", True),
        ("loss -0.5", "loss 0.5", False),
        ("[[0.9  0.1]\n [1.   0. ]]", "[[0.91 0.09] [0.98 0.02]]", True),
        ("[0.9 0.1]", "[0.9 0.1 0.0]", False),
        ("fitted in 0.21 s", "fitted in 17.3 s", True),
        ("fitted in 0.21 s", "fitted in 0.21 rows", False),
        ("float32", "float64", False),
        ("nan", "0.0", False),
        ("one word", "oneword", True),
    ],
)
def test_outputs_agree_if_words_are_the_same_and_numbers_close(shown, printed, agree):
    assert outputs.agree(shown, printed) == agree


TABLE = """age,income,town,member,buys
31,,Rome,False,False
64,48000,Linz,True,True
"""


def test_the_scripts_about_a_csv_file_run_in_processes_of_their_own(tmp_path):
    (tmp_path / "customers.csv").write_text(TABLE + TABLE.split("\n", 1)[1] * 30)
    scripts = {block.code.split("\n")[0]: block for block in outputs.blocks(DOCS / "tables.md")}
    assert outputs.run_apart(scripts["# train.py"], tmp_path).startswith("accuracy 1.00")
    answer = json.loads(outputs.run_apart(scripts["# serve.py"], tmp_path))
    assert answer["buys"] is True and 0.9 < answer["probability"] <= 1


# ---------------------------------------------------------------- the site


def toctree_entries(page):
    text = page.read_text(encoding="utf-8")
    for block in re.findall(r"^```\{toctree\}\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        yield from (line for line in block.split() if not line.startswith(":"))


def test_every_page_is_in_the_navigation():
    pages = {page.stem for page in SITE} | {"api/index", "gallery/index"}
    listed = [entry for page in SITE for entry in toctree_entries(page)]
    assert sorted([*listed, "index"]) == sorted(pages)


def test_no_page_has_the_name_of_one_that_sphinx_writes():
    assert not {"search", "genindex", "py-modindex"} & {page.stem for page in SITE}


@pytest.fixture(scope="module")
def api_pages():
    """The module that writes the pages of the API; it needs no sphinx."""
    return load("api_pages")


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


def test_every_api_page_is_in_the_navigation_and_has_a_name_of_its_own(api_pages, tmp_path):
    api_pages.write(tmp_path)
    pages = {path.stem: path.read_text(encoding="utf-8") for path in tmp_path.glob("*.rst")}
    assert len({name.lower() for name in pages}) == len(pages)  # for file systems that ignore the case
    trees = re.findall(
        r"^\.\. toctree::\n   :hidden:\n\n((?:   .*\n)+)", "\n".join(pages.values()), re.MULTILINE
    )
    listed = re.findall(r"<(.*)>$", "".join(trees), re.MULTILINE)
    assert sorted([*listed, "index"]) == sorted(pages)


def test_a_class_and_a_function_have_pages_with_their_members_and_examples(api_pages, tmp_path):
    api_pages.write(tmp_path)
    page = (tmp_path / "sksnn.SNNClassifier.rst").read_text(encoding="utf-8")
    assert "   .. automethod:: predict_proba\n" in page and ".. minigallery:: sksnn.SNNClassifier\n" in page
    assert ".. autofunction:: sksnn.theory.selu\n" in (tmp_path / "sksnn.theory.selu.rst").read_text()
    assert ".. autodata:: sksnn.theory.LAMBDA_01\n" in (tmp_path / "sksnn.theory.rst").read_text()

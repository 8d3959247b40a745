"""The settings of the site that `make docs` builds."""

import re
import shutil
import sys
import tempfile
from pathlib import Path

from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx.addnodes import pending_xref

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))

import api_pages  # noqa: E402

import sksnn  # noqa: E402

project = "sksnn"
author = "The sksnn developers"
copyright = "the sksnn developers, BSD 3-Clause licence"
version = release = sksnn.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build"]
nitpicky = True
default_role = "autolink"  # `name` in a docstring: a link where it is ours, else emphasis
suppress_warnings = ["config.cache"]  # sphinx-gallery's settings hold functions

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3

html_theme = "pydata_sphinx_theme"
html_title = "sksnn"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_sidebars = {"*": [], "gallery/*": []}
html_theme_options = {
    "logo": {"text": "sksnn"},
    "header_links_before_dropdown": 8,
    "navbar_persistent": ["search-button"],
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
}

# ---------------------------------------------------------------- the API, from the package

autosummary_generate = False
autodoc_default_options = {"member-order": "bysource"}
autodoc_preserve_defaults = True  # ALPHA_01, not its digits
autodoc_typehints = "none"  # docstrings say it, with shapes
add_module_names = False
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False  # api_pages names the members: those that are ours
numpydoc_xref_param_type = False
# What a reader cannot do without; tests/test_house.py compares docstrings with signatures, too.
numpydoc_validation_checks = {
    *("GL06", "GL07", "GL08"),  # sections by known names, in order; a docstring at all
    *("PR01", "PR02", "PR03", "RT01", "YD01"),  # parameters as in the signature; what comes back
    *("SS01", "SS02", "SS03", "SS04"),  # a summary, a sentence
}
# Methods of building blocks, and forward, have a line each: what they share is said in their class.
numpydoc_validation_exclude = {r"^sksnn\.\w+\.[A-Z]\w*\.", r"__version__"}

api_pages.write(DOCS / "api")

# ---------------------------------------------------------------- the gallery
# Examples save a picture to the path they are given, or beside themselves: here to a scratch folder.
# They are copied, with a header, since sphinx-gallery takes any README for one.

STAGE = DOCS / "_build" / "examples"
shutil.rmtree(STAGE, ignore_errors=True)
STAGE.mkdir(parents=True)
for example in sorted((DOCS.parent / "examples").glob("plot_*.py")):
    shutil.copy2(example, STAGE)
(STAGE / "GALLERY_HEADER.rst").write_text(
    "Examples\n========\n\nEach takes less than half a minute on a CPU.\n", encoding="utf-8"
)


def picture_path(gallery_conf, script_vars):
    """Return the arguments an example is run with: where its picture goes."""
    return [str(Path(tempfile.gettempdir()) / Path(script_vars["src_file"]).with_suffix(".png").name)]


# In the order in which one would read them; what is not named here comes last.
GALLERY_ORDER = (
    "quickstart",
    "multitask_missing_labels",
    "encoding",
    "members",
    "choose_architecture",
    "cnn",
    "depth",
    "self_normalization",
    "moment_map",
    "alpha_dropout",
)


def gallery_order(filename):
    """Return the place of an example in the gallery."""
    name = Path(filename).stem.removeprefix("plot_")
    return GALLERY_ORDER.index(name) if name in GALLERY_ORDER else len(GALLERY_ORDER)


sphinx_gallery_conf = {
    "examples_dirs": str(STAGE),
    "gallery_dirs": "gallery",
    "filename_pattern": r"plot_",
    "within_subsection_order": gallery_order,
    "reset_argv": picture_path,
    "abort_on_example_error": False,
    "only_warn_on_example_error": True,
    "download_all_examples": False,
    "show_signature": False,
    "remove_config_comments": True,
    "plot_gallery": True,
}

# ---------------------------------------------------------------- mathematics, without a script


def to_mathml(translator, node, block):
    """Write a formula as MathML, which browsers draw by themselves."""
    # Delimiters of fixed size are not among what docutils translates; these grow by themselves.
    formula = re.sub(r"\\[bB]ig(?![a-z])", "", node.astext())
    try:
        formula = latex2mathml.tex2mathml(formula, as_block=block)
    except MathError as error:
        raise ValueError(f"cannot write as MathML: {formula}") from error
    translator.body.append(f'<div class="formula">{formula}</div>' if block else formula)
    raise nodes.SkipNode


def visit_math(translator, node):
    """Write a formula within a line."""
    to_mathml(translator, node, block=False)


def visit_displaymath(translator, node):
    """Write a formula on a line of its own."""
    to_mathml(translator, node, block=True)


html_math_renderer = "mathml"


def link_inside_the_site(app, docname, source):
    """Lead links that are right in the source tree to the pages they are on here."""
    source[0] = source[0].replace("](../examples/benchmarks/README.md)", "](benchmarks.md)")
    source[0] = source[0].replace("](../CHANGELOG.md)", "](changelog.md)")


def link_public_names(app, doctree):
    """Make `name` on a Markdown page a link to the API, where it is the name of something there."""
    docname = app.env.current_document.docname
    if Path(app.env.doc2path(docname)).suffix != ".md":
        return
    listing = api_pages.listing()
    targets = {name: f"{module}.{name}" for module, names in listing.items() for name in names}
    targets |= {target: target for target in [*targets.values(), *listing]}
    for literal in list(doctree.findall(nodes.literal)):
        target = targets.get(literal.astext().removesuffix("()"))
        if target and not isinstance(literal.parent, nodes.title | nodes.reference | pending_xref):
            link = pending_xref(
                "", refdomain="py", reftype="obj", reftarget=target, refdoc=docname, refexplicit=True
            )
            literal.replace_self(link)
            link += literal


def setup(app):
    """Register what stands above."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_displaymath, None))
    app.connect("source-read", link_inside_the_site)
    app.connect("doctree-read", link_public_names)

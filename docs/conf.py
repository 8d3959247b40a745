"""The settings of the site that `make docs` builds."""

import re
import shutil
import sys
from html import escape
from pathlib import Path

from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx.addnodes import desc_content, pending_xref
from sphinx.util import logging

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))

import api_pages  # noqa: E402

import sksnn  # noqa: E402

# Where the repository is, such as https://github.com/owner/sksnn. If it is set, each page has a link to edit
# it; if it is on GitHub or GitLab, each page also says at which address it is published.
REPOSITORY = ""
BRANCH = "main"

project = "sksnn"
author = "The sksnn developers"
copyright = "the sksnn developers, BSD 3-Clause licence"
version = release = sksnn.__version__
language = "en"
SUMMARY = sksnn.__doc__.splitlines()[0].rstrip(".")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "sg_execution_times.rst", "gallery/sg_execution_times.rst"]
nitpicky = True
default_role = "autolink"  # `name` in a docstring: a link where it is ours, else emphasis
suppress_warnings = ["config.cache"]  # sphinx-gallery's settings hold functions

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3

html_theme = "pydata_sphinx_theme"
html_title = f"sksnn {version}"
html_static_path = ["_static"]
templates_path = ["_templates"]
html_favicon = "_static/logo.svg"
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_sidebars = {"index": [], "gallery/*": []}
html_theme_options = {
    "logo": {
        "text": f"sksnn {version}",
        "image_light": "_static/logo.svg",
        "image_dark": "_static/logo.svg",
        "alt_text": "sksnn: to the start page",
    },
    "header_links_before_dropdown": 5,
    "navbar_persistent": ["search-button"],
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc", "edit"],
    "icon_links": [{"name": "Repository", "url": REPOSITORY, "icon": "fa-brands fa-git-alt"}]
    if REPOSITORY
    else [],
}
if pages_of := re.fullmatch(r"https://(git(?:hub|lab))\.com/([^/]+)/([^/]+)", REPOSITORY):
    host, owner, name = pages_of.groups()
    html_baseurl = f"https://{owner}.{host}.io/{name}/"

# What is printed has no button, and prompts are not copied.
copybutton_selector = "div:not(.highlight-text, .sphx-glr-script-out) > div.highlight > pre"
copybutton_exclude = ".linenos, .gp, .go"

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
shutil.copytree(DOCS.parent / "examples" / "data", STAGE / "data")
(STAGE / "GALLERY_HEADER.rst").write_text(
    "Examples\n========\n\nEach takes less than half a minute on a CPU.\n", encoding="utf-8"
)


# What the pictures show, for those who cannot see them; in the order in which one would read the examples.
GALLERY = {
    "quickstart": (
        "Three plots: the losses of training and validation by epoch, the log-loss of a grid search by "
        "depth and dropout, and the ROC curves of three tasks."
    ),
    "multitask_missing_labels": (
        "A map of the labels of all training compounds, a third of them missing, and the ROC AUC of one "
        "network for all twelve assays beside those of a model for each assay."
    ),
    "attributions": (
        "Three plots: box plots of the accuracy lost when a column is shuffled, the contributions of "
        "columns to the logit for all test rows, and an image of a digit with the contribution of each "
        "pixel."
    ),
    "encoding": (
        "Three plots of the codes of a column, onehot, thermometer and piecewise, and a fourth in which a "
        "network with piecewise codes follows a price with jumps that a network without codes smooths out."
    ),
    "members": (
        "Accuracy and log-loss on digits, wine and diabetes against one to eight members, and the seconds "
        "of a fit."
    ),
    "forms": (
        "Two plots against the share of wrong labels: the log-loss of conic members, of equal layers, and of "
        "both, and the weight of equal layers, which falls as more labels are wrong."
    ),
    "input_scales": (
        "Two plots: R² of new rows against the number of columns of noise, with factors of the inputs "
        "and without, and the factor of each input beside 40 columns of noise."
    ),
    "choose_architecture": (
        "Bars of the log-loss of seven architectures with two and eight layers, and of the seconds of a fit."
    ),
    "search_together": (
        "Four heat maps, one for each depth, of the log-loss by learning rate and weight decay; red squares "
        "mark the candidates that are left after halving."
    ),
    "cnn": (
        "Accuracy of three networks against the number of digits to learn from, a digit as the first layer "
        "of the convolutional network sees it, and digits that the network takes for others."
    ),
    "depth": (
        "The training loss of four networks by epoch, with 8, 16 and 32 layers, and their accuracy after "
        "training."
    ),
    "self_normalization": (
        "Mean and variance of each of 16 layers, in seven networks, before and after training: only the SNN "
        "stays near mean 0 and variance 1."
    ),
    "moment_map": (
        "Two fields of arrows that lead mean and variance to a fixed point, and the variance layer by layer "
        "from seven starts: all come to 1."
    ),
    "alpha_dropout": (
        "Histograms of activations with ordinary and with alpha dropout, and mean and variance through 16 "
        "layers: they stay at 0 and 1 with alpha dropout only."
    ),
}


def name_of(example):
    """Return the name by which `GALLERY` knows an example, or the path of a picture of it."""
    found = re.search(r"plot_(\w+?)(?:_\d+|_thumb)?\.\w+$", str(example))
    return found and found[1]


def gallery_order(file_name):
    """Return the place of an example in the gallery."""
    return list(GALLERY).index(name_of(file_name))


sphinx_gallery_conf = {
    "examples_dirs": str(STAGE),
    "gallery_dirs": "gallery",
    "filename_pattern": r"plot_",
    "within_subsection_order": gallery_order,
    "doc_module": ("sksnn",),
    "reference_url": {"sksnn": None},
    "backreferences_dir": "gallery/uses",
    "write_computation_times": False,
    "thumbnail_size": (560, 280),
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


def describe_pictures(app, doctree):
    """Give the pictures of the gallery their alternative texts."""
    for picture in doctree.findall():
        name = name_of(picture.get("uri", "")) if isinstance(picture, nodes.Element) else None
        if name in GALLERY:
            picture["alt"] = GALLERY[name]


def describe_pages(app, docname, templatename, context, doctree):
    """Give a page the description that search engines show, its first paragraph, and a link to its source."""
    file = source_of(docname)
    context["edit_url"] = f"{REPOSITORY}/edit/{BRANCH}/{file}" if REPOSITORY and file else ""
    paragraphs = (
        node.astext()
        for node in (doctree.findall(nodes.paragraph) if doctree else ())
        if isinstance(node.parent, nodes.section | desc_content)
    )
    text = " ".join(next(paragraphs, f"{context.get('title') or project}: {SUMMARY}").split())
    if len(text) > 200:
        text = text[:200].rpartition(" ")[0] + " ..."
    context["metatags"] = (
        context.get("metatags", "") + f'<meta name="description" content="{escape(text)}" />\n'
    )


def source_of(docname):
    """Return the file, from the root of the repository, that one edits to change a page."""
    folder, _, name = docname.rpartition("/")
    if folder == "gallery":
        return f"examples/{name}.py" if name_of(f"{name}.py") else ""
    if folder == "api":
        return api_pages.source_of(name)
    return f"docs/{name}.md" if (DOCS / f"{name}.md").exists() else ""


def check_pictures(app, exception):
    """Warn of each picture on the finished site that has no alternative text."""
    for page in Path(app.outdir).rglob("*.html") if exception is None else ():
        for image in re.findall(r"<img\b[^>]*>", page.read_text(encoding="utf-8")):
            if not re.search(r'\balt="[^"]', image):
                logging.getLogger(__name__).warning(
                    "%s: a picture without an alternative text: %s", page, image
                )


def setup(app):
    """Register what stands above."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_displaymath, None))
    app.connect("source-read", link_inside_the_site)
    app.connect("doctree-read", link_public_names)
    app.connect("doctree-read", describe_pictures)
    app.connect("html-page-context", describe_pages)
    app.connect("build-finished", check_pictures)

"""The house rules of the package: who imports whom, how long things are, what docstrings promise."""

import ast
import doctest
import importlib
import inspect
import math
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

import sksnn

HOUSE = Path(sksnn.__file__).parent

# The siblings that each module imports. Each set names only modules above its own line: no cycles.
IMPORTS = {
    "_habits": set(),
    "_version": set(),
    "_warnings": set(),
    "_forward": set(),
    "_optimizers": set(),
    "_datafiles": set(),
    "theory": set(),
    "losses": set(),
    "metrics": set(),
    "encodings": set(),
    "_imagefiles": {"_datafiles"},
    "_tox21files": {"_datafiles"},
    "datasets": {"_datafiles", "_imagefiles", "_tox21files", "_warnings"},
    "_validation": {"metrics"},
    "_columns": {"_validation"},
    "_device": {"_warnings"},
    "networks": {"theory"},
    "architectures": {"networks"},
    "_rows": {"_device", "encodings"},
    "_target": {"_validation", "_warnings", "encodings", "losses", "metrics"},
    "_plan": {"_target", "encodings", "networks"},
    "_members": {"_forward"},
    "_shares": {"_members", "_plan", "_rows", "_target"},
    "_scoring": {"_rows", "_validation"},
    "_calibration": {"_shares", "_target"},
    "_saving": {"_columns", "_plan", "_target", "_version", "_warnings"},
    "_step": {"_device", "_rows", "networks", "theory"},
    "_engine": {"_device", "_forward", "_step"},
    "_model": {
        "_device", "_forward", "_rows", "_saving", "_validation", "architectures", "encodings", "networks",
    },
    "_skorch": {"_engine", "_forward", "_optimizers", "_rows", "_target", "networks"},
    "_divergence": {"_warnings", "encodings"},
    "_checkpoints": {"_warnings"},
    "_resume": {"_checkpoints", "_device", "_optimizers"},
    "_fit": {
        "_calibration", "_columns", "_device", "_divergence", "_engine", "_habits", "_members", "_model",
        "_optimizers", "_plan", "_resume", "_rows", "_saving", "_scoring", "_shares", "_skorch", "_target",
        "_validation", "_warnings", "architectures", "encodings", "networks",
    },
    "_together": {"_device", "_engine", "_optimizers", "_rows", "_step"},
    "_search": {"_checkpoints", "_fit", "_together"},
    "model_selection": {"_search"},
    "estimators": {"_fit", "_habits", "_target", "_validation", "losses", "metrics"},
    "_moments": {"encodings", "networks", "theory"},
    "_displays": {"_moments", "theory"},
    "diagnostics": {"_displays", "_moments", "networks", "theory"},
    "callbacks": {"_moments"},
    "inspection": {
        "_device", "_displays", "_forward", "_moments", "_rows", "_target", "encodings", "losses",
        "networks",
    },
    "export": {"_target", "estimators", "losses"},
}  # fmt: skip
WITHOUT_TORCH = {"theory", "metrics", "_validation", "_columns", "_warnings"} | {
    "_datafiles",
    "_imagefiles",
    "_tox21files",
    "datasets",
}
WITH_SKORCH = {"_skorch", "callbacks"}

# Tripwires that ask for a cut, in lines of code and in methods.
LONGEST_FILE, LONGEST_FUNCTION, LONGEST_FIT, LARGEST_CLASS = 500, 50, 35, 25

FILES = {path.relative_to(HOUSE).with_suffix("").as_posix(): path for path in sorted(HOUSE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text()) for name, path in FILES.items()}
PUBLIC_MODULES = [name for name in FILES if not name.startswith("_")]


def modules(node):
    """Absolute names of all modules imported at or below a node, siblings as sksnn.name."""
    found = set()
    for item in ast.walk(node):
        if isinstance(item, ast.Import):
            found |= {alias.name for alias in item.names}
        elif isinstance(item, ast.ImportFrom):
            base = ".".join(filter(None, ["sksnn" if item.level else None, item.module]))
            found |= {f"{base}.{alias.name}" for alias in item.names} if base == "sksnn" else {base}
    return found


def packages(node):
    return {name.split(".")[0] for name in modules(node)}


def siblings(node):
    return {name.split(".")[1] for name in modules(node) if name.startswith("sksnn.")}


# ---------------------------------------------------------------- imports


@pytest.mark.parametrize("name", [name for name in FILES if name != "__init__"])
def test_imports_are_those_of_the_ladder(name):
    assert name in IMPORTS, f"give {name} its place on the ladder"
    assert siblings(TREES[name]) == IMPORTS[name]


def test_the_ladder_has_no_cycles():
    above = set()
    for name, allowed in IMPORTS.items():
        assert allowed <= above, f"{name} may import what stands below it"
        above.add(name)


def test_only_some_modules_know_torch_and_skorch():
    assert not [name for name in WITHOUT_TORCH & set(FILES) if "torch" in packages(TREES[name])]
    assert {name for name in FILES if "skorch" in packages(TREES[name])} == WITH_SKORCH


def test_optional_packages_are_imported_inside_functions():
    optional = {"matplotlib", "pandas", "rdkit", "polars", "onnx", "onnxscript", "skl2onnx"}
    for name, tree in TREES.items():
        top = ast.Module([node for node in tree.body if not hasattr(node, "body")], [])
        assert not packages(top) & optional, name


def test_import_loads_no_optional_package():
    """Beyond what our dependencies load: scikit-learn 1.9 itself imports an installed pandas."""
    code = (
        "import sys, skorch, sklearn.model_selection, torch; before = set(sys.modules); import sksnn; "
        "print(*{'matplotlib', 'pandas', 'rdkit', 'polars'} & (set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


# ---------------------------------------------------------------- lengths

FUNCTIONS = {
    f"{name}:{node.lineno} {node.name}": node
    for name, tree in TREES.items()
    for node in ast.walk(tree)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
}


def docstring_lines(node):
    if ast.get_docstring(node) is None:
        return 0
    return node.body[0].end_lineno - node.body[0].lineno + 1


def code_lines(function):
    """Lines below the signature, without the docstring."""
    return function.end_lineno - function.body[0].lineno + 1 - docstring_lines(function)


def is_only_assignments(function):
    """Whether it is an __init__ of scikit-learn's kind: one parameter a line, no logic to cut."""
    rest = function.body[1:] if docstring_lines(function) else function.body
    return function.name == "__init__" and all(isinstance(line, ast.Assign) for line in rest)


@pytest.mark.parametrize("name", FILES)
def test_files_are_short(name):
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = sum(docstring_lines(n) for n in ast.walk(TREES[name]) if isinstance(n, documented))
    lines = len(FILES[name].read_text().splitlines()) - docstrings
    assert lines <= LONGEST_FILE


def test_functions_are_short():
    limit = {"fit": LONGEST_FIT}
    too_long = {
        where: code_lines(node)
        for where, node in FUNCTIONS.items()
        if code_lines(node) > limit.get(node.name, LONGEST_FUNCTION) and not is_only_assignments(node)
    }
    assert too_long == {}


# ---------------------------------------------------------------- classes

CLASSES = {
    node.name: (node, getattr(importlib.import_module(f"sksnn.{name}"), node.name))
    for name, tree in TREES.items()
    for node in tree.body
    if isinstance(node, ast.ClassDef)
}


@pytest.mark.parametrize("name", CLASSES)
def test_classes_are_small(name):
    methods = [node for node in CLASSES[name][0].body if isinstance(node, ast.FunctionDef)]
    assert len(methods) <= LARGEST_CLASS


@pytest.mark.parametrize("name", CLASSES)
def test_a_method_called_in_a_class_is_declared_there(name):
    """What a subclass has to define can be read in its base; attributes set by skorch end in "_"."""
    node, cls = CLASSES[name]
    of_self = [
        part
        for part in ast.walk(node)
        if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name) and part.value.id == "self"
    ]
    assigned = {part.attr for part in of_self if isinstance(part.ctx, ast.Store)}
    called = {
        call.func.attr for call in ast.walk(node) if isinstance(call, ast.Call) and call.func in of_self
    }
    undeclared = {n for n in called - assigned if not hasattr(cls, n) and not n.endswith("_")}
    assert undeclared == set()


@pytest.mark.parametrize("fit", ["fit", "partial_fit"])
@pytest.mark.filterwarnings("ignore:the final training loss")
def test_a_fit_leaves_one_private_attribute(fit):
    model = sksnn.SNNRegressor(max_epochs=1, n_units=4)
    before = set(vars(model))
    getattr(model, fit)([[0.0], [1.0]], [0.0, 1.0])
    assert {name for name in set(vars(model)) - before if not name.endswith("_")} == {"_model"}


# ---------------------------------------------------------------- docstrings


def members(thing):
    """A class's own and inherited methods that are ours and public."""
    for name, method in inspect.getmembers(thing, inspect.isroutine):
        if not name.startswith("_") and getattr(method, "__module__", "").startswith("sksnn"):
            yield name, method


def documented_things():
    """Yield what a user can reach: module, thing, and whether parameters and an example are a must."""
    for module_name in PUBLIC_MODULES:
        module = importlib.import_module("sksnn." + module_name.replace("/", "."))
        for name in module.__all__:
            thing = getattr(module, name)
            if callable(thing):
                yield pytest.param(module, thing, True, id=f"{module_name}.{name}")
            if inspect.isclass(thing):
                for method_name, method in members(thing):
                    yield pytest.param(module, method, False, id=f"{module_name}.{name}.{method_name}")


everything_public = pytest.mark.parametrize(("module", "thing", "complete"), list(documented_things()))


def section(thing, title):
    """Return the text of a numpydoc section, or None."""
    lines = (inspect.getdoc(thing) or "").splitlines()
    heads = [i for i in range(1, len(lines)) if re.fullmatch("-{3,}", lines[i])]
    for start, end in pairwise([*heads, len(lines) + 1]):
        if lines[start - 1] == title:
            return "\n".join(lines[start + 1 : end - 1])
    return None


def documented_parameters(text):
    """Return {name: text of its default, or None} of a Parameters section.

    "a, b : float, default=0.0 and 1.0" documents two parameters, with a default each.
    """
    found = {}
    for line in text.splitlines():
        if head := re.fullmatch(r"(\S.*?) : (.*)", line):
            names = [name.strip("*") for name in head[1].split(", ")]
            default = re.search(r"default=(.*)", head[2])
            each = default[1].split(":")[0].split(" and ") if default else [None]
            found |= dict(zip(names, each if len(each) == len(names) else each * len(names), strict=True))
    return found


def same_value(documented, default, module):
    """Compare a default as written with the one of the signature."""
    value = eval(documented, {"nan": math.nan}, vars(module))
    return repr(value) == repr(default) and isinstance(value, type(default))


@everything_public
def test_docstring_agrees_with_signature(module, thing, complete):
    signature = {
        name: parameter.default
        for name, parameter in inspect.signature(thing).parameters.items()
        if name != "self"
    }
    text = section(thing, "Parameters")
    if text is None:
        assert not (complete and signature), "lacks a Parameters section"
        return
    documented = documented_parameters(text)
    assert list(documented) == list(signature)
    for name, default in signature.items():
        if documented[name] is None:
            assert default is inspect.Parameter.empty, f"{name} lacks its default"
        else:
            assert same_value(documented[name], default, inspect.getmodule(thing) or module), name


@everything_public
def test_public_names_have_docstrings_and_examples(module, thing, complete):
    assert inspect.getdoc(thing)
    assert not complete or ">>>" in (section(thing, "Examples") or ""), "lacks an example"


def comments_above(name, module_name):
    """Return the lines ``#: ...`` above the assignment of a name: its text on the API page."""
    lines = FILES[module_name].read_text().splitlines()
    for node in TREES[module_name].body:
        targets = [n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
        if isinstance(node, ast.Assign | ast.AnnAssign) and name in targets:
            start = node.lineno - 1
            while lines[start - 1].startswith("#:"):
                start -= 1
            return "\n".join(line[3:] for line in lines[start : node.lineno - 1])
    return ""


PUBLIC_DATA = [
    (module_name, name)
    for module_name in PUBLIC_MODULES
    for name in getattr(importlib.import_module("sksnn." + module_name.replace("/", ".")), "__all__", ())
    if not callable(getattr(importlib.import_module("sksnn." + module_name.replace("/", ".")), name))
]


@pytest.mark.parametrize(("module_name", "name"), PUBLIC_DATA)
def test_public_data_have_texts_and_examples_that_run(module_name, name):
    """Constants have no docstring, which pytest would run: their comments stand for it."""
    text = comments_above(name, module_name)
    module = importlib.import_module(f"sksnn.{module_name}")
    example = doctest.DocTestParser().get_doctest(text, dict(vars(module)), name, str(FILES[module_name]), 0)
    assert text and example.examples and name in text, "lacks an example"
    assert doctest.DocTestRunner().run(example).failed == 0


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        ("x : int\n    Text : more.", {"x": None}),
        ("a, b : float, default=0.0 and 1.0", {"a": "0.0", "b": "1.0"}),
        ('c, d : {"u", "v"}, default="u"', {"c": '"u"', "d": '"u"'}),
        ("e : float, default=nan: -1 is a value", {"e": "nan"}),
    ],
)
def test_the_parser_of_parameters(text, parameters):
    assert documented_parameters(text) == parameters


# What the two estimators say of a parameter, word for word alike but for these.
OWN_TEXTS = {"n_units", "layer_form", "dropout", "encoding", "batch_size"}
OWN_TEXTS |= {"validation_fraction", "n_iter_no_change", "loss", "missing_label"}


def texts_of_parameters(thing):
    """Return {name: its type and text} of a Parameters section."""
    found = re.split(r"^(\w+) : ", section(thing, "Parameters"), flags=re.M)[1:]
    return {name: " ".join(text.split()) for name, text in zip(found[::2], found[1::2], strict=True)}


def test_what_both_estimators_take_is_said_in_the_same_words():
    one, other = map(texts_of_parameters, (sksnn.SNNClassifier, sksnn.SNNRegressor))
    differ = {name for name in one.keys() & other.keys() if one[name] != other[name]}
    assert differ == OWN_TEXTS

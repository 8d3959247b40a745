"""The pages of the API, written from what the package says is public: no name can be left out."""

import importlib
import inspect
import pkgutil
import re

import sksnn

INTRODUCTION = """\
API
===

Every public name, by module. Modules with an underscore are not public and may change. Besides the
methods listed, the estimators have scikit-learn's own: ``get_params``, ``set_params``,
``set_fit_request``, ``set_score_request``, ``set_partial_fit_request``, ``get_metadata_routing``.
"""


def public_modules():
    """Return the package and its public modules, by name."""
    found = [sksnn.__name__]
    found += [f"{sksnn.__name__}.{item.name}" for item in pkgutil.iter_modules(sksnn.__path__)]
    return {name: importlib.import_module(name) for name in found if not name.split(".")[-1].startswith("_")}


def listing():
    """Return the public names of each module; a name that two modules share belongs to the first."""
    pages, seen = {}, set()
    for module_name, module in public_modules().items():
        names = []
        for name in module.__all__:
            value = getattr(module, name)
            shared = inspect.isclass(value) or inspect.isroutine(value)
            if not (shared and value in seen):
                names.append(name)
            if shared:
                seen.add(value)
        if names:
            pages[module_name] = names
    return pages


def resolve(path):
    """Return the public object at a dotted path, ``sksnn.module.name`` or ``sksnn.name``."""
    module_name, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module_name), name)


def own_members(cls):
    """Return the public methods and properties that a class has from this package, in their order."""
    members = {}
    for base in reversed(cls.__mro__):
        if base.__module__.split(".")[0] == sksnn.__name__:
            members |= {
                name: isinstance(value, property)
                for name, value in vars(base).items()
                if not re.match("_|set_.*_request$|set_params$", name)
                and (callable(value) or hasattr(value, "__get__"))
            }
    for field in getattr(cls, "_fields", ()):  # a named tuple's: its docstring describes them
        del members[field]
    return members


def entry(module_name, name):
    """Return the directive that documents a name."""
    value = resolve(f"{module_name}.{name}")
    if inspect.isclass(value):
        members = "".join(
            f"\n   .. {'autoproperty' if is_property else 'automethod'}:: {member}\n"
            for member, is_property in own_members(value).items()
        )
        return f".. autoclass:: {module_name}.{name}\n{members}"
    if inspect.isroutine(value):
        return f".. autofunction:: {module_name}.{name}\n"
    if name == "__version__":
        return f".. data:: {module_name}.{name}\n\n   The version, a string.\n"
    hidden = "   :no-value:\n" if "<class" in repr(value) else ""  # classes print badly
    return f".. autodata:: {module_name}.{name}\n{hidden}"


def table(names):
    """Return a table of names and what each is, in a line."""
    rows = "".join(f"   {name}\n" for name in names if not name.endswith("__version__"))
    return f".. autosummary::\n   :nosignatures:\n\n{rows}"


def heading(text, line):
    """Return a heading."""
    return f"{text}\n{line * len(text)}\n"


def page(module_name, names):
    """Return the page of a module: what it is, a table of its names, and each of them."""
    parts = [
        heading(module_name, "="),
        f".. automodule:: {module_name}\n   :no-members:\n",
        table(names),
        *(entry(module_name, name) for name in names),
    ]
    return "\n".join(parts)


def index(pages):
    """Return the page that lists all modules and names."""
    parts = [INTRODUCTION, ".. toctree::\n   :hidden:\n\n" + "".join(f"   {name}\n" for name in pages)]
    for module_name, names in pages.items():
        summary = inspect.getdoc(importlib.import_module(module_name)).splitlines()[0]
        parts.append(f":doc:`{module_name}`\n{'-' * (len(module_name) + 7)}\n\n{summary}\n")
        parts.append(table(f"~{module_name}.{name}" for name in names))
    return "\n".join(parts)


def write(folder):
    """Write all pages into a folder; files that would not change are left alone."""
    folder.mkdir(exist_ok=True)
    pages = listing()
    texts = {"index": index(pages)} | {name: page(name, names) for name, names in pages.items()}
    for old in folder.glob("*.rst"):
        if old.name.removesuffix(".rst") not in texts:
            old.unlink()
    for name, text in texts.items():
        path = folder / f"{name}.rst"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")

"""The pages of the API, written from what the package says is public: no name can be left out."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

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


def has_page(value):
    """Return whether a public value has a page of its own: classes and functions, not constants."""
    return inspect.isclass(value) or inspect.isroutine(value)


def page_names(pages):
    """Return the page of each public class and function, by its dotted path."""
    found, seen = {}, set()
    for module_name, names in pages.items():
        for path in (f"{module_name}.{name}" for name in names):
            if has_page(resolve(path)):
                # Some file systems do not tell `Attributions` from `attributions`.
                found[path] = f"{path}-function" if path.lower() in seen else path
                seen.add(path.lower())
    return found


def members_of(path):
    """Return a table of a class's own members and the directives that document them, for within its own."""
    members = own_members(resolve(path))
    if not members:
        return ""
    listed = "".join(f"      {member}\n" for member in members)
    directives = "".join(
        f"\n   .. {'autoproperty' if is_property else 'automethod'}:: {member}\n"
        for member, is_property in members.items()
    )
    return f"\n   .. rubric:: Members\n\n   .. autosummary::\n      :nosignatures:\n\n{listed}{directives}"


def page(path):
    """Return the page of a class or a function, with the examples of the gallery that use it."""
    name = path.rpartition(".")[2]
    if inspect.isclass(resolve(path)):
        directive = f".. autoclass:: {path}\n{members_of(path)}"
    else:
        directive = f".. autofunction:: {path}\n"
    examples = f".. minigallery:: {path}\n   :add-heading: In the gallery\n   :heading-level: -\n"
    return "\n".join([heading(name, "="), directive, examples])


def constant(path):
    """Return the directive that documents what is neither a class nor a function."""
    if path.endswith(".__version__"):
        return f".. data:: {path}\n   :module:\n\n   The version, a string.\n"
    hidden = "   :no-value:\n" if "<class" in repr(resolve(path)) else ""  # classes print badly
    return f".. autodata:: {path}\n{hidden}"


def table(names):
    """Return a table of names and what each is, in a line."""
    rows = "".join(f"   {name}\n" for name in names if not name.endswith("__version__"))
    return f".. autosummary::\n   :nosignatures:\n\n{rows}"


def source_of(page_name):
    """Return the file, from the root of the repository, of what a page of the API documents."""
    path = {file_name: path for path, file_name in page_names(listing()).items()}.get(page_name)
    documented = resolve(path) if path else public_modules().get(page_name)
    if documented is None:
        return ""
    return (
        Path(inspect.getsourcefile(inspect.unwrap(documented)))
        .relative_to(Path(sksnn.__file__).parents[1])
        .as_posix()
    )


def toctree(entries):
    """Return a list of pages for the navigation, which the page itself does not show."""
    return ".. toctree::\n   :hidden:\n\n" + "".join(f"   {entry}\n" for entry in entries)


def heading(text, line):
    """Return a heading."""
    return f"{text}\n{line * len(text)}\n"


def module_page(module_name, names, found):
    """Return the page of a module: what it is, a table of its names, and its constants."""
    paths = [f"{module_name}.{name}" for name in names]
    title = f"{module_name} (top level)" if module_name == sksnn.__name__ else module_name
    constants = [constant(path) for path in paths if path not in found]
    parts = [
        heading(title, "="),
        f".. automodule:: {module_name}\n   :no-members:\n",
        table(names),
        toctree(f"{path.rpartition('.')[2]} <{found[path]}>" for path in paths if path in found),
    ]
    if constants:
        parts += [heading("Constants", "-"), *constants]
    return "\n".join(parts)


def index(pages):
    """Return the page that lists all modules and names."""
    short = {name: name.removeprefix(f"{sksnn.__name__}.") for name in pages}
    parts = [INTRODUCTION, toctree(f"{short[name]} <{name}>" for name in pages)]
    for module_name, names in pages.items():
        summary = inspect.getdoc(importlib.import_module(module_name)).splitlines()[0]
        parts.append(
            f":doc:`{module_name} <{module_name}>`\n{'-' * (2 * len(module_name) + 10)}\n\n{summary}\n"
        )
        parts.append(table(f"~{module_name}.{name}" for name in names))
    return "\n".join(parts)


def write(folder):
    """Write all pages into a folder; files that would not change are left alone."""
    folder.mkdir(exist_ok=True)
    pages = listing()
    found = page_names(pages)
    texts = {"index": index(pages)}
    texts |= {name: module_page(name, names, found) for name, names in pages.items()}
    texts |= {file_name: page(path) for path, file_name in found.items()}
    for old in folder.glob("*.rst"):
        if old.name.removesuffix(".rst") not in texts:
            old.unlink()
    for name, text in texts.items():
        path = folder / f"{name}.rst"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")

"""What a saved estimator consists of: plain values, and the versions that wrote it.

A state names the classes and functions of this package instead of holding them. So no file can bring
code along but what users gave as parameters, and what is moved within the package can still be found.
"""

import inspect
import platform
import re
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import partial, reduce
from importlib import import_module
from typing import Any

import numpy as np
import scipy
import sklearn
import torch

from ._columns import Columns
from ._plan import Plan
from ._target import Classes, Tasks, Values
from ._version import __version__
from ._warnings import warn_user

RECORDS = {record.__name__: record for record in (Plan, Columns, Classes, Tasks, Values)}
# Fields of a plan that users gave: they stay what they are, the same object as the estimator's parameter.
GIVEN = {"architecture", "optimizer", "optimizer_params"}
PACKAGE = __name__.split(".")[0]


# ---------------------------------------------------------------- plain values


def to_plain(value):
    """Replace records, partials, and what is defined in this package, by dicts of plain values."""
    if is_dataclass(value) and not isinstance(value, type):
        content = {field.name: getattr(value, field.name) for field in fields(value)}
        content = {name: part if name in GIVEN else to_plain(part) for name, part in content.items()}
        return {"record": type(value).__name__, "content": content}
    if isinstance(value, partial):
        keywords = {name: to_plain(argument) for name, argument in value.keywords.items()}
        return {
            "partial": to_plain(value.func),
            "args": list(map(to_plain, value.args)),
            "keywords": keywords,
        }
    if callable(value) and getattr(value, "__module__", "").split(".")[0] == PACKAGE:
        return {"name": f"{value.__module__}:{value.__qualname__}"}
    return value


def from_plain(value):
    """Rebuild what `to_plain` was given."""
    keys = set(value) if isinstance(value, dict) else set()
    if keys == {"record", "content"}:
        content = value["content"].items()
        content = {name: part if name in GIVEN else from_plain(part) for name, part in content}
        return RECORDS[value["record"]](**content)
    if keys == {"partial", "args", "keywords"}:
        keywords = {name: from_plain(argument) for name, argument in value["keywords"].items()}
        return partial(from_plain(value["partial"]), *map(from_plain, value["args"]), **keywords)
    if keys == {"name"}:
        module, path = value["name"].split(":")
        if module.split(".")[0] != PACKAGE:
            raise ValueError(f"a saved estimator names {value['name']}, which is not of {PACKAGE}.")
        return reduce(getattr, path.split("."), import_module(module))
    return value


# ---------------------------------------------------------------- versions


def versions():
    """Return the versions that predictions depend on."""
    packages = {"numpy": np, "scipy": scipy, "scikit-learn": sklearn, "torch": torch}
    found = {name: str(module.__version__) for name, module in packages.items()}
    return {PACKAGE: __version__, "python": platform.python_version(), **found}


def bring_up_to_date(estimator, state):
    """Return a state without its versions, and with the parameters that it lacks.

    A parameter that came later has the constructor's default, which must mean what was done before for a fit
    that goes on; a new fit may differ.
    """
    state = dict(state)
    saved = state.pop("_versions", {})
    if _numbers(saved.get(PACKAGE, __version__)) > _numbers(__version__):
        warn_user(
            f"this {type(estimator).__name__} was saved by {PACKAGE} {saved[PACKAGE]}, which is newer than "
            f"the installed {__version__}: parameters that are new there are ignored. Install "
            f"{saved[PACKAGE]}."
        )
    for name, parameter in inspect.signature(type(estimator)).parameters.items():
        if parameter.default is not parameter.empty:
            state.setdefault(name, parameter.default)
    return state, saved


@contextmanager
def loading(estimator, saved):
    """Say which versions are involved if an estimator that another one saved cannot be loaded."""
    try:
        yield
    except Exception as error:
        if saved.get(PACKAGE) == __version__:
            raise
        written = ", ".join(f"{name} {version}" for name, version in saved.items()) or "an unknown version"
        raise ValueError(
            f"this {type(estimator).__name__} was saved by {written}, and cannot be loaded by {PACKAGE} "
            f"{__version__}. Load it with the version that saved it, or fit it again."
        ) from error


def _numbers(version: str) -> list[Any]:
    return [int(part) for part in re.findall(r"\d+", version)[:3]]

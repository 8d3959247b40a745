"""Warnings that point at the user's line."""

import sys
import warnings

# Packages whose lines are not the user's; contextlib runs the body of a context manager.
OURS = ("sksnn", "sklearn", "joblib", "contextlib")


def warn_user(message, category=UserWarning):
    """Warn at the line of the user's code that called this package, through scikit-learn or not."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and _package(frame) in OURS:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def _package(frame):
    return (frame.f_globals.get("__name__") or "").partition(".")[0]

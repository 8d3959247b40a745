"""Results in a folder: each in a file that is whole, or is not there."""

import hashlib
import os
import pickle
import tempfile
from importlib.metadata import version
from pathlib import Path

import joblib

from ._warnings import warn_user

# A file holds what these versions have made.
PACKAGES = ("sksnn", "scikit-learn", "skorch", "torch", "numpy")


class Checkpoints:
    """A folder of results, each under a hash of all that it depends on.

    Parameters
    ----------
    folder : str or path
        Made if it is not there.
    *common
        What all results depend on; anything that can be pickled.

    Raises
    ------
    ValueError
        If something cannot be pickled.
    """

    def __init__(self, folder, *common):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._common = digest(*common, *(version(name) for name in PACKAGES))

    def path(self, *own):
        """Return the file of the result that depends on this."""
        return self.folder / f"{digest(self._common, *own)}.checkpoint"


def digest(*what):
    """Hash anything that can be pickled, by its content."""
    try:
        return joblib.hash(what)
    except Exception as error:
        raise ValueError(
            f"checkpoint_dir needs an estimator, parameters and data that can be pickled: {error}. Use "
            "functions of a module in place of lambdas, or checkpoint_dir=None."
        ) from error


def write(path, result):
    """Write a result; whoever reads meanwhile, or after a crash, finds all of it or nothing."""
    payload = pickle.dumps(result)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(payload).digest() + payload)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def read(path):
    """Return a result, or None if there is none; warn of a file that is damaged."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    checksum, payload = content[:32], content[32:]
    if hashlib.sha256(payload).digest() != checksum:
        warn_user(f"checkpoint_dir holds a damaged file, which is not used and will be replaced: {path}.")
        return None
    return pickle.loads(payload)

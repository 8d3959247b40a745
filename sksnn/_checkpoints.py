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
        Made if it is not there; "~" is the home. Workers may have another working directory: its path is
        made absolute.
    *common
        What all results depend on; anything that can be pickled.

    Raises
    ------
    ValueError
        If something cannot be pickled, or the folder cannot be made.
    """

    def __init__(self, folder, *common):
        self.folder = Path(folder).expanduser().resolve()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(
                f"checkpoint_dir must be a folder, or a path where one can be made; got {str(folder)!r}: "
                f"{error.strerror}. Give another path, or None."
            ) from error
        self._common = digest(*common, *(version(name) for name in PACKAGES))

    def path(self, *own):
        """Return the file of the result that depends on this."""
        return self.folder / f"{digest(self._common, *own)}.checkpoint"


def digest(*what):
    """Hash anything that can be pickled, by its content."""
    try:
        return joblib.hash(what)
    except Exception as error:
        reason = next(iter(error.args), error)  # joblib adds all that was to be pickled
        raise ValueError(
            f"checkpoint_dir needs an estimator, parameters and data that can be pickled: {reason}. Use "
            "functions of a module in place of lambdas, or checkpoint_dir=None."
        ) from error


def dumps(what):
    """Pickle what joblib can send to workers: lambdas, and in a worker what a script has defined, too."""
    try:
        return pickle.dumps(what)
    except Exception:
        return pickle.dumps(joblib.wrap_non_picklable_objects(what, keep_wrapper=False))


def write(path, result):
    """Write a result; whoever reads meanwhile, or after a crash, finds all of it or nothing."""
    payload = dumps(result)
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
    try:
        if hashlib.sha256(payload).digest() == checksum:
            return pickle.loads(payload)
    except Exception:  # a class that has been moved or renamed since
        pass
    warn_user(f"checkpoint_dir holds a damaged file, which is not used and will be replaced: {path}.")
    return None

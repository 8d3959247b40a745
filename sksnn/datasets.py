"""The data sets of the paper, read from a folder: arrays with the splits that were published for them.

Nothing is downloaded. Errors, and each function's notes, name the address at which a set was published
and where its files go.
"""

import difflib
import hashlib
import io
import os
import re
import warnings
import zipfile
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch

__all__ = ["load_uci", "uci_names"]

UCI_ADDRESS = "http://persoal.citius.usc.es/manuel.fernandez.delgado/papers/jmlr/data.tar.gz"

# ---------------------------------------------------------------- the folder


class _Home:
    """A folder of data, with the checksums of its SHA256SUMS file, where it has one.

    Parameters
    ----------
    data_home : str, path-like or None
        None: what the environment variable SKSNN_DATA says.
    """

    def __init__(self, data_home):
        folder = os.environ.get("SKSNN_DATA") if data_home is None else data_home
        if not folder:
            raise ValueError(
                "data_home is not given, and the environment variable SKSNN_DATA is not set; "
                "one of them must name the folder that the data are in."
            )
        self.folder = Path(folder)
        if not self.folder.is_dir():
            given = "data_home" if data_home is not None else "the environment variable SKSNN_DATA"
            raise FileNotFoundError(
                f"{given} must name the folder that the data are in; there is no folder {self.folder}."
            )

    def path(self, *candidates):
        """Return the first of some relative paths that exists; the first, if none does."""
        paths = [self.folder / candidate for candidate in candidates]
        return next((path for path in paths if path.exists()), paths[0])

    def read(self, path, way_out):
        """Return a file's bytes, compared with its checksum; say the way out if it is missing or altered."""
        try:
            content = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise FileNotFoundError(f"{path} is missing. {way_out}") from None
        published = self._checksum(path)
        found = hashlib.sha256(content).hexdigest()
        if published not in (None, found):
            raise ValueError(
                f"{path} was altered or cut short: its SHA-256 must be {published}, as SHA256SUMS says; "
                f"it is {found}. Put the original back. {way_out}"
            )
        return content

    def _checksum(self, path):
        """Return what SHA256SUMS says of a file, or None."""
        sums = self.folder / "SHA256SUMS"
        if not sums.is_file():
            return None
        name = path.relative_to(self.folder).as_posix()
        line = rf"^([0-9a-fA-F]{{64}}) [ *](?:\./)?{re.escape(name)}$"
        match = re.search(line, sums.read_text(encoding="utf-8"), re.MULTILINE)
        return match and match[1].lower()


def _damaged(path, found, way_out):
    """Return the error for a file that does not hold what it must."""
    return ValueError(f"{path} is damaged, or is another file: {found}. {way_out}")


def _arrays(content, keys, path, way_out):
    """Return the named arrays of an .npz file."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return {key: file[key] for key in keys}
    except (ValueError, EOFError, OSError, KeyError, zipfile.BadZipFile) as error:
        raise _damaged(path, f"it must be an .npz file with {', '.join(keys)}; {error}", way_out) from error


def _table(content, path, way_out, **loadtxt):
    """Return the numbers of a text file, (n_rows, n_columns) in float64."""
    try:
        table = np.loadtxt(io.StringIO(content.decode()), ndmin=2, **loadtxt)
    except ValueError as error:
        raise _damaged(path, f"it must be a table of numbers; {error}", way_out) from error
    if not table.size or not np.isfinite(table).all():
        raise _damaged(path, "it must be a table of finite numbers", way_out)
    return table


def _check_name(name, what):
    """Reject what is no name of a data set: a name becomes part of a path."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise ValueError(
            f"name must be the name of a data set: letters, digits, hyphens; got {name!r}. "
            f"{what} lists the names."
        )


def _similar(name, names):
    """Return a sentence on names like the one that was not found."""
    close = difflib.get_close_matches(name, names, n=3)
    return f"Found and similar: {', '.join(close)}." if close else f"{len(names)} other sets were found."


# ---------------------------------------------------------------- what is returned


def _give(bunch, return_X_y, as_frame):
    """Return a Bunch, or its X and y; as pandas objects if asked for."""
    if as_frame:
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                "as_frame=True needs pandas: pip install pandas, or leave as_frame=False for arrays."
            ) from error
        bunch.X = pd.DataFrame(bunch.X, columns=bunch.feature_names)
        if bunch.y.ndim == 1:
            bunch.y = pd.Series(bunch.y, name="target")
        else:
            bunch.y = pd.DataFrame(bunch.y, columns=bunch.target_names)
    return (bunch.X, bunch.y) if return_X_y else bunch


def _numbered(n_features):
    """Return scikit-learn's names for columns without names."""
    return [f"x{i}" for i in range(n_features)]


def _pairs(is_test, rows=None):
    """Return (train, test) row numbers for each line of a (n_folds, n_rows) array of flags."""
    rows = np.arange(is_test.shape[1]) if rows is None else rows
    return [(rows[~flags], rows[flags]) for flags in is_test.astype(bool)]


# ---------------------------------------------------------------- the 121 sets

UCI_DESCR = """\
{name}: {n} rows, {d} columns, {k} classes. One of the 121 classification sets of Fernandez-Delgado,
Cernadas, Barro, Amorim: Do we need hundreds of classifiers to solve real world classification problems?
JMLR 15, 2014. Published at {address}; the data are from the UCI repository (CC BY 4.0; oocytes_*: no
licence stated) and, ringnorm, twonorm and titanic, from DELVE.

X: {values}. Categories are coded by numbers, missing values by a number.
folds: {folds}.
draws: the four published draws of 75 % and 25 % of the rows of the training file. They are drawn
independently, so they overlap: they are no partition.
tuning: the published halves of the rows of the training file, by which settings were chosen.
"""


def _uci_way_out(home, name):
    return (
        f"The set was published in {UCI_ADDRESS}: unpack its folder {name}, with conxuntos.dat and "
        f"conxuntos_kfold.dat, to {home.folder / 'uci' / name}."
    )


def _uci_from_npz(home, path, way_out):
    """Read the layout of one .npz file a set."""
    content = home.read(path, way_out)
    data = _arrays(content, ("X", "y", "part", "tune", "kfold_test"), path, way_out)
    is_test = data["part"] == 1
    n_train = int(np.sum(~is_test))
    shapes = [data[key].shape for key in ("X", "y", "tune", "kfold_test")]
    n = len(is_test)
    if len(shapes[0]) != 2 or shapes[0][0] != n or shapes[1:] != [(n,), (n_train,), (4, n_train)]:
        raise _damaged(path, f"X, y, tune and kfold_test do not fit together: {shapes}", way_out)
    train = np.flatnonzero(~is_test)
    return Bunch(
        X=data["X"],
        y=data["y"],
        n_test=n - n_train,
        official=(train, np.flatnonzero(is_test)),
        draws=_pairs(data["kfold_test"], train),
        tuning=_pairs(data["tune"][None], train)[0],
        values="the raw values",
    )


def _row_numbers(home, path, n_lines, n_rows, way_out):
    """Read lines of row numbers: training and test rows in turn."""
    lines = home.read(path, way_out).decode("ascii", "replace").splitlines()
    try:
        rows = [np.sort(np.array(line.split(), dtype=np.int64)) for line in lines if line.strip()]
    except ValueError as error:
        raise _damaged(path, f"it must hold row numbers; {error}", way_out) from error
    if len(rows) != n_lines:
        raise _damaged(path, f"it must have {n_lines} lines; it has {len(rows)}", way_out)
    pairs = list(zip(rows[::2], rows[1::2], strict=True))
    for train, test in pairs:
        both = np.concatenate([train, test])
        if both.min() < 0 or both.max() >= n_rows or len(np.unique(both)) != len(both):
            raise _damaged(path, f"each pair of lines must hold different rows of 0 to {n_rows - 1}", way_out)
    return pairs


def _uci_from_archive(home, name, way_out):
    """Read the layout of the original archive: scaled values, one file or a training and a test file."""
    folder = home.folder / "uci" / name
    paths = [folder / f"{name}_R.dat"]
    if not paths[0].exists() and (folder / f"{name}_train_R.dat").exists():
        paths = [folder / f"{name}_train_R.dat", folder / f"{name}_test_R.dat"]
        warnings.warn(
            f"The archive scales the training and the test file of {name!r} each by itself, so that equal "
            "values may differ between them. An .npz file with the raw values is preferred.",
            UserWarning,
            stacklevel=3,
        )
    tables = [_table(home.read(path, way_out), path, way_out, skiprows=1) for path in paths]
    if len({table.shape[1] for table in tables}) > 1 or tables[0].shape[1] < 3:
        raise _damaged(paths[-1], "its columns must be those of the training file", way_out)
    table, n_train = np.vstack(tables), len(tables[0])
    rows = np.arange(len(table))
    return Bunch(
        X=table[:, 1:-1],  # the first column numbers the rows
        y=table[:, -1],
        n_test=len(table) - n_train,
        official=(rows[:n_train], rows[n_train:]),
        draws=_row_numbers(home, folder / "conxuntos_kfold.dat", 8, n_train, way_out),
        tuning=_row_numbers(home, folder / "conxuntos.dat", 2, n_train, way_out)[0],
        values="scaled by the archive to mean 0 and deviation 1, with the test rows included",
    )


def load_uci(name, *, data_home=None, return_X_y=False, as_frame=False):
    """Load one of the 121 classification sets on which the paper compares networks.

    Parameters
    ----------
    name : str
        Name of the set, as in `uci_names`: "iris", "statlog-german-credit".
    data_home : str or path-like, default=None
        Folder of the data; None: what the environment variable SKSNN_DATA says.
    return_X_y : bool, default=False
        Return (X, y) instead of a Bunch.
    as_frame : bool, default=False
        X as a pandas DataFrame, y as a Series.

    Returns
    -------
    data : Bunch, or (X, y)
        With the fields

        X : ndarray of shape (n_rows, n_features), float64
            Categories and missing values are coded by numbers.
        y : ndarray of shape (n_rows,), int64
            Classes 0, 1, ...
        folds : list of (train, test)
            Row numbers, for ``cv=``: the official training and test file, where there are two; else
            the four published draws of 75 % and 25 %.
        draws : list of four (train, test)
            The published draws among the rows of the training file. They overlap.
        tuning : (train, validation)
            The published halves of the training file's rows, by which settings were chosen.
        feature_names : list of str
            "x0", "x1", ...
        target_names : ndarray of str
            "0", "1", ...
        DESCR : str
            What the set is and where it is from.

    Raises
    ------
    ValueError
        If the name is not of a set, or a file was altered or cut short; checksums are those of
        SHA256SUMS in the folder, where it has one.
    FileNotFoundError
        If the set is not in the folder.

    Notes
    -----
    Two layouts are read: ``uci/iris.npz`` (arrays X, y, part, tune, kfold_test; raw values), and the
    original archive's folders, ``uci/iris/`` with ``iris_R.dat``, ``conxuntos.dat`` and
    ``conxuntos_kfold.dat`` (scaled values), from
    http://persoal.citius.usc.es/manuel.fernandez.delgado/papers/jmlr/data.tar.gz.

    Examples
    --------
    >>> from sksnn.datasets import load_uci
    >>> iris = load_uci("iris")
    >>> iris.X.shape, len(iris.folds)
    ((150, 4), 4)
    """
    _check_name(name, "uci_names()")
    home = _Home(data_home)
    way_out = _uci_way_out(home, name)
    path = home.path(f"uci/{name}.npz")
    if path.exists():
        found = _uci_from_npz(home, path, way_out)
    elif (home.folder / "uci" / name).is_dir():
        found = _uci_from_archive(home, name, way_out)
    else:
        similar = _similar(name, uci_names(data_home=data_home))
        raise FileNotFoundError(f"There is no set {name!r} in {home.folder / 'uci'}. {similar} {way_out}")

    y = found.y.astype(np.int64)
    n_classes = int(y.max()) + 1
    if not np.isfinite(found.X).all() or (y != found.y).any() or len(np.unique(y)) != n_classes or y.min():
        raise _damaged(path, "X must be finite, and y must hold the classes 0, 1, ...", way_out)
    folds = [found.official] if found.n_test else found.draws
    said = "the official training and test file" if found.n_test else "the draws"
    n, d = found.X.shape
    bunch = Bunch(
        X=np.ascontiguousarray(found.X, dtype=np.float64),
        y=y,
        folds=folds,
        draws=found.draws,
        tuning=found.tuning,
        feature_names=_numbered(d),
        target_names=np.arange(n_classes).astype(str),
        DESCR=UCI_DESCR.format(
            name=name, n=n, d=d, k=n_classes, address=UCI_ADDRESS, values=found.values, folds=said
        ),
    )
    return _give(bunch, return_X_y, as_frame)


def uci_names(*, data_home=None):
    """List the classification sets that `load_uci` finds.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder of the data; None: what the environment variable SKSNN_DATA says.

    Returns
    -------
    names : list of str
        In alphabetical order.

    Raises
    ------
    FileNotFoundError
        If the folder has no sets.

    Examples
    --------
    >>> from sksnn.datasets import uci_names
    >>> "iris" in uci_names()
    True
    """
    home = _Home(data_home)
    folder = home.folder / "uci"
    names = {path.stem for path in folder.glob("*.npz")}
    names |= {path.parent.name for path in folder.glob("*/conxuntos_kfold.dat")}
    if not names:
        raise FileNotFoundError(
            f"There are no classification sets in {folder}. They were published in {UCI_ADDRESS}: "
            f"unpack its folders there, so that there is, for example, {folder / 'iris' / 'iris_R.dat'}."
        )
    return sorted(names)

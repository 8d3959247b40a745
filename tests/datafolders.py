"""Small folders of data in all layouts, as the readers of sksnn.datasets expect them."""

import gzip
import hashlib
import io
import os
import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse
from scipy.io import mmwrite

DATA = os.environ.get("SKSNN_DATA")


needs_data = pytest.mark.skipif(not DATA, reason="needs data: SKSNN_DATA is not set")


UCI_AT = "http://persoal.citius.usc.es/manuel.fernandez.delgado/papers/jmlr/data.tar.gz"


TASKS = ["NR-AhR", "NR-AR", "NR-AR-LBD", "NR-Aromatase", "NR-ER", "NR-ER-LBD", "NR-PPAR-gamma"]
TASKS += ["SR-ARE", "SR-ATAD5", "SR-HSE", "SR-MMP", "SR-p53"]


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def put_npz(path, **arrays):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    put(path, buffer.getvalue())


def put_sums(home):
    """Write SHA256SUMS for all files of a folder, as sha256sum does."""
    files = sorted(path for path in home.rglob("*") if path.is_file() and path.name != "SHA256SUMS")
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  ./{path.relative_to(home).as_posix()}\n"
        for path in files
    ]
    put(home / "SHA256SUMS", "".join(lines))


def uci_arrays(n=24, d=3, k=3, n_test=0, seed=0):
    """The arrays of a set: n rows, the last n_test of them an official test file."""
    rng = np.random.default_rng(seed)
    n_train = n - n_test
    tests = np.array([rng.permutation(n_train) < n_train // 4 for _ in range(4)], dtype=np.uint8)
    return {
        "X": np.asfortranarray(rng.normal(size=(n, d)).astype(np.float32)),
        "y": (np.arange(n) % k).astype(np.int8),
        "part": (np.arange(n) >= n_train).astype(np.int8),
        "tune": (rng.permutation(n_train) % 2).astype(np.int8),
        "kfold_test": tests,
    }


def put_uci(home, name="small", **settings):
    data = uci_arrays(**settings)
    put_npz(home / "uci" / f"{name}.npz", **data)
    return data


def put_uci_archive(home, name="small", **settings):
    """Write a set as the original archive has it: _R.dat with row numbers, and lines of row numbers."""
    data, folder = uci_arrays(**settings), home / "uci" / name

    def table(rows):
        names = [f"f{i + 1}" for i in range(data["X"].shape[1])] + ["clase"]
        lines = [
            "\t".join([str(i + 1), *map(repr, data["X"][row].tolist()), str(data["y"][row])])
            for i, row in enumerate(rows)
        ]
        return "\n".join(["\t" + "\t".join(names), *lines, ""])

    def rows_of(flags):
        rows = np.random.default_rng(1).permutation(len(flags))
        return "".join(" ".join(map(str, rows[flags[rows] == value])) + " \n" for value in (0, 1))

    is_test = data["part"] == 1
    if is_test.any():
        put(folder / f"{name}_train_R.dat", table(np.flatnonzero(~is_test)))
        put(folder / f"{name}_test_R.dat", table(np.flatnonzero(is_test)))
    else:
        put(folder / f"{name}_R.dat", table(range(len(is_test))))
    put(folder / "conxuntos.dat", rows_of(data["tune"]))
    put(folder / "conxuntos_kfold.dat", "".join(rows_of(flags) for flags in data["kfold_test"]))
    return data


def put_regression(home, name="concrete", n=21, n_folds=3):
    rng = np.random.default_rng(0)
    table = rng.normal(size=(n, 3))
    lines = ["a,b,target"] + [",".join(map(repr, row)) for row in table.tolist()]
    put(home / "regression" / f"{name}.csv.gz", gzip.compress("\n".join(lines).encode()))
    is_test = rng.random((n_folds, n)) < 0.3
    if n_folds:
        packed = np.packbits(is_test, axis=1)
        put_npz(home / "regression" / f"{name}.splits.npz", test_mask_packed=packed, n=np.array(n))
    return table, is_test


def put_htru2(home, original):
    rng = np.random.default_rng(0)
    table = np.column_stack([rng.normal(size=(17898, 8)).round(3), np.arange(17898) < 1639])
    text = "\n".join(",".join(map(repr, row)) for row in table.tolist())
    if original:
        put(home / "HTRU2" / "HTRU_2.csv", text)
    else:
        put(home / "htru2" / "htru2.csv.gz", gzip.compress(("a,b,c,d,e,f,g,h,class\n" + text).encode()))
    return table


def idx(values):
    shape = values.shape
    return bytes([0, 0, 8, len(shape)]) + np.array(shape, ">i4").tobytes() + values.tobytes()


def put_mnist(home, folder="mnist", zipped=True, n_train=7, n_test=3):
    rng = np.random.default_rng(0)
    parts = []
    for part, n in (("train", n_train), ("t10k", n_test)):
        images, digits = rng.integers(0, 256, (n, 28, 28), np.uint8), rng.integers(0, 10, n, np.uint8)
        for kind, values in (("images-idx3", images), ("labels-idx1", digits)):
            name = f"{part}-{kind}-ubyte"
            content = gzip.compress(idx(values)) if zipped else idx(values)
            put(home / folder / (name + (".gz" if zipped else "")), content)
        parts.append((images.reshape(n, -1), digits))
    return [np.concatenate(both) for both in zip(*parts, strict=True)]


def put_cifar10(home, n=2, old_numpy=False):
    """Write pickled batches, n images each; as an old numpy wrote them, if wanted."""
    rng = np.random.default_rng(0)
    planes, labels = [], []
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        planes.append(rng.integers(0, 256, (n, 3072), np.uint8))
        labels.append(rng.integers(0, 10, n).tolist())
        content = pickle.dumps({b"data": planes[-1], b"labels": labels[-1]}, protocol=2)
        if old_numpy:
            content = content.replace(b"numpy._core", b"numpy.core")
        put(home / "cifar-10-batches-py" / name, content)
    return np.vstack(planes), np.hstack(labels)


def put_jpegs(home, n=3):
    image = pytest.importorskip("PIL.Image")
    rng, expected = np.random.default_rng(0), []
    for part in ("train", "test"):
        pixels = [rng.integers(0, 256, (32, 32, 3), np.uint8) for _ in range(n)]
        files = []
        for array in pixels:
            buffer = io.BytesIO()
            image.fromarray(array).save(buffer, "JPEG", quality=95)
            files.append(buffer.getvalue())
            expected.append(np.asarray(image.open(io.BytesIO(files[-1]))).ravel())
        head = os.path.commonprefix(files)
        body = [file[len(head) :] for file in files]
        put_npz(
            home / "cifar10" / f"{part}.npz",
            headers=np.frombuffer(head, np.uint8),
            body=np.frombuffer(b"".join(body), np.uint8),
            length=np.array([len(part) for part in body], np.uint16),
            y=np.arange(n, dtype=np.uint8),
        )
    return np.array(expected)


def tox21_labels(n):
    rng = np.random.default_rng(0)
    return np.where(rng.random((n, 12)) < 0.3, np.nan, rng.integers(0, 2, (n, 12)))


def label_texts(row, missing):
    return [missing if np.isnan(value) else str(value) for value in row]


TOX21_SETS = ["training"] * 12 + ["validation"] * 3


TOX21_FOLDS = ["0.0", "1.0", "2.0", "3.0", "4.0", ""] * 2 + ["5.0", "5.0", ""]


def put_tox21(home):
    n, d = len(TOX21_SETS), 4
    rng, y = np.random.default_rng(1), tox21_labels(n)
    bits = rng.random((n, 2048)) < 0.1
    keys = rng.random((n, 167)) < 0.2
    descriptors = rng.normal(size=(n, d)).astype(np.float32)
    descriptors[2] = np.nan
    lines = ["ID,inchikey,smiles,set,CVfold," + ",".join(TASKS) + ",smiles_std"]
    for i in range(n):
        known = [f"C{i}", f"K{i}", '"C(,)C"', TOX21_SETS[i], TOX21_FOLDS[i]]
        lines.append(",".join([*known, *label_texts(y[i], ""), f"CC{i}"]))
    put(home / "tox21" / "tox21.csv.gz", gzip.compress("\n".join(lines).encode()))
    put_npz(
        home / "tox21" / "tox21_features.npz",
        ecfp4_packed=np.packbits(bits, axis=1),
        maccs_packed=np.packbits(keys, axis=1),
        descriptors=descriptors,
        descriptor_names=np.array([f"d{i}" for i in range(d)]),
        ok=np.arange(n) != 2,
        id=np.array([f"C{i}" for i in range(n)]),
    )
    return np.hstack([bits, keys[:, 1:], descriptors]), y


def put_tox21_archive(home, named_index=True):
    """Write the files of the original archive; its table of compounds in another order than the features."""
    folder, n, n_test, d, n_bits = home / "tox21", len(TOX21_SETS), 5, 3, 6
    rng, y = np.random.default_rng(2), tox21_labels(len(TOX21_SETS) + 5)
    dense = rng.normal(size=(n + n_test, d)).round(4)
    dense[1, 2] = np.nan
    bits = (rng.random((n + n_test, n_bits)) < 0.5).astype(float)
    bits[:n, 4] = 0  # a bit of test compounds only is left out of X
    first = '"",' if named_index else ""
    for part, rows in (("train", range(n)), ("test", range(n, n + n_test))):
        labels = [first + ",".join(f'"{task.replace("-", ".")}"' for task in TASKS)]
        labels += [",".join([f'"C{i}"', *label_texts(y[i], "NA")]) for i in rows]
        put(folder / f"tox21_labels_{part}.csv.gz", gzip.compress("\n".join(labels).encode()))
        table = [first + ",".join(f'"d{j}"' for j in range(d))]
        table += [",".join([f'"C{i}"', *label_texts(dense[i], "NA")]) for i in rows]
        put(folder / f"tox21_dense_{part}.csv.gz", gzip.compress("\n".join(table).encode()))
        buffer = io.BytesIO()
        mmwrite(buffer, sparse.coo_array(bits[list(rows)]))
        put(folder / f"tox21_sparse_{part}.mtx.gz", gzip.compress(buffer.getvalue()))
        names = "".join(f"C{i}\n" for i in rows)
        put(folder / f"tox21_sparse_rownames_{part}.txt.gz", gzip.compress(names.encode()))
    put(folder / "tox21_sparse_colnames.txt.gz", gzip.compress(b"".join(b"b%d\n" % i for i in range(n_bits))))
    lines = [
        f"C{i},K{i},{(TOX21_SETS + ['test'] * 5)[i]},{(TOX21_FOLDS + [''] * 5)[i] or 'NA'}"
        for i in reversed(range(n + n_test))
    ]
    put(folder / "tox21_compoundData.csv", "\n".join(["ID,inchikey,set,CVfold", *lines]))
    return dense, bits, y


# ---------------------------------------------------------------- what folds must be


def check_pairs(pairs, rows):
    """Whether pairs of row numbers are disjoint and hold just these rows, in order, as cv= wants them."""
    for train, test in pairs:
        assert train.dtype == test.dtype == np.int64
        assert len(train) and len(test)
        assert_array_equal(np.sort(np.concatenate([train, test])), rows)
        assert (np.diff(train) > 0).all() and (np.diff(test) > 0).all()


def check_htru2_folds(data):
    """Ten folds; test fold M, validation fold M - 1, the rest to train on."""
    check_pairs(data.folds, np.arange(17898))
    tests = [test for _, test in data.folds]
    assert_array_equal(np.sort(np.concatenate(tests)), np.arange(17898))
    assert {int(data.y[test].sum()) for test in tests} <= {163, 164}
    assert len(data.validation_folds) == 10
    for m, (train, validation) in enumerate(data.validation_folds):
        assert_array_equal(validation, tests[m - 1] if m else tests[9])
        assert_array_equal(np.sort(np.concatenate([train, validation, tests[m]])), np.arange(17898))


def check_tox21_folds(data, n):
    """Published folds of training compounds; those without one are in every training part."""
    train, leaderboard = data.tuning
    check_pairs(data.folds, train)
    assert len(data.folds) == 5
    for number, (_, test) in enumerate(data.folds):
        assert (data.cv_fold[test] == number).all()
        assert not np.isin(leaderboard, test).any()
    assert_array_equal(np.sort(np.concatenate([train, leaderboard, data.test])), np.arange(n))
    unfolded = train[np.isnan(data.cv_fold[train])]
    assert unfolded.size and all(np.isin(unfolded, fold[0]).all() for fold in data.folds)

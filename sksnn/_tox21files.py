"""The files of Tox21: the archive as it was published, or one .npz file with a table."""

import io
import re

import numpy as np
from scipy import sparse
from scipy.io import mmread
from sklearn.utils import Bunch

from ._datafiles import arrays, damaged, number_table, text_columns, text_lines, unzipped

ADDRESS = "http://bioinf.jku.at/research/DeepTox/tox21.zip"
DENSITY = 0.05  # least density of the bits that the challenge's winners and the paper keep


def way_out_of(home):
    return (
        f"Tox21 was published at {ADDRESS}: unpack it, tox21_compoundData.csv and its other files, "
        f"to {home.folder / 'tox21'}."
    )


def is_task(name):
    return name.startswith(("NR-", "SR-", "NR.", "SR."))


def _bits(packed, n_bits):
    return np.unpackbits(packed, axis=1, count=n_bits)


def from_npz(home, path, way_out):
    """Read the compounds from a table and their features from an .npz file."""
    table = text_columns(unzipped(home.read(path, way_out), path, way_out), path, way_out)
    wanted = ("ecfp4_packed", "maccs_packed", "descriptors", "descriptor_names", "ok", "id")
    features = path.with_name("tox21_features.npz")
    data = arrays(home.read(features, way_out), wanted, features, way_out)
    lacking = {"ID", "inchikey", "smiles", "smiles_std", "set", "CVfold"} - set(table)
    if lacking or not any(map(is_task, table)):
        raise damaged(path, f"it lacks columns: {', '.join(sorted(lacking)) or 'assays'}", way_out)
    if not np.array_equal(data["id"], table["ID"]):
        raise damaged(features, "its compounds must be those of tox21.csv.gz, in the same order", way_out)
    shapes = {key: data[key].shape for key in wanted}
    n, d = len(data["id"]), len(data["descriptor_names"])
    fit = [(n, 256), (n, 21), (n, d), (d,), (n,), (n,)]
    if list(shapes.values()) != fit:
        raise damaged(features, f"its arrays do not fit together: {shapes}", way_out)
    # RDKit has 167 MACCS bits and does not use the first one.
    blocks = [_bits(data["ecfp4_packed"], 2048), _bits(data["maccs_packed"], 167)[:, 1:], data["descriptors"]]
    names = [f"ecfp4_{i}" for i in range(2048)] + [f"maccs_{i}" for i in range(1, 167)]
    return Bunch(
        table=table,
        X=np.hstack(blocks, dtype=np.float32),
        is_bit=np.arange(sum(block.shape[1] for block in blocks)) < len(names),
        feature_names=names + data["descriptor_names"].tolist(),
        parsed=data["ok"],
        X_sparse=None,
        smiles=table["smiles"],
        smiles_std=table["smiles_std"],
        what="ECFP4 and MACCS bits and descriptors, of RDKit; NaN where one could not be computed",
    )


def _part(home, folder, part, way_out):
    """Read names, dense and sparse features, and labels of training or test compounds from the archive."""

    def read(name):
        path = folder / name
        return path, unzipped(home.read(path, way_out), path, way_out)

    path, content = read(f"tox21_labels_{part}.csv.gz")
    labels = text_columns(content, path, way_out)
    ids = next(iter(labels.values()))
    path, content = read(f"tox21_dense_{part}.csv.gz")
    head, *lines = text_lines(content, path, way_out)
    n_dense = lines[-1].count(",") if lines else 0
    names = [name.strip('"') for name in head.split(",")][-n_dense:]
    dense_ids = [line.split(",", 1)[0].strip('"') for line in lines]
    filled = re.sub(rb'(?<=,)(?:"?NA"?)?(?=[,\r\n]|$)', b"nan", content)
    dense = number_table(
        filled,
        path,
        way_out,
        True,
        skiprows=1,
        delimiter=",",
        quotechar='"',
        usecols=range(1, n_dense + 1),
    )
    path, content = read(f"tox21_sparse_rownames_{part}.txt.gz")
    rows = text_lines(content, path, way_out)
    path, content = read(f"tox21_sparse_{part}.mtx.gz")
    try:
        bits = sparse.csr_array(mmread(io.BytesIO(content)))
    except ValueError as error:
        raise damaged(path, f"it must be a matrix in Matrix Market's format; {error}", way_out) from error
    if not (ids.tolist() == dense_ids == rows and bits.shape[0] == len(ids)):
        raise damaged(path, "labels, dense and sparse features must be of the same compounds", way_out)
    return ids, names, dense, bits, {name: labels[name] for name in labels if is_task(name)}


def from_archive(home, path, way_out):
    """Read the original archive: dense features, and the bits that at least 5 % of training rows have."""
    folder = path.parent
    parts = [_part(home, folder, part, way_out) for part in ("train", "test")]
    compounds = text_columns(home.read(path, way_out), path, way_out)
    names_path = folder / "tox21_sparse_colnames.txt.gz"
    content = unzipped(home.read(names_path, way_out), names_path, way_out)
    bit_names = text_lines(content, names_path, way_out)
    (ids, names, dense, bits, labels), (test_ids, test_names, test_dense, test_bits, test_labels) = parts
    ids = np.concatenate([ids, test_ids])
    row_of = {name: row for row, name in enumerate(compounds.get("ID", ()))}
    known = row_of.keys() >= set(ids) and {"inchikey", "set", "CVfold"} <= compounds.keys()
    if not known or names != test_names or list(labels) != list(test_labels):
        raise damaged(path, "compounds and columns of the archive's files do not fit together", way_out)
    if not bits.shape[1] == test_bits.shape[1] == len(bit_names):
        raise damaged(names_path, f"it must have {bits.shape[1]} names; it has {len(bit_names)}", way_out)
    dense_enough = np.flatnonzero(bits.count_nonzero(axis=0) >= DENSITY * bits.shape[0])
    both = sparse.vstack([bits, test_bits], format="csr")
    order = [row_of[name] for name in ids]
    table = {name: compounds[name][order] for name in ("ID", "inchikey", "set", "CVfold")}
    table |= {name.replace(".", "-"): np.concatenate([labels[name], test_labels[name]]) for name in labels}
    return Bunch(
        table=table,
        X=np.hstack([np.vstack([dense, test_dense]), both[:, dense_enough].toarray()], dtype=np.float32),
        is_bit=np.arange(len(names) + len(dense_enough)) >= len(names),
        feature_names=names + [bit_names[i] for i in dense_enough],
        parsed=np.ones(len(ids), dtype=bool),
        X_sparse=both,
        smiles=None,
        smiles_std=None,
        what="the archive's dense features, and those of its bits that 5 % of the training compounds have",
    )

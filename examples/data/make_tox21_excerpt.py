"""Write tox21_excerpt.npz: 2500 compounds of Tox21, drawn at random, for plot_multitask_missing_labels.py.

    SKSNN_DATA=/path/to/data python examples/data/make_tox21_excerpt.py

The labels are from the Tox21 challenge (2014) of the National Institutes of Health of the United States.
Works of the US government are in the public domain. RDKit computed the 166 MACCS keys of each compound.

- ``keys``: uint8 of shape (2500, 21), the keys of each compound; ``np.unpackbits(keys, axis=1, count=166)``.
- ``labels``: int8 of shape (2500, 12); 1: the compound is active in the assay, 0: it is not, -1: unknown.
- ``assays``: the names of the assays.
"""

from pathlib import Path

import numpy as np

from sksnn.datasets import load_tox21

data = load_tox21()
_, first = np.unique(data.smiles_std, return_index=True)  # no compound twice
rows = np.intersect1d(first, np.flatnonzero(data.parsed))
rows = np.sort(np.random.default_rng(0).choice(rows, 2500, replace=False))
is_key = [name.startswith("maccs_") for name in data.feature_names]
np.savez_compressed(
    Path(__file__).with_name("tox21_excerpt.npz"),
    keys=np.packbits(data.X[rows][:, is_key] > 0, axis=1),
    labels=np.nan_to_num(data.y[rows], nan=-1).astype(np.int8),
    assays=np.array(data.target_names),
)

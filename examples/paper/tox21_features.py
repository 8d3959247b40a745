"""Molecules as columns of numbers: scikit-learn transformers that use RDKit, for tox21.py.

    features = make_features()          # SMILES -> dense columns, mean 0 and variance 1
    X = features.fit_transform(smiles)

Every transformer takes SMILES, one per row. A SMILES that RDKit cannot read is an error that names the row,
or, with ``errors="warn"``, a warning and a row of NaN, which SquashScaler turns into the average molecule.
The slow computations depend on a single row and on nothing learned. So their results are saved on disk, in
the folder ``cache``, for other splits and fits.
"""

import warnings
from pathlib import Path

import joblib
import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import Descriptors as rdkit_descriptors
from rdkit.Chem import FilterCatalog, MACCSkeys, rdFingerprintGenerator, rdReducedGraphs
from rdkit.Chem.MolStandardize import rdMolStandardize
from scipy import sparse
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.validation import check_is_fitted, validate_data

UNREADABLE = ""  # what StandardSmiles returns for a molecule that RDKit cannot read
N_HASHES = 2**32  # columns of an unfolded fingerprint

# ---------------------------------------------------------------- molecules


def _smiles_column(X):
    """Return SMILES as a list of str, from a list, an array, a Series, or a frame of one column."""
    column = np.asarray(X, dtype=object)
    if column.ndim == 2 and column.shape[1] == 1:
        column = column[:, 0]
    if column.ndim != 1:
        raise ValueError(f"Expected one column of SMILES; got an array of shape {column.shape}.")
    return column.tolist()


def _parent(smiles, strip):
    """Return the canonical SMILES of a molecule; if `strip`, of its largest organic part without charges."""
    mol = Chem.MolFromSmiles(smiles) if isinstance(smiles, str) and smiles else None
    if mol is None:
        return UNREADABLE
    if strip:
        try:
            mol = rdMolStandardize.Cleanup(mol)
            mol = rdMolStandardize.LargestFragmentChooser(preferOrganic=True).choose(mol)
            mol = rdMolStandardize.Uncharger().uncharge(mol)
        except Chem.MolSanitizeException:
            mol = Chem.MolFromSmiles(smiles)
    canonical = Chem.MolToSmiles(mol)
    return canonical if Chem.MolFromSmiles(canonical) else Chem.MolToSmiles(Chem.MolFromSmiles(smiles))


def _parents(smiles, strip):
    with rdBase.BlockLogs():
        return np.array([_parent(one, strip) for one in smiles], dtype=object)


class _Stateless(TransformerMixin, BaseEstimator):
    """Base class of transformers that learn nothing in fit."""

    def fit(self, X, y=None):
        _smiles_column(X)
        return self

    def __sklearn_is_fitted__(self):
        return True

    def _rows(self, function, X, *settings):
        smiles = [one if isinstance(one, str) else UNREADABLE for one in _smiles_column(X)]
        return cached_rows(self.cache, function, smiles, *settings)


class _FixedColumns(_Stateless):
    """Base class of transformers that always have the same columns; the only parameter is the cache."""

    def __init__(self, cache=None):
        self.cache = cache

    def transform(self, X):
        return self._rows(self._compute, X)


def cached_rows(folder, function, smiles, *settings):
    """Return one row per molecule: from a file in the folder if it is there, else computed and saved."""
    if folder is None:
        return function(smiles, *settings)
    name = "-".join([function.__name__.strip("_"), *map(str, settings), f"rdkit{rdBase.rdkitVersion}"])
    path = Path(folder) / f"{name}.joblib"
    known, rows = joblib.load(path) if path.exists() else ([], None)
    place = {one: row for row, one in enumerate(known)}
    new = [one for one in dict.fromkeys(smiles) if one not in place]
    if new:
        computed = function(new, *settings)
        stack = sparse.vstack if sparse.issparse(computed) else np.concatenate
        rows = computed if rows is None else stack([rows, computed])
        rows = rows.tocsr() if sparse.issparse(rows) else rows
        place.update(zip(new, range(len(known), rows.shape[0]), strict=True))
        path.parent.mkdir(parents=True, exist_ok=True)
        joblib.dump((known + new, rows), path.with_suffix(".new"), compress=3)
        path.with_suffix(".new").replace(path)
    return rows[[place[one] for one in smiles]]


class StandardSmiles(_Stateless):
    """Convert molecules to canonical SMILES, so that equal compounds have equal strings.

    Parameters
    ----------
    strip : bool, default=True
        Whether to keep only the largest organic fragment, without counter ions and solvents, and neutralise
        it.
    errors : {"raise", "warn", "ignore"}, default="raise"
        What to do if RDKit cannot read a SMILES. "raise": an error that names the row and the string. "warn"
        and "ignore": return an empty string, which the other transformers turn into a row of NaN, with or
        without a warning.
    cache : str or path-like, default=None
        Folder in which rows are saved.

    Examples
    --------
    >>> StandardSmiles().fit_transform(["[Na+].CC(=O)[O-]", "OC(C)=O"])
    array(['CC(=O)O', 'CC(=O)O'], dtype=object)
    """

    def __init__(self, strip=True, errors="raise", cache=None):
        self.strip = strip
        self.errors = errors
        self.cache = cache

    def transform(self, X):
        if self.errors not in ("raise", "warn", "ignore"):
            raise ValueError(f"errors must be 'raise', 'warn' or 'ignore'; got {self.errors!r}.")
        parents = self._rows(_parents, X, self.strip)
        unreadable = np.flatnonzero(parents == UNREADABLE)
        if len(unreadable) and self.errors != "ignore":
            row, n = unreadable[0], len(unreadable)
            found = f"RDKit cannot read {n} SMILES, first that in row {row}: {_smiles_column(X)[row]!r}"
            if self.errors == "raise":
                raise ValueError(f"{found}. Correct it, drop the row, or set errors='warn'.")
            warnings.warn(f"{found}. Their rows become NaN.", stacklevel=2)
        return parents


# ---------------------------------------------------------------- counts

FINGERPRINTS = {
    "ecfp": lambda radius: rdFingerprintGenerator.GetMorganGenerator(radius=radius),
    "fcfp": lambda radius: rdFingerprintGenerator.GetMorganGenerator(
        radius=radius, atomInvariantsGenerator=rdFingerprintGenerator.GetMorganFeatureAtomInvGen()
    ),
    "torsions": lambda radius: rdFingerprintGenerator.GetTopologicalTorsionGenerator(),
    "pairs": lambda radius: rdFingerprintGenerator.GetAtomPairGenerator(maxDistance=radius),
    "paths": lambda radius: rdFingerprintGenerator.GetRDKitFPGenerator(maxPath=radius, numBitsPerFeature=1),
}


def _count_substructures(smiles, kind, radius):
    """Return counts per molecule, sparse of shape (n, 2**32); NaN in column 0 marks an empty SMILES."""
    generator = FINGERPRINTS[kind](radius)
    indptr, indices, counts = [0], [], []
    for one in smiles:
        found = {0: np.nan}
        if one != UNREADABLE:
            with rdBase.BlockLogs():
                mol = Chem.MolFromSmiles(one)
            found = generator.GetSparseCountFingerprint(mol).GetNonzeroElements()
        order = sorted(found)
        indices.append(np.array(order, dtype=np.int64) % N_HASHES)
        counts.append(np.array([found[key] for key in order], dtype=np.float32))
        indptr.append(indptr[-1] + len(order))
    arrays = (np.concatenate(counts), np.concatenate(indices), np.array(indptr, dtype=np.int64))
    return sparse.csr_array(arrays, shape=(len(smiles), N_HASHES))


class SubstructureCounts(_Stateless):
    """Count substructures; the result is a sparse matrix with one column for each of the 2**32 hashes.

    Parameters
    ----------
    kind : {"ecfp", "fcfp", "torsions", "pairs", "paths"}, default="ecfp"
        Circular substructures by atoms or by pharmacophoric features, topological torsions, pairs of atoms,
        or paths.
    radius : int, default=3
        Largest radius of circular substructures, which include all smaller ones (3: ECFP6); largest distance
        of pairs; largest length of paths.
    cache : str or path-like, default=None
        Folder in which rows are saved.
    """

    def __init__(self, kind="ecfp", radius=3, cache=None):
        self.kind = kind
        self.radius = radius
        self.cache = cache

    def transform(self, X):
        return self._rows(_count_substructures, X, self.kind, self.radius)


class FrequentColumns(TransformerMixin, BaseEstimator):
    """Keep the columns of a sparse matrix that are not 0 in enough rows, as a dense matrix.

    Rare bits mainly help a network to distinguish single training compounds, so it overfits.

    Parameters
    ----------
    min_share : float, default=0.05
        Least share of the training rows in which a column is not 0.

    Attributes
    ----------
    columns_ : ndarray of int
        The columns kept, in ascending order.

    Examples
    --------
    >>> X = sparse.csr_array([[1, 0, 2], [0, 0, 3]])
    >>> FrequentColumns(min_share=0.6).fit_transform(X)
    array([[2.],
           [3.]], dtype=float32)
    """

    def __init__(self, min_share=0.05):
        self.min_share = min_share

    def fit(self, X, y=None):
        X = self._check(X, reset=True)
        columns, n_rows = np.unique(X.indices[np.nan_to_num(X.data) != 0], return_counts=True)
        self.columns_ = columns[n_rows >= self.min_share * X.shape[0]]
        return self

    def transform(self, X):
        check_is_fitted(self)
        X = self._check(X, reset=False)
        place = np.minimum(np.searchsorted(self.columns_, X.indices), max(len(self.columns_) - 1, 0))
        rows = np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))
        kept = self.columns_[place] == X.indices if len(self.columns_) else np.zeros(len(rows), bool)
        dense = np.zeros((X.shape[0], len(self.columns_)), np.float32)
        dense[rows[kept], place[kept]] = X.data[kept]
        dense[rows[np.isnan(X.data)]] = np.nan
        return dense

    def _check(self, X, reset):
        return validate_data(
            self, X, reset=reset, accept_sparse="csr", accept_large_sparse=True, ensure_all_finite=False
        )

    def get_feature_names_out(self, input_features=None):
        return np.array([str(column) for column in self.columns_], dtype=object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


# ---------------------------------------------------------------- keys, descriptors, alerts


def _rows_of(smiles, function, n_columns):
    rows = np.full((len(smiles), n_columns), np.nan, np.float32)
    with rdBase.BlockLogs():
        for row, one in zip(rows, smiles, strict=True):
            if one != UNREADABLE:
                row[:] = function(Chem.MolFromSmiles(one))
    return rows


def _maccs(smiles):
    # RDKit has 167 bits and does not use the first one.
    return _rows_of(smiles, lambda mol: np.array(MACCSkeys.GenMACCSKeys(mol))[1:], 166)


class MACCSKeys(_FixedColumns):
    """Indicators of the 166 public MACCS keys.

    Parameters
    ----------
    cache : str or path-like, default=None
        Folder in which rows are saved.
    """

    _compute = staticmethod(_maccs)

    def get_feature_names_out(self, input_features=None):
        return np.array([f"maccs_{i}" for i in range(1, 167)], dtype=object)


def _descriptor_names():
    return [name for name, _ in rdkit_descriptors.descList]


def _one_descriptor(function, mol):
    try:
        return function(mol)
    except (ValueError, ZeroDivisionError, RuntimeError):
        return np.nan


def _describe(smiles):
    functions = [function for _, function in rdkit_descriptors.descList]

    def row(mol):
        values = np.array([_one_descriptor(function, mol) for function in functions], dtype=np.float64)
        values[~(np.abs(values) < 1e30)] = np.nan
        return values

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return _rows_of(smiles, row, len(functions))


class Descriptors(_FixedColumns):
    """RDKit's descriptors of the molecular graph; NaN if a descriptor is not defined.

    Parameters
    ----------
    cache : str or path-like, default=None
        Folder in which rows are saved.
    """

    _compute = staticmethod(_describe)

    def get_feature_names_out(self, input_features=None):
        return np.array(_descriptor_names(), dtype=object)


def _reduced_graphs(smiles):
    return sparse.csr_array(_rows_of(smiles, rdReducedGraphs.GetErGFingerprint, 315))


class ReducedGraphs(_FixedColumns):
    """Pairs of pharmacophoric features at each distance in the extended reduced graph (ErG).

    The six features are donors, acceptors, positive and negative charges, and hydrophobic and aromatic
    groups. There is one column for each pair of features and each of 15 distances.

    Parameters
    ----------
    cache : str or path-like, default=None
        Folder in which rows are saved.
    """

    _compute = staticmethod(_reduced_graphs)

    def get_feature_names_out(self, input_features=None):
        return np.array([f"erg_{i}" for i in range(315)], dtype=object)


ALERTS = ("PAINS", "BRENK", "NIH", "CHEMBL")


def _alert_catalog():
    settings = FilterCatalog.FilterCatalogParams()
    for name in ALERTS:
        settings.AddCatalog(getattr(FilterCatalog.FilterCatalogParams.FilterCatalogs, name))
    return FilterCatalog.FilterCatalog(settings)


def _find_alerts(smiles):
    catalog = _alert_catalog()
    entries = [catalog.GetEntryWithIdx(i) for i in range(catalog.GetNumEntries())]
    found = _rows_of(smiles, lambda mol: [entry.HasFilterMatch(mol) for entry in entries], len(entries))
    return sparse.csr_array(found)


class StructuralAlerts(_FixedColumns):
    """Indicators of structural alerts: patterns of reactive, toxic or promiscuous compounds.

    The lists are those that come with RDKit: PAINS, Brenk, NIH, and those collected by ChEMBL (Glaxo,
    Dundee, BMS, SureChEMBL, MLSMR, Inpharmatica, LINT).

    Parameters
    ----------
    cache : str or path-like, default=None
        Folder in which rows are saved.
    """

    _compute = staticmethod(_find_alerts)

    def get_feature_names_out(self, input_features=None):
        catalog = _alert_catalog()
        names = [catalog.GetEntryWithIdx(i).GetDescription() for i in range(catalog.GetNumEntries())]
        return np.array([f"alert_{i}_{name}" for i, name in enumerate(names)], dtype=object)


# ---------------------------------------------------------------- scaling


class SquashScaler(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Standardise columns, apply tanh, and standardise again; missing values become 0, the mean.

    The tanh bounds the heavy tails of descriptors. Constant columns and columns without any value become 0.

    Attributes
    ----------
    center_, scale_ : ndarray of shape (n_features,)
        Mean and standard deviation of the columns.
    squashed_center_, squashed_scale_ : ndarray of shape (n_features,)
        Mean and standard deviation of the columns after tanh.

    Examples
    --------
    >>> X = np.array([[0.0], [1.0], [np.nan], [1000.0]])
    >>> SquashScaler().fit_transform(X).round(2).ravel()
    array([-0.71, -0.71,  0.  ,  1.41])
    """

    def fit(self, X, y=None):
        X = self._check(X, reset=True)
        self.center_, self.scale_ = _moments(X)
        squashed = np.tanh((X - self.center_) / self.scale_)
        self.squashed_center_, self.squashed_scale_ = _moments(squashed)
        return self

    def transform(self, X):
        check_is_fitted(self)
        squashed = np.tanh((self._check(X, reset=False) - self.center_) / self.scale_)
        return np.nan_to_num((squashed - self.squashed_center_) / self.squashed_scale_)

    def _check(self, X, reset):
        return validate_data(self, X, reset=reset, dtype=np.float64, ensure_all_finite="allow-nan")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def _moments(X):
    """Return mean and deviation of each column over the values present; 0 and 1 if there are none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a column without any value
        center, scale = np.nanmean(X, axis=0), np.nanstd(X, axis=0)
    constant = ~(scale > 1e-8 * np.maximum(np.abs(center), 1))
    return np.nan_to_num(center), np.where(constant, 1.0, scale)


# ---------------------------------------------------------------- all together


def _frequent_counts(min_share, kind, radius, cache):
    """Count substructures, keep the frequent ones, take logarithms."""
    return Pipeline(
        [
            ("count", SubstructureCounts(kind, radius, cache=cache)),
            ("frequent", FrequentColumns(min_share)),
            ("log", FunctionTransformer(np.log1p, feature_names_out="one-to-one")),
        ]
    )


def make_features(min_share=0.05, radius=3, alert_share=0.01, reduced_share=None, errors="raise", cache=None):
    """Return a pipeline from SMILES to scaled columns.

    Parameters
    ----------
    min_share : float, default=0.05
        Least share of the training molecules with a circular substructure for which it becomes a column.
    radius : int, default=3
        Largest radius of circular substructures; smaller ones are included.
    alert_share : float, default=0.01
        Least share of the training molecules with a structural alert for which it becomes a column.
    reduced_share : float, default=None
        Least share of the training molecules with a pair of features of the reduced graph for which it
        becomes a column; None: no such columns.
    errors : {"raise", "warn"}, default="raise"
        What to do if RDKit cannot read a SMILES; see StandardSmiles.
    cache : str or path-like, default=None
        Folder in which the results of RDKit are saved.

    Returns
    -------
    features : Pipeline
    """
    alerts = Pipeline([("find", StructuralAlerts(cache)), ("frequent", FrequentColumns(alert_share))])
    blocks = [
        ("ecfp", _frequent_counts(min_share, "ecfp", radius, cache)),
        ("maccs", MACCSKeys(cache)),
        ("descriptors", Descriptors(cache)),
        ("alerts", alerts),
    ]
    if reduced_share is not None:
        reduced = [("find", ReducedGraphs(cache)), ("frequent", FrequentColumns(reduced_share))]
        blocks.append(("reduced_graphs", Pipeline(reduced)))
    return Pipeline(
        [
            ("standard", StandardSmiles(errors=errors, cache=cache)),
            ("blocks", FeatureUnion(blocks)),
            ("scale", SquashScaler()),
        ]
    )


def _inchi_keys(smiles):
    with rdBase.BlockLogs():
        mols = [Chem.MolFromSmiles(one) if one != UNREADABLE else None for one in smiles]
        return np.array([Chem.MolToInchiKey(mol) if mol else "" for mol in mols], dtype=object)


def compound_keys(smiles, cache=None):
    """Return the InChIKey of each compound's parent, which is the same for its salts, charges and SMILES.

    Parameters
    ----------
    smiles : array-like of str
    cache : str or path-like, default=None
        Folder in which rows are saved.

    Returns
    -------
    keys : ndarray of str
        The InChIKeys; for an unreadable SMILES, the SMILES itself.

    Examples
    --------
    >>> compound_keys(["[Na+].CC(=O)[O-]", "OC(C)=O"])
    array(['QTBSBXVTEAMEQO-UHFFFAOYSA-N', 'QTBSBXVTEAMEQO-UHFFFAOYSA-N'],
          dtype=object)
    """
    smiles = _smiles_column(smiles)
    parents = StandardSmiles(errors="ignore", cache=cache).transform(smiles)
    keys = cached_rows(cache, _inchi_keys, parents.tolist())
    return np.array([key or str(own) for key, own in zip(keys, smiles, strict=True)], dtype=object)

"""SMILES to features, and the script that trains upon them."""

import gzip
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import unfinished
from scipy import sparse
from sklearn.base import clone

pytest.importorskip("rdkit")
PAPER = Path(__file__).parent.parent / "examples" / "paper"
sys.path.insert(0, str(PAPER))
features = pytest.importorskip("tox21_features")
tox21 = pytest.importorskip("tox21")

SMILES = [
    "CCO",
    "c1ccccc1O",
    "CC(=O)Oc1ccccc1C(=O)O",
    "O=[N+]([O-])c1ccccc1",
    "CN1C=NC2=C1C(=O)N(C)C(=O)N2C",
    "[Na+].CC(=O)[O-]",
    "ClC(Cl)(Cl)C(c1ccc(Cl)cc1)c1ccc(Cl)cc1",
    "C1CCCCC1N",
]
UNREADABLE = "C1CC(nonsense"


def make_file(path):
    """Write compounds and labels: chains of carbon, active if they end in chlorine."""
    chains = ["C" * length + end for length in range(2, 17) for end in ("", "Cl", "O", "N", "C(=O)O")]
    labels = {assay: [float("Cl" in one) for one in chains] for assay in tox21.ASSAYS}
    table = pd.DataFrame({"smiles": chains, **labels})
    table.iloc[::7, 1:4] = np.nan
    table.to_csv(path, index=False, compression="gzip" if path.suffix == ".gz" else None)
    return table


# ---------------------------------------------------------------- transformers


def test_standard_smiles_strips_salts_and_charges():
    standard = features.StandardSmiles()
    assert standard.fit_transform(["[Na+].CC(=O)[O-]", "OC(C)=O", "C(O)C"]).tolist() == [
        *("CC(=O)O", "CC(=O)O", "CCO"),
    ]
    assert features.StandardSmiles(strip=False).fit_transform(["[Na+].[Cl-]"]).tolist() == ["[Cl-].[Na+]"]


def test_an_unreadable_smiles_is_an_error_or_a_row_of_missing_values():
    with pytest.raises(ValueError, match=r"1 SMILES, first that in row 1: 'C1CC\(nonsense'.*'warn'"):
        features.StandardSmiles().fit_transform(["CCO", UNREADABLE])
    with pytest.warns(UserWarning, match="row 1"):
        standard = features.StandardSmiles(errors="warn").fit_transform(["CCO", UNREADABLE])
    assert np.isnan(features.Descriptors().fit_transform(standard)[1]).all()
    assert np.isnan(features.MACCSKeys().fit_transform(standard)[1]).all()
    counts = features.SubstructureCounts().fit_transform(standard)
    frequent = features.FrequentColumns(0.5).fit_transform(counts)
    assert np.isnan(frequent[1]).all() and not np.isnan(frequent[0]).any()
    with pytest.raises(ValueError, match="errors must be 'raise', 'warn' or 'ignore'; got 'skip'"):
        features.StandardSmiles(errors="skip").fit_transform(["CCO"])


def test_pipeline_gives_standardised_columns():
    pipeline = features.make_features(min_share=0.2)
    X = pipeline.fit_transform(SMILES)
    assert X.shape[0] == len(SMILES) and X.shape[1] > 166 + 200 and np.isfinite(X).all()
    np.testing.assert_allclose(X.mean(axis=0), 0, atol=1e-6)
    spread = X.std(axis=0)
    assert (np.isclose(spread, 1, atol=1e-3) | np.isclose(spread, 0)).all()
    np.testing.assert_array_equal(clone(pipeline).fit_transform(SMILES), X)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(pipeline)).transform(SMILES), X)


def test_what_is_learned_is_learned_from_the_training_molecules():
    pipeline = features.make_features(min_share=0.2).fit(SMILES[:4])
    together = pipeline.transform(SMILES)
    np.testing.assert_allclose(pipeline.transform(SMILES[6:]), together[6:], atol=1e-12)


@pytest.mark.filterwarnings("ignore:RDKit cannot read")
def test_an_unreadable_molecule_is_the_average_one():
    pipeline = features.make_features(min_share=0.2, errors="warn").fit(SMILES)
    np.testing.assert_array_equal(pipeline.transform([UNREADABLE]), 0)


def test_rows_are_kept_in_a_folder(tmp_path):
    maccs = features.MACCSKeys(cache=tmp_path)
    plain = features.MACCSKeys().transform(SMILES)
    np.testing.assert_array_equal(maccs.transform(SMILES[:5]), plain[:5])
    np.testing.assert_array_equal(
        maccs.transform(SMILES[::-1] + SMILES[:1]), np.vstack([plain[::-1], plain[:1]])
    )
    (file,) = tmp_path.iterdir()
    written = file.stat().st_mtime_ns
    maccs.transform(SMILES)
    assert file.stat().st_mtime_ns == written
    counts = features.SubstructureCounts(cache=tmp_path)
    counts.transform(SMILES[2:])
    assert (counts.transform(SMILES) != features.SubstructureCounts().transform(SMILES)).nnz == 0


@pytest.mark.parametrize("kind", features.FINGERPRINTS)
def test_counts_are_unfolded(kind):
    counts = features.SubstructureCounts(kind, radius=3).fit_transform(SMILES)
    assert sparse.issparse(counts) and counts.shape == (len(SMILES), 2**32)
    assert counts.data.min() >= 1


def test_counts_of_a_known_molecule():
    counts = features.SubstructureCounts(radius=0).fit_transform(["CCO"])
    assert sorted(counts.data) == [1, 1, 1]  # CH3, CH2 and OH, each an environment of its own


def test_reduced_graphs_tell_the_distance_of_features():
    graphs = features.ReducedGraphs()
    near, far, none, same = graphs.fit_transform(["NCCO", "NCCCCCO", "C", "OCCN"]).toarray()
    assert near.any() and not none.any()
    np.testing.assert_array_equal(near, same)
    assert not np.array_equal(near, far)
    missing = graphs.transform(["CCO", features.UNREADABLE]).toarray()
    assert np.isnan(missing[1]).all() and not np.isnan(missing[0]).any()
    assert len(graphs.get_feature_names_out()) == missing.shape[1]


def test_reduced_graphs_are_columns_if_wanted():
    plain, more = features.make_features(0.2), features.make_features(0.2, reduced_share=0.2)
    X, X_more = plain.fit_transform(SMILES), more.fit_transform(SMILES)
    assert X_more.shape[1] > X.shape[1]
    np.testing.assert_array_equal(X_more[:, : X.shape[1]], X)


def test_frequent_columns():
    X = sparse.csr_array(np.array([[1, 0, 2, 0], [0, 0, 3, 1], [4, 0, 5, 0], [0, 0, 6, 0]], dtype=float))
    frequent = features.FrequentColumns(min_share=0.5).fit(X)
    np.testing.assert_array_equal(frequent.columns_, [0, 2])
    np.testing.assert_array_equal(frequent.transform(X), X.toarray()[:, [0, 2]])
    assert features.FrequentColumns(min_share=1.0).fit_transform(X[:, :2]).shape == (4, 0)


def test_squash_scaler_takes_outliers_and_missing_values():
    X = np.column_stack([np.r_[np.arange(8.0), np.nan, 1e6], np.full(10, 3.0), np.full(10, np.nan)])
    scaled = features.SquashScaler().fit_transform(X)
    assert np.abs(scaled).max() < 4
    np.testing.assert_allclose(scaled[:, 1:], 0)
    assert scaled[8, 0] == 0 and (np.diff(scaled[[*range(8), 9], 0]) > 0).all()


def test_compound_keys_name_the_parent():
    keys = features.compound_keys(["[Na+].CC(=O)[O-]", "OC(C)=O", "CCO", UNREADABLE])
    assert keys[0] == keys[1] != keys[2] and keys[3] == UNREADABLE


# ---------------------------------------------------------------- the script


def test_compounds_are_merged_by_majority():
    keys = np.array(["b", "a", "b", "b"])
    y = np.array([[1, 0, np.nan], [0, np.nan, 1], [1, 1, np.nan], [0, np.nan, np.nan]])
    first, merged = tox21.merge_compounds(keys, y)
    np.testing.assert_array_equal(first, [1, 0])
    np.testing.assert_array_equal(merged, [[0, np.nan, 1], [1, np.nan, np.nan]])


def test_scored_compounds_are_neither_trained_on_nor_watched():
    smiles, keys = np.array(["CCO", "OCC", "CCN"]), np.array(["ethanol", "ethanol", "ethylamine"])
    rows = (smiles, np.array([[0.0], [0.0], [1.0]]), keys)
    scored = (np.array(["C(C)O"]), np.array([[0.0]]), np.array(["ethanol"]))
    _, train, watched, _ = tox21.make_split("test", rows, rows, scored)
    for part_smiles, y in (train, watched):
        assert part_smiles.tolist() == ["CCN"] and y.tolist() == [[1.0]]


def test_rows_of_scored_compounds_can_be_kept():
    smiles, keys = np.array(["CCO", "OCC", "CCN"]), np.array(["ethanol", "ethanol", "ethylamine"])
    rows = (smiles, np.array([[0.0], [0.0], [1.0]]), keys)
    scored = (np.array(["C(C)O"]), np.array([[1.0]]), np.array(["ethanol"]))
    _, train, watched, _ = tox21.make_split("test", rows, rows, scored, keeps=True)
    assert train[0].tolist() == ["CCO", "CCN"] and train[1].tolist() == [[0.0], [1.0]]
    assert watched[0].tolist() == smiles.tolist()


def test_results_with_duplicates_have_a_key_of_their_own(monkeypatch, tmp_path):
    keys = []
    for options in ([], ["--keep-duplicates"]):
        monkeypatch.setattr(sys, "argv", ["tox21.py", str(tmp_path / "results.csv"), *options])
        keys.append({key for _, key, *_ in tox21.fits("test", tox21.parse_arguments())})
    assert len(keys[0]) == len(keys[1]) > 0 and not keys[0] & keys[1]


@pytest.mark.parametrize("watches", [False, True])
def test_the_leaderboard_is_scored_or_trained_on_or_watched(watches):
    smiles = np.array(["C", "CC", "CCC", "CCCC", "CCCCC", "CO", "CN"])
    is_leaderboard, folds = np.arange(7) >= 5, np.array([0, 1, 2, 3, 4, -1, -1])
    training = (smiles, np.zeros((7, 1)), is_leaderboard, folds, smiles)
    splits = {name: parts for name, *parts in tox21.make_splits(training, None, watches)}
    assert ("leaderboard" in splits) != watches and len(splits) == 6 - watches
    train, watched, scored = splits["fold 2"]
    assert sorted(train[0]) == ["C", "CC", "CCCC", "CCCCC"] and scored[0].tolist() == ["CCC"]
    assert (watched[0].tolist() == ["CO", "CN"]) if watches else watched is None
    test = ("test", np.array(["CF", "CO"]), np.zeros((2, 1)), np.array(["CF", "CO"]))
    ((_, train, watched, scored),) = tox21.make_splits(training, test, watches)
    assert len(train[0]) == (5 if watches else 6) and scored[0].tolist() == ["CF", "CO"]
    assert not watches or watched[0].tolist() == ["CN"]


def test_members_take_the_views_in_turn(monkeypatch):
    seen = []

    def predict(X, y, X_scored, settings, seed, device, watched):
        seen.append((X, settings["n_estimators"]))
        return np.full((1, 1), float(X))

    monkeypatch.setattr(tox21, "predict_snn", predict)
    views = [(1, None, {}), (2, None, {}), (4, None, {})]
    proba = tox21.predict_members(views, None, {"n_estimators": 8}, 0, "cpu")
    assert seen == [(1, 3), (2, 3), (4, 2)]
    assert proba == pytest.approx((3 * 1 + 3 * 2 + 2 * 4) / 8)
    seen.clear()
    assert tox21.predict_members(views, None, {"n_estimators": 2}, 0, "cpu") == 1.5
    assert seen == [(1, 1), (2, 1)]


@pytest.mark.parametrize("watches", [False, True])
def test_what_is_watched_reaches_the_network(monkeypatch, tmp_path, watches):
    seen = []

    def record(X, y, X_scored, settings, seed, device, watched):
        seen.append((settings["early_stopping"], {name: len(rows) for name, rows in watched.items()}))
        return np.full((len(X_scored), 12), 0.5)

    monkeypatch.setitem(tox21.METHODS, "SNN", record)
    options = ["--seeds", "1", "--forests", "0", "--ensembles", "0", *["--watch-leaderboard"] * watches]
    monkeypatch.setattr(sys, "argv", ["tox21.py", str(tmp_path / "results.csv"), *options])
    args = tox21.parse_arguments()
    smiles, y = np.array(["CCO", "CCN", "CCC", "CCCC"]), np.tile([[0.0], [1.0], [0.0], [1.0]], 12)
    records = tox21.Records(args.results, tox21.KEYS, (*tox21.ASSAYS, "mean", "seconds"))
    watched = (smiles[:2], y[:2]) if watches else None
    tox21.run_split(("fold 0", (smiles, y), watched, (smiles[2:], y[2:])), args, records, None)
    assert seen == [(watches, {"X_val": 2, "y_val": 2} if watches else {})]


@unfinished
def test_settings_are_chosen_by_folds_or_by_what_is_watched():
    """A candidate that learns nothing is not chosen; watched rows of turned labels choose the other one."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 4)).astype(np.float32)
    y = (X[:, [0, 1]] > 0).astype(float)
    y[::5, 1] = np.nan
    parts, settings = np.arange(120) % 4 - 1, {"n_estimators": 1, "max_epochs": 15}
    candidates = [{"lr": 0.01}, {"lr": 1e-9}]
    assert tox21.tune(X, y, parts, {}, settings, candidates, "cpu") == candidates[0]
    watched = {"X_val": X[:30], "y_val": 1 - y[:30]}
    assert tox21.tune(X, y, parts, watched, settings, candidates, "cpu") == candidates[1]


def test_what_is_chosen_is_fitted_to_all_training_rows(monkeypatch, tmp_path):
    """Once for all seeds, each network for itself, and without the scored rows."""
    tuned, fitted = [], []

    def tune(X, y, parts, watched, settings, candidates, device):
        tuned.append((settings["architecture"], len(X), parts.tolist(), candidates))
        return {"n_units": len(tuned)}

    def record(X, y, X_scored, settings, seed, device, watched):
        fitted.append((settings["architecture"], settings["n_units"], seed))
        return np.full((len(X_scored), 12), 0.5)

    monkeypatch.setattr(tox21, "tune", tune)
    for method in ("SNN", "SNN, tuned", "BatchNorm, tuned"):
        monkeypatch.setitem(tox21.METHODS, method, record)
    networks = ["--networks", "SNN", "BatchNorm"]
    options = ["--seeds", "2", "--forests", "0", "--ensembles", "0", "--tune", "3", *networks]
    monkeypatch.setattr(sys, "argv", ["tox21.py", str(tmp_path / "results.csv"), *options])
    args = tox21.parse_arguments()
    smiles, y = np.array(["CCO", "CCN", "CCC", "CCCC"]), np.tile([[0.0], [1.0], [0.0], [1.0]], 12)
    training = (smiles, y, np.zeros(4, bool), np.array([0, 1, 2, 2]), smiles)
    records = tox21.Records(args.results, tox21.KEYS, (*tox21.ASSAYS, "mean", "seconds"))
    split = ("fold 2", (smiles[:2], y[:2]), None, (smiles[2:], y[2:]))
    monkeypatch.setitem(tox21.SNN, "architecture", "snn")
    tox21.run_split(split, args, records, None, training)
    drawn = tox21.draw_settings("tox21", 3)
    assert tuned == [(kind, 2, [0, 1], drawn) for kind in ("snn", "batchnorm")]
    of_tuned = [("snn", 1, 0), ("snn", 1, 1), ("batchnorm", 2, 0), ("batchnorm", 2, 1)]
    assert fitted == [("snn", 512, 0), ("snn", 512, 1), *of_tuned]
    assert set(records.frame()["method"]) == {"SNN", "SNN, tuned", "BatchNorm, tuned"}


def test_parts_are_those_of_the_published_folds():
    smiles, folds = np.array(["C", "CC", "CO", "CN"]), np.array([0, 3, -1, -1])
    training = (smiles, None, np.array([False, False, True, False]), folds, None)
    assert tox21.parts_of(["CN", "CO", "CC"], training).tolist() == [-1, 5, 3]


@pytest.mark.parametrize("name", ["compounds.csv", "compounds.csv.gz", "compounds"])
def test_files_of_compounds(tmp_path, name):
    lines = ["ID,SMILES,nr-ahr,SR_p53,NR.AR", "a,CCO,1,0.0,", "b,CCN,NA,1,true"]
    text = "\n".join(lines).encode()
    (tmp_path / name).write_bytes(text if name.endswith("csv") else gzip.compress(text))
    smiles, y = tox21.read_compounds(tmp_path / name)
    assert smiles.tolist() == ["CCO", "CCN"]
    found = dict(zip(tox21.ASSAYS, y.T.tolist(), strict=True))
    np.testing.assert_array_equal(found["NR-AhR"], [1, np.nan])
    np.testing.assert_array_equal(found["SR-p53"], [0, 1])
    np.testing.assert_array_equal(found["NR-AR"], [np.nan, 1])
    assert np.isnan(found["NR-ER"]).all()


def test_files_of_compounds_with_errors(tmp_path):
    path = tmp_path / "compounds.csv"
    path.write_text("structure\nCCO\n")
    with pytest.raises(ValueError, match="must have a column smiles; it has structure"):
        tox21.read_compounds(path)
    path.write_text("smiles,NR-AR\nCCO,2\n")
    with pytest.raises(ValueError, match="NR-AR must be 0, 1 or empty; got 2"):
        tox21.read_compounds(path)


@pytest.mark.skipif(not os.environ.get("SKSNN_DATA"), reason="needs the Tox21 data: SKSNN_DATA is not set")
def test_a_file_is_scored_and_a_stopped_run_goes_on(tmp_path):
    table = make_file(tmp_path / "test.csv.gz")
    options = [
        "--rows",
        "150",
        "--epochs",
        "2",
        "--trees",
        "3",
        "--seeds",
        "2",
        "--ensembles",
        "1",
        "--members",
        "2",
        "--test",
        tmp_path / "test.csv.gz",
    ]

    def run():
        done = subprocess.run(
            [sys.executable, PAPER / "tox21.py", tmp_path / "results.csv", *options],
            env={**os.environ, "SKSNN_DATA": os.path.abspath(os.environ["SKSNN_DATA"])},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    printed = run()
    assert f"{len(table)} rows scored" in printed and "published" in printed
    results = pd.read_csv(tmp_path / "results.csv")
    assert results["method"].tolist() == ["SNN", "SNN", "SNN, members", "RandomForest"]
    assert results[list(tox21.ASSAYS)].notna().all(axis=None)
    (predictions,) = tmp_path.glob("results_test_*_SNN_0_*.csv")
    proba = pd.read_csv(predictions)
    assert proba["smiles"].tolist() == table["smiles"].tolist()
    assert proba[list(tox21.ASSAYS)].apply(lambda p: p.between(0, 1)).all(axis=None)

    before = (tmp_path / "results.csv").read_text()
    lines = before.splitlines(keepends=True)
    (tmp_path / "results.csv").write_text("".join(lines[:-1]))
    assert "SNN, seed" not in run()  # only the forest is fitted again
    assert [line.rsplit(",", 1)[0] for line in (tmp_path / "results.csv").read_text().splitlines()] == [
        line.rsplit(",", 1)[0] for line in before.splitlines()
    ]

    options += ["--watch-leaderboard", "--forests", "0"]
    assert "SNN, seed 1" in run()
    assert len(pd.read_csv(tmp_path / "results.csv")) == 7

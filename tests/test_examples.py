"""The gallery's examples run as a user runs them, with fewer epochs, and save their pictures."""

import ast
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sksnn.datasets import load_tox21

EXAMPLES = Path(__file__).parent.parent / "examples"
DATA = os.environ.get("SKSNN_DATA")


def run_example(name, folder, *arguments, **environment):
    """Run an example in an empty folder; return what it printed and the picture's bytes."""
    figure = folder / "figure.png"
    environment = {**os.environ, "MPLBACKEND": "Agg", "SKSNN_EXAMPLES_FAST": "1", **environment}
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, figure, *arguments],
        cwd=folder,
        env={name: value for name, value in environment.items() if value is not None},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, figure.read_bytes()


def check_picture(figure):
    assert figure.startswith(b"\x89PNG") and len(figure) > 10_000


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("multitask_missing_labels", ["34% of the labels are missing", "one SNN for all assays"]),
        ("quickstart", ["best epoch", "grid search", "pickle", "multitask", "figure saved to"]),
        ("moment_map", ["omega 0.0, tau 1.0: fixed point mean 0.0000, variance 1.0000"]),
        ("encoding", ["encoding=None: error 0.21", "encoding='piecewise': error 0.16"]),
        ("attributions", ["\nshuffled: ", "\ncontributions: ", "a 3, predicted to be a "]),
        ("members", ['\nwine, "onehot", "piecewise", members 8: accuracy ', '"onehot", members 8: ']),
        ("forms", ["0% wrong, conic, dropout 0.05: log-loss ", "both, weighed (default): log-loss "]),
        ("input_scales", ["40 columns of noise: R² ", "the columns of the product [1."]),
        ("depth", ["32 layers: training loss"]),
        ("alpha_dropout", ["behind layer 16"]),
        ("search_together", ["32 fits in", "a fit takes", "rounds of "]),
        ("choose_architecture", ["28 fits", "best: "]),
        ("cnn", ["\nlayer 4 "]),
        ("self_normalization", ["\nsnn ", "\nresnet ", "\nthe SNN. Healthy: 16 hidden layers"]),
    ],
)
def test_every_example_runs(name, parts, tmp_path):
    printed, figure = run_example(f"plot_{name}.py", tmp_path)
    check_picture(figure)
    for part in parts:
        assert part in printed.replace("-0.0000", "0.0000")


def test_every_example_of_the_gallery_is_run():
    (cases,) = test_every_example_runs.pytestmark
    run = {name for name, _ in cases.args[1]}
    assert {path.stem.removeprefix("plot_") for path in EXAMPLES.glob("plot_*.py")} == run


def test_every_example_has_its_place_in_the_gallery_and_words_for_its_picture():
    settings = ast.parse((EXAMPLES.parent / "docs" / "conf.py").read_text(encoding="utf-8"))
    (gallery,) = [
        ast.literal_eval(node.value)
        for node in settings.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "GALLERY"
    ]
    assert set(gallery) == {path.stem.removeprefix("plot_") for path in EXAMPLES.glob("plot_*.py")}
    assert all(len(text) > 40 for text in gallery.values())


def test_the_excerpt_of_tox21_is_whole():
    data = np.load(EXAMPLES / "data" / "tox21_excerpt.npz")
    labels = data["labels"]
    assert data["keys"].shape == (2500, 21) and labels.shape == (2500, 12)
    assert set(np.unique(labels)) == {-1, 0, 1}
    assert (labels >= 0).any(axis=1).all() and (labels == 1).any(axis=0).all()


@pytest.mark.skipif(not DATA, reason="needs the Tox21 data: SKSNN_DATA is not set")
def test_the_excerpt_of_tox21_agrees_with_the_data():
    excerpt = np.load(EXAMPLES / "data" / "tox21_excerpt.npz")
    data = load_tox21()
    is_key = [name.startswith("maccs_") for name in data.feature_names]
    found = {
        (keys.tobytes(), np.nan_to_num(y, nan=-1).astype(np.int8).tobytes())
        for keys, y in zip(np.packbits(data.X[:, is_key] > 0, axis=1), data.y, strict=True)
    }
    assert {
        (k.tobytes(), y.tobytes()) for k, y in zip(excerpt["keys"], excerpt["labels"], strict=True)
    } <= found
    assert excerpt["assays"].tolist() == list(data.target_names)


@pytest.mark.skipif(not DATA, reason="needs MNIST and CIFAR-10: SKSNN_DATA is not set")
def test_figure1_goes_on_where_it_was(tmp_path):
    settings = {"dataset": "mnist", "epochs": 2, "rows": 200, "width": 16, "lr": 1e-5, "seed": 0}
    networks = [(network, depth) for depth in (8, 16, 32) for network in ("SNN", "BatchNorm")]
    done = [
        {"network": network, "depth": depth, **settings, "loss": [3.0, 2.0], "seconds": 1.0}
        for network, depth in networks[:5]
    ]
    kept = tmp_path / "figure1.jsonl"
    kept.write_text("".join(json.dumps(curve) + "\n" for curve in done))

    cut = ("--rows", "200", "--width", "16", "--epochs", "2", "--datasets", "mnist")
    printed, figure = run_example("paper/figure1.py", tmp_path, *cut, SKSNN_DATA=os.path.abspath(DATA or ""))
    check_picture(figure)
    assert printed.count("200 rows") == 1 and "mnist: BatchNorm, depth 32, 200 rows" in printed
    curves = [json.loads(line) for line in kept.read_text().splitlines()]
    assert curves[:5] == done
    assert len(curves) == 6 and len(curves[5]["loss"]) == 2


# ---------------------------------------------------------------- the paper's scripts and the benchmarks

SCRIPTS = [
    f"{folder}/{path.name}"
    for folder in ("paper", "benchmarks")
    for path in sorted((EXAMPLES / folder).glob("*.py"))
    if "__main__" in path.read_text()
]
BEYOND_TESTS = ("captum", "catboost", "lightgbm", "onnx", "pytabkit", "rdkit", "shap", "skrub", "xgboost")


@pytest.fixture
def as_script(monkeypatch):
    """Return a function that runs a script in this process, with none but the packages that tests need."""

    def run(name, *arguments):
        path = EXAMPLES / name
        for package in BEYOND_TESTS:
            monkeypatch.setitem(sys.modules, package, None)
        monkeypatch.delitem(sys.modules, "tox21_features", raising=False)
        monkeypatch.syspath_prepend(path.parent)
        monkeypatch.setattr(sys, "argv", [str(path), *arguments])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(path), run_name="__main__")
        return end.value.code

    return run


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_explain_themselves(name, as_script, plt, capsys):
    """One ran, whatever it was asked, and another failed where RDKit was not installed."""
    assert as_script(name, "--help") in (0, None)
    printed = capsys.readouterr().out
    assert printed.startswith("usage: ") and len(printed.split("\n\n")[1]) > 40, "without a description"


def test_without_rdkit_tox21_says_what_to_install(as_script, tmp_path):
    message = "computes its features with RDKit, which is not installed. Install it with pip install rdkit."
    assert message in as_script("paper/tox21.py", str(tmp_path / "tox21.csv"))


def run_gpu_benchmark(*arguments):
    script = EXAMPLES / "benchmarks" / "gpu.py"
    environment = {key: value for key, value in os.environ.items() if key != "SKSNN_DATA"}
    return subprocess.run(
        [sys.executable, script, *arguments],
        env={**environment, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_pieces_for_a_gpu_run_without_one(tmp_path):
    """Minutes on a GPU are few: what runs there has run here, and each result is on disk as it comes."""
    pieces = ("members", "data", "pays", "idle")
    done = run_gpu_benchmark(*pieces, "--device", "cpu", "--quick", "--out", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    results = [json.loads(line) for line in (tmp_path / "gpu.jsonl").read_text().splitlines()]
    assert [result["piece"] for result in results] == ["members"] * 2 + ["data"] * 2 + ["pays"] * 4 + ["idle"]
    assert {result["machine"]["torch"] for result in results} == {torch.__version__}
    assert (tmp_path / "pays.png").stat().st_size > 5000


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_pieces_for_a_gpu_say_what_to_do_without_one(tmp_path):
    assert "try it with --device cpu --quick" in run_gpu_benchmark("--out", str(tmp_path)).stderr
    assert "choose from tests, fit, members, data, pays, " in run_gpu_benchmark("nonsense").stderr

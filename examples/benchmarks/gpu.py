"""Tests and measurements on a GPU, in pieces of a few minutes each, the most useful first.

    python examples/benchmarks/gpu.py --device cuda            # all pieces: `make gpu`
    python examples/benchmarks/gpu.py fit pays --device cuda   # some: `make gpu PIECE="fit pays"`
    python examples/benchmarks/gpu.py --device cpu --quick     # try it without a GPU, in a few minutes

Each result is appended to gpu.jsonl in --out at once, with the machine and the versions, so an interrupted
run loses no results. A piece starts no further measurement when it has run for --minutes. Data are read from
SKSNN_DATA. If that is not set, scikit-learn's bundled sets are used instead, and `figure1` is left out. To
add a piece, write a function and add it to PIECES.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import sklearn
import skorch
import torch
from fit_speed import fit_mlp, fit_skorch, fit_snn, fit_torch
from sklearn.datasets import load_diabetes, load_digits, make_classification
from sklearn.model_selection import train_test_split

import sksnn
from sksnn import SNNClassifier, SNNRegressor
from sksnn.datasets import load_mnist, load_regression, load_uci

ROOT = Path(__file__).parents[2]
MINUTES = 9


class Run:
    """Settings of a run: device, folder of the results, time limit of a piece."""

    def __init__(self, device, quick, out, minutes):
        self.device, self.quick, self.out, self.minutes = device, quick, out, minutes
        self.machine = {
            "device": torch.cuda.get_device_name() if device.startswith("cuda") else platform.machine(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "python": platform.python_version(),
            **{p.__name__: p.__version__ for p in (torch, skorch, sklearn, np, sksnn)},
            "cuda": torch.version.cuda,
            "quick": quick,
        }
        out.mkdir(parents=True, exist_ok=True)

    def begin(self, piece):
        """Start timing a piece."""
        self.piece, self.end = piece, time.monotonic() + 60 * self.minutes
        print(f"\n== {piece}", flush=True)

    def is_over(self):
        """Return whether the time limit of the piece has passed."""
        over = time.monotonic() > self.end
        if over:
            print(f"{self.piece} stops here: its {self.minutes} minutes are over", flush=True)
        return over

    def record(self, **result):
        """Append a result to the file, and print it."""
        with (self.out / "gpu.jsonl").open("a") as file:
            file.write(json.dumps({"piece": self.piece, **result, "machine": self.machine}) + "\n")
        print("  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in result.items()))
        sys.stdout.flush()

    def seconds(self, do, *arguments, **named):
        """Time a call, including the work that it has sent to the device."""
        time.sleep(0.2)  # threads of the method timed before may still spin, and slow this one
        start = time.perf_counter()
        result = do(*arguments, **named)
        if self.device.startswith("cuda"):
            torch.cuda.synchronize()
        return time.perf_counter() - start, result


# ---------------------------------------------------------------- pieces


def tests(run):
    """Run the tests marked gpu."""
    log = run.out / "tests.log"
    # The other test files import packages that may not be installed.
    files = [path for path in sorted((ROOT / "tests").glob("test_*.py")) if "mark.gpu" in path.read_text()]
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-rfE", "-p", "no:cacheprovider", *files]
    environment = {**os.environ, "SKSNN_DEVICE": run.device}
    with log.open("w") as file:
        try:
            taken, done = run.seconds(
                subprocess.run,
                command,
                cwd=ROOT,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
                timeout=60 * run.minutes,
            )
        except subprocess.TimeoutExpired:
            taken, done = 60.0 * run.minutes, None
    lines = log.read_text().splitlines()
    print("\n".join(line for line in lines if line.startswith(("FAILED", "ERROR"))))
    run.record(seconds=taken, passed=done is not None and done.returncode == 0, summary=lines[-1])


# width, batch -> rows, epochs
FITS = {
    (64, 128): (10_000, 5),
    (256, 128): (10_000, 5),
    (256, 1024): (50_000, 5),
    (1024, 128): (10_000, 3),
    (1024, 1024): (50_000, 3),
    (2048, 1024): (50_000, 2),
}
# Goal for a CUDA graph of the training step, which does not exist yet: at most 120 µs per step with 256 units
# and batches of 128.


def fit(run):
    """Time fits of four layers by width and batch; compare a torch loop, plain skorch and MLPClassifier."""
    methods = {
        "SNN": lambda *a: fit_snn(*a, device=run.device),
        "SNN, dropout 0": lambda *a: fit_snn(*a, dropout=0.0, device=run.device),
        "torch": lambda *a: fit_torch(*a, device=run.device),
        "skorch": lambda *a: fit_skorch(*a, device=run.device),
        "MLPClassifier, CPU": fit_mlp,
    }
    for (width, batch), (n_rows, epochs) in FITS.items():
        if run.quick:
            n_rows, epochs = 1_000, 1
            if width > 256:
                continue
        X, y = make_classification(n_rows, 50, n_informative=25, random_state=0)
        seconds = {name: [] for name in methods}
        for repeat in range(2 if run.quick else 4):
            for name, method in methods.items():
                slow = name.endswith("CPU") and repeat > 1  # one fit of it is enough
                if run.is_over():
                    return
                if not slow:
                    taken, _ = run.seconds(method, X, y, width, 4, batch, epochs)
                    seconds[name] += [taken] if repeat else []  # the first one warms up
        medians = {name: statistics.median(times) for name, times in seconds.items()}
        steps = epochs * -(-n_rows // batch)
        run.record(
            size=f"{n_rows} x 50, 4 x {width}, batch {batch}",
            microseconds_a_step=1e6 * medians["SNN"] / steps,
            **{f"{name}, s": value for name, value in medians.items()},
        )


def real_sets():
    """Yield name, estimator and a split of each set: those in SKSNN_DATA, or scikit-learn's."""
    if os.environ.get("SKSNN_DATA"):
        for name, load, estimator in [
            ("chess-krvk", lambda: load_uci("chess-krvk"), SNNClassifier),
            (
                "protein-tertiary-structure",
                lambda: load_regression("protein-tertiary-structure"),
                SNNRegressor,
            ),
            ("mnist", load_mnist, SNNClassifier),
        ]:
            data = load()
            train, test = data.folds[0]
            yield name, estimator, (data.X[train], data.X[test], data.y[train], data.y[test])
    else:
        for name, load, estimator in [
            ("digits", load_digits, SNNClassifier),
            ("diabetes", load_diabetes, SNNRegressor),
        ]:
            yield name, estimator, train_test_split(*load(return_X_y=True), random_state=0)


def data(run):
    """Time fit and predict of default estimators on large sets, on the device and on the CPU."""
    for name, estimator, (X, X_test, y, y_test) in real_sets():
        order = np.random.default_rng(0).permutation(len(X))[: 1_000 if run.quick else None]
        X, y, n = X[order], y[order], len(order)
        for device in dict.fromkeys((run.device, "cpu")):
            if run.is_over():
                return
            params = {"random_state": 0, "device": device, **({"max_epochs": 2} if run.quick else {})}
            estimator(**params | {"max_epochs": 1}).fit(X[:500], y[:500])  # warms up
            fitting, model = run.seconds(estimator(**params).fit, X, y)
            predicting, _ = run.seconds(model.predict, X_test)
            run.record(
                set=name,
                rows=n,
                on=device,
                fit_s=fitting,
                epochs=model.n_iter_,
                predict_s=predicting,
                score=float(model.score(X_test, y_test)),
            )


def pays(run):
    """Measure for which numbers of rows and widths the device is faster than the CPU, and draw it."""
    all_rows = (500, 1_000) if run.quick else (1_000, 4_000, 16_000, 64_000)
    widths = (32, 64) if run.quick else (64, 256, 1024, 2048)
    ratio = np.full((len(widths), len(all_rows)), np.nan)
    for i, width in enumerate(widths):
        for j, n_rows in enumerate(all_rows):
            X, y = make_classification(n_rows, 50, n_informative=25, random_state=0)
            epoch = {}
            for device in (run.device, "cpu"):
                if run.is_over():
                    return
                model = SNNClassifier(
                    n_estimators=1,
                    hidden_layer_sizes=(width,) * 4,
                    encoding=None,
                    scale_inputs=False,
                    early_stopping=False,
                    max_epochs=2,
                    device=device,
                    random_state=0,
                )
                model.fit(X, y)  # warms up
                epoch[device] = run.seconds(model.fit, X, y)[0] / 2
            ratio[i, j] = epoch["cpu"] / epoch[run.device]
            run.record(
                rows=n_rows,
                width=width,
                epoch_s=epoch[run.device],
                epoch_on_cpu_s=epoch["cpu"],
                times=ratio[i, j],
            )
    draw_pays(ratio, widths, all_rows, run)


def draw_pays(ratio, widths, all_rows, run):
    """Draw the speed of the device relative to the CPU, by rows and width."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    largest = max(2.0, np.abs(np.log2(ratio)).max())
    image = axis.imshow(np.log2(ratio), cmap="RdBu", vmin=-largest, vmax=largest, origin="lower")
    for (i, j), times in np.ndenumerate(ratio):
        dark = abs(np.log2(times)) > 0.6 * largest
        axis.text(j, i, f"{times:.2g}", ha="center", va="center", color="white" if dark else "black")
    axis.set_xticks(range(len(all_rows)), [f"{n:,}".replace(",", " ") for n in all_rows])
    axis.set_yticks(range(len(widths)), widths)
    axis.set(xlabel="training rows", ylabel="units of each of four layers")
    title = f"Time of an epoch on the CPU ({run.machine['cores']} cores)"
    axis.set_title(f"{title}\nover that on {run.machine['device']}")
    figure.colorbar(image, label="log2, blue: the device is faster")
    figure.savefig(run.out / "pays.png", dpi=120)
    print(f"picture in {run.out / 'pays.png'}")


def members(run):
    """Time fits of several members, which train together, beside fits of one."""
    X, y = make_classification(300 if run.quick else 2_000, 20, n_informative=10, random_state=0)
    for width in (64, 256):
        settings = {"hidden_layer_sizes": (width,) * 4, "batch_size": 64, "device": run.device}
        counts, seconds = (1, 4) if run.quick else (1, 8, 64), {}
        for k in counts:
            model = SNNClassifier(
                **settings, n_estimators=k, max_epochs=1 if run.quick else 5, random_state=0
            )
            model.fit(X, y)  # warms up
            if run.is_over():
                return
            seconds[k] = statistics.median(run.seconds(model.fit, X, y)[0] for _ in range(3))
        times = {f"{k} members, times one": seconds[k] / seconds[1] for k in counts[1:]}
        run.record(size=f"{len(X)} x 20, 4 x {width}, batch 64", one_s=seconds[1], **times)


def idle(run):
    """Measure with torch's profiler during which share of a fit the device is idle."""
    on_cuda = run.device.startswith("cuda")
    kinds = [torch.profiler.ProfilerActivity.CPU]
    kinds += [torch.profiler.ProfilerActivity.CUDA] if on_cuda else []
    for width, batch in [(64, 64), (256, 128), (1024, 1024)][: 1 if run.quick else None]:
        if run.is_over():
            return
        X, y = make_classification(1_000 if run.quick else 8_192, 50, n_informative=25, random_state=0)
        fit_snn(X, y, width, 4, batch, 1, device=run.device)  # warms up
        with torch.profiler.profile(activities=kinds) as profile:
            taken, _ = run.seconds(fit_snn, X, y, width, 4, batch, 2, device=run.device)
        device_time = sum(getattr(event, "self_device_time_total", 0.0) for event in profile.key_averages())
        launches = sum(event.count for event in profile.key_averages() if "LaunchKernel" in event.key)
        share = 1 - device_time / 1e6 / taken if on_cuda else float("nan")
        run.record(size=f"4 x {width}, batch {batch}", seconds=taken, idle=share, kernels=launches)


def figure1(run):
    """Train the networks of the paper's figure 1, for as many epochs as the time allows."""
    if not os.environ.get("SKSNN_DATA"):
        print("left out: SKSNN_DATA names no folder of data")
        return
    # 2000 epochs of twelve curves take a night: see examples/paper/figure1.py.
    cut = ["--epochs", "2", "--rows", "300", "--width", "16"] if run.quick else ["--epochs", "10"]
    command = [sys.executable, str(ROOT / "examples" / "paper" / "figure1.py"), str(run.out / "figure1.png")]
    command += ["--out", str(run.out / "figure1.jsonl"), "--device", run.device, *cut]
    try:
        taken, done = run.seconds(subprocess.run, command, timeout=60 * run.minutes)
        run.record(seconds=taken, passed=done.returncode == 0)
    except subprocess.TimeoutExpired:
        print("cut off; the curves trained so far are in figure1.jsonl, and the next run goes on")


# The most useful first.
PIECES = {
    "tests": tests,
    "fit": fit,
    "members": members,
    "data": data,
    "pays": pays,
    "idle": idle,
    "figure1": figure1,
}


def main():
    """Run pieces."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("pieces", nargs="*", metavar="PIECE", help=f"default: all of {', '.join(PIECES)}")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="small sizes, to check that everything runs")
    parser.add_argument("--out", type=Path, default=Path("gpu"), help="folder of the results")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="time limit of each piece")
    arguments = parser.parse_args()
    unknown = set(arguments.pieces) - set(PIECES)
    if unknown:
        parser.error(f"unknown piece {unknown.pop()!r}: choose from {', '.join(PIECES)}")
    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("torch finds no CUDA device; try it with --device cpu --quick")
    warnings.simplefilter("ignore")
    run = Run(arguments.device, arguments.quick, arguments.out, arguments.minutes)
    print(json.dumps(run.machine))
    for name in arguments.pieces or PIECES:
        run.begin(name)
        PIECES[name](run)


if __name__ == "__main__":
    main()

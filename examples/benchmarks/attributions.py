"""How exact attributions are: their sums, and beside SHAP and captum where these are installed.

    python examples/benchmarks/attributions.py

For one default network on each of three sets of scikit-learn: the largest difference between an output and
the sum of its contributions by number of points, in units of the range of the outputs; the same for SHAP's
DeepExplainer on `as_sequential`; the largest difference between captum's IntegratedGradients and
`attributions`, in units of the largest contribution.
"""

import argparse
import warnings

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits

from sksnn import SNNClassifier, SNNRegressor
from sksnn.inspection import as_sequential, attributions, network_inputs, sum_by_column

SETS = {
    "digits": (load_digits, SNNClassifier),
    "breast cancer": (load_breast_cancer, SNNClassifier),
    "diabetes": (load_diabetes, SNNRegressor),
}
POINTS, N_ROWS, N_BACKGROUND = (32, 64, 128, 256), 100, 100


def compare_with_shap(model, inputs):
    """Return how far sums of SHAP's values are from the outputs."""
    import shap

    network, background = as_sequential(model), inputs[-N_BACKGROUND:]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what shap uses
        explainer = shap.DeepExplainer(network, background)
        values = np.asarray(explainer.shap_values(inputs[:N_ROWS], check_additivity=False))
    outputs, base = (network(x).detach().numpy() for x in (inputs[:N_ROWS], background))
    values = sum_by_column(model, values.reshape(*inputs[:N_ROWS].shape, -1))
    return abs(values.sum(axis=1) + base.mean(axis=0) - outputs).max() / np.ptp(outputs)


def compare_with_captum(model, inputs, values):
    """Return how far captum's integrated gradients are from ours."""
    from captum.attr import IntegratedGradients

    start = torch.zeros_like(inputs[:N_ROWS])
    theirs = IntegratedGradients(as_sequential(model)).attribute(
        inputs[:N_ROWS], start, target=0, n_steps=128
    )
    return abs(sum_by_column(model, theirs) - values).max() / abs(values).max()


def main():
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    for name, (load, Estimator) in SETS.items():
        X, y = load(return_X_y=True)
        model = Estimator(n_estimators=1, random_state=0).fit(X, y)
        outputs = getattr(model, "decision_function", model.predict)(X[:N_ROWS])
        for n_steps in POINTS:
            found = attributions(model, X[:N_ROWS], n_steps=n_steps)
            error = abs(found.outputs - outputs).max() / np.ptp(outputs)
            print(f"{name}, {n_steps} points: {error:.1e} of the range")
        values = attributions(model, X[:N_ROWS]).values.reshape(len(X[:N_ROWS]), X.shape[1], -1)[..., 0]
        inputs = network_inputs(model, X)
        comparisons = {"SHAP": (compare_with_shap, ()), "captum": (compare_with_captum, (values,))}
        for package, (compare, more) in comparisons.items():
            try:
                print(f"{name}, {package}: {compare(model, inputs, *more):.1e}")
            except ImportError:
                print(f"{name}, {package}: not installed")


if __name__ == "__main__":
    main()

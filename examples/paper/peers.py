"""Classifiers and regressors of other packages, which are imported only when they are asked for."""

from importlib import import_module

# Name -> package, name of its class, and what keeps it to one thread, quiet, and off the disk.
PEERS = {
    "LightGBM": ("lightgbm", "LGBM{}", {"n_jobs": 1, "verbose": -1}),
    "XGBoost": ("xgboost", "XGB{}", {"n_jobs": 1}),
    "CatBoost": (
        "catboost",
        "CatBoost{}",
        {"thread_count": 1, "verbose": False, "allow_writing_files": False},
    ),
    "RealMLP": ("pytabkit", "RealMLP_TD_{}", {"device": "cpu", "n_threads": 1}),
}


def make_peer(name, kind, seed):
    """Return a "Classifier" or a "Regressor" of another package, with its defaults."""
    package, class_name, settings = PEERS[name]
    return getattr(import_module(package), class_name.format(kind))(random_state=seed, **settings)

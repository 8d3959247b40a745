"""Habits from other packages: errors that say what a thing is called here."""

import pytest
from conftest import SMALL, X, Y, raises
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sksnn import SNNClassifier, SNNRegressor, _habits

ARGUMENTS = {
    "validation_data": ((X, Y), "Give the rows as X_val and y_val"),
    "eval_set": ([(X, Y)], "Give the rows as X_val and y_val"),
    "validation_split": (0.1, "Set early_stopping=True and validation_fraction."),
    "epochs": (3, "Set max_epochs."),
    "early_stopping_rounds": (3, "Set early_stopping=True and n_iter_no_change."),
    "eval_metric": ("auc", "Set scoring."),
    "batch_size": (32, "batch_size is a parameter of the estimator."),
    "weights": (Y, ""),
}


@pytest.mark.parametrize("Estimator", [SNNClassifier, SNNRegressor])
@pytest.mark.parametrize(
    ("name", "value", "hint"), [(n, *rest) for n, rest in ARGUMENTS.items()], ids=ARGUMENTS
)
def test_unknown_arguments_of_fit_name_the_estimator_and_a_way_out(Estimator, name, value, hint):
    once = "It makes one pass over its rows and watches no others: use fit."
    for method, way_out in {"fit": hint, "partial_fit": once if name in _habits.ARGUMENTS else hint}.items():
        message = f"{Estimator.__name__}.{method}() got an unexpected keyword argument '{name}'. {way_out}"
        with raises(message.strip(), TypeError):
            getattr(Estimator(**SMALL), method)(X, Y, **{name: value})
    assert set(_habits.ARGUMENTS) <= set(ARGUMENTS)


class Mine(SNNClassifier):
    """A subclass."""


def test_arguments_in_the_wrong_place_name_the_estimator_too():
    with raises("SNNClassifier.fit() missing a required argument: 'y'.", TypeError):
        SNNClassifier().fit(X)
    with raises("Mine.fit() too many positional arguments.", TypeError):
        Mine().fit(X, Y, None, X, Y)


PARAMETERS = {
    "activation": "The units are SELU; architecture takes other networks.",
    "alpha": "Set weight_decay.",
    "criterion": "Set loss.",
    "criterion__weight": "Set loss.",
    "epochs": "Set max_epochs.",
    "iterator_train__batch_size": "Set batch_size.",
    "learning_rate": "Set lr and lr_schedule.",
    "learning_rate_init": "Set lr.",
    "max_iter": "Set max_epochs.",
    "module": "Set architecture, n_layers, n_units or hidden_layer_sizes.",
    "module__n_units": "Set architecture, n_layers, n_units or hidden_layer_sizes.",
    "optimizer__momentum": "Set optimizer_params, for example {'momentum': 0.9}.",
    "solver": "Set optimizer.",
    "train_split": "Set early_stopping and validation_fraction.",
}


@pytest.mark.parametrize(("name", "hint"), PARAMETERS.items(), ids=PARAMETERS)
def test_parameters_of_other_packages_are_translated(name, hint):
    with raises(hint):
        SNNClassifier().set_params(**{name: 1})
    pipeline = make_pipeline(SNNRegressor())
    with raises(hint):
        GridSearchCV(pipeline, {f"snnregressor__{name}": [1]}, error_score="raise").fit(X, Y)
    assert {name.partition("__")[0] for name in PARAMETERS} == set(_habits.PARAMETERS)


def test_a_hint_is_a_sentence_of_its_own():
    with raises("'str' object has no attribute 'set_params'. Set optimizer_params"):
        SNNClassifier().set_params(optimizer__momentum=1)


def test_hints_name_parameters_that_exist():
    own = SNNClassifier().get_params().keys() | {"loss"}
    for hint in [*_habits.PARAMETERS.values(), *_habits.ARGUMENTS.values()]:
        named = [word.strip(",.").partition("=")[0] for word in hint.split()]
        assert own & set(named) or "X_val" in named


def test_other_mistakes_have_scikit_learns_words():
    with raises("Invalid parameter 'width' for estimator SNNClassifier"):
        SNNClassifier().set_params(width=3)
    with raises("'float' object has no attribute 'set_params'", AttributeError):
        SNNClassifier().set_params(lr__x=3)

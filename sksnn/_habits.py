"""Names that other packages have for things that are called otherwise here."""

import inspect
from functools import wraps

_VALIDATION = "Give the rows as X_val and y_val, or set early_stopping=True to hold some back."
_ONE_PASS = "It makes one pass over its rows and watches no others: use fit."

#: Argument of another package's `fit` -> what to do here.
ARGUMENTS = {
    "validation_data": _VALIDATION,
    "eval_set": _VALIDATION,
    "validation_split": "Set early_stopping=True and validation_fraction.",
    "epochs": "Set max_epochs.",
    "early_stopping_rounds": "Set early_stopping=True and n_iter_no_change.",
    "eval_metric": "Set scoring.",
}

#: Parameter of another package's estimator, up to "__" -> what to do here.
PARAMETERS = {
    "activation": "The units are SELU; architecture takes other networks.",
    "alpha": "Set weight_decay.",
    "criterion": "Set loss.",
    "epochs": "Set max_epochs.",
    "iterator_train": "Set batch_size.",
    "learning_rate": "Set lr and lr_schedule.",
    "learning_rate_init": "Set lr.",
    "max_iter": "Set max_epochs.",
    "module": "Set architecture, n_layers, n_units or hidden_layer_sizes.",
    "optimizer": "Set optimizer_params, for example {'momentum': 0.9}.",
    "solver": "Set optimizer.",
    "train_split": "Set early_stopping and validation_fraction.",
}


def explains_arguments(method):
    """Let a method of an estimator say in its class's name which arguments are wrong, and what to do."""
    signature = inspect.signature(method)

    @wraps(method)
    def explained(self, *args, **kwargs):
        try:
            signature.bind(self, *args, **kwargs)
        except TypeError as error:
            hints = [ARGUMENTS[name] for name in kwargs if name in ARGUMENTS]
            if hints and "X_val" not in signature.parameters:
                hints = [_ONE_PASS]
            own = kwargs.keys() - signature.parameters & self.get_params(deep=False).keys()
            hints += [f"{name} is a parameter of the estimator." for name in sorted(own)]
            message = f"{type(self).__name__}.{method.__name__}() {error}."
            raise TypeError(" ".join([message, *hints])) from None
        return method(self, *args, **kwargs)

    return explained


def hint_at(names):
    """Say what parameters of other packages are called here, or nothing."""
    known = [name for name in names if name.partition("__")[0] in PARAMETERS]
    return " ".join(PARAMETERS[name.partition("__")[0]] for name in known)

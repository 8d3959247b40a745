"""Write fitted estimators as ONNX files, which run where there is neither Python nor torch."""

import copy
import logging
import warnings
from contextlib import contextmanager
from numbers import Integral
from typing import Any

import numpy as np
import torch
from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted
from torch import nn

from ._target import Classes, Tasks
from .estimators import SNNClassifier, SNNRegressor
from .losses import LogLink

__all__ = ["register_converters", "to_onnx"]

# The newest set of operators that both torch and skl2onnx were tried with; torch has none below 18.
OPSET, LEAST_OPSET = 22, 18


def to_onnx(estimator, path=None, opset=None, initial_types=None):
    """Turn a fitted estimator, or a Pipeline that ends with one, into an ONNX model.

    Parameters
    ----------
    estimator : SNNClassifier, SNNRegressor or Pipeline
        Any architecture that torch can export. The other steps of a Pipeline are converted by skl2onnx.
    path : str or path, default=None
        Where to write the model; None writes no file.
    opset : int, default=None
        Version of ONNX's operators, from 18 to the newest that skl2onnx has; None is 22.
    initial_types : list of tuple, default=None
        Names and types of the inputs, as in skl2onnx. None is one input ``"X"`` of all columns in float64,
        or, if the estimator encodes columns of strings itself, an input of shape (n_rows, 1) for each column:
        strings for these, float64 for all others. A Pipeline that picks columns by name, or has columns of
        strings, needs to be told an input for each column.

    Returns
    -------
    model : onnx.ModelProto
        A classifier has the outputs ``label`` (n_rows,) and ``probabilities`` (n_rows, n_classes); of tasks
        both are (n_rows, n_tasks). A regressor has ``variable`` (n_rows, n_outputs), in the units of y. The
        number of rows is free.

    Raises
    ------
    ImportError
        If onnx, onnxscript or skl2onnx is not installed.
    TypeError
        If there is no such estimator in it.
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If the labels, the categories or the architecture cannot be expressed, if `initial_types` are not
        those of the columns in `fit`, if an input has the name of an output, or if there is no such `opset`.

    Notes
    -----
    Columns are centred, scaled and encoded in float64, the networks compute in float32, and their outputs
    are averaged and brought to the units of y in float64. Inputs of float32 lose digits before they reach
    the model: of a time stamp of 1.7e9 seconds, two minutes. Give float64 where that matters.

    Categories that `fit` has not seen count as missing, as in the estimator. ONNX has no missing strings:
    give any string that is no category.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sksnn import SNNClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = SNNClassifier(max_epochs=20, random_state=0).fit(X, y)
    >>> model = to_onnx(clf, "iris.onnx")  # doctest: +SKIP
    >>> session = onnxruntime.InferenceSession("iris.onnx")  # doctest: +SKIP
    >>> label, probabilities = session.run(None, {"X": X})  # doctest: +SKIP
    """
    convert_sklearn, types = register_converters()
    last = estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator
    if not isinstance(last, SNNClassifier | SNNRegressor):
        raise TypeError(
            "estimator must be an SNNClassifier, an SNNRegressor or a Pipeline that ends with one; got "
            f"{type(last).__name__}. Of a search give best_estimator_; others convert with skl2onnx, after "
            "register_converters()."
        )
    check_is_fitted(last)
    opset = OPSET if opset is None else opset
    if not isinstance(opset, Integral) or not LEAST_OPSET <= int(opset) <= _newest():
        raise ValueError(
            f"opset must be a whole number from {LEAST_OPSET} to {_newest()}, the newest that skl2onnx has; "
            f"got {opset!r}. Leave it out for {OPSET}."
        )
    initial_types = _inputs(estimator, types) if initial_types is None else initial_types
    model = convert_sklearn(
        estimator,
        initial_types=initial_types,
        target_opset=opset,
        options={id(last): {"zipmap": False}} if is_classifier(last) else None,
    )
    taken = {name for name, _ in initial_types} & {output.name for output in model.graph.output}
    if taken:  # skl2onnx gives these inputs other names
        raise ValueError(
            f"inputs must not be named as outputs of the model are; got {sorted(taken)}. Give initial_types "
            "with other names, or rename these columns before fit."
        )
    if path is not None:
        with open(path, "wb") as file:
            file.write(model.SerializeToString())
    return model


def _newest():
    """Return the newest set of operators that skl2onnx has."""
    from skl2onnx import __max_supported_opset__

    return __max_supported_opset__


def _inputs(estimator, types):
    """Return one input of all columns, or one for each column if some are strings to a bare estimator."""
    n_columns = estimator.n_features_in_
    # What the columns are before the steps of a Pipeline, only its user knows.
    strings = () if isinstance(estimator, Pipeline) else _levels(estimator._model, strings=True)
    if not strings:
        return [("X", types.DoubleTensorType([None, n_columns]))]
    names = getattr(estimator, "feature_names_in_", [f"x{j}" for j in range(n_columns)])
    of_column = [types.StringTensorType if j in strings else types.DoubleTensorType for j in range(n_columns)]
    return [(name, kind([None, 1])) for name, kind in zip(names, of_column, strict=True)]


def register_converters():
    """Teach skl2onnx both estimators, so that it converts what holds one: stacking, voting, calibration.

    `to_onnx` does this by itself. With skl2onnx's own functions, give the option ``zipmap=False`` for tasks,
    and for inputs of float64, as for scikit-learn's classifiers.

    Returns
    -------
    convert_sklearn : callable
        ``skl2onnx.convert_sklearn``.
    data_types : module
        ``skl2onnx.common.data_types``, which has the types of inputs.

    Raises
    ------
    ImportError
        If onnx, onnxscript or skl2onnx is not installed.

    Examples
    --------
    >>> convert_sklearn, data_types = register_converters()  # doctest: +SKIP
    """
    try:
        import onnxscript  # noqa: F401, of which torch.onnx is made
        from skl2onnx import convert_sklearn, update_registered_converter
        from skl2onnx.common import data_types
    except ImportError as error:
        raise ImportError(
            "exporting to ONNX needs onnx, onnxscript and skl2onnx, which are not all installed. Install "
            "them with pip install onnx onnxscript skl2onnx."
        ) from error
    options = {"zipmap": [True, False, "columns"], "output_class_labels": [False, True], "nocl": [False]}
    update_registered_converter(SNNClassifier, "SksnnSNNClassifier", _shapes, _convert, options=options)
    update_registered_converter(SNNRegressor, "SksnnSNNRegressor", _shapes, _convert)
    return convert_sklearn, data_types


class _Predictor(nn.Module):
    """From rows in float64 to what is predicted: the part of an estimator that torch exports.

    Categories that are strings come as positions, since torch has no strings.
    """

    def __init__(self, model):
        super().__init__()
        self.levels = {j: _exact(j, levels) for j, levels in _levels(model, strings=False).items()}
        encoders = list(dict.fromkeys(model.encoders))
        self.target, self.turns = model.target, [encoders.index(m.encoder) for m in model.members]
        self.encoders = nn.ModuleList(encoders)
        self.networks = nn.ModuleList(copy.deepcopy(m.network).cpu().float().eval() for m in model.members)

    def positions(self, X):
        """Put the position of each category in place of its number, and NaN if `fit` has not seen it."""
        for j, levels in self.levels.items():
            same = X[:, j : j + 1] == levels  # nothing is the same as NaN
            position = torch.where(same.any(1, True), same.double().argmax(1, True), torch.nan)
            X = torch.where(torch.arange(X.shape[1]) == j, position, X)
        return X

    def forward(self, X):
        """Return class indices and probabilities, labels and probabilities of tasks, or values."""
        X = self.positions(X)
        inputs = [encoder(X).float() for encoder in self.encoders]
        outputs = torch.stack(
            [net(inputs[i]) for net, i in zip(self.networks, self.turns, strict=True)]
        ).double()
        outputs = outputs[0] if len(outputs) == 1 else self.target.average(outputs)
        if isinstance(self.target, Classes):
            return outputs.argmax(1), outputs.softmax(1)
        if isinstance(self.target, Tasks):
            return (outputs > 0).long(), outputs.sigmoid()
        outputs = self.target.in_order(outputs)
        outputs = outputs.exp() if self.target.link is LogLink else outputs
        return outputs * torch.tensor(self.target.deviation) + torch.tensor(self.target.mean)


def _levels(model, strings):
    """Return the categories of each column that has strings for these, or of each that has numbers."""
    columns = model.columns
    found = columns.encoder.categories_ if columns.encoder else []
    return {
        j: levels
        for j, kind, levels in zip(columns.categorical, columns.kinds, found, strict=True)
        if (kind == "strings") == strings
    }


def _exact(j, levels):
    """Return the numbers that are the categories of a column as a tensor of float64."""
    for level in levels:
        if level == level and float(level) != level:
            raise ValueError(
                f"column {j} of X has the category {level!r}, which float64 does not hold exactly, so "
                "that it cannot be exported. Make this column strings before fit."
            )
    return torch.tensor([float(level) for level in levels], dtype=torch.float64)


@contextmanager
def _quietly():
    """Silence what torch.onnx says of itself: deprecations in what it uses, operators of torchvision."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _torch_graph(estimator, opset):
    """Let torch export the predictor of an estimator."""
    model = estimator._model
    if opset < LEAST_OPSET:
        raise ValueError(f"opset must be at least {LEAST_OPSET}; got {opset}. Leave it out for {OPSET}.")
    rows = torch.zeros(3, estimator.n_features_in_, dtype=torch.float64)
    with model.computing(), _quietly():
        try:
            program: Any = torch.onnx.export(
                _Predictor(model),
                (rows,),
                opset_version=opset,
                dynamo=True,
                dynamic_shapes={"X": {0: torch.export.Dim.DYNAMIC}},
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise ValueError(
                f"architecture={estimator.architecture!r} cannot be exported: torch.onnx has no operator for "
                "a part of it, or it depends on the number of rows. Its own error is above."
            ) from error
    return program.model_proto


def _shapes(operator):
    """Declare the types of the outputs, for skl2onnx."""
    from skl2onnx.common import data_types

    target = operator.raw_operator._model.target
    n_rows = operator.inputs[0].get_first_dimension()
    numbers = {
        type(data_types.guess_tensor_type(variable.type))
        for variable in operator.inputs
        if not isinstance(variable.type, data_types.StringTensorType)
    }
    single = numbers == {data_types.FloatTensorType}
    number = data_types.FloatTensorType if single else data_types.DoubleTensorType
    operator.outputs[-1].type = number([n_rows, target.n_outputs])
    if isinstance(target, Tasks):
        operator.outputs[0].type = data_types.Int64TensorType([n_rows, target.n_outputs])
    elif isinstance(target, Classes):
        kind = _plain(target.labels).dtype.kind
        of_kind = {
            "i": data_types.Int64TensorType,
            "b": data_types.BooleanTensorType,
            "f": data_types.DoubleTensorType,
            "U": data_types.StringTensorType,
        }
        operator.outputs[0].type = of_kind[kind]([n_rows])


def _plain(labels):
    """Return class labels as an array of int64, bool, float64 or str."""
    kinds = {"u": "i", "O": "U"} | {kind: kind for kind in "ibfU"}
    kind = kinds.get(labels.dtype.kind)
    if kind is None or (kind == "U" and not all(isinstance(label, str) for label in labels)):
        raise ValueError(
            "labels must be strings, integers, floats or booleans to be exported; got "
            f"{labels[:3].tolist()!r} of dtype {labels.dtype}. Encode y with LabelEncoder first."
        )
    return labels.astype({"i": "int64", "b": "bool", "f": "float64", "U": "str"}[kind])


class _Nodes:
    """Adds nodes and constants to the graph that skl2onnx makes."""

    def __init__(self, scope, container):
        self.scope, self.container = scope, container

    def put(self, op_type, inputs, outputs=None, **attributes):
        """Add a node, and return the name of its output."""
        outputs = outputs or self.scope.get_unique_variable_name(op_type.lower())
        name = self.scope.get_unique_operator_name(op_type)
        self.container.add_node(op_type, inputs, outputs, name=name, **attributes)
        return outputs

    def keep(self, values, name):
        """Add a constant, and return its name."""
        from onnx import numpy_helper

        tensor = numpy_helper.from_array(values, self.scope.get_unique_variable_name(name))
        self.container.initializers.append(tensor)
        return tensor.name

    def numbers(self, variable):
        """Return a variable as float64."""
        from onnx import TensorProto

        return self.put("Cast", variable, to=TensorProto.DOUBLE)

    def positions(self, variable, i, levels):
        """Return the positions of the strings of a column among its categories, NaN if they are none."""
        present = [level for level in levels if level == level]  # NaN, if there is one, is the last
        strings = self.put("Gather", [variable, self.keep(np.array([i]), "column")], axis=1)
        found = self.put(
            "LabelEncoder",
            strings,
            op_domain="ai.onnx.ml",
            op_version=2,
            keys_strings=present,
            values_floats=np.arange(len(present), dtype=np.float32),
            default_float=float("nan"),
        )
        return self.numbers(found)


def _columns(operator, nodes):
    """Turn the inputs into columns of float64, in which categories that are strings are positions."""
    from skl2onnx.common.data_types import StringTensorType

    estimator, found = operator.raw_operator, []
    levels = _levels(estimator._model, strings=True)
    inputs = [
        (v.full_name, v.get_second_dimension(), isinstance(v.type, StringTensorType)) for v in operator.inputs
    ]
    of_strings = [is_string for _, width, is_string in inputs for _ in range(width or 0)]
    given = np.flatnonzero(of_strings).tolist()
    if given != [*levels] or (levels and len(of_strings) != estimator.n_features_in_):
        raise ValueError(
            f"the inputs must have strings where X had them in fit, in columns {[*levels]} of "
            f"{estimator.n_features_in_}; got them in columns {given} of {len(of_strings)}. Give "
            "initial_types an input of StringTensorType([None, 1]) for each column of strings and inputs of "
            "numbers for the others, in the order of the columns. If a ColumnTransformer comes first, let it "
            "encode the strings, since skl2onnx joins all that leaves it."
        )
    widths = [width for _, width, _ in inputs]
    if None not in widths and sum(widths) != estimator.n_features_in_:
        raise ValueError(
            f"the inputs must have the {estimator.n_features_in_} columns that X had in fit; got "
            f"{sum(widths)}. Give initial_types inputs of all columns, in their order."
        )
    remaining = iter(levels.values())
    for name, width, is_string in inputs:
        if is_string:
            found += [nodes.positions(name, i, next(remaining)) for i in range(width)]
        else:
            found.append(nodes.numbers(name))
    return found


def _convert(scope, operator, container):
    """Add the graph of an estimator to that of skl2onnx."""
    from onnx import compose

    nodes, estimator = _Nodes(scope, container), operator.raw_operator
    columns = _columns(operator, nodes)
    rows = columns[0] if len(columns) == 1 else nodes.put("Concat", columns, axis=1)
    prefix = scope.get_unique_operator_name("sksnn") + "_"
    graph = compose.add_prefix(_torch_graph(estimator, container.target_opset), prefix).graph
    nodes.put("Identity", rows, graph.input[0].name)
    container.nodes.extend(graph.node)
    container.initializers.extend(graph.initializer)
    for domain in {node.domain for node in graph.node}:
        container.node_domain_version_pair_sets.add((domain, container.target_opset_any_domain(domain)))
    *labels, values = (value.name for value in graph.output)
    number = operator.outputs[-1].type.to_onnx_type().tensor_type.elem_type
    nodes.put("Cast", values, operator.outputs[-1].full_name, to=number)
    if labels and isinstance(estimator._model.target, Classes):
        classes = _plain(estimator.classes_)
        classes = nodes.keep(classes.astype(object) if classes.dtype.kind == "U" else classes, "classes")
        nodes.put("Gather", [classes, labels[0]], operator.outputs[0].full_name, axis=0)
    elif labels:
        nodes.put("Identity", labels[0], operator.outputs[0].full_name)

"""The scikit-learn estimators; each trains a skorch net."""

from numbers import Real

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin, _fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import unique_labels
from sklearn.utils.validation import check_is_fitted

from ._fit import BaseSNN, check_takes_chunks
from ._habits import explains_arguments
from ._target import Labels, Values
from ._validation import check_same_length, check_targets, check_task_classes, check_weights, to_host
from .losses import REGRESSION_LOSSES
from .metrics import masked_r2_score

__all__ = ["SNNClassifier", "SNNRegressor"]


class SNNClassifier(ClassifierMixin, BaseSNN):
    """Self-normalizing neural network for classification.

    A deep network with SELU units, alpha dropout and LeCun-normal weights (Klambauer et al. 2017),
    trained on the softmax cross-entropy of a 1-D y. For a 2-D y (multitask), whose labels are 0, 1 or
    missing, it is trained on the sigmoid cross-entropy of the labels that are present.

    Parameters
    ----------
    n_layers : int, default=4
        Number of hidden layers.
    n_units : int, "auto" or tuple of int, default="auto"
        Width of the first hidden layer. "auto": 256, or 512 for more than 2 000 training rows; see
        `layer_form`. Rows of weight 0 and validation rows are not counted; `partial_fit` counts the rows of
        its first chunk. Tuples of `n_units`, `layer_form` and `dropout` are dealt out to the members in
        turn; if those of `encoding` are, too, the second value is for the members after the first round of
        codes, so that each code meets each value.
    layer_form : {"auto", "conic", "rectangular"} or tuple of the latter two, default="auto"
        "conic": widths fall geometrically from `n_units` towards the output layer; "rectangular": all
        hidden layers have the same width. See `sksnn.networks.layer_sizes`. "auto": "conic"; but for more
        than 1 000 training rows, and several members that are calibrated (see `calibrate`), ``("conic",
        "rectangular")``, of which the rectangular ones have 256 units (if ``n_units="auto"``) and no dropout
        (if ``dropout="auto"``). Those learn many rows better where labels are right, and overfit where they
        are noisy; together, weighed as `calibrate` says, members of both forms are good at either.
    hidden_layer_sizes : array-like of int, default=None
        Width of each hidden layer; overrides `n_layers`, `n_units` and `layer_form`.
    n_estimators : int or "auto", default="auto"
        Number of networks, called members. They are trained together, each with its own first weights, order
        of rows and dropped units, and their predictions are averaged: probabilities in the classifier, values
        in the regressor. 1 is a single network, as in the paper. "auto": 8, or 4 for more than 500 training
        rows; 1 for an `architecture` other than "snn".
    architecture : str or callable, default="snn"
        "snn", or one of the networks that the paper compares it with: "msra", "batchnorm", "layernorm",
        "weightnorm", "highway", "resnet" (`sksnn.architectures`). Or a callable
        ``(n_inputs, n_outputs) -> torch.nn.Module``. Its module must return outputs of shape
        (n, n_outputs), logits in the classifier; the parameters for layers and dropout do not apply to
        it. It is built and trained while torch's global generator is seeded from `random_state` and
        restored afterwards, which is not thread-safe.
    dropout : float, "auto" or tuple of float, default="auto"
        Rate of alpha dropout after each hidden layer, in [0, 1); the paper used 0.05 and 0.10. "auto": 0.05,
        or 0.02 for a 1-D y of more than 5 000 training rows (counted as for `n_units`); 0 in the rectangular
        members of ``layer_form="auto"``. Named architectures other than "snn" use ordinary dropout; for two
        of them, "batchnorm" and "resnet", the paper lists no dropout.
    input_dropout : float, default=0.0
        Rate of alpha dropout on the inputs. Named architectures other than "snn" use ordinary dropout.
    scale_inputs : bool or "auto", default="auto"
        Whether each network learns a factor for each of its inputs (columns, categories and codes), as in
        Holzmüller et al. (2024). Factors begin at 1, are not decayed, and Adam moves them six times as fast
        as weights (gradient descent: 36 times), so that inputs which help grow sooner than their weights
        alone would. "auto": True with ``architecture="snn"`` and the optimizer "adam" or "adamw"; but False
        for the tasks of a 2-D y of a classifier.
    categorical_features : "from_dtype", array-like or None, default="from_dtype"
        Which columns hold categories. "from_dtype": of a pandas or polars frame those of strings, of objects
        that are not all numbers, and of a categorical dtype; booleans are numbers. Or names, positions, or a
        mask of the columns. Each category is an input of the network, 1 in its rows, and so is "missing"; but
        of more than 255 in a column all others than the 254 most frequent are one input. Categories that
        `fit` has not seen count as missing.
    standardize : bool, default=True
        Whether to centre and scale the columns: SNNs need inputs of mean 0 and, on average, variance 1.
        Columns of which most rows hold one value get a smaller variance than the others, and so do sparse
        columns with few entries (`sksnn.encodings.Standardizer.fit`).
    encoding : {"auto", "onehot", "thermometer", "piecewise"}, None or tuple of these, default="auto"
        Codes, which are further inputs computed from each column. `fit` learns their edges from the
        training rows and weights. A column of 3 to 10 distinct values gets one indicator per value. For a
        column of more values "onehot" adds no code; the others cut it at quantiles into 9 to 48 bins, one
        for every 64 rows: "thermometer" adds an indicator of being above each cut, "piecewise" a ramp from
        0 to 1 across each bin (Gorishniy et al., 2022). With None and for sparse X there are no codes. A
        tuple is dealt out to the members in turn. "auto" is what was best in measurements: several members
        take "onehot" and "piecewise" in turn; one network has "onehot", or "piecewise" for more than 5 000
        training rows (counted as for `n_units`). It is None for more than 100 columns of more than two
        values and for a callable `architecture`.
    optimizer : str or type, default="adamw"
        Lower-case name of an optimizer in ``torch.optim`` ("adam", "adamw", "sgd", "nadam", ...), or
        a class.
    optimizer_params : dict, default=None
        Further arguments of the optimizer, for example ``{"momentum": 0.9}``.
    lr : float, default=0.001
        Learning rate.
    lr_schedule : {"constant", "cosine"}, default="cosine"
        "cosine" lowers the rate along half a cosine, to nearly 0 at `max_epochs`. For another schedule
        choose "constant" and put skorch's ``LRScheduler`` into `callbacks`.
    weight_decay : float or "auto", default="auto"
        Decay of the weights; biases are never decayed. With "adamw" it is decoupled from the gradient;
        with "adam" and "sgd" it is a penalty on the squared weights. "auto" with "adamw": the value that
        reduces the weights by a hundredth per epoch at the full learning rate, however many rows there are
        (Wang and Aitchison, 2024, arXiv:2405.13698, found that the best decay per epoch is constant).
        "auto" with other optimizers: 0.
    max_grad_norm : float, default=None
        Gradients with a larger norm are scaled down to this norm. None: no limit.
    batch_size : int or "auto", default="auto"
        Rows per batch, at most the number of training rows. "auto": a 32nd of the training rows, rounded
        to a power of two from 32 to 256.
    max_epochs : int, default=60
        Number of passes over the training rows; early stopping and `max_time` can make it smaller.
    max_time : float, default=None
        Seconds of training, after which it ends with the present epoch; what `fit` does before and after it
        is not counted. "cosine" lowers the rate by the share of the time that is over, where that is larger
        than the share of the epochs. Such a fit depends on the speed of the machine, and cannot be
        reproduced. None: no limit. `partial_fit` always makes its one pass.
    early_stopping : bool or "auto", default="auto"
        Whether to watch the loss, or `scoring`, on validation rows, stop when it no longer gets better, and
        keep the weights of the best epoch. Each of several members has validation rows of its own, so that
        all rows are learned from: its fold of ``max(2 * n_estimators, round(2 / validation_fraction))``,
        which in SNNClassifier one member of each form has in common, or with `bootstrap` the rows not drawn
        for it. They stop together, and keep the weights of the epoch of the best mean. "auto": True if
        `X_val` is given to `fit` or X has more than 10 000 rows; and in SNNRegressor for several members with
        20 rows or more and without `bootstrap`, since noise decides how long to train.
    validation_fraction : float, default=0.1
        Share of the rows used for validation when no `X_val` is given, stratified by class for a 1-D y.
    n_iter_no_change : int, default=10
        Training ends after this many epochs without progress; used with early stopping only.
    tol : float, default=0.0001
        The validation loss must fall, or the score rise, by more than this to count as progress; used with
        early stopping only.
    scoring : str, callable or None, default="loss"
        What early stopping watches: "loss" is the validation loss; a name that scikit-learn knows, a callable
        ``(estimator, X, y) -> float``, or None for the estimator's `score` is a score, of which more is
        better. It is computed after each epoch, for each member alone on its validation rows, which a
        callable gets as arrays. Of a 2-D y with missing labels use the scorers of `sksnn.metrics`.
    bootstrap : bool, default=False
        Whether each member is trained on as many rows as there are, drawn with replacement with probabilities
        in proportion to `sample_weight`; the weights then have no other effect on it. `partial_fit` does not
        draw rows.
    oob_score : bool, default=False
        Whether to predict each training row by the members that have not drawn it, and score these
        predictions; needs ``bootstrap=True``. With early stopping these rows also choose the best epoch, and
        the score is too good.
    calibrate : bool or "auto", default="auto"
        Whether rows that members have not seen decide how sure predictions are: the logits of all members are
        divided by the temperature at which these rows have the least log-loss (Guo et al., 2017). With label
        smoothing alone, probabilities of easy classes are too unsure, and those of noisy ones too sure. Each
        member holds back other rows: half of `validation_fraction`, but some 64 at most, or 128 that one
        member of each of two forms holds back. With early stopping or `bootstrap` it has such rows already.
        "auto": True for several members, a 1-D y of 20 rows or more and ``loss="log_loss"``, unless
        ``early_stopping=False`` says that no rows are to be held back.
        If members are of several forms (see `layer_form`), these rows also decide what each weighs in the
        mean: the product of a factor for its form and one for its code. `partial_fit` keeps temperature and
        weights.
    loss : "log_loss" or callable, default="log_loss"
        The loss to minimise: the cross-entropy, or a callable ``(output, y) -> losses`` of torch tensors,
        which returns the loss of each label, in the shape of y. For a 1-D y, output has shape (n, n_classes)
        and y holds the positions of the labels in ``classes_``; for a 2-D y both have shape (n, n_tasks), and
        missing labels are 0. Labels are masked, weighted and averaged for it. `predict_proba` is the softmax,
        or the sigmoid, of the outputs. To pickle the estimator it must not be a lambda.
    class_weight : dict, list of dict, "balanced" or None, default=None
        Weight of each class, multiplied with `sample_weight`. For a 2-D y: one dict with keys 0 and 1 for
        all tasks, a list of one dict per task, or "balanced", which counts the labels present.
    label_smoothing : float or "auto", default="auto"
        Share of each target that is spread evenly over the classes during training, in [0, 1). "auto": 0.1
        for a 1-D y without early stopping, where it improved accuracy and log-loss; else 0. In a 2-D y it
        outweighs rare positives. With early stopping the validation loss is computed without smoothing:
        where classes are easy to separate, that loss is lowest in the first epochs, before the network
        has learned the uncertainty that smoothing teaches.
    missing_label : float, default=nan
        Value that marks a missing label in a 2-D y. Choose -1 to use scikit-learn's splitters with
        ``cv=5``: they refuse NaN.
    warm_start : bool, default=False
        Whether `fit` continues from the present weights for `max_epochs` more. The statistics that the
        first fit learned stay the same, the loss curves and `n_iter_` grow, and shapes may not change.
    callbacks : list, default=None
        skorch callbacks, or pairs of a name and a callback. `fit` runs shallow copies of them, which are
        in ``net_.callbacks_``. A callback that overrides a batch hook costs one device synchronisation
        per batch. Parameters of members are named ``members.0.network...``; members that hold back rows of
        their own have no validation rows in common, which a callback could score.
    device : str, default="auto"
        "auto" (CUDA if there is a device, else the CPU), "cpu", "cuda", "cuda:N", or "mps", which is
        untested.
    precision : {"auto", "float32", "tf32", "bf16", "float64"}, default="auto"
        Precision of training. "auto": float32, with TF32 products on CUDA; "tf32" differs from "float32"
        on CUDA only; "bf16": float32 weights, autocast to bfloat16.
    random_state : int, RandomState instance or None, default=None
        Seed of the validation split, the initialisation, the shuffling and dropout; None takes fresh
        entropy. Global generators keep their state.
    checkpoint_dir : str or path, default=None
        A folder in which each epoch of a fit is kept until the fit ends. A fit that was interrupted, or
        killed, goes on from its last whole epoch when `fit` is called again with the same data and
        parameters, and ends as it would have ended (on one machine; callbacks and `max_time` begin anew).
        Several estimators may share the folder; equal ones that are fitted at the same time without a
        `random_state` may go on from each other's epochs.
    verbose : int, default=0
        0 or False: silent; 1 or True: one progress bar for the fit, with the losses of the last epoch and
        the time left; 2: skorch's table, one line per epoch.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Sorted labels of a 1-D y. For a 2-D y the numbers of its tasks, as in MLPClassifier: the labels are
        0 and 1.
    n_outputs_ : int
        Width of the output layer: the number of classes (two for a binary y) or of tasks.
    temperature_ : float
        What the logits of members are divided by; 1 without `calibrate`.
    member_weights_ : ndarray of shape (n_estimators,)
        What members weigh in the mean of their probabilities: equal, unless several forms are calibrated.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, if X had string names.
    n_iter_ : int
        Number of epochs trained.
    loss_curve_ : list of float
        Mean training loss of each epoch, with dropout and label smoothing.
    validation_loss_curve_ : list of float or None
        Mean loss of each epoch on the validation rows, weighted by their sample weights only; None without
        such rows.
    validation_scores_ : list of float or None
        Score of each epoch on the validation rows, the mean over the members; None without such rows or with
        ``scoring="loss"``.
    best_epoch_ : int
        Epoch whose weights are kept, counted from 1; the last one without early stopping. That of the least
        validation loss, or the highest score: the mean over the members.
    oob_score_ : float
        Score of the training rows by the members that have not drawn them; with `oob_score` only.
    oob_decision_function_ : ndarray of shape (n_rows, n_classes) or (n_rows, n_tasks)
        Probabilities of the training rows by these members; NaN for rows that all members have drawn.
    net_ : skorch.NeuralNet
        The trained net; ``net_.module_`` maps raw rows to logits, ``net_.history`` records the epochs.

    See Also
    --------
    SNNRegressor : The same network for regression.

    References
    ----------
    G. Klambauer, T. Unterthiner, A. Mayr, S. Hochreiter, "Self-Normalizing Neural Networks", 2017,
    arXiv:1706.02515.

    D. Holzmüller, L. Grinsztajn, I. Steinwart, "Better by Default: Strong Pre-Tuned MLPs and Boosted Trees on
    Tabular Data", 2024, arXiv:2407.04491, for the factors of the inputs.

    C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On Calibration of Modern Neural Networks", 2017,
    arXiv:1706.04599, for the temperature.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.model_selection import train_test_split
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    >>> clf = SNNClassifier(random_state=0).fit(X_train, y_train)
    >>> clf.score(X_test, y_test) > 0.9
    True

    Three tasks with missing labels:

    >>> Y = np.column_stack([y, X[:, 0] > 14, X[:, 1] > 19]).astype(float)
    >>> Y[::2, 0] = np.nan
    >>> SNNClassifier(max_epochs=10, random_state=0).fit(X, Y).predict_proba(X[:2]).shape
    (2, 3)
    """

    _target_type = Labels
    _oob_attribute = "oob_decision_function_"
    _parameter_constraints: dict = {
        **BaseSNN._parameter_constraints,
        "n_units": [*BaseSNN._parameter_constraints["n_units"], StrOptions({"auto"})],
        "layer_form": [StrOptions({"auto", "conic", "rectangular"}), list, tuple],
        "dropout": [*BaseSNN._parameter_constraints["dropout"], StrOptions({"auto"})],
        "calibrate": ["boolean", StrOptions({"auto"})],
        "loss": [StrOptions({"log_loss"}), callable],
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
        "label_smoothing": [Interval(Real, 0, 1, closed="left"), StrOptions({"auto"})],
    }

    def __init__(
        self,
        *,
        n_layers=4,
        n_units="auto",
        layer_form="auto",
        hidden_layer_sizes=None,
        n_estimators="auto",
        architecture="snn",
        dropout="auto",
        input_dropout=0.0,
        scale_inputs="auto",
        categorical_features="from_dtype",
        standardize=True,
        encoding="auto",
        optimizer="adamw",
        optimizer_params=None,
        lr=1e-3,
        lr_schedule="cosine",
        weight_decay="auto",
        max_grad_norm=None,
        batch_size="auto",
        max_epochs=60,
        max_time=None,
        early_stopping="auto",
        validation_fraction=0.1,
        n_iter_no_change=10,
        tol=1e-4,
        scoring="loss",
        bootstrap=False,
        oob_score=False,
        calibrate="auto",
        loss="log_loss",
        class_weight=None,
        label_smoothing="auto",
        missing_label=np.nan,
        warm_start=False,
        callbacks=None,
        device="auto",
        precision="auto",
        random_state=None,
        checkpoint_dir=None,
        verbose=0,
    ):
        self.n_layers = n_layers
        self.n_units = n_units
        self.layer_form = layer_form
        self.hidden_layer_sizes = hidden_layer_sizes
        self.n_estimators = n_estimators
        self.architecture = architecture
        self.dropout = dropout
        self.input_dropout = input_dropout
        self.scale_inputs = scale_inputs
        self.categorical_features = categorical_features
        self.standardize = standardize
        self.encoding = encoding
        self.optimizer = optimizer
        self.optimizer_params = optimizer_params
        self.lr = lr
        self.lr_schedule = lr_schedule
        self.weight_decay = weight_decay
        self.max_grad_norm = max_grad_norm
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.max_time = max_time
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.scoring = scoring
        self.bootstrap = bootstrap
        self.oob_score = oob_score
        self.calibrate = calibrate
        self.loss = loss
        self.class_weight = class_weight
        self.label_smoothing = label_smoothing
        self.missing_label = missing_label
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.device = device
        self.precision = precision
        self.random_state = random_state
        self.checkpoint_dir = checkpoint_dir
        self.verbose = verbose

    # ------------------------------------------------------------ fitting

    @available_if(check_takes_chunks)
    @explains_arguments
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Make one pass over a chunk of rows, at a constant learning rate.

        The first call learns the statistics of the columns and the classes; later calls keep them. So the
        first chunk should be representative, or set ``standardize=False``. After `fit`, training continues
        from its weights.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, n_features)
        y : array-like of shape (n_rows,) or (n_rows, n_tasks)
        classes : array-like of shape (n_classes,), default=None
            All labels that can occur; required in the first call with a 1-D y. For a 2-D y leave it out,
            or give 0, 1 and perhaps `missing_label`.
        sample_weight : array-like of shape (n_rows,), default=None
            Row weights, scaled by the factor that gives those of the first chunk the mean 1.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            For the reasons that `fit` names, and for labels not among the classes.
        AttributeError
            With ``early_stopping=True`` and ``class_weight="balanced"``, which need all rows at once:
            there is no such method then.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> clf = SNNClassifier(random_state=0)
        >>> for rows in (slice(0, None, 2), slice(1, None, 2)):
        ...     clf = clf.partial_fit(X[rows], y[rows], classes=[0, 1, 2])
        >>> clf.n_iter_
        2
        """
        if classes is not None and self.__sklearn_is_fitted__():
            if self._model.target.has_columns:
                check_task_classes(classes, self.missing_label)
            elif not np.array_equal(self.classes_, unique_labels(classes)):
                raise ValueError(
                    f"classes={classes!r} is not the same as on the last call to partial_fit, which was "
                    f"{self.classes_.tolist()}. Give the same, or none."
                )
        return self._fit_chunk(X, y, sample_weight, classes)

    # ------------------------------------------------------------ prediction

    def decision_function(self, X):
        """Compute the logits; of several members, those of the mean probabilities.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, n_features)

        Returns
        -------
        logits : ndarray of shape (n_rows,), (n_rows, n_classes) or (n_rows, n_tasks)
            Binary: the logit of ``classes_[1]`` minus that of ``classes_[0]``. Multitask: the logit of
            label 1.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> SNNClassifier(max_epochs=5, random_state=0).fit(X, y).decision_function(X[:2]).shape
        (2, 3)
        """
        return self._predict(X, lambda target, outputs: target.decisions(outputs))

    def predict_log_proba(self, X):
        """Compute the logarithm of `predict_proba` from the logits, without underflow.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, n_features)

        Returns
        -------
        log_proba : ndarray of shape (n_rows, n_classes) or (n_rows, n_tasks)

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> bool((SNNClassifier(max_epochs=5, random_state=0).fit(X, y).predict_log_proba(X) < 0).all())
        True
        """
        return self._predict(X, lambda target, outputs: target.log_probabilities(outputs))

    def predict_proba(self, X):
        """Compute probabilities.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, n_features)

        Returns
        -------
        proba : ndarray of shape (n_rows, n_classes) or (n_rows, n_tasks)
            Probability of each class in the order of ``classes_``; in multitask, P(y = 1) of each task.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> SNNClassifier(max_epochs=5, random_state=0).fit(X, y).predict_proba(X).sum(axis=1).round(6)[:3]
        array([1., 1., 1.])
        """
        return self._predict(X, lambda target, outputs: target.probabilities(outputs))

    def predict_proba_members(self, X):
        """Compute the probabilities of each member.

        Their mean over axis 0, weighted by `member_weights_`, is `predict_proba`.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, n_features)

        Returns
        -------
        proba : ndarray of shape (n_estimators, n_rows, n_classes) or (n_estimators, n_rows, n_tasks)

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> clf = SNNClassifier(n_estimators=4, max_epochs=5, random_state=0).fit(X, y)
        >>> clf.predict_proba_members(X[:2]).shape
        (4, 2, 3)
        """
        return self._predict_members(X, lambda target, outputs: target.each(outputs))

    @staticmethod
    def _out_of_bag(target, outputs):
        return target.probabilities(outputs)

    def predict(self, X):
        """Predict labels.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, n_features)

        Returns
        -------
        y : ndarray of shape (n_rows,) or (n_rows, n_tasks)
            Labels from ``classes_``; in multitask, integers 0 and 1.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> SNNClassifier(random_state=0).fit(X, y).predict(X[[0, 75, 149]])
        array([0, 1, 2])
        """
        return self._predict(X, lambda target, outputs: target.predictions(outputs))

    def score(self, X, y, sample_weight=None):
        """Compute the share of rows whose present labels are all predicted right.

        This is the accuracy for a 1-D y, and scikit-learn's subset accuracy for a complete 2-D y. Rows
        without any label are left out.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, n_features)
        y : array-like of shape (n_rows,) or (n_rows, n_tasks)
        sample_weight : array-like of shape (n_rows,), default=None

        Returns
        -------
        score : float

        Raises
        ------
        ValueError
            If no label is present.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> SNNClassifier(random_state=0).fit(X, y).score(X, y) > 0.95
        True
        """
        check_is_fitted(self)
        target = self._model.target
        y = Labels.check(y, self, target, warn=False)
        target.check_form(y, "y")
        sample_weight = to_host(sample_weight)
        if not target.has_columns:
            return super().score(X, y, sample_weight)
        check_same_length(X, y)
        weight = check_weights(sample_weight, len(y))
        score = self._predict(X, lambda target, outputs: target.score(y, outputs, weight))
        if np.isnan(score):
            raise ValueError("y has no label at all, or none of positive weight: nothing to score.")
        return score

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class SNNRegressor(RegressorMixin, BaseSNN):
    """Self-normalizing neural network for regression.

    A deep network with SELU units, alpha dropout and LeCun-normal weights (Klambauer et al. 2017)
    for a 1-D y, or for a 2-D y of several outputs, in which values may be missing.

    Parameters
    ----------
    n_layers : int, default=4
        Number of hidden layers.
    n_units : int or tuple of int, default=128
        Width of the first hidden layer. Tuples of `n_units`, `layer_form` and `dropout` are dealt out to the
        members in turn; if those of `encoding` are, too, each code meets each value.
    layer_form : {"conic", "rectangular"} or tuple of these, default="rectangular"
        "conic": widths fall geometrically from `n_units` towards the output layer; "rectangular": all
        hidden layers have the same width. See `sksnn.networks.layer_sizes`. For a single output the last
        layers of a conic network have only a few units.
    hidden_layer_sizes : array-like of int, default=None
        Width of each hidden layer; overrides `n_layers`, `n_units` and `layer_form`.
    n_estimators : int or "auto", default="auto"
        Number of networks, called members. They are trained together, each with its own first weights, order
        of rows and dropped units, and their predictions are averaged: probabilities in the classifier, values
        in the regressor. 1 is a single network, as in the paper. "auto": 8, or 4 for more than 500 training
        rows; 1 for an `architecture` other than "snn".
    architecture : str or callable, default="snn"
        "snn", or one of the networks that the paper compares it with: "msra", "batchnorm", "layernorm",
        "weightnorm", "highway", "resnet" (`sksnn.architectures`). Or a callable
        ``(n_inputs, n_outputs) -> torch.nn.Module``. Its module must return outputs of shape
        (n, n_outputs), logits in the classifier; the parameters for layers and dropout do not apply to
        it. It is built and trained while torch's global generator is seeded from `random_state` and
        restored afterwards, which is not thread-safe.
    dropout : float or tuple of float, default=0.0
        Rate of alpha dropout after each hidden layer, in [0, 1). Where the target has little noise, the
        noise of dropout costs accuracy: 0.05 helps on small, noisy data only. Named architectures other
        than "snn" use ordinary dropout.
    input_dropout : float, default=0.0
        Rate of alpha dropout on the inputs. Named architectures other than "snn" use ordinary dropout.
    scale_inputs : bool or "auto", default="auto"
        Whether each network learns a factor for each of its inputs (columns, categories and codes), as in
        Holzmüller et al. (2024). Factors begin at 1, are not decayed, and Adam moves them six times as fast
        as weights (gradient descent: 36 times), so that inputs which help grow sooner than their weights
        alone would. "auto": True with ``architecture="snn"`` and the optimizer "adam" or "adamw"; but False
        for the tasks of a 2-D y of a classifier.
    categorical_features : "from_dtype", array-like or None, default="from_dtype"
        Which columns hold categories. "from_dtype": of a pandas or polars frame those of strings, of objects
        that are not all numbers, and of a categorical dtype; booleans are numbers. Or names, positions, or a
        mask of the columns. Each category is an input of the network, 1 in its rows, and so is "missing"; but
        of more than 255 in a column all others than the 254 most frequent are one input. Categories that
        `fit` has not seen count as missing.
    standardize : bool, default=True
        Whether to centre and scale the columns: SNNs need inputs of mean 0 and, on average, variance 1.
        Columns of which most rows hold one value get a smaller variance than the others, and so do sparse
        columns with few entries (`sksnn.encodings.Standardizer.fit`).
    encoding : {"auto", "onehot", "thermometer", "piecewise"}, None or tuple of these, default="auto"
        Codes, which are further inputs computed from each column. `fit` learns their edges from the
        training rows and weights. A column of 3 to 10 distinct values gets one indicator per value. For a
        column of more values "onehot" adds no code; the others cut it at quantiles into 9 to 48 bins, one
        for every 64 rows: "thermometer" adds an indicator of being above each cut, "piecewise" a ramp from
        0 to 1 across each bin (Gorishniy et al., 2022). With None and for sparse X there are no codes. A
        tuple is dealt out to the members in turn. "auto" is what was best in measurements: several members
        take "piecewise" and None in turn; one network has "piecewise". It is None for more than 100 columns
        of more than two values and for a callable `architecture`.
    optimizer : str or type, default="adamw"
        Lower-case name of an optimizer in ``torch.optim`` ("adam", "adamw", "sgd", "nadam", ...), or
        a class.
    optimizer_params : dict, default=None
        Further arguments of the optimizer, for example ``{"momentum": 0.9}``.
    lr : float, default=0.001
        Learning rate.
    lr_schedule : {"constant", "cosine"}, default="cosine"
        "cosine" lowers the rate along half a cosine, to nearly 0 at `max_epochs`. For another schedule
        choose "constant" and put skorch's ``LRScheduler`` into `callbacks`.
    weight_decay : float or "auto", default="auto"
        Decay of the weights; biases are never decayed. With "adamw" it is decoupled from the gradient;
        with "adam" and "sgd" it is a penalty on the squared weights. "auto" with "adamw": the value that
        reduces the weights by a hundredth per epoch at the full learning rate, however many rows there are
        (Wang and Aitchison, 2024, arXiv:2405.13698, found that the best decay per epoch is constant).
        "auto" with other optimizers: 0.
    max_grad_norm : float, default=None
        Gradients with a larger norm are scaled down to this norm. None: no limit.
    batch_size : int or "auto", default="auto"
        Rows per batch, at most the number of training rows. "auto": 32, or 64 for 1 449 training rows or
        more: larger batches make too few steps.
    max_epochs : int, default=60
        Number of passes over the training rows; early stopping and `max_time` can make it smaller.
    max_time : float, default=None
        Seconds of training, after which it ends with the present epoch; what `fit` does before and after it
        is not counted. "cosine" lowers the rate by the share of the time that is over, where that is larger
        than the share of the epochs. Such a fit depends on the speed of the machine, and cannot be
        reproduced. None: no limit. `partial_fit` always makes its one pass.
    early_stopping : bool or "auto", default="auto"
        Whether to watch the loss, or `scoring`, on validation rows, stop when it no longer gets better, and
        keep the weights of the best epoch. Each of several members has validation rows of its own, so that
        all rows are learned from: its fold of ``max(2 * n_estimators, round(2 / validation_fraction))``,
        which in SNNClassifier one member of each form has in common, or with `bootstrap` the rows not drawn
        for it. They stop together, and keep the weights of the epoch of the best mean. "auto": True if
        `X_val` is given to `fit` or X has more than 10 000 rows; and in SNNRegressor for several members with
        20 rows or more and without `bootstrap`, since noise decides how long to train.
    validation_fraction : float, default=0.1
        Share of the rows used for validation when no `X_val` is given, drawn at random.
    n_iter_no_change : int, default=20
        Training ends after this many epochs without progress; used with early stopping only.
    tol : float, default=0.0001
        The validation loss must fall, or the score rise, by more than this to count as progress; used with
        early stopping only.
    scoring : str, callable or None, default="loss"
        What early stopping watches: "loss" is the validation loss; a name that scikit-learn knows, a callable
        ``(estimator, X, y) -> float``, or None for the estimator's `score` is a score, of which more is
        better. It is computed after each epoch, for each member alone on its validation rows, which a
        callable gets as arrays. Of a 2-D y with missing labels use the scorers of `sksnn.metrics`.
    bootstrap : bool, default=False
        Whether each member is trained on as many rows as there are, drawn with replacement with probabilities
        in proportion to `sample_weight`; the weights then have no other effect on it. `partial_fit` does not
        draw rows.
    oob_score : bool, default=False
        Whether to predict each training row by the members that have not drawn it, and score these
        predictions; needs ``bootstrap=True``. With early stopping these rows also choose the best epoch, and
        the score is too good.
    loss : str or callable, default="squared_error"
        The loss to minimise: "squared_error", "absolute_error", "huber" (quadratic up to 1.345 standardised
        target units, linear beyond), "quantile", "poisson" for counts, or "gamma" for positive values whose
        deviation grows with them. The last two are half the deviances of that name; the network's output is
        the logarithm of the prediction, and `score` remains R squared. Or a callable ``(output, y) ->
        losses`` of torch tensors, which returns the loss of each label, in the shape of y. Both have that
        shape and are in standardised units; missing values are 0. Labels are masked, weighted and averaged
        for it. To pickle the estimator it must not be a lambda.
    quantile : float or array-like of float, default=0.5
        The quantile that ``loss="quantile"`` estimates, in (0, 1). Of a list one network estimates all, for a
        1-D y: `predict` has a column for each, and a higher quantile is never below a lower one.
    standardize_target : bool, default=True
        Whether to centre and scale each output for training; predictions are in the units of y. With
        "poisson" and "gamma" y is divided by its mean and not centred.
    missing_label : float, default=nan
        Value that marks a missing value in a 2-D y.
    warm_start : bool, default=False
        Whether `fit` continues from the present weights for `max_epochs` more. The statistics that the
        first fit learned stay the same, the loss curves and `n_iter_` grow, and shapes may not change.
    callbacks : list, default=None
        skorch callbacks, or pairs of a name and a callback. `fit` runs shallow copies of them, which are
        in ``net_.callbacks_``. A callback that overrides a batch hook costs one device synchronisation
        per batch. Parameters of members are named ``members.0.network...``; members that hold back rows of
        their own have no validation rows in common, which a callback could score.
    device : str, default="auto"
        "auto" (CUDA if there is a device, else the CPU), "cpu", "cuda", "cuda:N", or "mps", which is
        untested.
    precision : {"auto", "float32", "tf32", "bf16", "float64"}, default="auto"
        Precision of training. "auto": float32, with TF32 products on CUDA; "tf32" differs from "float32"
        on CUDA only; "bf16": float32 weights, autocast to bfloat16.
    random_state : int, RandomState instance or None, default=None
        Seed of the validation split, the initialisation, the shuffling and dropout; None takes fresh
        entropy. Global generators keep their state.
    checkpoint_dir : str or path, default=None
        A folder in which each epoch of a fit is kept until the fit ends. A fit that was interrupted, or
        killed, goes on from its last whole epoch when `fit` is called again with the same data and
        parameters, and ends as it would have ended (on one machine; callbacks and `max_time` begin anew).
        Several estimators may share the folder; equal ones that are fitted at the same time without a
        `random_state` may go on from each other's epochs.
    verbose : int, default=0
        0 or False: silent; 1 or True: one progress bar for the fit, with the losses of the last epoch and
        the time left; 2: skorch's table, one line per epoch.

    Attributes
    ----------
    n_outputs_ : int
        Width of the output layer: the number of columns of y, or of a list of quantiles.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, if X had string names.
    n_iter_ : int
        Number of epochs trained.
    loss_curve_ : list of float
        Mean training loss of each epoch, with dropout, in standardised units.
    validation_loss_curve_ : list of float or None
        Mean loss of each epoch on the validation rows, weighted by their sample weights only; None without
        such rows.
    validation_scores_ : list of float or None
        Score of each epoch on the validation rows, the mean over the members; None without such rows or with
        ``scoring="loss"``.
    best_epoch_ : int
        Epoch whose weights are kept, counted from 1; the last one without early stopping. That of the least
        validation loss, or the highest score: the mean over the members.
    oob_score_ : float
        Score of the training rows by the members that have not drawn them; with `oob_score` only.
    oob_prediction_ : ndarray of shape (n_rows,) or (n_rows, n_outputs)
        Predictions for the training rows by these members; NaN for rows that all members have drawn.
    net_ : skorch.NeuralNet
        The trained net; ``net_.module_`` maps raw rows to outputs, ``net_.history`` records the epochs.

    See Also
    --------
    SNNClassifier : The same network for classification.

    References
    ----------
    G. Klambauer, T. Unterthiner, A. Mayr, S. Hochreiter, "Self-Normalizing Neural Networks", 2017,
    arXiv:1706.02515.

    D. Holzmüller, L. Grinsztajn, I. Steinwart, "Better by Default: Strong Pre-Tuned MLPs and Boosted Trees on
    Tabular Data", 2024, arXiv:2407.04491, for the factors of the inputs.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.model_selection import train_test_split
    >>> X, y = load_diabetes(return_X_y=True)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    >>> SNNRegressor(random_state=0).fit(X_train, y_train).score(X_test, y_test) > 0.1
    True
    """

    _target_type = Values
    _oob_attribute = "oob_prediction_"
    _parameter_constraints: dict = {
        **BaseSNN._parameter_constraints,
        "loss": [StrOptions(set(REGRESSION_LOSSES)), callable],
        "quantile": [Interval(Real, 0, 1, closed="neither"), "array-like"],
        "standardize_target": ["boolean"],
    }

    def __init__(
        self,
        *,
        n_layers=4,
        n_units=128,
        layer_form="rectangular",
        hidden_layer_sizes=None,
        n_estimators="auto",
        architecture="snn",
        dropout=0.0,
        input_dropout=0.0,
        scale_inputs="auto",
        categorical_features="from_dtype",
        standardize=True,
        encoding="auto",
        optimizer="adamw",
        optimizer_params=None,
        lr=1e-3,
        lr_schedule="cosine",
        weight_decay="auto",
        max_grad_norm=None,
        batch_size="auto",
        max_epochs=60,
        max_time=None,
        early_stopping="auto",
        validation_fraction=0.1,
        n_iter_no_change=20,
        tol=1e-4,
        scoring="loss",
        bootstrap=False,
        oob_score=False,
        loss="squared_error",
        quantile=0.5,
        standardize_target=True,
        missing_label=np.nan,
        warm_start=False,
        callbacks=None,
        device="auto",
        precision="auto",
        random_state=None,
        checkpoint_dir=None,
        verbose=0,
    ):
        self.n_layers = n_layers
        self.n_units = n_units
        self.layer_form = layer_form
        self.hidden_layer_sizes = hidden_layer_sizes
        self.n_estimators = n_estimators
        self.architecture = architecture
        self.dropout = dropout
        self.input_dropout = input_dropout
        self.scale_inputs = scale_inputs
        self.categorical_features = categorical_features
        self.standardize = standardize
        self.encoding = encoding
        self.optimizer = optimizer
        self.optimizer_params = optimizer_params
        self.lr = lr
        self.lr_schedule = lr_schedule
        self.weight_decay = weight_decay
        self.max_grad_norm = max_grad_norm
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.max_time = max_time
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.scoring = scoring
        self.bootstrap = bootstrap
        self.oob_score = oob_score
        self.loss = loss
        self.quantile = quantile
        self.standardize_target = standardize_target
        self.missing_label = missing_label
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.device = device
        self.precision = precision
        self.random_state = random_state
        self.checkpoint_dir = checkpoint_dir
        self.verbose = verbose

    # ------------------------------------------------------------ fitting

    @available_if(check_takes_chunks)
    @explains_arguments
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, sample_weight=None):
        """Make one pass over a chunk of rows, at a constant learning rate.

        The first call learns the statistics of the columns and of the target; later calls keep them. So
        the first chunk should be representative, or set ``standardize=False`` and
        ``standardize_target=False``. After `fit`, training continues from its weights.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, n_features)
        y : array-like of shape (n_rows,) or (n_rows, n_outputs)
        sample_weight : array-like of shape (n_rows,), default=None
            Row weights, scaled by the factor that gives those of the first chunk the mean 1.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            For the reasons that `fit` names.
        AttributeError
            With ``early_stopping=True``, which needs all rows at once: there is no such method then.

        Examples
        --------
        >>> from sklearn.datasets import load_diabetes
        >>> X, y = load_diabetes(return_X_y=True)
        >>> SNNRegressor(random_state=0).partial_fit(X[:200], y[:200]).partial_fit(X[200:], y[200:]).n_iter_
        2
        """
        return self._fit_chunk(X, y, sample_weight)

    # ------------------------------------------------------------ prediction

    def predict(self, X, return_std=False):
        """Predict the target.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, n_features)
        return_std : bool, default=False
            Whether to return also how far the members are apart; needs `n_estimators` above 1.

        Returns
        -------
        y : ndarray of shape (n_rows,), (n_rows, n_outputs) or (n_rows, n_quantiles), float64
            In the units of the y given to `fit`. float32 rows change the precision of the forward pass
            only.
        y_std : ndarray in the shape of y
            Standard deviation of the members' predictions. It is not that of y: noise is not in it.

        Raises
        ------
        ValueError
            If X cannot be used, or `return_std` is asked of a single member.

        Examples
        --------
        >>> from sklearn.datasets import load_diabetes
        >>> X, y = load_diabetes(return_X_y=True)
        >>> reg = SNNRegressor(n_estimators=4, max_epochs=10, random_state=0).fit(X, y)
        >>> mean, std = reg.predict(X[:2], return_std=True)
        >>> mean.shape, bool((std > 0).all())
        ((2,), True)
        """
        if not return_std:
            return self._predict(X, lambda target, outputs: target.predictions(outputs))
        check_is_fitted(self)
        if len(self._model.members) == 1:
            raise ValueError(
                "return_std=True needs members to compare, but there is one. Fit with n_estimators=8, say."
            )
        return self._predict_members(X, lambda target, outputs: target.mean_and_std(outputs))

    def predict_members(self, X):
        """Predict the target by each member; their mean over axis 0 is `predict`.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, n_features)

        Returns
        -------
        y : ndarray of shape (n_estimators, n_rows) or (n_estimators, n_rows, n_outputs), float64

        Examples
        --------
        >>> from sklearn.datasets import load_diabetes
        >>> X, y = load_diabetes(return_X_y=True)
        >>> SNNRegressor(n_estimators=4, max_epochs=10, random_state=0).fit(X, y).predict_members(X[:2]).shape
        (4, 2)
        """
        return self._predict_members(X, lambda target, outputs: target.each(outputs))

    @staticmethod
    def _out_of_bag(target, outputs):
        return target.predictions(outputs)

    def score(self, X, y, sample_weight=None):
        """Compute R squared from the values present, averaged over the outputs.

        With a list of quantiles: scikit-learn's `d2_pinball_score`, averaged over them.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, n_features)
        y : array-like of shape (n_rows,) or (n_rows, n_outputs)
        sample_weight : array-like of shape (n_rows,), default=None

        Returns
        -------
        score : float

        Examples
        --------
        >>> from sklearn.datasets import load_diabetes
        >>> X, y = load_diabetes(return_X_y=True)
        >>> SNNRegressor(random_state=0).fit(X, y).score(X, y) > 0.4
        True
        """
        check_is_fitted(self)
        y, sample_weight = to_host(y), to_host(sample_weight)
        if self._model.target.quantiles is not None:
            y, weight = check_targets(y, self.missing_label, self), check_weights(sample_weight, len(y))
            check_same_length(X, y)
            return self._predict(X, lambda target, outputs: target.score(y, outputs, weight))
        if not self._model.target.has_columns:
            return super().score(X, y, sample_weight)
        score = masked_r2_score(
            y, self.predict(X), sample_weight=sample_weight, missing_label=self.missing_label
        )
        if np.isnan(score):
            raise ValueError("y has fewer than two values in each output: nothing to score.")
        return score

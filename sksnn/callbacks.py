"""skorch callbacks of this package, for the parameter ``callbacks`` of the estimators."""

from numbers import Integral

import torch
from skorch.callbacks import Callback, PrintLog

from ._moments import MEAN_KEY, VARIANCE_KEY, network_moments

__all__ = ["MomentRecorder"]


class MomentRecorder(Callback):
    """Record mean and variance of every layer after each epoch, on a fixed sample of the training rows.

    Parameters
    ----------
    n_rows : int, default=256
        Number of rows to measure on, evenly spaced among the training rows; all rows if there are fewer.

    Notes
    -----
    ``net_.history[i, "layer_means"]`` and ``"layer_variances"`` are lists with one number per layer, taken
    over rows and units; the inputs come first. `sksnn.diagnostics.moment_history` reads them, and
    `sksnn.diagnostics.MomentHistoryDisplay` draws them. The callback draws no random numbers and attaches
    nothing to the network, so it does not change the trained weights.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sksnn import SNNClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = SNNClassifier(callbacks=[MomentRecorder()], max_epochs=3, random_state=0).fit(X, y)
    >>> len(model.net_.history[-1, "layer_variances"])
    5
    """

    reads_only = True  # the network is left as it is

    def __init__(self, n_rows=256):
        self.n_rows = n_rows

    def on_train_begin(self, net, X=None, **kwargs):
        """Choose the rows to measure on."""
        if not isinstance(self.n_rows, Integral) or self.n_rows < 1:
            raise ValueError(f"n_rows must be a whole number of at least 1; got {self.n_rows!r}. Try 256.")
        index = torch.linspace(0, len(X) - 1, min(int(self.n_rows), len(X)), dtype=torch.float64).long()
        # Sparse rows are on the host; indexing makes them dense.
        inputs = X.inputs[index.to(X.inputs.device)]
        self.inputs_ = inputs[0] if isinstance(inputs, tuple) else inputs  # those of the first member
        for _, callback in net.callbacks_:
            if isinstance(callback, PrintLog):  # its table cannot show lists
                callback.keys_ignored_ |= {MEAN_KEY, VARIANCE_KEY}

    def on_epoch_end(self, net, **kwargs):
        """Measure the moments and write them to the history."""
        moments = network_moments(net.module_.network, self.inputs_)
        net.history.record(MEAN_KEY, moments.mean.tolist())
        net.history.record(VARIANCE_KEY, moments.variance.tolist())

    def on_train_end(self, net, **kwargs):
        """Delete the rows; there are none if training was interrupted before it began."""
        self.__dict__.pop("inputs_", None)

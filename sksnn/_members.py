"""A network in training, with everything that is its own."""

import math
from contextlib import nullcontext

from ._forward import forward_rows, widest_layer


class Member:
    """A network in training: its rows, their order, its losses, its best epoch.

    Parameters
    ----------
    module : EncodedNetwork
        The network behind its own encoder.
    criterion : MaskedLoss
        Its loss; members that are trained in one stack have the same object.
    rows : Rows
        What it is trained on, encoded by its encoder.
    valid : Rows, default=None
        What decides which epoch is best.
    generator : torch.Generator, default=None
        Shuffles the rows.
    best : BestEpoch, default=None
        Keeps the weights of the best epoch, perhaps for several members; None keeps those of the last.
    sources : callable, default=nullcontext
        Makes the context in which the network draws random numbers.

    Attributes
    ----------
    scorer : callable or None
        Turns the network's outputs for its validation rows into a score, more of which is better; None lets
        their loss decide which epoch is best.
    """

    def __init__(self, module, criterion, rows, valid=None, generator=None, best=None, sources=nullcontext):
        self.module, self.criterion, self.rows, self.valid = module, criterion, rows, valid
        self.generator, self.best, self.sources = generator, best, sources
        self.network, self.scorer, self.outputs = module.network, None, None
        self.losses: dict[str, float] = {}  # of the latest epoch; once done, of the best
        self.best_losses: dict[str, float] = {}
        self.validation_size = forward_rows(widest_layer(self.network), rows.y.device)

    def replace(self, network):
        """Go on with another network; the weights of an earlier epoch were not its own."""
        if self.best is not None and network is not self.network:
            self.best.forget(self.network, network)
        self.network = network

    def score(self):
        """Score the latest outputs for the validation rows, if there is a scorer."""
        if self.scorer is not None:
            self.losses["score"] = self.scorer(self.outputs)

    @property
    def objective(self):
        """What the best epoch has least of."""
        return -self.losses["score"] if "score" in self.losses else self.losses["valid"]

    def end_epoch(self, epoch):
        """Keep the losses of the best epoch; return whether there is no more progress."""
        if self.best is None:
            return False
        if self.best.best_epoch == epoch or not self.best_losses:
            self.best_losses = dict(self.losses)
        if self.best.is_done:
            self.losses = self.best_losses
        return self.best.is_done


class BestEpoch:
    """Keep the weights of the epoch of least validation loss or best score; tell when none comes any more.

    Parameters
    ----------
    networks : list of nn.Module
        They have their best epoch together, by the mean of their losses: that is less noisy than the loss of
        each on few rows of its own.
    tol : float
        An epoch counts as progress when it is better than the last progress by more than this.
    patience : int
        Epochs without progress that end training.
    start : int, default=None
        The epoch of an earlier fit whose weights training goes on from: they are the first candidate.
    """

    def __init__(self, networks, tol, patience, start=None):
        self.networks, self.tol, self.patience, self.start = list(networks), tol, patience, start
        self.best_loss = self.target = math.inf
        self.best_epoch = self.weights = None
        self.waited = 0
        self.is_done = False
        self.is_due = start is not None  # whether the weights that training goes on from have to be looked at

    def forget(self, old, new):
        """Begin anew with another network in place of one."""
        self.networks = [new if network is old else network for network in self.networks]
        self.best_loss, self.best_epoch, self.weights = math.inf, None, None

    def begin_with(self, loss):
        """Look at the validation loss of the weights that training goes on from."""
        self._consider(loss, self.start)
        self.target, self.is_due = self.best_loss, False

    def end_epoch(self, loss, epoch):
        """Look at the validation loss of an epoch, and whether patience is at its end."""
        self._consider(loss, epoch)
        self.waited = 0 if loss < self.target - self.tol else self.waited + 1
        self.target = min(self.target, loss) if self.waited == 0 else self.target
        self.is_done = self.waited >= self.patience

    def _consider(self, loss, epoch):
        """Keep the present weights if their loss is the least so far."""
        if loss < self.best_loss:
            self.best_loss, self.best_epoch = loss, epoch
            self.weights = [
                {name: value.detach().clone() for name, value in network.state_dict().items()}
                for network in self.networks
            ]

    def state(self):
        """Return all but the networks."""
        return {name: value for name, value in vars(self).items() if name != "networks"}

    def restore(self):
        """Put the best weights back, if there are any."""
        if self.weights is not None:
            for network, weights in zip(self.networks, self.weights, strict=True):
                network.load_state_dict(weights)
            self.weights = None

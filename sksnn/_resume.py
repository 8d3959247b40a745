"""A fit that goes on from its last whole epoch after it was interrupted or killed: `checkpoint_dir`."""

from contextlib import contextmanager, suppress
from functools import partial

from . import _device
from ._checkpoints import Checkpoints, digest, read, write
from ._optimizers import carry_over

# What neither changes a fit nor is known to go on with it.
NOT_COUNTED = ("callbacks", "checkpoint_dir", "verbose")

# Files of a fit that are kept: if the last is damaged, the one before is used.
N_KEPT = 2


@contextmanager
def resumable(estimator, earlier, *data):
    """Yield where the epochs of a fit are kept, or None without `checkpoint_dir`; remove them when it ends.

    Parameters
    ----------
    estimator : SNNClassifier or SNNRegressor
    earlier : Model or None
        What the fit goes on from.
    *data
        All that is handed to `fit`.
    """
    if estimator.checkpoint_dir is None:
        yield None
        return
    parameters = estimator.get_params(deep=False).items()
    counted = {name: value for name, value in parameters if name not in NOT_COUNTED}
    going_on = earlier and digest(earlier.to_arrays(with_optimizer=True))
    folder = Checkpoints(estimator.checkpoint_dir, type(estimator), counted, going_on)
    progress = Progress(folder.path(*data).with_suffix(""))
    try:
        yield progress
    except ValueError:  # it would end in the same way again
        progress.remove()
        raise
    progress.remove()


class Progress:
    """The folder of a fit with its last epochs.

    Parameters
    ----------
    folder : Path

    Attributes
    ----------
    state : dict or None
        The last whole epoch of a fit that was broken off.
    """

    def __init__(self, folder):
        self.folder = folder
        found = (read(path) for path in reversed(self._files()))
        self.state = next((state for state in found if state is not None), None)

    def _files(self):
        return sorted(self.folder.glob("epoch-*"))

    def arguments(self, training):
        """Return the arguments of a net's `train` that go on from here, and keep what is done."""
        n_done = 0 if self.state is None else self.state["n_done"]
        return {"n_done": n_done, "keep": partial(self.keep, training)}

    def restore_generators(self, generators):
        """Let the generators of the members draw what they would have drawn next."""
        for own, state in zip(generators, self.state["generators"] if self.state else [], strict=False):
            own.restore(state)

    def restore(self, training):
        """Bring a fit that is ready to where it was."""
        if self.state is None:
            return
        model, net, best = training.model, training.net, training.best
        self.restore_generators(model.generators)  # users' modules have drawn from them when they were built
        for network, arrays in zip(model.module.networks, self.state["networks"], strict=True):
            network.load_state_dict(_device.from_numpy_state(arrays))
        moments = _device.from_numpy_state(self.state["optimizer"])
        carry_over(net.optimizer_, moments, moments=True, rates=False)
        net.history[:] = self.state["history"]
        for member, losses in zip(training.members, self.state["losses"], strict=True):
            member.losses, member.best_losses = losses
        if best is not None:
            vars(best).update(_device.from_numpy_state(self.state["best"]))

    def keep(self, training, n_done):
        """Write what the next epoch needs."""
        model, net, best = training.model, training.net, training.best
        if not model.plan.is_named and len(model.generators) == 1:
            model.generators[0].read_global()  # torch's are its own while it trains
        with net.as_outside_of_training():
            state = {
                "n_done": n_done,
                "generators": [own.state() for own in model.generators],
                "networks": [_device.to_numpy_state(dict(n.state_dict())) for n in model.module.networks],
                "optimizer": _device.to_numpy_state(net.optimizer_.state_dict()),
                "history": list(net.history),
                "losses": [(member.losses, member.best_losses) for member in training.members],
                "best": best and _device.to_numpy_state(best.state()),
            }
        # An equal fit that ends at the same time removes the folder, and files in it.
        self.folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            write(self.folder / f"epoch-{n_done:06d}", state)
        for path in self._files()[:-N_KEPT]:
            path.unlink(missing_ok=True)

    def remove(self):
        """Delete what a fit has written, and the folder if nothing else is in it."""
        for path in [*self._files(), *self.folder.glob("*.part")]:
            path.unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()

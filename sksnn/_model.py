"""Everything that a fit has learned: a network behind its encoder, with the plan and the target.

Prediction, pickles and diagnostics read a `Model` and nothing else; training (`_engine`) and skorch
(`_skorch`) are not needed for them.
"""

import copy
from contextlib import contextmanager, nullcontext

import numpy as np
import torch

from . import _device
from ._forward import Forward, forward_rows, widest_layer
from ._rows import Rows, encode
from ._validation import check_outputs
from .architectures import build_network, multiply_adds
from .encodings import chunk_slices, encoder_from, learn_encoder
from .networks import EncodedNetwork


class Model:
    """A fitted network and what is known about it.

    Parameters
    ----------
    plan : Plan
        As settled for the latest fit.
    target : Target
    generators : Generators
        On the device of the network.
    encoder : nn.Module
        How columns enter the network.

    Attributes
    ----------
    module : EncodedNetwork
        From raw rows to outputs; skorch's net has the same object.
    history : list of dict
        One for each epoch.
    optimizer : torch.optim.Optimizer or None
        Of the latest fit; None before training and in a loaded model.
    resumes : bool
        Whether `partial_fit` has trained this model, so that its pickle holds the optimizer's state.
    """

    def __init__(self, plan, target, generators, encoder):
        self.plan, self.target, self.generators = plan, target, generators
        with self.random_sources(), _device.memory_explained(self.device):
            self.module = self._build(encoder)
            self.work = multiply_adds(self.module.network, encoder.n_inputs)
        self.width = widest_layer(self.module.network)
        self.history, self.optimizer, self.resumes = [], None, False
        self._loaded_state = None
        self._double = _DoubleCopy()

    @classmethod
    def start(cls, plan, target, generators, table):
        """Learn the statistics of the training rows and build the network."""
        encoder = learn_encoder(table.X, table.weight, plan.standardize, plan.encoding)
        return cls(plan, target, generators, encoder)

    def going_on(self, plan, target):
        """Return this model, same network and all, with another plan and target."""
        model = copy.copy(self)
        model.plan, model.target = plan, target
        return model

    @property
    def device(self):
        """Where the network is."""
        return self.generators.device

    @property
    def dtype(self):
        """What weights, inputs and targets are in training."""
        return _device.parameter_dtype(self.plan.precision, self.device)

    def _build(self, encoder):
        """Build the network of the plan behind its encoder."""
        generators, plan = self.generators, self.plan
        init = torch.Generator().manual_seed(generators.init)
        network = build_network(
            plan.architecture,
            encoder.n_inputs,
            plan.n_outputs,
            plan.hidden_layer_sizes,
            plan.dropout,
            plan.input_dropout,
            generator=init,
            dropout_generator=generators.dropout,
        )
        return EncodedNetwork(encoder, network.to(self.device, self.dtype)).eval()

    # ------------------------------------------------------------ computing

    def random_sources(self):
        """Give a user's own module, which can draw from torch's global generator only, one of ours."""
        return nullcontext() if self.plan.own else self.generators.as_global()

    @contextmanager
    def computing(self):
        """Compute on the device as the estimator's parameters say, whatever the caller told torch."""
        with (
            _device.as_imported(),
            _device.memory_explained(self.device),
            _device.matmul_precision(self.plan.precision, self.device),
        ):
            yield

    @contextmanager
    def training(self):
        """Train while the block runs, on as many threads as the work is worth."""
        threads = _device.threads_for(self.plan.batch_size * self.work)
        self._double.is_stale = True
        try:
            with self.computing(), self.random_sources(), threads:
                yield
        finally:
            self._double.is_stale = False

    def encode(self, X):
        """Encode raw rows as the network sees them."""
        return encode(X, self.module.encoder, self.device, self.dtype)

    def rows(self, table, training=False):
        """Encode a table and put it on the device, once."""
        tensors = self.target.tensors(table, self.device, self.dtype, training)
        return Rows(self.encode(table.X), *tensors)

    # ------------------------------------------------------------ prediction

    def outputs(self, X):
        """Compute the outputs of raw rows, as many at a time as fit in bounded memory.

        Parameters
        ----------
        X : ndarray, scipy CSR or Tensor of shape (n_rows, n_features)

        Returns
        -------
        outputs : Tensor of shape (n_rows, n_outputs), on the CPU
            float32 for float32 rows, else float64.

        Raises
        ------
        ValueError
            If an output is not finite.
        """
        n = forward_rows(self.width, self.device)
        slices = chunk_slices(X.shape[0], 1, n)
        with torch.inference_mode():
            network, dtype = self._network_for(X.dtype)
            # A training step goes back, too: three times the work of a forward pass.
            with _device.threads_for(min(n, X.shape[0]) * self.work // 3):
                parts = [self._forward(X[s], network, dtype) for s in slices]
            outputs = parts[0] if len(parts) == 1 else torch.cat(parts)
            single = X.dtype in (np.float32, torch.float32)
            outputs = outputs.to(torch.float32 if single else torch.float64)
        check_outputs(outputs.numpy())
        return outputs

    def _forward(self, X, network, dtype):
        inputs = encode(X, self.module.encoder, self.device, dtype)[:]
        on_cpu = self.device.type == "cpu"
        forward = Forward(self.plan.n_outputs, True, self.plan.precision == "bf16" and not on_cpu)
        return forward(network, inputs).to("cpu", dtype)

    def _network_for(self, dtype):
        """Return the network, or on a CPU its float64 copy for rows that are not float32.

        scikit-learn expects a row's prediction not to depend on the rows beside it beyond 1e-7,
        which float32 products do not keep.
        """
        network = self.module.network
        weights = list(network.parameters())
        if (
            not self.plan.own
            or weights[0].dtype == torch.float64
            or dtype in (np.float32, torch.float32)
            or self.device.type != "cpu"
        ):
            return network, weights[0].dtype
        return self._double.of(network, weights), torch.float64

    # ------------------------------------------------------------ state

    def optimizer_state(self):
        """Return what further fits go on from, or None in a pickle of a model that does not go on."""
        return self._loaded_state if self.optimizer is None else self.optimizer.state_dict()

    def to_arrays(self, with_optimizer):
        """Return everything as plain numbers, numpy arrays, plan and target."""
        network = self.module.network
        return {
            "plan": self.plan,
            "target": self.target,
            "generators": self.generators.state(),
            "encoder": _device.to_numpy_state(dict(self.module.encoder.state_dict())),
            "network": _device.to_numpy_state(dict(network.state_dict())),
            "frozen": [name for name, p in network.named_parameters() if not p.requires_grad],
            "history": [{k: v for k, v in row.items() if k != "batches"} for row in self.history],
            "optimizer": _device.to_numpy_state(self.optimizer_state()) if with_optimizer else None,
            "resumes": self.resumes,
        }

    @classmethod
    def from_arrays(cls, state):
        """Rebuild what `to_arrays` described, on a device that is there."""
        device = _device.device_or_cpu(state["plan"].device)
        generators = _device.Generators.from_state(state["generators"], device)
        states = generators.builtin_states  # building a callable architecture draws from them
        model = cls(state["plan"], state["target"], generators, encoder_from(state["encoder"]))
        generators.builtin_states = states
        network = model.module.network
        network.load_state_dict(_device.from_numpy_state(state["network"]))
        for name, p in network.named_parameters():
            p.requires_grad_(name not in state["frozen"] and p.is_floating_point())
        model.history = [{**row, "batches": []} for row in state["history"]]
        model._loaded_state = _device.from_numpy_state(state["optimizer"])
        model.resumes = state["resumes"]
        return model


class _DoubleCopy:
    """The float64 copy of a network, made anew when its weights have changed.

    One object for all models of a network: a fit that goes on trains the network of the model before it.
    """

    def __init__(self):
        # While the network trains: fused optimizers change weights without counting a new version.
        self.is_stale = False
        self.made = None

    def of(self, network, weights):
        """Return the copy for the present weights."""
        if self.is_stale:
            return copy.deepcopy(network).double()
        versions = [(id(w), w.data_ptr(), 0 if w.is_inference() else w._version) for w in weights]
        made = self.made
        if made is None or made[0] != versions:  # one assignment: safe among threads
            self.made = made = (versions, copy.deepcopy(network).double())
        return made[1]

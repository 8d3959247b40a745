"""Everything that a fit has learned: networks behind their encoders, with the plan and the target.

Prediction, pickles and diagnostics read a `Model` and nothing else; training (`_engine`) and skorch
(`_skorch`) are not needed for them.
"""

import copy
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from . import _device
from ._forward import Forward, forward_rows, widest_layer
from ._rows import Rows, call, encode
from ._saving import from_plain, to_plain
from ._validation import check_outputs
from .architectures import build_network, multiply_adds
from .encodings import chunk_slices, encoder_from, learn_encoder
from .networks import EncodedNetwork, Ensemble, double_copy


class Model:
    """Fitted networks and what is known about them.

    Parameters
    ----------
    plan : Plan
        What was settled for the latest fit.
    target : Target
    columns : Columns
        Which columns of X hold categories.
    generators : list of Generators
        One for each network, on its device.
    encoders : list of nn.Module
        How columns enter the networks, which take turns in using them.

    Attributes
    ----------
    module : EncodedNetwork or Ensemble
        From raw rows to outputs; skorch's net has the same object.
    members : list of EncodedNetwork
        Its networks.
    work : int
        Multiply-adds of a row in the largest network: products of small ones are no faster on more threads,
        however many there are.
    history : list of dict
        One for each epoch.
    best_epoch : int or None
        The epoch whose weights the networks have.
    optimizer : torch.optim.Optimizer or None
        That of the latest fit; None before training and in a loaded model.
    resumes : bool
        Whether `partial_fit` has trained this model, so that its pickle holds the optimizer's state.
    """

    def __init__(self, plan, target, columns, generators, encoders):
        self.plan, self.target, self.columns = plan, target, columns
        self.generators, self.encoders = generators, encoders
        self.members, self.work = [], 0
        for j, (own, (_, form)) in enumerate(zip(generators, plan.traits, strict=True)):
            encoder = encoders[j % len(encoders)]
            with self.random_sources(own), _device.memory_explained(self.device):
                self.members.append(self._build(encoder, own, *form))
                work = multiply_adds(self.members[-1].network, encoder.n_inputs)
                self.work = max(self.work, work)
        alone = len(self.members) == 1
        self.module = self.members[0] if alone else Ensemble(self.members, target.average).eval()
        self.width = max(map(widest_layer, self.module.networks))
        self.history, self.best_epoch, self.optimizer, self.resumes = [], None, None, False
        self._loaded_state = None
        self._doubles = [_DoubleCopy() for _ in self.members]

    @classmethod
    def start(cls, plan, target, columns, generators, table, memo=call):
        """Learn the statistics of the training rows and build the networks."""
        codes = [code for code, _ in plan.traits]
        learned = {
            code: memo(learn_encoder, table.X, table.weight, plan.standardize, code, columns.n_categories)
            for code in dict.fromkeys(codes)
        }
        return cls(plan, target, columns, generators, [learned[code] for code in codes])

    def going_on(self, plan, target):
        """Return a model of the same networks with another plan and target."""
        model = copy.copy(self)
        model.plan, model.target, model._loaded_state = plan, target, None
        return model

    def calibrate(self, temperature, member_weights=None):
        """Divide the logits of all members by a temperature, and weigh members, from now on."""
        self.target = replace(self.target, temperature=temperature, member_weights=member_weights)
        self.module.average = self.target.average

    def attributes(self):
        """Return the fitted attributes of the estimator that say what is predicted."""
        return self.target.attributes(len(self.members))

    def only(self, j):
        """Return a model of the j-th network alone."""
        model = copy.copy(self)
        model.module, model.members, model._doubles = self.members[j], [self.members[j]], [self._doubles[j]]
        return model

    @property
    def device(self):
        """Where the network is."""
        return self.generators[0].device

    @property
    def dtype(self):
        """What weights, inputs and targets are in training."""
        return _device.parameter_dtype(self.plan.precision, self.device)

    def _build(self, encoder, generators, hidden_layer_sizes, dropout):
        """Build a network of the plan behind an encoder."""
        plan, init = self.plan, torch.Generator().manual_seed(generators.init)
        network = build_network(
            plan.architecture,
            encoder.n_inputs,
            plan.n_outputs,
            hidden_layer_sizes,
            dropout,
            plan.input_dropout,
            generator=init,
            dropout_generator=generators.dropout,
            scale_inputs=plan.scale_inputs,
        )
        if plan.architecture == "snn" and self.target.starts_at_0:
            nn.init.zeros_(network.layers[-1].weight)
        return EncodedNetwork(encoder, network.to(self.device, self.dtype)).eval()

    # ------------------------------------------------------------ computing

    def random_sources(self, generators):
        """Give a user's own module, which can draw from torch's global generator only, one of ours."""
        return nullcontext() if self.plan.is_named else generators.as_global()

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
        """Prepare for training while the block runs: device, random sources, threads for the work."""
        threads = _device.threads_for(self.plan.batch_size * self.work)
        sources = self.random_sources(self.generators[0])
        if len(self.members) > 1 and not self.plan.is_named:
            # Members take turns in drawing from torch's global generator; what callbacks draw is nobody's.
            cuda = [self.device] if self.device.type == "cuda" else []
            sources = torch.random.fork_rng(devices=cuda)
        for double in self._doubles:
            double.is_stale = True
        try:
            with self.computing(), sources, threads:
                yield
        finally:
            for double in self._doubles:
                double.made, double.is_stale = None, False

    def encode(self, X):
        """Encode raw rows as the first network sees them."""
        return encode(X, self.encoders[0], self.device, self.dtype)

    def rows(self, table, training=False, memo=call):
        """Encode a table and put it on the device, once for each encoder; target and weights are shared."""
        tensors = self.target.tensors(table, self.device, self.dtype, training)
        made = {e: memo(encode, table.X, e, self.device, self.dtype) for e in set(self.encoders)}
        return [Rows(made[member.encoder], *tensors) for member in self.members]

    # ------------------------------------------------------------ prediction

    def outputs(self, X):
        """Compute the outputs of raw rows, (n_rows, n_outputs), averaged over the members."""
        return self.combined(self.member_outputs(X))

    def combined(self, outputs):
        """Average the outputs of the members."""
        return outputs[0] if len(outputs) == 1 else self.target.average(outputs)

    def member_outputs(self, X):
        """Compute the outputs of each member for raw rows, as many at a time as fit in bounded memory.

        Parameters
        ----------
        X : ndarray, scipy CSR or Tensor of shape (n_rows, n_features)

        Returns
        -------
        outputs : Tensor of shape (k, n_rows, n_outputs), on the CPU
            float32 for float32 rows, else float64.

        Raises
        ------
        ValueError
            If an output is not finite.
        """
        n = forward_rows(self.width, self.device)
        slices = chunk_slices(X.shape[0], 1, n)
        networks = self.networks_for(X.dtype)
        with torch.inference_mode():
            # A training step goes back, too: three times the work of a forward pass.
            with _device.threads_for(min(n, X.shape[0]) * self.work // 3):
                parts = [self._forward(X[s], networks) for s in slices]
            outputs = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
            single = X.dtype in (np.float32, torch.float32)
            outputs = outputs.to(torch.float32 if single else torch.float64)
        for each in outputs.numpy():
            check_outputs(each)
        return outputs

    def _forward(self, X, networks):
        """Compute the outputs of a few rows, (k, n_rows, n_outputs)."""
        on_cpu, inputs, outputs = self.device.type == "cpu", {}, []
        autocast = self.plan.precision == "bf16" and not on_cpu
        forward = Forward(self.plan.n_outputs, copies_input=not self.plan.is_named, autocast=autocast)
        for member, (network, dtype) in zip(self.members, networks, strict=True):
            key = id(member.encoder)
            if key not in inputs:
                inputs[key] = encode(X, member.encoder, self.device, dtype)[:]
            outputs.append(forward(network, inputs[key]).to("cpu", dtype))
        return outputs[0][None] if len(outputs) == 1 else torch.stack(outputs)

    def networks_for(self, dtype):
        """Return the network that predicts rows of this dtype, and its own dtype, for each member."""
        return [self._network_for(j, dtype) for j in range(len(self.members))]

    def _network_for(self, j, dtype):
        """Return the j-th network, or on a CPU its float64 copy for rows that are not float32.

        scikit-learn expects a row's prediction not to depend on the rows beside it beyond 1e-7,
        which float32 products do not keep.
        """
        network = self.members[j].network
        if network.training:  # a callback predicts while the network trains
            network = copy.deepcopy(network).eval()
        weights = list(network.parameters())
        if (
            not self.plan.is_named
            or weights[0].dtype == torch.float64
            or dtype in (np.float32, torch.float32)
            or self.device.type != "cpu"
        ):
            return network, weights[0].dtype
        return self._doubles[j].of(network, weights), torch.float64

    # ------------------------------------------------------------ state

    def optimizer_state(self):
        """Return what further fits go on from, or None in a pickle of a model that does not go on."""
        return self._loaded_state if self.optimizer is None else self.optimizer.state_dict()

    def to_arrays(self, with_optimizer):
        """Return everything as plain numbers and numpy arrays; of code only what a user gave."""
        networks = [member.network for member in self.members]
        encoders = list(dict.fromkeys(self.encoders))
        return {
            "plan": to_plain(self.plan),
            "target": to_plain(self.target),
            "columns": to_plain(self.columns),
            "generators": [own.state() for own in self.generators],
            "encoders": [_device.to_numpy_state(dict(e.state_dict())) for e in encoders],
            "turns": [encoders.index(encoder) for encoder in self.encoders],
            "networks": [_device.to_numpy_state(dict(network.state_dict())) for network in networks],
            "frozen": [
                [name for name, p in network.named_parameters() if not p.requires_grad]
                for network in networks
            ],
            "history": [{k: v for k, v in row.items() if k != "batches"} for row in self.history],
            "best_epoch": self.best_epoch,
            "optimizer": _device.to_numpy_state(self.optimizer_state()) if with_optimizer else None,
            "resumes": self.resumes,
        }

    @classmethod
    def from_arrays(cls, state):
        """Rebuild what `to_arrays` described, on a device that is there."""
        plan, target = from_plain(state["plan"]), from_plain(state["target"])
        device = _device.device_or_cpu(plan.device)
        generators = [_device.Generators.from_state(own, device) for own in state["generators"]]
        # Building a callable architecture draws from these.
        builtin = [own.builtin_states for own in generators]
        encoders = list(map(encoder_from, state["encoders"]))
        encoders = [encoders[i] for i in state["turns"]]
        model = cls(plan, target, from_plain(state["columns"]), generators, encoders)
        for own, states in zip(generators, builtin, strict=True):
            own.builtin_states = states
        for member, arrays, frozen in zip(model.members, state["networks"], state["frozen"], strict=True):
            member.network.load_state_dict(_device.from_numpy_state(arrays))
            for name, p in member.network.named_parameters():
                p.requires_grad_(name not in frozen and p.is_floating_point())
        model.history = [{**row, "batches": []} for row in state["history"]]
        model.best_epoch = state["best_epoch"]
        model._loaded_state = _device.from_numpy_state(state["optimizer"])
        model.resumes = state["resumes"]
        return model


class _DoubleCopy:
    """The float64 copy of a network, made again when its weights have changed.

    All models of a network share it: a fit that goes on trains the network of the model before it.
    """

    def __init__(self):
        # While the network trains: fused optimizers change weights without counting a new version.
        self.is_stale = False
        self.made = None

    def of(self, network, weights):
        """Return the copy for the present weights."""
        if self.is_stale:
            return double_copy(network)
        versions = [(id(w), w.data_ptr(), 0 if w.is_inference() else w._version) for w in weights]
        made = self.made
        if made is None or made[0] != versions:  # one assignment: safe among threads
            self.made = made = (versions, double_copy(network))
        return made[1]

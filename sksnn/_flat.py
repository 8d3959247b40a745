"""An SNN laid out for training on a CPU: parameters in two vectors, the gradient written out.

A training step of a small network spends its time around the arithmetic: on a dozen parameters to
walk through, on the graph that autograd builds, on memory that comes and goes. Here the optimizer
sees two parameters, the backward pass is a loop of matrix products, and results go into buffers
made once. `networks.SNN` alone defines the network; the tests hold the two together.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from .networks import SNN, AlphaDropout, draw_dropped
from .theory import ALPHA_01, LAMBDA_01

__all__ = ["ELEMENTWISE", "FlatSNN"]

#: Optimizers that treat each number of a parameter by itself, so that its shape does not matter.
ELEMENTWISE = (
    torch.optim.ASGD,
    torch.optim.Adadelta,
    torch.optim.Adagrad,
    torch.optim.Adam,
    torch.optim.AdamW,
    torch.optim.Adamax,
    torch.optim.NAdam,
    torch.optim.RAdam,
    torch.optim.RMSprop,
    torch.optim.Rprop,
    torch.optim.SGD,
)


elu_backward = torch.ops.aten.elu_backward.grad_input


class FlatSNN:
    """The parameters of an SNN in two vectors, and their gradient without autograd.

    The network's own parameters become views of the vectors, and so do their gradients: whoever
    looks at the network, or changes it in place, sees and changes what is trained.

    Parameters
    ----------
    network : SNN
        In training mode.
    optimizer : torch.optim.Optimizer
        Of the network's parameters; it steps the vectors from now on, with the moments it has.
    """

    def __init__(self, network, optimizer):
        self.network, self.optimizer = network, optimizer
        self.weights = [layer.weight for layer in network.layers]
        self.biases = [layer.bias for layer in network.layers]
        self._vectors = {_flatten_(own): own for own in (self.weights, self.biases)}
        self._transposed = [weight.detach().t() for weight in self.weights]
        self._intercept = self.biases[0].new_tensor(network.dropout.intercept)
        self._buffers = {}
        for vector, own in self._vectors.items():
            state = _join([optimizer.state.pop(p, {}) for p in own], own)
            if state:
                optimizer.state[vector] = state
        self._give_to_optimizer({p: [] for own in self._vectors.values() for p in own[1:]})
        self._give_to_optimizer({own[0]: [vector] for vector, own in self._vectors.items()})
        self._gradients = [p.grad for p in (*self.weights, *self.biases, *self._vectors)]
        self._as_made = self._identities()

    @staticmethod
    def fits(network, optimizer):
        """Say whether this is an SNN on the CPU that nobody looks into, and an optimizer that allows it."""
        return (
            type(optimizer) in ELEMENTWISE
            and _is_plain(network)
            and _moved_together([optimizer.state.get(p, {}) for p in network.parameters()])
        )

    def is_intact(self):
        """Say whether the network and the optimizer still hold what this object trains, and nobody looks."""
        return _is_plain(self.network) and self._identities() == self._as_made

    def _identities(self):
        """List what training reads and writes: parameters, their memory, their gradients, dropout."""
        dropout = self.network.dropout
        return [(id(p), p.data_ptr(), id(p.grad)) for p in (*self.network.parameters(), *self._vectors)] + [
            (id(dropout), dropout.rate, dropout.intercept)
        ]

    def release(self):
        """Give the optimizer the network's own parameters back, each with memory of its own."""
        for vector, own in self._vectors.items():
            state = self.optimizer.state.pop(vector, {})
            if state:
                self.optimizer.state.update(zip(own, _split(state, own), strict=True))
            for p in own:
                p.data = p.data.clone()  # a pickle writes all of the memory that a view is of
        self._give_to_optimizer(self._vectors)

    def _give_to_optimizer(self, replacements):
        """Replace parameters in the optimizer's groups; those without a replacement stay."""
        for group in self.optimizer.param_groups:
            group["params"] = [new for old in group["params"] for new in replacements.get(old, [old])]

    @torch.no_grad()
    def gradient(self, x, criterion, y, weight=None):
        """Compute the loss of a batch, and put its gradient where the parameters' old one was.

        Parameters
        ----------
        x : Tensor of shape (n, n_inputs)
        criterion : MaskedLoss
        y, weight : Tensor
            As the criterion wants them.

        Returns
        -------
        loss : Tensor of shape ()
        output : Tensor of shape (n, n_outputs)
        """
        buffers = self._buffers_for(x)
        drops = self.network.dropout.rate > 0 and self.network.dropout.training
        inputs, output = self._forward(x, buffers, drops)
        loss, gradient = criterion.with_gradient(output, y, weight)
        self._backward(inputs, gradient, buffers, slope=self.network.dropout.slope if drops else 1.0)
        return loss, output

    def _buffers_for(self, x):
        """Return memory for a batch of this size: units, activations, and two gradients in turn."""
        if len(x) not in self._buffers:
            shapes = [(len(x), width) for width in self.network.hidden_layer_sizes]
            sizes = [math.prod(shape) for shape in shapes]
            units = x.new_empty(sum(sizes) + 1)  # the last one takes what draw_dropped has left over
            hidden = [part.view(shape) for part, shape in zip(units[:-1].split(sizes), shapes, strict=True)]
            dropped = [torch.empty_like(h) for h in hidden] if self.network.dropout.rate else hidden
            scratch = [x.new_empty(max(sizes, default=0)) for _ in range(2)]
            gradients = [scratch[i % 2][: h.numel()].view_as(h) for i, h in enumerate(hidden)]
            gradients = [(gradient, gradient.t()) for gradient in gradients]
            self._buffers[len(x)] = units, hidden, dropped, gradients
        return self._buffers[len(x)]

    def _forward(self, x, buffers, drops):
        """Compute what `SNN.forward` does; return the inputs of all layers and the output."""
        units, hidden, dropped, _ = buffers
        dropout = self.network.dropout
        for h, bias in zip(hidden, self.biases, strict=False):
            h.copy_(bias)
        if drops:
            # SELU of -inf is the saturation: dropping costs no pass of its own.
            indices = draw_dropped(len(units) - 1, dropout.rate, dropout.generator)
            units.index_fill_(0, indices, -math.inf)
        inputs = [self.network.input_dropout(x)]
        for h, d, weight in zip(hidden, dropped, self._transposed, strict=False):
            F.selu(h.addmm_(inputs[-1], weight), inplace=True)
            inputs.append(torch.add(self._intercept, h, alpha=dropout.slope, out=d) if drops else h)
        return inputs, torch.addmm(self.biases[-1], inputs[-1], self._transposed[-1])

    def _backward(self, inputs, gradient, buffers, slope):
        """Propagate the gradient of the output down to all parameters."""
        _, hidden, _, gradients = buffers
        transposed = gradient.t()
        for i in reversed(range(len(self.weights))):
            torch.mm(transposed, inputs[i], out=self.weights[i].grad)
            torch.sum(gradient, 0, out=self.biases[i].grad)
            if i > 0:
                below, transposed = gradients[i - 1]
                below.addmm_(gradient, self.weights[i], beta=0, alpha=slope)
                # SELU's derivative from its result: 0 where that is the saturation, as for dropped units.
                gradient = elu_backward(
                    below, ALPHA_01, LAMBDA_01, 1.0, True, hidden[i - 1], grad_input=below
                )


def _is_plain(network):
    """Say whether this is an SNN as it was built, on the CPU, trained whole, and without hooks."""
    return (
        type(network) is SNN
        and network.fixed_point == (0.0, 1.0)
        and not {"forward", "activate"} & vars(network).keys()
        and all(
            type(module) in (SNN, AlphaDropout, nn.Linear, nn.ModuleList)
            and not (module._forward_hooks or module._forward_pre_hooks)
            and not (module._backward_hooks or module._backward_pre_hooks)
            for module in network.modules()
        )
        and all(
            p.requires_grad
            and p.device.type == "cpu"
            and not (p._backward_hooks or p._post_accumulate_grad_hooks)
            for p in network.parameters()
        )
        # No layer twice, none without a bias, none of another width.
        and [id(p) for p in network.parameters()]
        == [id(p) for layer in network.layers for p in (layer.weight, layer.bias)]
        and tuple(layer.out_features for layer in network.layers)[:-1] == network.hidden_layer_sizes
    )


def _moved_together(states):
    """Say whether the optimizer has taken the same steps for all parameters: none was frozen meanwhile."""
    return all(
        state.keys() == states[0].keys()
        and all(value == states[0][key] for key, value in state.items() if not getattr(value, "ndim", 0))
        for state in states
    )


def _flatten_(parameters):
    """Move parameters and gradients into one vector, of which they become views; return it."""
    vector = nn.Parameter(torch.cat([p.detach().flatten() for p in parameters]))
    vector.grad = torch.zeros_like(vector)
    sizes = [p.numel() for p in parameters]
    values, gradients = vector.detach().split(sizes), vector.grad.split(sizes)
    for p, value, gradient in zip(parameters, values, gradients, strict=True):
        p.data, p.grad = value.view_as(p), gradient.view_as(p)
    return vector


def _join(states, parameters):
    """Turn the optimizer's states of parameters into the state of their vector."""
    return {
        key: torch.cat([state[key].flatten() for state in states])
        if _has_shape(value, parameters[0].shape)
        else _copied(value)
        for key, value in states[0].items()
    }


def _split(state, parameters):
    """Turn the optimizer's state of a vector into states of the parameters in it."""
    sizes = [p.numel() for p in parameters]
    states: list[dict] = [{} for _ in parameters]
    for key, value in state.items():
        parts = value.split(sizes) if _has_shape(value, (sum(sizes),)) else [None] * len(sizes)
        for own, part, p in zip(states, parts, parameters, strict=True):
            # What is not a vector counts steps, which each parameter does for itself.
            own[key] = _copied(value) if part is None else part.view_as(p).clone()
    return states


def _has_shape(value, shape):
    return torch.is_tensor(value) and value.shape == shape


def _copied(value):
    return value.clone() if torch.is_tensor(value) else value

"""The gradient of a training step, of k networks at once, in two ways: written out, or by autograd.

A training step of a small network spends its time around the arithmetic: on a dozen parameters to
walk through, on the graph that autograd builds, on memory that comes and goes. `WrittenOut` has all
parameters in two vectors, so that the optimizer sees two parameters; its backward pass is a loop of
matrix products, and results go into buffers made once. `networks.SNN` alone defines the network; the tests
hold the two together. `Autograd` takes every other module, optimizer and device.

Both have `gradient`, which leaves a gradient in every network's parameters, `is_intact` and `release`.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from .networks import SNN, AlphaDropout, draw_dropped
from .theory import ALPHA_01, LAMBDA_01

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


# ---------------------------------------------------------------- autograd


class Autograd:
    """The gradient of any networks, one after the other.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Has the parameters of all networks; those without a gradient it leaves alone.
    forward : Forward
    """

    def __init__(self, optimizer, forward):
        self.optimizer, self.forward = optimizer, forward

    def gradient(self, turn, criterion):
        """Compute the loss of a batch for each network, and the gradient of their sum.

        Parameters
        ----------
        turn : list of (Member, Rows)
            Those that have a batch; of a member only `network` is used.
        criterion : MaskedLoss

        Returns
        -------
        losses : list of Tensor of shape ()
        outputs : list of Tensor of shape (n, n_outputs)
        """
        self.optimizer.zero_grad()
        losses, outputs = [], []
        for member, batch in turn:
            output = self.forward(member.network, batch.inputs)
            loss = criterion(output, batch.y, batch.weight)
            loss.backward()
            losses.append(loss.detach())
            outputs.append(output.detach())
        return losses, outputs

    def is_intact(self):
        """Whatever happens to networks and optimizer, autograd goes on."""
        return True

    def release(self):
        """Nothing was changed."""


# ---------------------------------------------------------------- written out


class WrittenOut:
    """The gradient of SNNs of the same layers without autograd, with all parameters in two vectors.

    The networks' own parameters become views of the vectors, and so do their gradients: whoever
    looks at a network, or changes it in place, sees and changes what is trained.

    Parameters
    ----------
    networks : list of SNN
        In training mode, k of them.
    optimizer : torch.optim.Optimizer
        Has the parameters of all of them; it steps the vectors from now on, with the moments it has.

    Notes
    -----
    A vector holds one network after the other, and of each one layer after the other, so that the weights
    of a layer are a view of shape (k, n_outputs, n_inputs). One network has no leading dimension: BLAS takes
    plain products faster than batched ones.
    """

    def __init__(self, networks, optimizer):
        self.networks, self.optimizer = networks, optimizer
        self._drop, self._drops_inputs = networks[0].dropout, any(net.input_dropout.rate for net in networks)
        kinds = ("weight", "bias")
        owns = [[getattr(layer, kind) for net in networks for layer in net.layers] for kind in kinds]
        self._vectors = {_flatten_(own): own for own in owns}
        views = [
            (_stack(vector.detach(), own, len(networks)), _stack(vector.grad, own, len(networks)))
            for vector, own in self._vectors.items()
        ]
        (self._weights, self._weight_gradients), (self._biases, self._bias_gradients) = views
        self._transposed = [weight.mT for weight in self._weights]
        self._intercept = self._biases[0].new_tensor(self._drop.intercept)
        self._products = BATCHED_PRODUCTS if len(networks) > 1 else PRODUCTS
        self._buffers = {}
        for vector, own in self._vectors.items():
            state = _join([optimizer.state.pop(p, {}) for p in own], own)
            if state:
                optimizer.state[vector] = state
        self._give_to_optimizer({p: [] for own in self._vectors.values() for p in own[1:]})
        self._give_to_optimizer({own[0]: [vector] for vector, own in self._vectors.items()})
        self._gradients = [p.grad for p in self._parameters()]  # alive, so that no other gets their identity
        self._as_made = self._identities()

    @staticmethod
    def fits(networks, optimizer):
        """Say whether these are alike SNNs on the CPU without hooks, and the optimizer allows it."""
        parameters = [p for network in networks for p in network.parameters()]
        return (
            type(optimizer) in ELEMENTWISE
            and all(_is_plain(network) for network in networks)
            and all(_are_alike(networks[0], network) for network in networks[1:])
            and _moved_together([optimizer.state.get(p, {}) for p in parameters])
        )

    def is_intact(self):
        """Say whether networks and optimizer still hold what this object trains, and nothing hooks in."""
        return all(_is_plain(network) for network in self.networks) and self._identities() == self._as_made

    def _parameters(self):
        return [p for network in self.networks for p in network.parameters()] + [*self._vectors]

    def _identities(self):
        """List what training reads and writes: parameters, their memory, their gradients, dropout."""
        dropouts = [network.dropout for network in self.networks]
        return [(id(p), p.data_ptr(), id(p.grad)) for p in self._parameters()] + [
            (id(dropout), dropout.rate, dropout.intercept) for dropout in dropouts
        ]

    def release(self):
        """Give the optimizer the networks' own parameters back, each with memory of its own."""
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
    def gradient(self, turn, criterion):
        """Compute the loss of a batch for each network, and the gradient of their sum.

        Parameters
        ----------
        turn : list of (Member, Rows)
            One for each network, in their order, with batches of the same number of rows.
        criterion : MaskedLoss

        Returns
        -------
        losses : list of Tensor of shape ()
        outputs : list of Tensor of shape (n, n_outputs)
        """
        first, k = turn[0][1].inputs, len(turn)
        buffers = self._buffers.get(len(first)) or self._make_buffers(first)
        drops = self._drop.rate > 0 and self._drop.training
        inputs, output = self._forward([batch.inputs for _, batch in turn], buffers, drops)
        outputs = [output] if k == 1 else [*output]
        found = [
            criterion.with_gradient(output, batch.y, batch.weight)
            for output, (_, batch) in zip(outputs, turn, strict=True)
        ]
        losses, gradients = zip(*found, strict=True)
        gradient = gradients[0] if k == 1 else torch.stack(gradients)
        self._backward(inputs, gradient, buffers, self._drop.slope if drops else 1.0)
        return losses, outputs

    def _make_buffers(self, x):
        """Make memory for batches of this size: units, activations, and two gradients in turn."""
        n, k, widths = len(x), len(self.networks), self.networks[0].hidden_layer_sizes
        sizes = [n * width for width in widths]
        units = x.new_empty(k, sum(sizes) + 1)  # the last ones take what draw_dropped has left over
        hidden = _cut(units[:, :-1], sizes, widths)
        dropped = [torch.empty_like(h) for h in hidden] if self._drop.rate else hidden
        scratch = [x.new_empty(k, max(sizes, default=0)) for _ in range(2)]
        gradients = [
            _cut(scratch[i % 2][:, :size], [size], [width])[0]
            for i, (size, width) in enumerate(zip(sizes, widths, strict=True))
        ]
        gradients = [(gradient, gradient.mT) for gradient in gradients]
        self._buffers[n] = units.view(-1), hidden, dropped, gradients
        return self._buffers[n]

    def _forward(self, batches, buffers, drops):
        """Compute what `SNN.forward` does; return the inputs of all layers and the output."""
        units, hidden, dropped, _ = buffers
        for h, bias in zip(hidden, self._biases, strict=False):
            h.copy_(bias.unsqueeze(-2))
        if drops:
            # SELU of -inf is the saturation: dropping costs no pass of its own.
            n_units, rate = len(units) // len(batches), self._drop.rate
            for j, network in enumerate(self.networks):
                drawn = draw_dropped(n_units - 1, rate, network.dropout.generator)
                units[j * n_units : (j + 1) * n_units].index_fill_(0, drawn, -math.inf)
        if self._drops_inputs:
            batches = [net.input_dropout(x) for net, x in zip(self.networks, batches, strict=True)]
        inputs = [batches[0] if len(batches) == 1 else torch.stack(batches)]
        slope, (_, add_product, add_product_) = self._drop.slope, self._products
        for h, d, weight in zip(hidden, dropped, self._transposed, strict=False):
            F.selu(add_product_(h, inputs[-1], weight), inplace=True)
            inputs.append(torch.add(self._intercept, h, alpha=slope, out=d) if drops else h)
        return inputs, add_product(self._biases[-1].unsqueeze(-2), inputs[-1], self._transposed[-1])

    def _backward(self, inputs, gradient, buffers, slope):
        """Propagate the gradient of the output down to all parameters."""
        _, hidden, _, gradients = buffers
        product, _, add_product_ = self._products
        transposed = gradient.mT
        for i in reversed(range(len(self._weights))):
            product(transposed, inputs[i], out=self._weight_gradients[i])
            torch.sum(gradient, -2, out=self._bias_gradients[i])
            if i > 0:
                below, transposed = gradients[i - 1]
                add_product_(below, gradient, self._weights[i], beta=0, alpha=slope)
                # SELU's derivative from its result: 0 where that is the saturation, as for dropped units.
                gradient = elu_backward(
                    below, ALPHA_01, LAMBDA_01, 1.0, True, hidden[i - 1], grad_input=below
                )


# Products of matrices, and their sums with a matrix: of one network, and of several.
PRODUCTS = torch.mm, torch.addmm, torch.Tensor.addmm_
BATCHED_PRODUCTS = torch.bmm, torch.baddbmm, torch.Tensor.baddbmm_


def _stack(vector, parameters, k):
    """View each layer's part of a vector of all parameters: (k, ...) for k networks, (...) for one."""
    shapes = [p.shape for p in parameters[: len(parameters) // k]]
    parts = vector.view(k, -1).split([shape.numel() for shape in shapes], dim=1)
    return [_without_one(part.unflatten(1, shape)) for part, shape in zip(parts, shapes, strict=True)]


def _cut(units, sizes, widths):
    """View units, (k, n_units), as activations of layers: (k, n, width), or (n, width) of one network."""
    parts = units.split(sizes, dim=1)
    return [_without_one(part.unflatten(1, (-1, w))) for part, w in zip(parts, widths, strict=True)]


def _without_one(tensor):
    return tensor[0] if len(tensor) == 1 else tensor


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


def _are_alike(first, second):
    """Say whether two networks have layers of the same widths and drop as many units."""
    shapes = [[p.shape for p in network.parameters()] for network in (first, second)]
    rates = [network.dropout.rate for network in (first, second)]
    return shapes[0] == shapes[1] and rates[0] == rates[1]


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

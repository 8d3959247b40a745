"""The gradient of a training step, of k networks at once, in two ways: written out, or by autograd.

A training step of a small network spends its time around the arithmetic: on a dozen parameters to
walk through, on the graph that autograd builds, on memory that comes and goes. `WrittenOut` has the
parameters of one or several networks in vectors, so that the optimizer sees few parameters; its backward pass
is a loop of matrix products, and results go into buffers made once. `networks.SNN` alone defines the network;
the tests hold the two together. `Autograd` takes one network of any other kind, optimizer or device.

Both have `members`; `batches`, which cuts their rows; `gradient`, which leaves the gradient of a batch in the
networks' parameters; `rest` for a step in which they have no batch; `is_intact` and `release`.
"""

import math
from itertools import accumulate, groupby
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ._device import is_out_of_memory
from ._rows import Rows, StackedRows
from .networks import SCALE_RATE, SNN, AlphaDropout, ScaledLinear, draw_dropped
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


# Memory for a batch's units and gradients in a stack. Networks beyond it get a stack of their own: what they
# share, calls, is worth little by then.
STACK_BYTES = 2**28

elu_backward = torch.ops.aten.elu_backward.grad_input


def ways_of(members, optimizer, forward, may_stack, batch_size):
    """Choose how members are trained: together, with the gradient written out, or each by autograd.

    What is trained together has as many rows, the same loss, layers and rate of dropout, and an optimizer
    that has taken as many steps. Learning rates and decays may differ: networks of a group of the optimizer
    are neighbours, and have a vector of their own. A stack is cut where its batches would take too much
    memory. On a GPU one network alone goes through autograd.
    """
    stacks: dict = {}
    groups = _groups(optimizer)
    for member in members:
        plain = (
            may_stack and WrittenOut.fits(member.network, optimizer) and _in_one_group(member.network, groups)
        )
        own = (len(member.rows), id(member.criterion), *_kind(member.network, optimizer)) if plain else ()
        kind = own or id(member)
        stacks.setdefault(kind, []).append(member)
    on_cpu = all(p.device.type == "cpu" for member in members for p in member.network.parameters())
    ways: list[Autograd | WrittenOut] = []
    for kind, stack in stacks.items():
        if isinstance(kind, tuple) and (on_cpu or len(stack) > 1):
            stack.sort(key=lambda m: groups[id(m.network.layers[0].weight)])
            ways += _in_memory(stack, optimizer, forward, min(batch_size, len(stack[0].rows)))
        else:
            ways.append(Autograd(stack[0], forward))
    return ways


def _in_memory(members, optimizer, forward, n):
    """Stack members as far as memory for batches of n rows allows."""
    network = members[0].network
    bytes_each = n * _units_per_row(network) * network.layers[0].weight.element_size()
    most = max(1, STACK_BYTES // max(1, bytes_each))
    if len(members) > most:
        size = -(-len(members) // -(-len(members) // most))  # as few parts as fit, of about equal size
        parts = [members[i : i + size] for i in range(0, len(members), size)]
        return [way for part in parts for way in _in_memory(part, optimizer, forward, n)]
    way = WrittenOut(members, optimizer, forward)
    try:
        way.reserve(n)
    except RuntimeError as error:
        if len(members) == 1 or not is_out_of_memory(error):
            raise
        way.release()
        del way  # and its memory
    else:
        return [way]
    halves = members[: len(members) // 2], members[len(members) // 2 :]
    return [way for half in halves for way in _in_memory(half, optimizer, forward, n)]


def _units_per_row(network):
    """Count the numbers that a stack keeps for a row of a network: units, activations, two gradients."""
    widths = network.hidden_layer_sizes
    return (2 if network.dropout.rate else 1) * sum(widths) + 2 * max(widths, default=0)


def _in_one_group(network, groups):
    """Say whether all weights of an SNN are in one group of the optimizer, and all biases."""
    found = [
        {groups.get(id(getattr(layer, kind))) for layer in network.layers} for kind in ("weight", "bias")
    ]
    found += [{groups.get(id(raw_scale))} for raw_scale in _raw_scales(network)]
    return all(len(kind) == 1 and None not in kind for kind in found)


def _groups(optimizer):
    """Return in which of the optimizer's groups a parameter is, by its identity."""
    return {id(p): i for i, group in enumerate(optimizer.param_groups) for p in group["params"]}


class Autograd:
    """The gradient of one network, whatever it is.

    Parameters
    ----------
    member : Member
    forward : Forward
    """

    def __init__(self, member, forward):
        self.members, self.forward, self.criterion = [member], forward, member.criterion
        self.network, self.sources = member.network, member.sources

    def batches(self, size):
        """Cut the rows into batches, in a random order."""
        (member,) = self.members
        return member.rows.shuffled_batches(size, member.generator)

    def gradient(self, batch):
        """Compute the loss of a batch and its gradient.

        Parameters
        ----------
        batch : Rows

        Returns
        -------
        loss : Tensor of shape ()
        output : Tensor of shape (n, n_outputs)
        """
        self.network.zero_grad()
        with self.sources():
            output = self.forward(self.network, batch.inputs)
        loss = self.criterion(output, batch.y, batch.weight)
        loss.backward()
        return loss.detach(), output.detach()

    def rest(self):
        """Have no gradient: the optimizer leaves the network alone."""
        self.network.zero_grad()

    def parts(self, batch):
        """List the batch of each network."""
        return [batch]

    def is_intact(self):
        """Whatever happens to the network and the optimizer, autograd goes on."""
        return True

    def release(self):
        """Nothing was changed."""
        return False


# ---------------------------------------------------------------- written out


class WrittenOut:
    """The gradient of SNNs of the same layers without autograd, with their parameters in vectors.

    The networks' own parameters become views of the vectors, and so do their gradients: whoever
    looks at a network, or changes it in place, sees and changes what is trained.

    Parameters
    ----------
    members : list of Member
        k of them, with one loss and as many rows each; their networks are SNNs.
    optimizer : torch.optim.Optimizer
        Has the parameters of all of them; it steps the vectors from now on, with the moments it has.
    forward : Forward
        For autograd, which goes on after `release`.

    Notes
    -----
    A vector holds one network after the other, and of each one layer after the other, so that the weights
    of a layer are a view of shape (k, n_outputs, n_inputs). One network has no leading dimension: BLAS takes
    plain products faster than batched ones. Where networks have fewer inputs than others, weights and inputs
    are filled up with 0; such weights have a gradient of 0, and stay 0.
    """

    def __init__(self, members, optimizer, forward):
        self.members, self.optimizer = members, optimizer
        self._autograd = [Autograd(member, forward) for member in members]
        self._is_released = False
        self.criterion = members[0].criterion
        self._rows: StackedRows | None = None
        self.networks = [member.network for member in members]
        self._drop = self.networks[0].dropout
        self._generators = [network.dropout.generator for network in self.networks]
        self._drops_inputs = any(network.input_dropout.rate for network in self.networks)
        groups = _groups(optimizer)
        runs = [len([*run]) for _, run in groupby(groups[id(net.layers[0].weight)] for net in self.networks)]
        weights, biases = (
            [[getattr(layer, kind) for layer in network.layers] for network in self.networks]
            for kind in ("weight", "bias")
        )
        self._weights, self._weight_gradients, self._vectors = _lay_out(weights, runs)
        self._biases, self._bias_gradients, vectors = _lay_out(biases, runs)
        self._vectors += vectors
        self._raw_scale: Any = None
        self._scale: Any = None  # the factors of the inputs in the last forward pass
        if self.networks[0].input_scale is not None:
            (self._raw_scale,), (self._scale_gradient,), vectors = _lay_out(
                [_raw_scales(network) for network in self.networks], runs
            )
            self._vectors += vectors
            self._scratch = torch.empty_like(self._weights[0])
        self._transposed = [weight.mT for weight in self._weights]
        self._intercept = self._biases[0].new_tensor(self._drop.intercept)
        self._products = BATCHED_PRODUCTS if len(members) > 1 else PRODUCTS
        self._buffers = {}
        for vector in self._vectors:
            state = vector.join([optimizer.state.pop(p, {}) for p in vector.own])
            if state:
                optimizer.state[vector.parameter] = state
        self._give_to_optimizer({p: [] for vector in self._vectors for p in vector.own[1:]})
        self._give_to_optimizer({vector.own[0]: [vector.parameter] for vector in self._vectors})
        # Kept alive, so that nothing else gets their identity.
        self._gradients = [p.grad for network in self.networks for p in network.parameters()]
        self._as_made = self._identities()

    @staticmethod
    def fits(network, optimizer):
        """Say whether this is an SNN that nothing hooks into, and an optimizer that allows it."""
        return (
            type(optimizer) in ELEMENTWISE
            and _is_plain(network)
            and _moved_together([optimizer.state.get(p, {}) for p in network.parameters()])
        )

    def batches(self, size):
        """Cut the rows into batches, each network's in a random order of its own."""
        if len(self.members) > 1:
            self._rows = self._rows or StackedRows([member.rows for member in self.members])
            return self._rows.shuffled_batches(size, [member.generator for member in self.members])
        (member,) = self.members
        return member.rows.shuffled_batches(size, member.generator)

    def is_intact(self):
        """Say whether networks and optimizer still hold what this object trains, and nothing hooks in."""
        if self._is_released:
            return True
        networks = [member.module.network for member in self.members]
        if any(one is not other for one, other in zip(networks, self.networks, strict=True)):
            return False
        return all(_is_plain(network) for network in self.networks) and self._identities() == self._as_made

    def _identities(self):
        """List what training reads and writes: parameters, their memory, their gradients, dropout."""
        parameters = [p for network in self.networks for p in network.parameters()]
        dropouts = [network.dropout for network in self.networks]
        return (
            [(id(p), p.data_ptr(), id(p.grad)) for p in parameters]
            + [(id(vector.parameter), vector.parameter.data_ptr()) for vector in self._vectors]
            + [(id(dropout), dropout.rate, dropout.intercept) for dropout in dropouts]
        )

    def release(self):
        """Give the optimizer the networks' own parameters back, each with memory of its own.

        Return whether it had others. From now on autograd computes the gradients.
        """
        if self._is_released:
            return False
        self._is_released = True
        for vector in self._vectors:
            state = self.optimizer.state.pop(vector.parameter, {})
            if state:
                self.optimizer.state.update(zip(vector.own, vector.split(state), strict=True))
            for p in vector.own:
                p.data = p.data.clone()  # a pickle writes all of the memory that a view is of
        self._give_to_optimizer({vector.parameter: vector.own for vector in self._vectors})
        return True

    def _give_to_optimizer(self, replacements):
        """Replace parameters in the optimizer's groups; those without a replacement stay."""
        for group in self.optimizer.param_groups:
            group["params"] = [new for old in group["params"] for new in replacements.get(old, [old])]

    def rest(self):
        """Have no gradient: the optimizer leaves the networks alone."""
        for vector in self._vectors:
            vector.parameter.grad = None
        if self._is_released:
            for way in self._autograd:
                way.rest()

    def parts(self, batch):
        """List the batch of each network, with the inputs that it has."""
        if len(self.members) == 1:
            return [batch]
        widths = [network.layers[0].in_features for network in self.networks]
        none = [None] * len(widths)
        beside = [none if values is None else values for values in (batch.y, batch.weight)]
        return [Rows(x[:, :n], *own) for x, n, *own in zip(batch.inputs, widths, *beside, strict=True)]

    def _one_by_one(self, batch):
        """Compute by autograd what `gradient` does."""
        pairs = zip(self._autograd, self.parts(batch), strict=True)
        found = [way.gradient(part) for way, part in pairs]
        return found[0] if len(found) == 1 else tuple(map(torch.stack, zip(*found, strict=True)))

    def gradient(self, batch):
        """Compute the loss of a batch for each network, and the gradient of their sum.

        Parameters
        ----------
        batch : Rows
            Its inputs are (k, n, n_inputs) for k networks, (n, n_inputs) for one.

        Returns
        -------
        losses : Tensor of shape (k,) or ()
        outputs : Tensor of shape (k, n, n_outputs) or (n, n_outputs)
        """
        if self._is_released:
            return self._one_by_one(batch)
        for vector in self._vectors:
            vector.parameter.grad = vector.gradient
        x = batch.inputs
        with torch.no_grad():
            buffers = self._buffers.get(x.shape[-2]) or self.reserve(x.shape[-2])
            drops = self._drop.rate > 0 and self._drop.training
            inputs, outputs = self._forward(x, buffers, drops)
            losses, gradient = self.criterion.with_gradient(outputs, batch.y, batch.weight)
            self._backward(inputs, gradient, buffers, self._drop.slope if drops else 1.0)
        return losses, outputs

    def reserve(self, n):
        """Make memory for batches of n rows: units, activations, and two gradients in turn."""
        like, k, widths = self._intercept, len(self.networks), self.networks[0].hidden_layer_sizes
        sizes = [n * width for width in widths]
        units = like.new_empty(k, sum(sizes) + 1)  # the last ones take what draw_dropped has left over
        hidden = _cut(units[:, :-1], sizes, widths)
        dropped = [torch.empty_like(h) for h in hidden] if self._drop.rate else hidden
        scratch = [like.new_empty(k, max(sizes, default=0)) for _ in range(2)]
        gradients = [
            _cut(scratch[i % 2][:, :size], [size], [width])[0]
            for i, (size, width) in enumerate(zip(sizes, widths, strict=True))
        ]
        gradients = [(gradient, gradient.mT) for gradient in gradients]
        starts = (torch.arange(k, device=like.device) * units.shape[1])[:, None]
        self._buffers[n] = units, starts, hidden, dropped, gradients
        return self._buffers[n]

    def _forward(self, x, buffers, drops):
        """Compute what `SNN.forward` does; return the inputs of all layers and the output."""
        units, starts, hidden, dropped, _ = buffers
        for h, bias in zip(hidden, self._biases, strict=False):
            h.copy_(bias.unsqueeze(-2))
        if drops:
            # SELU of -inf is the saturation: dropping costs no pass of its own.
            dropped_units = draw_dropped(units.shape[1] - 1, self._drop.rate, self._generators)
            units.view(-1).index_fill_(0, dropped_units.add_(starts).view(-1), -math.inf)
        if self._drops_inputs:
            x = self._drop_inputs(x)
        inputs, slope, (_, add_product, add_product_) = [x], self._drop.slope, self._products
        if self._raw_scale is not None:
            self._scale = self._raw_scale.unsqueeze(-2) * SCALE_RATE
            inputs = [x * self._scale]
        for h, d, weight in zip(hidden, dropped, self._transposed, strict=False):
            F.selu(add_product_(h, inputs[-1], weight), inplace=True)
            inputs.append(torch.add(self._intercept, h, alpha=slope, out=d) if drops else h)
        output = add_product(self._biases[-1].unsqueeze(-2), inputs[-1], self._transposed[-1])
        return [x, *inputs[1:]], output

    def _drop_inputs(self, x):
        """Apply each network's dropout of inputs, to those that it has."""
        if len(self.networks) == 1:
            return self.networks[0].input_dropout(x)
        kept = torch.zeros_like(x)
        for network, own, new in zip(self.networks, x, kept, strict=True):
            n_inputs = network.layers[0].in_features
            new[:, :n_inputs] = network.input_dropout(own[:, :n_inputs])
        return kept

    def _backward(self, inputs, gradient, buffers, slope):
        """Propagate the gradient of the output down to all parameters."""
        *_, hidden, _, gradients = buffers
        product, _, add_product_ = self._products
        transposed = gradient.mT
        for i in reversed(range(len(self._weights))):
            product(transposed, inputs[i], out=self._weight_gradients[i])
            torch.sum(gradient, -2, out=self._bias_gradients[i])
            if i == 0 and self._raw_scale is not None:
                self._scale_back(self._weight_gradients[0])
            if i > 0:
                below, transposed = gradients[i - 1]
                add_product_(below, gradient, self._weights[i], beta=0, alpha=slope)
                # SELU's derivative from its result: 0 where that is the saturation, as for dropped units.
                gradient = elu_backward(
                    below, ALPHA_01, LAMBDA_01, 1.0, True, hidden[i - 1], grad_input=below
                )

    def _scale_back(self, gradient):
        """Turn the gradient of the first weights times the factors into that of each of them."""
        torch.mul(gradient, self._weights[0], out=self._scratch)
        torch.sum(self._scratch, -2, out=self._scale_gradient).mul_(SCALE_RATE)
        gradient.mul_(self._scale)


class _Vector:
    """Weights, biases, or factors of inputs of some networks in one parameter, of which they become views.

    Parameters
    ----------
    own : list of list of nn.Parameter
        One list for each network, one parameter for each layer.
    values, gradient : Tensor of shape (n_networks, n)
        Memory for them, all 0.
    shapes : list of torch.Size
        The shape of each layer, with the largest number of inputs that a network has.
    """

    def __init__(self, own, values, gradient, shapes):
        self.own, self._shapes, self._k = [p for layers in own for p in layers], shapes, len(own)
        self.parameter, self.gradient = nn.Parameter(values.view(-1)), gradient.view(-1)
        pairs = zip(self._views(values), self._views(gradient), strict=True)
        for p, (value, slope) in zip(self.own, pairs, strict=True):
            p.data, p.grad = value.copy_(p.detach()), slope

    def _views(self, vector):
        """View each parameter's part of a vector."""
        stacks = _stacks(vector.view(self._k, -1), self._shapes)
        views = [stack[j] for j in range(self._k) for stack in stacks]
        return [view[..., : p.shape[-1]] for view, p in zip(views, self.own, strict=True)]

    def join(self, states):
        """Turn the optimizer's states of the parameters into the state of the vector."""
        state = {key: _copied(value) for key, value in states[0].items()}
        for key, value in states[0].items():
            if _has_shape(value, self.own[0].shape):
                state[key] = torch.zeros_like(self.parameter, dtype=value.dtype)
                for view, own in zip(self._views(state[key]), states, strict=True):
                    view.copy_(own[key])
        return state

    def split(self, state):
        """Turn the optimizer's state of the vector into states of the parameters."""
        states: list[dict] = [{} for _ in self.own]
        for key, value in state.items():
            if _has_shape(value, self.parameter.shape):
                values = [view.clone() for view in self._views(value)]
            else:  # what is not a vector counts steps, which each parameter does for itself
                values = [_copied(value) for _ in self.own]
            for own, part in zip(states, values, strict=True):
                own[key] = part
        return states


def _lay_out(own, runs):
    """Move the weights, biases, or factors of inputs of networks into vectors.

    Parameters
    ----------
    own : list of list of nn.Parameter
        One list for each of k networks, one parameter for each layer.
    runs : list of int
        How many networks, one after the other, have a vector in common.

    Returns
    -------
    stacks, gradients : list of Tensor
        Each layer's parameters and their gradients: (k, ...) for k networks, (...) for one.
    vectors : list of _Vector
    """
    # Networks differ in their number of inputs at most: the last dimension of the first weight.
    layers = [[p.shape for p in layer] for layer in zip(*own, strict=True)]
    shapes = [max(shapes, key=lambda shape: shape[-1]) for shapes in layers]
    values = own[0][0].new_zeros(len(own), sum(shape.numel() for shape in shapes)).detach()
    gradient, ends = torch.zeros_like(values), list(accumulate(runs))
    vectors = [
        _Vector(own[end - n : end], values[end - n : end], gradient[end - n : end], shapes)
        for n, end in zip(runs, ends, strict=True)
    ]
    both = [_stacks(values, shapes), _stacks(gradient, shapes)]
    return *(each if len(own) > 1 else [stack[0] for stack in each] for each in both), vectors


def _stacks(rows, shapes):
    """View each layer's part of rows, one for each network: (n_networks, ...)."""
    parts = rows.split([shape.numel() for shape in shapes], dim=1)
    return [part.unflatten(1, shape) for part, shape in zip(parts, shapes, strict=True)]


# Products of matrices, and their sums with a matrix: of one network, and of several.
PRODUCTS = torch.mm, torch.addmm, torch.Tensor.addmm_
BATCHED_PRODUCTS = torch.bmm, torch.baddbmm, torch.Tensor.baddbmm_


def _cut(units, sizes, widths):
    """View units, (k, n_units), as activations of layers: (k, n, width), or (n, width) of one network."""
    parts = units.split(sizes, dim=1)
    return [_without_one(part.unflatten(1, (-1, w))) for part, w in zip(parts, widths, strict=True)]


def _without_one(tensor):
    return tensor[0] if len(tensor) == 1 else tensor


def _is_plain(network):
    """Say whether this is an SNN as it was built, trained whole, and without hooks."""
    return (
        type(network) is SNN
        and network.fixed_point == (0.0, 1.0)
        and not {"forward", "activate"} & vars(network).keys()
        and all(
            type(module) in (SNN, AlphaDropout, nn.Linear, ScaledLinear, nn.ModuleList)
            and not (module._forward_hooks or module._forward_pre_hooks)
            and not (module._backward_hooks or module._backward_pre_hooks)
            for module in network.modules()
        )
        and all(
            p.requires_grad and not (p._backward_hooks or p._post_accumulate_grad_hooks)
            for p in network.parameters()
        )
        # No layer twice, none without a bias, none of another width.
        and [id(p) for p in network.parameters()] == [id(p) for p in _parameters(network)]
        and tuple(layer.out_features for layer in network.layers)[:-1] == network.hidden_layer_sizes
    )


def _parameters(network):
    """List the parameters that an SNN has, in its order."""
    first, *others = [(layer.weight, layer.bias) for layer in network.layers]
    return [*first, *_raw_scales(network), *(p for layer in others for p in layer)]


def _raw_scales(network):
    """List the parameter that tells the factors of inputs, if there are any."""
    raw_scale = getattr(network.layers[0], "raw_scale", None)
    return [] if raw_scale is None else [raw_scale]


def _kind(network, optimizer):
    """Return what networks must have in common to be trained at once."""
    state = optimizer.state.get(network.layers[0].weight, {})
    counts = tuple((key, float(value)) for key, value in state.items() if not getattr(value, "ndim", 0))
    n_inputs, n_outputs = network.layers[0].in_features, network.layers[-1].out_features
    # Inputs are filled up to the widest in a stack: at most doubled.
    widths = n_inputs.bit_length(), *network.hidden_layer_sizes, n_outputs
    return widths, network.dropout.rate, network.input_scale is None, tuple(state), counts


def _moved_together(states):
    """Say whether the optimizer has taken the same steps for all parameters: none was frozen meanwhile."""
    return all(
        state.keys() == states[0].keys()
        and all(value == states[0][key] for key, value in state.items() if not getattr(value, "ndim", 0))
        for state in states
    )


def _has_shape(value, shape):
    return torch.is_tensor(value) and value.shape == shape


def _copied(value):
    return value.clone() if torch.is_tensor(value) else value

"""Named architectures, the SNN and its six rivals of 2017, and how parameters become a network.

arXiv:1706.02515 compares SNNs with ReLU networks of six kinds. It names their sources and the grids
searched, little else; where it is silent the classes follow the sources, and say so.
"""

from functools import partial
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from .networks import SNN, Dropout, check_masks, lecun_linear

__all__ = [
    "ARCHITECTURES",
    "BatchNormNet",
    "HighwayNet",
    "LayerNormNet",
    "MSRANet",
    "ResNet",
    "WeightNormNet",
    "build_network",
    "multiply_adds",
]

# The gate's first value in the fully connected networks (MNIST) of arXiv:1505.00387, section 4:
# sigmoid(-2) = 0.12, so that a new layer carries most of its input on.
GATE_BIAS = -2.0


# ---------------------------------------------------------------- layers


def he_linear(n_inputs, n_outputs, generator=None, bias=True):
    """Make a linear layer with weights from N(0, 2 / fan_in), arXiv:1502.01852, and zero biases."""
    # nn.Linear(...) itself would draw from the global generator.
    layer = nn.utils.skip_init(nn.Linear, n_inputs, n_outputs, bias=bias)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def normalized(norm, n_inputs, n_outputs, generator=None):
    """Make a linear layer with a normalization behind it, whose shift is the bias."""
    return nn.Sequential(he_linear(n_inputs, n_outputs, generator, bias=False), norm(n_outputs))


def carrier(n_inputs, n_outputs, generator=None):
    """Make what carries x past a layer: nothing, or a linear projection where the widths differ."""
    return nn.Identity() if n_inputs == n_outputs else lecun_linear(n_inputs, n_outputs, generator)


class BatchNorm(nn.BatchNorm1d):
    """torch's batch norm, whose error says what to do about a batch of one row."""

    def forward(self, x):
        """Normalize each unit over the rows in training, by its running moments otherwise."""
        if self.training and len(x) < 2:
            raise ValueError(
                "batch norm (architecture='batchnorm' and 'resnet') must have at least 2 rows a batch to "
                f"train on; got {len(x)}. Give more rows, a batch_size above 1, or use 'layernorm' instead."
            )
        return super().forward(x)


class WeightNormLinear(nn.Module):
    """A linear layer whose weight is the direction of one parameter times the length in another."""

    def __init__(self, n_inputs, n_outputs, generator=None):
        super().__init__()
        layer = he_linear(n_inputs, n_outputs, generator)
        self.direction, self.bias = layer.weight, layer.bias
        self.gain = nn.Parameter(layer.weight.detach().norm(dim=1))

    def forward(self, x):
        """Map (n, n_inputs) to (n, n_outputs)."""
        return F.linear(x, self.gain[:, None] * F.normalize(self.direction), self.bias)


# ---------------------------------------------------------------- blocks of hidden layers
# A block maps (x, dropout, masks) to its output, and takes a mask from the iterator for each of its
# hidden layers. What is carried past a layer is never dropped: over many layers little would arrive.


class PlainLayer(nn.Module):
    """A layer of ReLUs and its dropout."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x, dropout, masks):
        """Compute dropout(relu(layer(x)))."""
        return dropout(F.relu(self.layer(x)), next(masks))


class HighwayLayer(nn.Module):
    """A layer of ReLUs mixed with its own input by a gate."""

    def __init__(self, n_inputs, n_outputs, generator=None):
        super().__init__()
        self.layer = he_linear(n_inputs, n_outputs, generator)
        self.gate = he_linear(n_inputs, n_outputs, generator)
        nn.init.constant_(self.gate.bias, GATE_BIAS)
        self.carry = carrier(n_inputs, n_outputs, generator)

    def forward(self, x, dropout, masks):
        """Compute gate * dropout(relu(layer(x))) + (1 - gate) * carry(x)."""
        transformed, gate = dropout(F.relu(self.layer(x)), next(masks)), torch.sigmoid(self.gate(x))
        return gate * transformed + (1 - gate) * self.carry(x)


class ResidualBlock(nn.Module):
    """Two layers with batch norm, and their input added before the second ReLU."""

    def __init__(self, n_inputs, n_between, n_outputs, generator=None):
        super().__init__()
        self.first = normalized(BatchNorm, n_inputs, n_between, generator)
        self.second = normalized(BatchNorm, n_between, n_outputs, generator)
        self.shortcut = carrier(n_inputs, n_outputs, generator)

    def forward(self, x, dropout, masks):
        """Compute relu(shortcut(x) + dropout(second(dropout(relu(first(x))))))."""
        between = dropout(F.relu(self.first(x)), next(masks))
        return F.relu(self.shortcut(x) + dropout(self.second(between), next(masks)))


# ---------------------------------------------------------------- networks


class _ReLUNet(nn.Module):
    """What the rivals share: blocks of hidden layers, ordinary dropout, a linear output layer."""

    # (n_inputs, n_outputs, generator) -> nn.Module
    _layer: Any = staticmethod(he_linear)
    _output: Any = staticmethod(he_linear)

    def __init__(
        self,
        n_inputs,
        n_outputs,
        hidden_layer_sizes=(256, 76, 23, 7),
        dropout=0.0,
        input_dropout=0.0,
        generator=None,
        dropout_generator=None,
    ):
        super().__init__()
        self.hidden_layer_sizes = tuple(hidden_layer_sizes)
        widths = (n_inputs, *self.hidden_layer_sizes)
        self.input_dropout = Dropout(input_dropout, dropout_generator)
        self.dropout = Dropout(dropout, dropout_generator)
        self.blocks = nn.ModuleList(self._make_blocks(widths, generator))
        self.output = self._output(widths[-1], n_outputs, generator)

    def _make_blocks(self, widths, generator):
        return [PlainLayer(self._layer(i, o, generator)) for i, o in pairwise(widths)]

    def forward(self, x, masks=None):
        """Map inputs to logits.

        Parameters
        ----------
        x : Tensor of shape (n, n_inputs)
        masks : sequence of Tensor, default=None
            What to keep of the inputs and of each hidden layer, n_layers + 1 masks, in place
            of fresh draws; None where nothing is dropped.

        Returns
        -------
        logits : Tensor of shape (n, n_outputs)
        """
        n_layers = len(self.hidden_layer_sizes)
        masks = check_masks(masks, n_layers) or [None] * (n_layers + 1)
        x, masks = self.input_dropout(x, masks[0]), iter(masks[1:])
        for block in self.blocks:
            x = block(x, self.dropout, masks)
        return self.output(x)


class MSRANet(_ReLUNet):
    """A ReLU network without normalization, with weights from N(0, 2 / fan_in): "MSRAinit".

    Parameters
    ----------
    n_inputs, n_outputs : int
        Widths of input and output.
    hidden_layer_sizes : tuple of int, default=(256, 76, 23, 7)
        Width of each hidden layer; may be empty, which is a linear model.
    dropout, input_dropout : float, default=0.0
        Rates of ordinary dropout behind each hidden layer and on the inputs. The paper searched
        0 and 0.5 for the former.
    generator, dropout_generator : torch.Generator, default=None
        Where initial weights and masks are drawn from; None means torch's global generator.

    Notes
    -----
    Shape: (n, n_inputs) to (n, n_outputs), the logits. Initialisation: arXiv:1502.01852, for every
    layer, biases 0. That paper divides by fan_in, as here, or by fan_out.

    Examples
    --------
    >>> net = MSRANet(10, 2, (64, 64), generator=torch.Generator().manual_seed(0))
    >>> net(torch.zeros(3, 10)).shape
    torch.Size([3, 2])
    """


class BatchNormNet(_ReLUNet):
    """A ReLU network with batch normalization, arXiv:1502.03167, before each ReLU.

    Parameters
    ----------
    n_inputs, n_outputs : int
        Widths of input and output.
    hidden_layer_sizes : tuple of int, default=(256, 76, 23, 7)
        Width of each hidden layer; may be empty, which is a linear model.
    dropout, input_dropout : float, default=0.0
        Rates of ordinary dropout behind each hidden layer and on the inputs. The paper had none.
    generator, dropout_generator : torch.Generator, default=None
        Where initial weights and masks are drawn from; None means torch's global generator.

    Raises
    ------
    ValueError
        In training, from a batch of a single row.

    Notes
    -----
    Shape: (n, n_inputs) to (n, n_outputs), the logits. Before the ReLU is where the source has the
    normalization; the code of the paper's figure 1 has it behind. The normalization's shift stands
    for the bias. Weights are those of `MSRANet`, moments torch's running averages. Under
    ``torch.func.vmap`` hand in stacked buffers, as arguments of what is differentiated: they are
    updated in place.

    Examples
    --------
    >>> net = BatchNormNet(10, 2, (64, 64), generator=torch.Generator().manual_seed(0))
    >>> net(torch.zeros(3, 10)).shape
    torch.Size([3, 2])
    """

    _layer = staticmethod(partial(normalized, BatchNorm))


class LayerNormNet(_ReLUNet):
    """A ReLU network with layer normalization, arXiv:1607.06450, before each ReLU.

    Parameters
    ----------
    n_inputs, n_outputs : int
        Widths of input and output.
    hidden_layer_sizes : tuple of int, default=(256, 76, 23, 7)
        Width of each hidden layer, above 1: what is left of a single unit is its shift.
    dropout, input_dropout : float, default=0.0
        Rates of ordinary dropout behind each hidden layer and on the inputs. The paper had none on
        the UCI data, and searched 0 and 0.5 behind the hidden layers on Tox21.
    generator, dropout_generator : torch.Generator, default=None
        Where initial weights and masks are drawn from; None means torch's global generator.

    Notes
    -----
    Shape: (n, n_inputs) to (n, n_outputs), the logits. As in the source, gain (1 at first) and shift
    (0) are each unit's own, and the shift stands for the bias. Weights are those of `MSRANet`.

    Examples
    --------
    >>> net = LayerNormNet(10, 2, (64, 64), generator=torch.Generator().manual_seed(0))
    >>> net(torch.zeros(3, 10)).shape
    torch.Size([3, 2])
    """

    _layer = staticmethod(partial(normalized, nn.LayerNorm))


class WeightNormNet(_ReLUNet):
    """A ReLU network with weight normalization, arXiv:1602.07868, in every layer.

    Parameters
    ----------
    n_inputs, n_outputs : int
        Widths of input and output.
    hidden_layer_sizes : tuple of int, default=(256, 76, 23, 7)
        Width of each hidden layer; may be empty, which is a linear model.
    dropout, input_dropout : float, default=0.0
        Rates of ordinary dropout behind each hidden layer and on the inputs. The paper had none on
        the UCI data, and searched 0 and 0.5 behind the hidden layers on Tox21.
    generator, dropout_generator : torch.Generator, default=None
        Where initial weights and masks are drawn from; None means torch's global generator.

    Notes
    -----
    Shape: (n, n_inputs) to (n, n_outputs), the logits. The weights of a unit are ``g * v / |v|``.
    Here v begins as the weights of `MSRANet` and g as ``|v|``, so that training starts from the same
    function; the source sets g and the bias from a first batch of data. g is a vector, and so,
    like a bias, not subject to weight decay.

    Examples
    --------
    >>> net = WeightNormNet(10, 2, (64, 64), generator=torch.Generator().manual_seed(0))
    >>> net(torch.zeros(3, 10)).shape
    torch.Size([3, 2])
    """

    _layer = _output = WeightNormLinear


class HighwayNet(_ReLUNet):
    """A highway network, arXiv:1505.00387: gates mix each layer with its own input.

    Parameters
    ----------
    n_inputs, n_outputs : int
        Widths of input and output.
    hidden_layer_sizes : tuple of int, default=(256, 76, 23, 7)
        Width of each hidden layer; may be empty, which is a linear model.
    dropout, input_dropout : float, default=0.0
        Rates of ordinary dropout of each hidden layer and on the inputs. The paper searched 0 and
        0.5 for the former; it acts on the transformed part, not on what is carried on.
    generator, dropout_generator : torch.Generator, default=None
        Where initial weights and masks are drawn from; None means torch's global generator.

    Notes
    -----
    Shape: (n, n_inputs) to (n, n_outputs), the logits. A layer is ``t * relu(W x + b) + (1 - t) * x``,
    ``t = sigmoid(V x + c)``, W and V as in `MSRANet`, c = -2 at first. The first hidden layer is a
    plain one that brings the inputs to its width, as in the source. Where later widths differ
    (conic networks), ``P x`` is carried on, P a learned projection from N(0, 1 / fan_in); the source
    would have a plain layer there, of which a conic network would wholly consist. The paper searched
    no widths for its highway networks, and does not say which they had.

    Examples
    --------
    >>> net = HighwayNet(10, 2, (64, 64), generator=torch.Generator().manual_seed(0))
    >>> net(torch.zeros(3, 10)).shape
    torch.Size([3, 2])
    """

    def _make_blocks(self, widths, generator):
        plain = super()._make_blocks(widths[:2], generator)
        return plain + [HighwayLayer(i, o, generator) for i, o in pairwise(widths[1:])]


class ResNet(_ReLUNet):
    """A residual network, arXiv:1512.03385, of linear layers.

    Parameters
    ----------
    n_inputs, n_outputs : int
        Widths of input and output.
    hidden_layer_sizes : tuple of int, default=(256, 76, 23, 7)
        Width of each hidden layer; every two make a block. Of an odd number, the first is a plain
        layer before the blocks, as the source's first convolution is. May be empty, which is a
        linear model.
    dropout, input_dropout : float, default=0.0
        Rates of ordinary dropout of each hidden layer, not of the shortcuts, and on the inputs. The
        paper lists none.
    generator, dropout_generator : torch.Generator, default=None
        Where initial weights and masks are drawn from; None means torch's global generator.

    Raises
    ------
    ValueError
        In training, from a batch of a single row.

    Notes
    -----
    Shape: (n, n_inputs) to (n, n_outputs), the logits. A block is ``relu(x + N2(relu(N1(x))))``, N a
    linear layer with batch norm, as in `BatchNormNet`. Where the widths before and behind a block
    differ, ``P x`` is added, P a learned projection (the source's option B) from N(0, 1 / fan_in).
    The paper has blocks of 2 or 3 layers, rectangular or "diavolo" with a bottleneck of 25 or 50 %,
    and does not say whether they held the source's batch norm. ``(64, 64, 64, 64)`` here is a
    rectangular network of two blocks, ``(64, 16, 64, 16, 64)`` has two bottlenecks of 25 %.

    Examples
    --------
    >>> net = ResNet(10, 2, (64, 64), generator=torch.Generator().manual_seed(0))
    >>> net(torch.zeros(3, 10)).shape
    torch.Size([3, 2])
    """

    _layer = staticmethod(partial(normalized, BatchNorm))

    def _make_blocks(self, widths, generator):
        n_layers = len(widths) - 1
        n_plain = n_layers % 2
        plain = super()._make_blocks(widths[: n_plain + 1], generator)
        pairs = range(n_plain, n_layers, 2)
        return plain + [ResidualBlock(widths[i], widths[i + 1], widths[i + 2], generator) for i in pairs]


#: Name -> module class with the signature of `sksnn.networks.SNN`.
#:
#: >>> list(ARCHITECTURES)
#: ['snn', 'msra', 'batchnorm', 'layernorm', 'weightnorm', 'highway', 'resnet']
#: >>> ARCHITECTURES["highway"](10, 2, (64, 64), dropout=0.1)(torch.zeros(3, 10)).shape
#: torch.Size([3, 2])
ARCHITECTURES = {
    "snn": SNN,
    "msra": MSRANet,
    "batchnorm": BatchNormNet,
    "layernorm": LayerNormNet,
    "weightnorm": WeightNormNet,
    "highway": HighwayNet,
    "resnet": ResNet,
}


def build_network(
    architecture,
    n_inputs,
    n_outputs,
    hidden_layer_sizes,
    dropout,
    input_dropout,
    generator=None,
    dropout_generator=None,
):
    """Build a network by name or from a callable.

    Parameters
    ----------
    architecture : str or callable
        A key of `ARCHITECTURES`, or ``(n_inputs, n_outputs) -> nn.Module``, which alone decides
        what is inside: the sizes and rates below are not passed to it.
    n_inputs, n_outputs : int
        Widths of input and output.
    hidden_layer_sizes : tuple of int
    dropout, input_dropout : float
        Of alpha dropout in an "snn", of ordinary dropout in its rivals.
    generator, dropout_generator : torch.Generator, default=None
        Sources of initial weights and of dropout masks.

    Returns
    -------
    network : nn.Module

    Raises
    ------
    TypeError
        If the architecture is a module itself, or the callable returns anything but a module with
        parameters.

    Examples
    --------
    >>> build_network(nn.Linear, 4, 2, (), 0, 0)
    Linear(in_features=4, out_features=2, bias=True)
    """
    if not callable(architecture):
        return ARCHITECTURES[architecture](
            n_inputs, n_outputs, hidden_layer_sizes, dropout, input_dropout, generator, dropout_generator
        )
    if isinstance(architecture, nn.Module):
        raise TypeError(
            "architecture must be a name or make a new torch.nn.Module when called with (n_inputs, "
            f"n_outputs); got a module, {type(architecture).__name__}. Give its class, "
            "functools.partial(its class, ...), or a function that returns one."
        )
    network = architecture(n_inputs, n_outputs)
    if not isinstance(network, nn.Module) or next(network.parameters(), None) is None:
        raise TypeError(
            "architecture must return a torch.nn.Module with parameters when called with "
            f"(n_inputs, n_outputs); got {network!r}."
        )
    return network


@torch.no_grad()
def multiply_adds(network, n_inputs):
    """Count the multiply-adds of a row.

    Networks of this module have one for each weight. Through others two rows of zeros are passed, by which
    lazy layers learn their shapes, too, which an optimizer must know.

    Parameters
    ----------
    network : nn.Module
        In evaluation mode.
    n_inputs : int
        Width of its input.

    Returns
    -------
    n : int
        Of matrix products and convolutions; at least one for each weight, since some layers
        (recurrent ones) cannot be seen into.

    Examples
    --------
    >>> multiply_adds(nn.Sequential(nn.LazyLinear(8), nn.SELU(), nn.LazyLinear(2)).eval(), 4)
    48
    """
    n_operations = 0
    if type(network) not in ARCHITECTURES.values():
        first = next(network.parameters())
        with FlopCounterMode(display=False) as counter:
            network(torch.zeros(2, n_inputs, dtype=first.dtype, device=first.device))
        n_operations = counter.get_total_flops() // 4  # of two rows, and two operations each
    return max(n_operations, sum(p.numel() for p in network.parameters() if p.ndim > 1))

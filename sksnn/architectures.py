"""The named architectures: the SNN and the six ReLU networks that the paper compares it with.

The paper, arXiv:1706.02515, gives the sources of the six networks and the grids of settings it searched, but
few other details. Where it gives none, the classes follow the sources, and their docstrings say so.
"""

from functools import partial
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from .networks import SNN, Dropout, check_masks, lecun_linear, undrawn_linear

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

# Initial bias of the gate in the fully connected networks (MNIST) of arXiv:1505.00387, section 4. Since
# sigmoid(-2) = 0.12, a new layer passes on most of its input unchanged.
GATE_BIAS = -2.0


# ---------------------------------------------------------------- layers


def he_linear(n_inputs, n_outputs, generator=None, bias=True):
    """Make a linear layer with weights from N(0, 2 / fan_in), arXiv:1502.01852, and zero biases."""
    layer = undrawn_linear(n_inputs, n_outputs, bias)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def normalized(norm, n_inputs, n_outputs, generator=None):
    """Make a linear layer followed by a normalization, whose shift replaces the bias."""
    return nn.Sequential(he_linear(n_inputs, n_outputs, generator, bias=False), norm(n_outputs))


def carrier(n_inputs, n_outputs, generator=None):
    """Make the shortcut around a layer: the identity, or a linear projection if the widths differ."""
    return nn.Identity() if n_inputs == n_outputs else lecun_linear(n_inputs, n_outputs, generator)


class BatchNorm(nn.BatchNorm1d):
    """torch's batch norm, with an error for batches of one row that says what to do."""

    def forward(self, x):
        """Normalize each unit, over the rows in training mode, else by its running moments."""
        if self.training and len(x) < 2:
            raise ValueError(
                "batch norm (architecture='batchnorm' and 'resnet') must have at least 2 rows a batch to "
                f"train on; got {len(x)}. Give more rows, a batch_size above 1, or use 'layernorm' instead."
            )
        return super().forward(x)


class WeightNormLinear(nn.Module):
    """A linear layer whose weights have the directions of one parameter and the lengths of another."""

    def __init__(self, n_inputs, n_outputs, generator=None):
        super().__init__()
        layer = he_linear(n_inputs, n_outputs, generator)
        self.direction, self.bias = layer.weight, layer.bias
        self.gain = nn.Parameter(layer.weight.detach().norm(dim=1))

    def forward(self, x):
        """Map (n, n_inputs) to (n, n_outputs)."""
        return F.linear(x, self.gain[:, None] * F.normalize(self.direction), self.bias)


# ---------------------------------------------------------------- blocks of hidden layers
# A block maps (x, dropout, masks) to its output, and takes one mask from the iterator `masks` for each of its
# hidden layers. Shortcuts have no dropout: after many layers little of the input would be left.


class PlainLayer(nn.Module):
    """A layer of ReLUs with dropout."""

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
    """Two layers with batch norm; the block's input is added before the second ReLU."""

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
    """Base class of the ReLU networks: blocks of hidden layers, ordinary dropout, a linear output layer."""

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
            Masks to use instead of random draws: n_layers + 1 of them, for the inputs and for each hidden
            layer, 1 where a unit is kept. A mask may be None where the dropout rate is 0.

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
        Width of each hidden layer; without any, the network is a linear model.
    dropout, input_dropout : float, default=0.0
        Rates of ordinary dropout after each hidden layer and on the inputs. The paper searched 0 and 0.5
        after the hidden layers.
    generator, dropout_generator : torch.Generator, default=None
        Sources of the initial weights and of the masks; None means torch's global generator.

    Notes
    -----
    Inputs have shape (n, n_inputs), logits (n, n_outputs). Every layer is initialised as in
    arXiv:1502.01852, with biases 0. That paper divides by fan_in, as here, or by fan_out.

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
        Width of each hidden layer; without any, the network is a linear model.
    dropout, input_dropout : float, default=0.0
        Rates of ordinary dropout after each hidden layer and on the inputs. The paper had no dropout.
    generator, dropout_generator : torch.Generator, default=None
        Sources of the initial weights and of the masks; None means torch's global generator.

    Raises
    ------
    ValueError
        In training mode, if a batch has a single row.

    Notes
    -----
    Inputs have shape (n, n_inputs), logits (n, n_outputs). The normalization comes before the ReLU, as in
    the source; in the code of the paper's figure 1 it comes after. Its shift replaces the bias. Weights are
    initialised as in `MSRANet`; moments are torch's running averages. Under ``torch.func.vmap`` pass
    stacked buffers as arguments of the function to be differentiated, since they are updated in place.

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
        Width of each hidden layer, above 1: a single unit would be normalized to its shift.
    dropout, input_dropout : float, default=0.0
        Rates of ordinary dropout after each hidden layer and on the inputs. The paper had no dropout on the
        UCI data, and searched 0 and 0.5 after the hidden layers on Tox21.
    generator, dropout_generator : torch.Generator, default=None
        Sources of the initial weights and of the masks; None means torch's global generator.

    Notes
    -----
    Inputs have shape (n, n_inputs), logits (n, n_outputs). As in the source, each unit has its own gain
    (initially 1) and shift (initially 0), and the shift replaces the bias. Weights are initialised as in
    `MSRANet`.

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
        Width of each hidden layer; without any, the network is a linear model.
    dropout, input_dropout : float, default=0.0
        Rates of ordinary dropout after each hidden layer and on the inputs. The paper had no dropout on the
        UCI data, and searched 0 and 0.5 after the hidden layers on Tox21.
    generator, dropout_generator : torch.Generator, default=None
        Sources of the initial weights and of the masks; None means torch's global generator.

    Notes
    -----
    Inputs have shape (n, n_inputs), logits (n, n_outputs). The weights of a unit are ``g * v / |v|``.
    Here v is initialised like the weights of `MSRANet` and g as ``|v|``, so training starts from the same
    function. The source sets g and the bias from a first batch of data. Like the biases, g is a vector, so
    weight decay does not apply to it.

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
        Width of each hidden layer; without any, the network is a linear model.
    dropout, input_dropout : float, default=0.0
        Rates of ordinary dropout of each hidden layer and on the inputs. The paper searched 0 and 0.5 for
        the hidden layers. Dropout acts on the transformed part, not on the shortcut.
    generator, dropout_generator : torch.Generator, default=None
        Sources of the initial weights and of the masks; None means torch's global generator.

    Notes
    -----
    Inputs have shape (n, n_inputs), logits (n, n_outputs). A layer is ``t * relu(W x + b) + (1 - t) * x``
    with ``t = sigmoid(V x + c)``; W and V are initialised as in `MSRANet`, c as -2. The first hidden layer
    is a plain layer that maps the inputs to its width, as in the source. If the widths of
    later layers differ (conic networks), the shortcut is ``P x`` instead of x, where P is a learned
    projection, initialised from N(0, 1 / fan_in). The source would use a plain layer there; then a conic
    network would have plain layers only. The paper searched no widths for its highway networks, and does
    not state them.

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
        Width of each hidden layer; two layers form a block. If the number of layers is odd, the first one
        is a plain layer before the blocks, like the first convolution of the source. Without any, the
        network is a linear model.
    dropout, input_dropout : float, default=0.0
        Rates of ordinary dropout of each hidden layer, not of the shortcuts, and on the inputs. The paper
        lists no dropout.
    generator, dropout_generator : torch.Generator, default=None
        Sources of the initial weights and of the masks; None means torch's global generator.

    Raises
    ------
    ValueError
        In training mode, if a batch has a single row.

    Notes
    -----
    Inputs have shape (n, n_inputs), logits (n, n_outputs). A block is ``relu(x + N2(relu(N1(x))))``, where
    N1 and N2 are linear layers with batch norm, as in `BatchNormNet`. If the widths before and after a block
    differ, ``P x`` is added instead of x, where P is a learned projection (option B of the source),
    initialised from N(0, 1 / fan_in). The paper has blocks of 2 or 3 layers, rectangular or "diavolo" with
    a bottleneck of 25 or 50 %, and does not say whether they had batch norm, as in the source. Here
    ``(64, 64, 64, 64)`` is a rectangular network of two blocks, and ``(64, 16, 64, 16, 64)`` has two
    bottlenecks of 25 %.

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


#: The module class of each name; all are called like `sksnn.networks.SNN`.
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
    scale_inputs=False,
):
    """Build a network by name or from a callable.

    Parameters
    ----------
    architecture : str or callable
        A key of `ARCHITECTURES`, or a callable ``(n_inputs, n_outputs) -> nn.Module``. The sizes and rates
        below are not passed to a callable.
    n_inputs, n_outputs : int
        Widths of input and output.
    hidden_layer_sizes : tuple of int
    dropout, input_dropout : float
        Rates of dropout: alpha dropout for "snn", ordinary dropout for the other names.
    generator, dropout_generator : torch.Generator, default=None
        Sources of initial weights and of dropout masks.
    scale_inputs : bool, default=False
        Whether a network of ``architecture="snn"``, which alone can, learns a factor for each input.

    Returns
    -------
    network : nn.Module

    Raises
    ------
    TypeError
        If the architecture is a module, or the callable returns anything but a module with parameters.

    Examples
    --------
    >>> build_network(nn.Linear, 4, 2, (), 0, 0)
    Linear(in_features=4, out_features=2, bias=True)
    """
    if not callable(architecture):
        own = {"scale_inputs": True} if scale_inputs else {}
        return ARCHITECTURES[architecture](
            n_inputs,
            n_outputs,
            hidden_layer_sizes,
            dropout,
            input_dropout,
            generator,
            dropout_generator,
            **own,
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
    """Count the multiply-adds per row.

    Networks of this module have one multiply-add per weight. For other networks two rows of zeros are passed
    through. This also gives lazy layers their shapes, which an optimizer needs.

    Parameters
    ----------
    network : nn.Module
        In evaluation mode.
    n_inputs : int
        Width of its input.

    Returns
    -------
    n : int
        Multiply-adds of matrix products and convolutions, but at least one per weight, since those of some
        layers (recurrent ones) are not counted.

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
        n_operations = counter.get_total_flops() // 4  # two rows, two operations per multiply-add
    return max(n_operations, sum(p.numel() for p in network.parameters() if p.ndim > 1))

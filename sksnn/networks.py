"""The SNN and its parts: layer sizes, initialisation and alpha dropout."""

import copy
import math

import torch
import torch.nn.functional as F
from torch import nn

from .theory import ALPHA_01, LAMBDA_01, SATURATION_01, alpha_dropout_affine, selu_parameters

__all__ = [
    "SNN",
    "AlphaDropout",
    "EncodedNetwork",
    "Ensemble",
    "ScaledLinear",
    "draw_dropped",
    "draw_keep",
    "layer_sizes",
    "lecun_normal_",
]

LAYER_FORMS = ("conic", "rectangular")

# Least width of a layer of a conic network. The paper gives no lower bound. With fewer than four units, all
# units of a layer can saturate at once, and then no signal passes the layer.
MIN_CONIC_UNITS = 4


def layer_sizes(n_layers, n_units, layer_form, n_outputs):
    """List the widths of the hidden layers.

    Parameters
    ----------
    n_layers : int
        Number of hidden layers.
    n_units : int
        Width of the first hidden layer.
    layer_form : {"conic", "rectangular"}
        "rectangular": all layers have `n_units` units. "conic": the width falls geometrically towards the
        output. Layer i of L, i = 0..L-1, has ``round(n_units * (n_outputs / n_units) ** (i / L))`` units
        (appendix A4 of arXiv:1706.02515), but at least ``max(n_outputs, 4)``.
    n_outputs : int
        Width of the output layer.

    Returns
    -------
    sizes : tuple of int

    Raises
    ------
    ValueError
        If `layer_form` is neither of the two.

    Examples
    --------
    >>> layer_sizes(3, 64, "rectangular", 2)
    (64, 64, 64)
    >>> layer_sizes(3, 64, "conic", 2)
    (64, 20, 6)
    >>> layer_sizes(1, 64, "conic", 2)
    (64,)
    """
    if layer_form not in LAYER_FORMS:
        raise ValueError(f"layer_form must be 'conic' or 'rectangular'; got {layer_form!r}.")
    if layer_form == "rectangular":
        return (n_units,) * n_layers
    floor = max(n_outputs, MIN_CONIC_UNITS)
    ratio = n_outputs / n_units
    return tuple(max(floor, round(n_units * ratio ** (i / n_layers))) for i in range(n_layers))


def lecun_normal_(weight, generator=None):
    """Fill a weight tensor with draws from N(0, 1 / fan_in), in place.

    With this variance SELU units stay at their fixed point ("Initialization" in arXiv:1706.02515).
    With PyTorch's own gain for SELU, 3/4, they do not.

    Parameters
    ----------
    weight : Tensor of shape (n_outputs, n_inputs, ...)
        Weight of a linear or convolutional layer; fan_in is the number of inputs of one unit.
    generator : torch.Generator, default=None
        None draws from torch's global generator.

    Returns
    -------
    weight : Tensor
        The tensor passed in.

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> w = lecun_normal_(torch.empty(1000, 400), generator)
    >>> bool((w.var() * 400 - 1).abs() < 0.01)
    True
    """
    return nn.init.kaiming_normal_(weight, mode="fan_in", nonlinearity="linear", generator=generator)


class _Undrawn(nn.Linear):
    def reset_parameters(self):
        """Draw nothing."""


def undrawn_linear(n_inputs, n_outputs, bias=True):
    """Make a linear layer whose weights are still to be drawn.

    nn.Linear(...) would draw them from the global generator; ``nn.utils.skip_init`` takes ten times as long.
    """
    layer = _Undrawn(n_inputs, n_outputs, bias)
    layer.__class__ = nn.Linear  # type: ignore[assignment]
    return layer


def lecun_linear(n_inputs, n_outputs, generator=None):
    """Make a linear layer with LeCun-normal weights and zero biases."""
    return _initialise(undrawn_linear(n_inputs, n_outputs), generator)


def _initialise(layer, generator):
    """Draw the weights of a linear layer and set its biases to zero; return the layer."""
    lecun_normal_(layer.weight, generator)
    nn.init.zeros_(layer.bias)
    return layer


# Below this rate no unit is dropped, since log(1 - rate) would be 0 in float64.
LEAST_RATE = 1e-15


def draw_dropped(n, rate, generator=None, device=None):
    """Draw which of n units are dropped, by drawing the gaps between them.

    The distance from one dropped unit to the next has a geometric distribution. So there is one draw per
    dropped unit instead of one per unit. At a rate of 0.05 this takes a tenth of the time of one Bernoulli
    draw per unit.

    Parameters
    ----------
    n : int
        Number of units.
    rate : float
        Probability that a unit is dropped, independently of the others, in [0, 1).
    generator : torch.Generator or list of torch.Generator, default=None
        None draws from torch's global generator. A list draws for as many networks at once: for each what
        its generator alone would draw.
    device : torch.device, default=None
        Where to draw; None means the generator's device.

    Returns
    -------
    dropped : Tensor of int64, of shape (n_gaps,), or (k, n_gaps) for k generators
        Indices in ascending order. More gaps are drawn than needed; indices past the last unit are set to
        n. A buffer of n + 1 elements can take them all, so they need not be counted.

    Examples
    --------
    >>> draw_dropped(10, 0.2, torch.Generator().manual_seed(0)).unique()
    tensor([ 0,  2,  6,  7,  9, 10])
    """
    several = generator if isinstance(generator, list) else [generator]
    if device is None and several[0] is not None:
        device = several[0].device
    expected = n * rate
    # These gaps reach past the last unit, except in less than one of 1e9 calls.
    n_gaps = 0 if rate < LEAST_RATE else min(n, int(expected + 6 * math.sqrt(expected) + 12))
    gaps = torch.empty(len(several), n_gaps, dtype=torch.int64, device=device)
    for own, source in zip(gaps, several, strict=True):
        own.geometric_(max(rate, LEAST_RATE), generator=source)
    dropped = gaps.cumsum_(1).sub_(1).clamp_(0, n)
    return dropped if several is generator else dropped[0]


def draw_keep(shape, rate, generator=None, device=None, dtype=torch.float32):
    """Draw the mask of dropout: 1 for units that are kept, 0 for the others.

    Parameters
    ----------
    shape : tuple of int
        Shape of the mask.
    rate : float
        Probability that a unit is dropped, in [0, 1).
    generator : torch.Generator, default=None
        None draws from torch's global generator.
    device : torch.device, default=None
        Where to draw; None means the generator's device.
    dtype : torch.dtype, default=torch.float32
        Dtype of the mask: that of the units, which are multiplied by it.

    Returns
    -------
    keep : Tensor

    Examples
    --------
    >>> keep = draw_keep((1000, 1000), 0.25, torch.Generator().manual_seed(0))
    >>> round(keep.mean().item(), 2)
    0.75
    """
    n = math.prod(shape)
    dropped = draw_dropped(n, rate, generator, device)
    keep = torch.ones(n + 1, dtype=dtype, device=dropped.device)
    return keep.index_fill_(0, dropped, 0)[:n].view(shape)


class AlphaDropout(nn.Module):
    """Set random units to the saturation value of SELU, then restore mean and variance.

    Parameters
    ----------
    rate : float, default=0.05
        Probability that a unit is dropped, in [0, 1); the paper used 0.05 and 0.10. With 0 the layer
        returns its input.
    mean, variance : float, default=0.0 and 1.0
        The mean and variance to restore: those of SELU's fixed point.
    generator : torch.Generator, default=None
        Source of the masks; None means torch's global generator.
    saturation : float, default=SATURATION_01
        Value of dropped units before mean and variance are restored: -scale * alpha of the SELU.

    Raises
    ------
    ValueError
        If the rate is outside [0, 1), the variance is not positive, or a value is not finite.

    Notes
    -----
    The output has the shape of the input, which may be any. Unlike ``torch.nn.AlphaDropout``, this module
    draws from its own generator, can keep a mean and variance other than (0, 1), and accepts masks.

    Examples
    --------
    >>> dropout = AlphaDropout(0.1, generator=torch.Generator().manual_seed(0))
    >>> x = torch.randn(200_000, generator=torch.Generator().manual_seed(1))
    >>> y = dropout(x)
    >>> bool(y.mean().abs() < 0.01), bool((y.var() - 1).abs() < 0.01)
    (True, True)
    >>> bool((dropout.eval()(x) == x).all())
    True
    """

    def __init__(self, rate=0.05, mean=0.0, variance=1.0, generator=None, saturation=SATURATION_01):
        super().__init__()
        a, b = alpha_dropout_affine(rate, mean, variance, saturation)
        self.rate, self.mean, self.variance, self.saturation = rate, mean, variance, saturation
        self.generator = generator
        self.slope, self.intercept = float(a), float(b)

    def forward(self, x, keep=None):
        """Drop units of x; a mask `keep` (1 or 0, or bool, in the shape of x) replaces the random draw.

        In evaluation mode and at rate 0 it returns x.
        """
        if not self.training or self.rate == 0:
            return x
        if keep is None:
            keep = draw_keep(x.shape, self.rate, self.generator, x.device, x.dtype)
        # Equals a (x keep + saturation (1 - keep)) + b, in two passes over x.
        saturated = self.slope * self.saturation + self.intercept
        return (x - self.saturation) * (keep.to(x.dtype) * self.slope) + saturated

    def extra_repr(self):
        """Name the parameters in the module's repr."""
        return f"rate={self.rate}, mean={self.mean}, variance={self.variance}"


class Dropout(nn.Module):
    """Set units to 0 at random and scale the others by 1 / (1 - rate), arXiv:1207.0580.

    Unlike ``torch.nn.Dropout``, this module draws from its own generator and accepts masks.
    """

    def __init__(self, rate=0.0, generator=None):
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"rate must be in [0, 1); got {rate}. Use 0 to drop nothing.")
        self.rate, self.generator = rate, generator

    def forward(self, x, keep=None):
        """Drop units of x; a mask `keep` (1 or 0, or bool, in the shape of x) replaces the random draw."""
        if not self.training or self.rate == 0:
            return x
        if keep is None:
            keep = draw_keep(x.shape, self.rate, self.generator, x.device)
        return x * (keep.to(x.dtype) / (1 - self.rate))

    def extra_repr(self):
        """Name the rate in the module's repr."""
        return f"rate={self.rate}"


def check_masks(masks, n_layers):
    """Return the masks passed to a network; check that there is one for the inputs and one per layer."""
    if masks and len(masks) != n_layers + 1:
        raise ValueError(
            f"masks must hold {n_layers + 1}, one for the inputs and one a hidden layer; got {len(masks)}. "
            "Leave them out to have them drawn."
        )
    return masks


def _checked_point(point):
    """Return the mean and variance of a fixed point as floats."""
    try:
        mean, variance = map(float, point)
    except (TypeError, ValueError):
        raise ValueError(
            f"fixed_point must be a pair of numbers, (mean, variance); got {point!r}. The paper's is (0, 1)."
        ) from None
    return mean, variance


@torch.no_grad()
def _centre_(weight):
    """Shift the weights of each unit to sum 0, and scale them so that their expected sum of squares stays."""
    n = weight.shape[1]
    if n > 1:
        weight.sub_(weight.mean(1, keepdim=True)).mul_(math.sqrt(n / (n - 1)))


# The factors of inputs are so many times a parameter. A step of Adam moves a parameter by about the learning
# rate, whatever its size, so factors move so many times as fast (Holzmüller et al., 2024, arXiv:2407.04491):
# beside weights, which begin at about 1 / sqrt(n_inputs), they would hardly move else.
SCALE_RATE = 6.0


class ScaledLinear(_Undrawn):
    """A linear layer whose inputs are multiplied by factors that are learned, which begin at 1.

    Its weights are multiplied by the factors, not its inputs: for the theory it has the inputs that it is
    given, and weights that are these products. They begin as those of other layers of an `SNN`.

    Parameters
    ----------
    n_inputs, n_outputs : int
    generator : torch.Generator, default=None
        Source of the weights; None means torch's global generator.

    Attributes
    ----------
    raw_scale : nn.Parameter of shape (n_inputs,) or None
        What is learned: a sixth of the factors, which Adam, at one learning rate for all parameters,
        therefore moves six times as fast as weights. None once they have been folded into the weights.

    Examples
    --------
    >>> layer = ScaledLinear(3, 2)
    >>> layer(torch.ones(1, 3)).shape
    torch.Size([1, 2])
    >>> layer.scale.tolist()
    [1.0, 1.0, 1.0]
    """

    raw_scale: nn.Parameter | None

    def __init__(self, n_inputs, n_outputs, generator=None):
        super().__init__(n_inputs, n_outputs)
        _initialise(self, generator)
        self.raw_scale = nn.Parameter(torch.full((n_inputs,), 1 / SCALE_RATE))

    @property
    def scale(self):
        """The factors, of shape (n_inputs,), or None."""
        return None if self.raw_scale is None else SCALE_RATE * self.raw_scale

    def forward(self, x):
        """Map (n, n_inputs) to (n, n_outputs)."""
        weight = self.weight if self.raw_scale is None else self.weight * self.scale
        return F.linear(x, weight, self.bias)

    @torch.no_grad()
    def fold(self):
        """Multiply the weights by the factors for good: products of few rows take less time."""
        if self.raw_scale is not None:
            self.weight.mul_(self.scale)
            self.raw_scale = None


def double_copy(network):
    """Copy a network to the CPU in float64, with the factors of its inputs folded into its weights."""
    network = copy.deepcopy(network).cpu().double()
    for part in network.modules():
        if isinstance(part, ScaledLinear):
            part.fold()
    return network


class SNN(nn.Module):
    """A self-normalizing network: linear layers, SELU, alpha dropout, LeCun-normal weights.

    Parameters
    ----------
    n_inputs, n_outputs : int
        Widths of input and output.
    hidden_layer_sizes : tuple of int, default=(256, 76, 23, 7)
        Width of each hidden layer; without any, the network is a linear model.
    dropout, input_dropout : float, default=0.05 and 0.0
        Rates of alpha dropout after each hidden layer and on the inputs.
    generator : torch.Generator, default=None
        Source of the initial weights; None means torch's global generator.
    dropout_generator : torch.Generator, default=None
        Source of the dropout masks; None means torch's global generator.
    fixed_point : tuple of float, default=(0.0, 1.0)
        Mean and variance to which the activations converge. A fixed point other than the paper's (0, 1)
        has its own SELU (`theory.selu_parameters`) and its own dropout. If its mean is not 0, the initial
        weights of each unit sum to 0, as the theory assumes; otherwise the mean of a layer's inputs would
        shift each of its units. This does not apply to the first layer, whose inputs have mean 0.
    scale_inputs : bool, default=False
        Whether the first layer is a `ScaledLinear`, which multiplies inputs (behind their dropout) by factors
        that are learned, six times as fast as weights by Adam, so that inputs which help are soon turned up.

    Attributes
    ----------
    layers : nn.ModuleList
        The linear layers.
    input_scale : Tensor of shape (n_inputs,) or None
        The factors of the inputs, if there are any.

    Raises
    ------
    ValueError
        If ``fixed_point`` is not a pair of numbers, or no SELU has that fixed point.

    Notes
    -----
    Inputs have shape (n, n_inputs), mean 0 and variance 1; logits have shape (n, n_outputs). To use
    another fixed point in an estimator, pass a callable that can be pickled:
    ``architecture=functools.partial(SNN, hidden_layer_sizes=(64,) * 8, fixed_point=(0.1, 1.5))``.

    Examples
    --------
    >>> net = SNN(10, 2, (64, 64), generator=torch.Generator().manual_seed(0))
    >>> net(torch.zeros(3, 10)).shape
    torch.Size([3, 2])
    """

    def __init__(
        self,
        n_inputs,
        n_outputs,
        hidden_layer_sizes=(256, 76, 23, 7),
        dropout=0.05,
        input_dropout=0.0,
        generator=None,
        dropout_generator=None,
        fixed_point=(0.0, 1.0),
        scale_inputs=False,
    ):
        super().__init__()
        self.hidden_layer_sizes = tuple(hidden_layer_sizes)
        mean, variance = self.fixed_point = _checked_point(fixed_point)
        self.alpha, self.scale = ALPHA_01, LAMBDA_01  # found once: to solve for them takes a millisecond
        if self.fixed_point != (0.0, 1.0):
            self.alpha, self.scale = map(float, selu_parameters(mean, variance))
        widths = (n_inputs, *self.hidden_layer_sizes, n_outputs)
        makes = [ScaledLinear if scale_inputs else lecun_linear] + [lecun_linear] * (len(widths) - 2)
        self.layers = nn.ModuleList(
            make(i, o, generator) for make, i, o in zip(makes, widths[:-1], widths[1:], strict=True)
        )
        if mean != 0:
            # Except the first layer. Its inputs have mean 0, and weights of sum 0 would remove what
            # correlated columns have in common.
            for layer in self.layers[1:]:
                _centre_(layer.weight)
        self.input_dropout = AlphaDropout(input_dropout, generator=dropout_generator)
        saturation = -self.scale * self.alpha
        self.dropout = AlphaDropout(dropout, mean, variance, dropout_generator, saturation)

    @property
    def input_scale(self):
        """The factors of the inputs, or None."""
        return getattr(self.layers[0], "scale", None)

    def activate(self, x):
        """Apply this network's SELU."""
        if self.fixed_point == (0.0, 1.0):
            return F.selu(x)
        return self.scale * F.elu(x, self.alpha)

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
        masks = (
            [None, *self._draw_masks(x)] if not masks else check_masks(masks, len(self.hidden_layer_sizes))
        )
        *hidden, output = self.layers
        x = self.input_dropout(x, masks[0])
        for layer, keep in zip(hidden, masks[1:], strict=True):
            x = self.dropout(self.activate(layer(x)), keep)
        return output(x)

    def _draw_masks(self, x):
        """Draw the masks of all hidden layers in one call, which is faster for small networks."""
        widths = self.hidden_layer_sizes
        if not self.training or self.dropout.rate == 0:
            return [None] * len(widths)
        sizes = [len(x) * width for width in widths]
        keep = draw_keep((sum(sizes),), self.dropout.rate, self.dropout.generator, x.device, x.dtype)
        return [mask.view(-1, width) for mask, width in zip(keep.split(sizes), widths, strict=True)]


class EncodedNetwork(nn.Module):
    """An encoder followed by a network: the module that a fitted estimator holds and exports.

    Parameters
    ----------
    encoder : nn.Module
        Maps raw rows to the inputs of the network, in float64.
    network : nn.Module
        Any architecture.

    Notes
    -----
    Raw rows have shape (n, n_features), outputs (n, n_outputs).

    Examples
    --------
    >>> from sksnn.encodings import Standardizer
    >>> model = EncodedNetwork(Standardizer([5.0], [2.0]), SNN(1, 3, (8,)))
    >>> model(torch.tensor([[5.0], [7.0]])).shape
    torch.Size([2, 3])
    """

    def __init__(self, encoder, network):
        super().__init__()
        self.encoder = encoder
        self.network = network

    def forward(self, X):
        """Encode raw rows and pass them through the network."""
        weight = next(self.network.parameters())
        return self.network(self.encoder(X).to(weight.device, weight.dtype))

    @property
    def networks(self):
        """The network, in a list."""
        return [self.network]


class Ensemble(nn.Module):
    """Several encoded networks whose outputs are averaged: what an estimator with members holds.

    Parameters
    ----------
    members : list of EncodedNetwork
        They may share encoders.
    average : callable
        Turns their outputs, (k, n, n_outputs), into those of the ensemble, (n, n_outputs).

    Notes
    -----
    Shape: (n, n_features), raw, to (n, n_outputs).

    Examples
    --------
    >>> from sksnn.encodings import Standardizer
    >>> encoder = Standardizer([5.0], [2.0])
    >>> members = [EncodedNetwork(encoder, SNN(1, 3, (8,))) for _ in range(4)]
    >>> ensemble = Ensemble(members, lambda outputs: outputs.mean(0))
    >>> ensemble(torch.tensor([[5.0], [7.0]])).shape
    torch.Size([2, 3])
    """

    def __init__(self, members, average):
        super().__init__()
        self.members, self.average = nn.ModuleList(members), average

    @property
    def networks(self):
        """The networks of the members."""
        return [member.network for member in self.members]

    @property
    def network(self):
        """The network of the first member."""
        return self.members[0].network

    def forward(self, X):
        """Average the outputs of raw rows."""
        return self.average(torch.stack([member(X) for member in self.members]))

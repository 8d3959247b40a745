"""Building blocks of self-normalizing networks: sizes, initialisation, alpha dropout, the SNN."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from .theory import ALPHA_01, LAMBDA_01, SATURATION_01, alpha_dropout_affine, selu_parameters

__all__ = [
    "SNN",
    "AlphaDropout",
    "EncodedNetwork",
    "draw_dropped",
    "draw_keep",
    "layer_sizes",
    "lecun_normal_",
]

# Narrowest conic layer. The paper does not say how narrow a cone may get; below four units a
# layer that saturates blocks everything behind it.
MIN_CONIC_UNITS = 4


def layer_sizes(n_layers, n_units, layer_form, n_outputs):
    """List the widths of the hidden layers.

    Parameters
    ----------
    n_layers : int
        Number of hidden layers.
    n_units : int
        Width of the first.
    layer_form : {"conic", "rectangular"}
        "rectangular" keeps the width; "conic" lets it fall geometrically towards the output:
        layer i of L has ``round(n_units * (n_outputs / n_units) ** (i / L))`` units,
        i = 0..L-1 (appendix A4 of arXiv:1706.02515), never fewer than ``max(n_outputs, 4)``.
    n_outputs : int
        Width of the output layer.

    Returns
    -------
    sizes : tuple of int

    Raises
    ------
    ValueError
        If there is no such form.

    Examples
    --------
    >>> layer_sizes(3, 64, "rectangular", 2)
    (64, 64, 64)
    >>> layer_sizes(3, 64, "conic", 2)
    (64, 20, 6)
    >>> layer_sizes(1, 64, "conic", 2)
    (64,)
    """
    if layer_form not in ("conic", "rectangular"):
        raise ValueError(f"layer_form must be 'conic' or 'rectangular'; got {layer_form!r}.")
    if layer_form == "rectangular":
        return (n_units,) * n_layers
    floor = max(n_outputs, MIN_CONIC_UNITS)
    ratio = n_outputs / n_units
    return tuple(max(floor, round(n_units * ratio ** (i / n_layers))) for i in range(n_layers))


def lecun_normal_(weight, generator=None):
    """Fill a weight with draws from N(0, 1 / fan_in), in place.

    The variance that keeps SELU at its fixed point ("Initialization" in arXiv:1706.02515).
    PyTorch's own gain for SELU, 3/4, does not.

    Parameters
    ----------
    weight : Tensor of shape (n_outputs, n_inputs, ...)
        Of a linear or convolutional layer; fan_in counts the inputs of one unit.
    generator : torch.Generator, default=None
        None draws from torch's global generator.

    Returns
    -------
    weight : Tensor
        The same object.

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> w = lecun_normal_(torch.empty(1000, 400), generator)
    >>> bool((w.var() * 400 - 1).abs() < 0.01)
    True
    """
    return nn.init.kaiming_normal_(weight, mode="fan_in", nonlinearity="linear", generator=generator)


def lecun_linear(n_inputs, n_outputs, generator=None):
    """Make a linear layer with LeCun-normal weights and zero biases."""
    # nn.Linear(...) itself would draw from the global generator.
    layer = nn.utils.skip_init(nn.Linear, n_inputs, n_outputs)
    lecun_normal_(layer.weight, generator)
    nn.init.zeros_(layer.bias)
    return layer


# A unit dropped less often than this is never dropped: log(1 - rate) would be 0 in float64.
LEAST_RATE = 1e-15


def draw_dropped(n, rate, generator=None, device=None):
    """Draw which of n units are dropped, by the gaps between them.

    The distance from one dropped unit to the next is geometric, so the draws are as many as
    the units dropped, not as the units: at a rate of 0.05 a tenth of the time of one Bernoulli
    draw a unit.

    Parameters
    ----------
    n : int
        Number of units.
    rate : float
        Probability of dropping each, independently, in [0, 1).
    generator : torch.Generator, default=None
        None draws from torch's global generator.
    device : torch.device, default=None
        Where to draw: the generator's device by default.

    Returns
    -------
    dropped : Tensor of int64
        Ascending indices; those past the last unit are n, so that a buffer of n + 1 elements
        takes them all without a look at their number.

    Examples
    --------
    >>> draw_dropped(10, 0.2, torch.Generator().manual_seed(0)).unique()
    tensor([ 0,  2,  6,  7,  9, 10])
    """
    if device is None and generator is not None:
        device = generator.device
    expected = n * rate
    # Enough gaps to pass the end: more than so many units are dropped less than once in 1e9 draws.
    n_gaps = 0 if rate < LEAST_RATE else min(n, int(expected + 6 * math.sqrt(expected) + 12))
    gaps = torch.empty(n_gaps, dtype=torch.int64, device=device).geometric_(
        max(rate, LEAST_RATE), generator=generator
    )
    return gaps.cumsum(0).sub_(1).clamp_(0, n)


def draw_keep(shape, rate, generator=None, device=None, dtype=torch.float32):
    """Draw which units dropout keeps: 1 for those, 0 for the others.

    Parameters
    ----------
    shape : tuple of int
        Of the mask.
    rate : float
        Probability of dropping, in [0, 1).
    generator : torch.Generator, default=None
        None draws from torch's global generator.
    device : torch.device, default=None
        Where to draw: the generator's device by default.
    dtype : torch.dtype, default=torch.float32
        Of the mask, which enters a product: that of the units.

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
    """Set units to SELU's saturation at random and restore mean and variance.

    Parameters
    ----------
    rate : float, default=0.05
        Probability of dropping, in [0, 1); the paper used 0.05 and 0.10. 0 costs nothing.
    mean, variance : float, default=0.0 and 1.0
        Moments to keep, those of SELU's fixed point.
    generator : torch.Generator, default=None
        Where masks are drawn from; None means torch's global generator.
    saturation : float, default=SATURATION_01
        What dropped units are set to before the moments are restored: -scale * alpha of the SELU.

    Raises
    ------
    ValueError
        If the rate is outside [0, 1), the variance not positive, or a value not finite.

    Notes
    -----
    Shape: any, to the same. Unlike ``torch.nn.AlphaDropout`` it draws from a generator of its
    own, keeps moments other than (0, 1), and takes masks drawn elsewhere.

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
        """Drop units of x; `keep` (1 or 0, or bool, in the shape of x) replaces a fresh draw.

        Does nothing in evaluation mode or at rate 0.
        """
        if not self.training or self.rate == 0:
            return x
        if keep is None:
            keep = draw_keep(x.shape, self.rate, self.generator, x.device, x.dtype)
        # a (x keep + saturation (1 - keep)) + b, in two passes over x
        saturated = self.slope * self.saturation + self.intercept
        return (x - self.saturation) * (keep.to(x.dtype) * self.slope) + saturated

    def extra_repr(self):
        """Name the parameters in the module's repr."""
        return f"rate={self.rate}, mean={self.mean}, variance={self.variance}"


class Dropout(nn.Module):
    """Set units to 0 at random and scale the others by 1 / (1 - rate), arXiv:1207.0580.

    Unlike ``torch.nn.Dropout`` it draws from a generator of its own, and takes masks drawn elsewhere.
    """

    def __init__(self, rate=0.0, generator=None):
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"rate must be in [0, 1); got {rate}. Use 0 to drop nothing.")
        self.rate, self.generator = rate, generator

    def forward(self, x, keep=None):
        """Drop units of x; `keep` (1 or 0, or bool, in the shape of x) replaces a fresh draw."""
        if not self.training or self.rate == 0:
            return x
        if keep is None:
            keep = draw_keep(x.shape, self.rate, self.generator, x.device)
        return x * (keep.to(x.dtype) / (1 - self.rate))

    def extra_repr(self):
        """Name the rate in the module's repr."""
        return f"rate={self.rate}"


def check_masks(masks, n_layers):
    """Return the masks handed to a network; refuse those that are not one for the inputs and one a layer."""
    if masks and len(masks) != n_layers + 1:
        raise ValueError(
            f"masks must hold {n_layers + 1}, one for the inputs and one a hidden layer; got {len(masks)}. "
            "Leave them out to have them drawn."
        )
    return masks


def _checked_point(point):
    """Return mean and variance of a fixed point."""
    try:
        mean, variance = map(float, point)
    except (TypeError, ValueError):
        raise ValueError(
            f"fixed_point must be a pair of numbers, (mean, variance); got {point!r}. The paper's is (0, 1)."
        ) from None
    return mean, variance


@torch.no_grad()
def _centre_(weight):
    """Give the weights of each unit the sum 0 and, in expectation, the sum of squares they had."""
    n = weight.shape[1]
    if n > 1:
        weight.sub_(weight.mean(1, keepdim=True)).mul_(math.sqrt(n / (n - 1)))


class SNN(nn.Module):
    """A self-normalizing network: linear layers, SELU, alpha dropout, LeCun-normal weights.

    Parameters
    ----------
    n_inputs, n_outputs : int
        Widths of input and output.
    hidden_layer_sizes : tuple of int, default=(256, 76, 23, 7)
        Width of each hidden layer; may be empty, which is a linear model.
    dropout, input_dropout : float, default=0.05 and 0.0
        Rates of alpha dropout behind each hidden layer and on the inputs.
    generator : torch.Generator, default=None
        Where initial weights are drawn from; None means torch's global generator.
    dropout_generator : torch.Generator, default=None
        Where masks are drawn from.
    fixed_point : tuple of float, default=(0.0, 1.0)
        Mean and variance that activations settle at. Another one than the paper's gets its own SELU
        (`theory.selu_parameters`) and dropout; for a mean other than 0 the weights of each unit behind
        the first layer, whose inputs have mean 0, start with sum 0, as the theory assumes: else the
        mean of the layer below moves every unit.

    Raises
    ------
    ValueError
        If ``fixed_point`` is no pair of numbers, or no SELU has that fixed point.

    Notes
    -----
    Shape: (n, n_inputs) to (n, n_outputs), the logits. Inputs must have mean 0 and variance 1.
    For another fixed point inside an estimator, give it a callable that pickles:
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
    ):
        super().__init__()
        self.hidden_layer_sizes = tuple(hidden_layer_sizes)
        mean, variance = self.fixed_point = _checked_point(fixed_point)
        self.alpha, self.scale = ALPHA_01, LAMBDA_01  # found once: to solve for them takes a millisecond
        if self.fixed_point != (0.0, 1.0):
            self.alpha, self.scale = map(float, selu_parameters(mean, variance))
        widths = (n_inputs, *self.hidden_layer_sizes, n_outputs)
        self.layers = nn.ModuleList(
            lecun_linear(i, o, generator) for i, o in zip(widths[:-1], widths[1:], strict=True)
        )
        if mean != 0:
            # Not the first: its inputs have mean 0, and what correlated columns share would be lost.
            for layer in self.layers[1:]:
                _centre_(layer.weight)
        self.input_dropout = AlphaDropout(input_dropout, generator=dropout_generator)
        saturation = -self.scale * self.alpha
        self.dropout = AlphaDropout(dropout, mean, variance, dropout_generator, saturation)

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
            What to keep of the inputs and of each hidden layer, n_layers + 1 masks, in place
            of fresh draws; None where nothing is dropped.

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
        """Draw the masks of all hidden layers at once, which small networks are glad of."""
        widths = self.hidden_layer_sizes
        if not self.training or self.dropout.rate == 0:
            return [None] * len(widths)
        sizes = [len(x) * width for width in widths]
        keep = draw_keep((sum(sizes),), self.dropout.rate, self.dropout.generator, x.device, x.dtype)
        return [mask.view(-1, width) for mask, width in zip(keep.split(sizes), widths, strict=True)]


class EncodedNetwork(nn.Module):
    """A network behind the encoding of its inputs: what a fitted estimator holds and exports.

    Parameters
    ----------
    encoder : nn.Module
        Maps raw rows to what the network sees, in float64.
    network : nn.Module
        Any architecture.

    Notes
    -----
    Shape: (n, n_features), raw, to (n, n_outputs).

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

"""Named architectures and how an estimator's parameters become a network."""

from torch import nn

from .networks import SNN

__all__ = ["ARCHITECTURES", "build_network"]

#: Name -> module class with the signature of `sksnn.networks.SNN`.
ARCHITECTURES = {"snn": SNN}


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
    generator, dropout_generator : torch.Generator, default=None
        Sources of initial weights and of dropout masks.

    Returns
    -------
    network : nn.Module

    Raises
    ------
    TypeError
        If the callable returns anything but a module with parameters.

    Examples
    --------
    >>> build_network(nn.Linear, 4, 2, (), 0, 0)
    Linear(in_features=4, out_features=2, bias=True)
    """
    if not callable(architecture):
        return ARCHITECTURES[architecture](
            n_inputs, n_outputs, hidden_layer_sizes, dropout, input_dropout, generator, dropout_generator
        )
    network = architecture(n_inputs, n_outputs)
    if not isinstance(network, nn.Module) or next(network.parameters(), None) is None:
        raise TypeError(
            "architecture must return a torch.nn.Module with parameters when called with "
            f"(n_inputs, n_outputs); got {network!r}."
        )
    return network

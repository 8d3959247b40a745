"""A forward pass: how many rows at once, in which precision, and whether the outputs have the right shape."""

import torch

# Size of a validation or prediction batch, in rows times the width of the widest layer: on a CPU what its
# cache holds (2**18 float64 numbers are 2 MiB), elsewhere what keeps the device busy in bounded memory.
CPU_FORWARD_ELEMENTS, FORWARD_ELEMENTS = 2**18, 2**22
LEAST_FORWARD_ROWS = 256  # with fewer, weights are read more often than rows


def widest_layer(network):
    """Return the width of the widest layer, inputs included."""
    return max((n for p in network.parameters() for n in p.shape), default=1)


def forward_rows(width, device):
    """Return how many rows a forward pass takes at once through layers of at most this width."""
    elements = CPU_FORWARD_ELEMENTS if torch.device(device).type == "cpu" else FORWARD_ELEMENTS
    return max(LEAST_FORWARD_ROWS, elements // max(1, width))


class Forward:
    """Compute outputs of encoded rows as the estimator's parameters say.

    Parameters
    ----------
    n_outputs : int
        Width that outputs must have.
    copies_input : bool
        Whether networks get a copy of their input, since those of a user may change it in place.
    autocast : bool
        Whether to compute in bfloat16.
    """

    def __init__(self, n_outputs, copies_input, autocast):
        self.n_outputs, self.copies_input, self.autocast = n_outputs, copies_input, autocast

    def __call__(self, network, x):
        """Compute the outputs, (n, n_outputs), in the dtype of the weights."""
        x = (
            x.clone() if self.copies_input else x
        )  # batches are views of the rows, which must stay as they are
        if self.autocast:
            # Inside of the caller's autocast a cache would keep weights that steps have changed since.
            with torch.autocast(x.device.type, torch.bfloat16, cache_enabled=False):
                outputs = network(x)
        else:
            outputs = network(x)
        if getattr(outputs, "shape", None) != (len(x), self.n_outputs):
            got = tuple(outputs.shape) if torch.is_tensor(outputs) else type(outputs).__name__
            raise ValueError(
                f"architecture must map (n, {x.shape[1]}) to (n, {self.n_outputs}); for {len(x)} rows it "
                f"returned {got}. Give its last layer n_outputs units, and return its output alone."
            )
        return outputs.float() if self.autocast else outputs

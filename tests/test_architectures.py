"""Names and callables become networks, anything else a TypeError."""

import re

import pytest
import torch
from torch import nn

from sksnn.architectures import ARCHITECTURES, build_network
from sksnn.networks import SNN, AlphaDropout


def seeded():
    return torch.Generator().manual_seed(0)


def test_the_name_snn_is_the_class():
    built = build_network("snn", 5, 3, (8, 4), 0.1, 0.2, generator=seeded())
    direct = SNN(5, 3, (8, 4), 0.1, 0.2, generator=seeded())
    assert repr(built) == repr(direct)
    assert [m.rate for m in built.modules() if isinstance(m, AlphaDropout)] == [0.2, 0.1]
    for ours, expected in zip(built.parameters(), direct.parameters(), strict=True):
        assert torch.equal(ours, expected)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_name_maps_inputs_to_outputs(name):
    masks = seeded()
    net = build_network(name, 5, 3, (8, 4), 0.1, 0.1, generator=seeded(), dropout_generator=masks)
    before = masks.get_state()
    assert net(torch.zeros(7, 5)).shape == (7, 3)
    assert not torch.equal(before, masks.get_state()), "masks come from another generator"


def test_a_callable_gets_the_two_widths_and_decides_the_rest():
    calls = []

    def architecture(*args, **kwargs):
        calls.append((args, kwargs))
        return nn.Sequential(nn.Linear(args[0], 7), nn.Tanh(), nn.Linear(7, args[1]))

    net = build_network(architecture, 5, 3, (8, 4), 0.1, 0.2, generator=seeded())
    assert calls == [((5, 3), {})]
    assert net[0].out_features == 7


@pytest.mark.parametrize(
    "wrong", [None, nn.Linear, nn.ReLU(), lambda x: x], ids=["None", "a class", "no parameters", "a function"]
)
def test_a_wrong_return_is_named(wrong):
    message = (
        "architecture must return a torch.nn.Module with parameters when called with (n_inputs, n_outputs); "
        f"got {wrong!r}."
    )
    with pytest.raises(TypeError, match=re.escape(message)):
        build_network(lambda i, o: wrong, 5, 3, (), 0, 0)

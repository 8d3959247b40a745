"""The engine: networks trained together are those trained alone, whatever is their own."""

import dataclasses
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from conftest import raises
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sksnn import _step
from sksnn._engine import Engine, NonFiniteLoss, Observer, not_finite, raise_if_not_finite
from sksnn._members import BestEpoch, Member
from sksnn._optimizers import OPTIMIZERS, make_optimizer
from sksnn._plan import Plan
from sksnn._rows import Rows
from sksnn._step import Autograd, WrittenOut
from sksnn.architectures import BatchNormNet
from sksnn.encodings import Standardizer
from sksnn.losses import BinaryCrossEntropy, CrossEntropy
from sksnn.networks import SNN, EncodedNetwork

LOSS = CrossEntropy()  # one object: members of one loss are trained in one stack
LAWS = settings(max_examples=40, deadline=None, derandomize=True)
PLAN = Plan(
    n_estimators=1, architecture="snn", hidden_layer_sizes=(8, 5), n_outputs=3, dropout=0.1,
    input_dropout=0.0, standardize=True, encoding=None, precision="float64", standardize_target=False,
    categorical_features=None, has_many_columns=False, n_rows=40, device="cpu", batch_size=16,
    optimizer="adamw", optimizer_params=None, lr=0.01,
    lr_schedule="cosine", weight_decay=0.1, max_grad_norm=None, max_time=None, early_stopping=False, tol=0.0,
    n_iter_no_change=2, loss=CrossEntropy,
)  # fmt: skip


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def make_rows(n, n_inputs, seed):
    x = torch.randn(n, n_inputs, generator=seeded(seed), dtype=torch.float64)
    return Rows(x, (x[:, 0] > 0).long() + (x[:, 1] > 0.5).long())


def make_member(
    seed,
    n=40,
    n_inputs=4,
    sizes=(8, 5),
    watched=False,
    network=SNN,
    dropout=0.1,
    tol=0,
    loss=LOSS,
    scaled=False,
):
    own = {"scale_inputs": True} if scaled else {}
    net = network(n_inputs, 3, sizes, dropout, 0.1, seeded(seed), seeded(seed + 50), **own).double()
    module = EncodedNetwork(Standardizer.identity(n_inputs), net)
    valid = make_rows(15, n_inputs, seed + 100) if watched else None
    best = BestEpoch([net], tol, patience=2) if watched else None
    return Member(module, loss, make_rows(n, n_inputs, seed), valid, seeded(seed + 200), best)


def train(members, n_epochs=6, way=None, optimizer=None, **changes):
    """Train members together; return the engine, which has given everything back."""
    named = {"optimizer": optimizer} if isinstance(optimizer, str) else {}
    plan = dataclasses.replace(PLAN, **changes, **named)
    parameters = [p for member in members for p in member.network.parameters()]
    if not isinstance(optimizer, torch.optim.Optimizer):
        rates = plan.lr, plan.weight_decay, plan.optimizer_params
        optimizer = make_optimizer(plan.optimizer, parameters, *rates)
    engine = Engine(members, optimizer, plan)
    assert way is None or all(type(each) is way for each in engine.ways)
    engine.begin(n_epochs)
    for member in members:
        member.curve = []
    for epoch in range(1, n_epochs + 1):
        engine.begin_epoch()
        engine.run_epoch()
        raise_if_not_finite(engine.active, epoch)
        for member in engine.active:
            member.curve.append(dict(member.losses))
        if engine.end_epoch(epoch):
            break
    engine.release()
    return engine


def assert_alike(together, alone):
    for one, other in zip(together, alone, strict=True):
        assert len(one.curve) == len(other.curve)
        for losses, others in zip(one.curve, other.curve, strict=True):
            assert losses == pytest.approx(others, rel=1e-9)
        for p, q in zip(one.network.parameters(), other.network.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-8, atol=1e-10)


# Settings of the members -> how many are trained together.
KINDS = {
    "alike": ({}, [3]),
    "other inputs": ({"n_inputs": (4, 6, 5)}, [3]),
    "inputs of other magnitude": ({"n_inputs": (4, 8, 6)}, [2, 1]),
    "other numbers of rows": ({"n": (40, 23, 40)}, [2, 1]),
    "other widths": ({"sizes": ((8, 5), (6,), (3, 3, 3))}, [1, 1, 1]),
    "other rates": ({"dropout": (0.1, 0.1, 0.5)}, [2, 1]),
    "batch norm": ({"network": (BatchNormNet, SNN, SNN)}, [1, 2]),
    "scaled inputs": ({"scaled": (True, True, True), "n_inputs": (4, 6, 5)}, [3]),
    "inputs of some scaled": ({"scaled": (True, False, True)}, [2, 1]),
    "few rows": ({"n": (9, 9, 9)}, [3]),
    "other losses": ({"loss": (LOSS, CrossEntropy(label_smoothing=0.2), LOSS)}, [2, 1]),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "changes",
    [{}, {"optimizer": "sgd", "optimizer_params": {"momentum": 0.9}}, {"max_grad_norm": 0.05}],
    ids=["AdamW", "SGD", "clipped"],
)
def test_members_trained_together_are_those_trained_alone(kind, changes):
    """Each with its own first weights, rows, order of rows and dropped units."""
    own, stacks = KINDS[kind]

    def make():
        return [
            make_member(seed, **{name: values[seed] for name, values in own.items()}) for seed in range(3)
        ]

    together, alone = make(), make()
    engine = train(together, **changes)
    assert [len(way.members) for way in engine.ways] == stacks
    for member in alone:
        train([member], **changes)
    assert_alike(together, alone)


@pytest.mark.parametrize("name", ["adamw", "sgd", "rmsprop"])
def test_members_of_different_rates_are_trained_together(name):
    """torch's optimizers take one rate for a group: networks of a group are neighbours in the stack."""
    rates = [(0.01, 0.0), (0.05, 0.1), (0.01, 0.0), (0.001, 0.3), (0.05, 0.1)]

    def groups(member, lr, decay):
        weights = [layer.weight for layer in member.network.layers]
        biases = [layer.bias for layer in member.network.layers]
        return [
            {"params": weights, "lr": lr, "weight_decay": decay},
            {"params": biases, "lr": lr, "weight_decay": 0.0},
        ]

    def merged(members):
        found = {}
        for member, pair in zip(members, rates, strict=True):
            for i, group in enumerate(groups(member, *pair)):
                found.setdefault((*pair, i), {**group, "params": []})["params"] += group["params"]
        return list(found.values())

    together, alone = ([make_member(seed) for seed in range(5)] for _ in range(2))
    engine = train(together, optimizer=OPTIMIZERS[name](merged(together)))
    assert [len(way.members) for way in engine.ways] == [5]
    for member, pair in zip(alone, rates, strict=True):
        train([member], optimizer=OPTIMIZERS[name](groups(member, *pair)))
    assert_alike(together, alone)


@pytest.mark.parametrize(
    ("most", "stacks"), [(5, [5]), (4, [3, 2]), (2, [2, 2, 1]), (1, [1] * 5), (0, [1] * 5)]
)
def test_stacks_are_cut_to_the_memory_that_batches_may_take(most, stacks, monkeypatch):
    bytes_each = 16 * (2 * (8 + 5) + 2 * 8) * 8  # units and activations of two layers, two gradients
    monkeypatch.setattr(_step, "STACK_BYTES", most * bytes_each)
    together, alone = ([make_member(seed) for seed in range(5)] for _ in range(2))
    engine = train(together, way=WrittenOut)
    assert [len(way.members) for way in engine.ways] == stacks
    for member in alone:
        train([member])
    assert_alike(together, alone)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA"), RuntimeError("can't allocate memory: 8")])
def test_stacks_without_memory_are_halved(error, monkeypatch):
    """As torch says it on a GPU and on a CPU; with early stops, after which stacks are made anew."""
    reserve = WrittenOut.reserve

    def reserve_for_two(self, n):
        if len(self.members) > 2:
            raise error
        return reserve(self, n)

    alone, together = ([make_member(seed, watched=True) for seed in range(5)] for _ in range(2))
    for member in alone:
        train([member], n_epochs=12)
    monkeypatch.setattr(WrittenOut, "reserve", reserve_for_two)
    engine = train(together, n_epochs=12, way=WrittenOut)
    assert max(len(way.members) for way in engine.ways) <= 2
    assert_alike(together, alone)


def test_a_network_without_memory_and_other_errors_are_errors(monkeypatch):
    monkeypatch.setattr(WrittenOut, "reserve", Mock(side_effect=torch.OutOfMemoryError("CUDA")))
    with pytest.raises(torch.OutOfMemoryError, match="CUDA"):
        train([make_member(seed) for seed in range(3)])
    reserve = Mock(side_effect=RuntimeError("another"))
    monkeypatch.setattr(WrittenOut, "reserve", reserve)
    with pytest.raises(RuntimeError, match="another"):
        train([make_member(seed) for seed in range(3)])
    assert reserve.call_count == 1


@pytest.mark.parametrize("sizes", [(8, 5), ()])
def test_both_ways_train_the_same_networks(sizes, monkeypatch):
    written_out, autograd = ([make_member(seed, sizes=sizes) for seed in range(3)] for _ in range(2))
    train(written_out, way=WrittenOut)
    monkeypatch.setattr(WrittenOut, "fits", staticmethod(lambda network, optimizer: False))
    train(autograd, way=Autograd)
    assert_alike(written_out, autograd)


@pytest.mark.parametrize("way", [WrittenOut, Autograd])
def test_a_member_that_is_done_is_left_alone_and_the_others_go_on(way):
    """With early stopping at different epochs; a step of Adam without a gradient would move weights."""
    network = SNN if way is WrittenOut else BatchNormNet

    def make():
        return [make_member(seed, watched=True, network=network, tol=0.02 * seed) for seed in range(4)]

    together, alone = make(), make()
    engine = train(together, n_epochs=25, way=way, lr=0.05, lr_schedule="constant")
    for member in alone:
        train([member], n_epochs=25, lr=0.05, lr_schedule="constant")
    n_epochs = {len(member.curve) for member in together}
    assert len(n_epochs) > 1, "all stopped at once: the test shows nothing"
    assert_alike(together, alone)
    assert [m.best.best_epoch for m in together] == [m.best.best_epoch for m in alone]
    # Members that stop change places in stacks; moments that are carried over are matched by position.
    order = [p for m in together for p in m.network.parameters()]
    for group in engine.optimizer.param_groups:
        assert [id(p) for p in group["params"]] == [
            id(p) for p in order if id(p) in set(map(id, group["params"]))
        ]


@pytest.mark.parametrize("network", [SNN, BatchNormNet])
def test_members_may_have_their_best_epoch_together(network):
    """Where the mean of their losses is least, with the weights that they had then."""
    settings = {"lr": 0.05, "lr_schedule": "constant"}
    members, free = (
        [make_member(seed, watched=True, network=network) for seed in range(3)] for _ in range(2)
    )
    best = BestEpoch([m.network for m in members], tol=0.0, patience=3)
    for member in members:
        member.best = best
    train(members, n_epochs=40, **settings)
    means = np.mean([[losses["valid"] for losses in m.curve] for m in members], axis=0)
    assert best.best_epoch == means.argmin() + 1 and len(means) == best.best_epoch + 3
    for member in free:
        member.best = None
    train(free, n_epochs=best.best_epoch, **settings)
    best.restore()
    for one, other in zip(members, free, strict=True):
        for p, q in zip(one.network.parameters(), other.network.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-8, atol=1e-10)


@LAWS
@given(
    k=st.integers(1, 4),
    sizes=st.lists(st.integers(1, 7), max_size=3).map(tuple),
    n=st.integers(1, 9),
    dropout=st.sampled_from([0.0, 0.3]),
    tasks=st.booleans(),
)
def test_the_gradient_of_several_networks_is_that_of_each(k, sizes, n, dropout, tasks):
    """Loss, outputs and every gradient, also where labels are missing and rows have weights."""
    criterion = BinaryCrossEntropy(masked=True) if tasks else CrossEntropy(label_smoothing=0.1)
    batches = []
    for j in range(k):
        x, weight = torch.randn(n, 4, generator=seeded(j), dtype=torch.float64), None
        y = (torch.arange(n) + j) % 3
        if tasks:
            y = torch.rand(n, 3, generator=seeded(j), dtype=torch.float64).round()
            y[0, j % 3], weight = torch.nan, torch.linspace(0.5, 2, n, dtype=torch.float64)[:, None]
        batches.append(Rows(x, y, weight))
    networks, plain = (
        [SNN(4, 3, sizes, dropout, 0.0, seeded(j), seeded(9 + j)).double().train() for j in range(k)]
        for _ in range(2)
    )
    optimizer = torch.optim.Adam([p for network in networks for p in network.parameters()])
    y, weight = (
        None if values[0] is None else torch.stack(values)
        for values in ([b.y for b in batches], [b.weight for b in batches])
    )
    stack = Rows(torch.stack([batch.inputs for batch in batches]), y, weight)
    way = WrittenOut(
        [SimpleNamespace(network=network, sources=None, criterion=criterion) for network in networks],
        optimizer,
        forward=None,
    )
    losses, outputs = way.gradient(stack if k > 1 else batches[0])
    losses, outputs = (losses, outputs) if k > 1 else ([losses], [outputs])
    for j, batch in enumerate(batches):
        output = plain[j](batch.inputs)
        loss = criterion(output, batch.y, batch.weight)
        loss.backward()
        torch.testing.assert_close(losses[j], loss.detach())
        torch.testing.assert_close(outputs[j], output.detach())
        for p, q in zip(networks[j].parameters(), plain[j].parameters(), strict=True):
            torch.testing.assert_close(p.grad, q.grad, rtol=1e-9, atol=1e-12)


def test_a_stack_makes_all_that_it_needs_on_the_device_of_its_networks():
    """On torch's device without numbers: a tensor left on the CPU would be an error, as on a GPU."""
    networks = [SNN(4, 3, (8, 5), 0.0).to("meta") for _ in range(3)]
    members = [
        SimpleNamespace(network=net, module=SimpleNamespace(network=net), sources=None, criterion=LOSS)
        for net in networks
    ]
    optimizer = torch.optim.Adam([p for network in networks for p in network.parameters()])
    x, y = torch.empty(3, 7, 4, device="meta"), torch.empty(3, 7, dtype=torch.int64, device="meta")
    losses, outputs = WrittenOut(members, optimizer, forward=None).gradient(Rows(x, y))
    assert (losses.shape, outputs.shape) == ((3,), (3, 7, 3))
    assert {p.grad.device.type for network in networks for p in network.parameters()} == {"meta"}


def test_a_loss_that_is_not_a_number_is_noticed_at_the_end_of_its_epoch():
    members = [make_member(0), make_member(1)]
    members[1].rows.inputs[3, 2] = torch.nan
    with pytest.raises(NonFiniteLoss) as caught:
        train(members)
    assert (caught.value.epoch, caught.value.phase, caught.value.member) == (1, "train", members[1])
    assert not_finite(members[:1]) is None and not_finite(members) is members[1]


def test_members_that_watch_and_members_that_do_not_are_refused():
    with raises("members must all have validation rows, or none; BestEpoch needs them."):
        train([make_member(0), make_member(1, watched=True)])


def test_an_observer_sees_the_batches_of_each_member_and_may_replace_parameters():
    seen = []

    class Watch(Observer):
        def end_batch(self, batch, training, loss, output):
            seen.append((len(batch), training, output.shape == (len(batch), 3)))

        def see_gradient(self, batch, member):
            if len(seen) == 2:
                members[0].network.layers[0].weight.requires_grad_(False)

    members = [make_member(0, watched=True), make_member(1, watched=True)]
    parameters = [p for member in members for p in member.network.parameters()]
    watch = Watch(batches=True, gradients=True, may_touch=True)
    engine = Engine(members, torch.optim.Adam(parameters), PLAN, watch)
    assert engine.ways[0].is_intact() and not engine.ways[0]._is_released
    engine.run_epoch()
    assert engine.ways[0]._is_released
    assert seen == [(16, True, True)] * 4 + [(8, True, True)] * 2 + [(15, False, True)] * 2
    frozen = members[0].network.layers[0].weight.clone()
    engine.run_epoch()
    assert torch.equal(members[0].network.layers[0].weight, frozen)


def test_networks_own_their_parameters_after_training():
    """With one optimizer state for each parameter, as if each had been trained alone."""
    members = [make_member(seed) for seed in range(3)]
    engine = train(members, way=WrittenOut)
    for member in members:
        for p in member.network.parameters():
            assert p.untyped_storage().nbytes() == p.nbytes
            assert engine.optimizer.state[p]["exp_avg"].shape == p.shape
    trained = [p for group in engine.optimizer.param_groups for p in group["params"]]
    assert {id(p) for p in trained} == {id(p) for m in members for p in m.network.parameters()}
    assert all(type(p) is nn.Parameter for p in trained)

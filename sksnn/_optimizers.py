"""torch's optimizers by name, weight decay for weights alone, and an optimizer that goes on from another."""

import inspect
from typing import Any

import torch

#: Name -> class of torch's optimizers that can train any parameter of a network.
OPTIMIZERS: dict[str, Any] = {
    name.lower(): cls
    for name, cls in vars(torch.optim).items()
    if inspect.isclass(cls) and name not in ("Optimizer", "SparseAdam", "Muon")
}


def make_optimizer(optimizer, parameters, lr, weight_decay, optimizer_params):
    """Build a torch optimizer; weight decay acts on weights, not on biases and factors of inputs.

    Parameters
    ----------
    optimizer : str or type
        A key of `OPTIMIZERS` or a class.
    parameters : iterable of nn.Parameter
        Vectors and scalars among them (biases, gains, factors of inputs) are not decayed.
    lr, weight_decay : float
    optimizer_params : dict or None
        Further arguments of the class.

    Returns
    -------
    optimizer : torch.optim.Optimizer

    Raises
    ------
    ValueError
        If the optimizer has no weight decay, refuses an argument, or cannot train a network.
    """
    cls = OPTIMIZERS[optimizer] if isinstance(optimizer, str) else optimizer
    if not issubclass(cls, torch.optim.Optimizer):
        raise ValueError(f"optimizer must be a name or a subclass of torch.optim.Optimizer; got {cls!r}.")
    if issubclass(cls, torch.optim.SparseAdam):
        raise ValueError(
            "optimizer SparseAdam takes sparse gradients only, which no network here has. Use Adam."
        )
    accepted = inspect.signature(cls).parameters
    # Frozen ones among them, as in skorch: they have no gradient, and states are matched by position.
    parameters = list(parameters)
    if not any(p.requires_grad for p in parameters):
        raise ValueError("architecture has no parameter that requires a gradient: there is nothing to train.")
    extra = dict(optimizer_params or {})
    if extra.get("differentiable"):
        raise ValueError(
            "optimizer_params must not hold 'differentiable': True, which is for gradients of training "
            "itself. Leave it out."
        )
    for name in {"lr", "weight_decay", "params"} & extra.keys():
        raise ValueError(f"optimizer_params must not hold {name!r}; got {extra[name]!r}. Set {name} itself.")
    if weight_decay and "weight_decay" not in accepted:
        raise ValueError(
            f"optimizer {cls.__name__} has no weight_decay; got {weight_decay} (0.3 is the "
            "classifier's default). Use 0, or 'adamw'."
        )
    if "fused" in accepted and not {"foreach", "differentiable"} & extra.keys() and _can_fuse(parameters):
        extra.setdefault("fused", True)
    decayed, kept = [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim <= 1]
    groups = decayed + kept  # in this order with and without decay: states are matched by position
    if "weight_decay" in accepted and not weight_decay:  # torch's defaults differ between classes
        extra["weight_decay"] = 0.0
    elif "weight_decay" in accepted:
        groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]
        groups = [group for group in groups if group["params"]]
    try:
        return cls(groups, lr=lr, **extra)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"optimizer {cls.__name__} refuses optimizer_params={optimizer_params!r} or the network: {error}."
        ) from error


def _can_fuse(parameters):
    # One kernel for all parameters: fewer launches, which is what small nets wait for.
    return all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in parameters)


def carry_over(optimizer, state, moments, rates):
    """Go on from the state of an earlier optimizer: from its moments, from its rates, or from both.

    Decays stay the new one's. Rates are where the user's scheduler had brought them; a new rate
    is where it begins from, which schedulers that go on look for in "initial_lr".
    """
    settings = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    if moments:
        optimizer.load_state_dict(state)
    earlier = state["param_groups"][0]  # rates are the same for weights and biases
    kept = {key: earlier[key] for key in ("lr", "initial_lr") if rates and key in earlier}
    for group, new in zip(optimizer.param_groups, settings, strict=True):
        group.pop("initial_lr", None)
        group.update({**new, **kept})
        group.setdefault("initial_lr", group["lr"])


def unite(optimizers):
    """Make one optimizer of several of a class: what has equal settings is one group."""
    groups: dict = {}
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            settings = {name: value for name, value in group.items() if name != "params"}
            groups.setdefault(repr(settings), {**settings, "params": []})["params"] += group["params"]
    united = type(optimizers[0])(list(groups.values()))
    for optimizer in optimizers:
        united.state.update(optimizer.state)
    return united


def divide(united, optimizers):
    """Give several optimizers back what the one that `unite` has made of them has become."""
    groups = {id(p): group for group in united.param_groups for p in group["params"]}
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            settings = groups[id(group["params"][0])]
            group.update({name: value for name, value in settings.items() if name != "params"})
            optimizer.state.update({p: united.state[p] for p in group["params"] if p in united.state})

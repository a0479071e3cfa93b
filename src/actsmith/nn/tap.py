"""Taps: how entropy descent reads the pre-activations of a layer in passing, and sees its outputs again.

A tap sits in front of one module as a forward pre-hook. Unless it is armed it does nothing; armed, it takes a few
elements of every input that passes. What it does then is plain indexing of tensors, so that torch.compile takes it into
the graph, and all randomness was drawn when it was armed.

| symbol | meaning                                                                  | shape  |
|--------|--------------------------------------------------------------------------|--------|
| x      | sampled pre-activations; G = 1 law, or one for each channel              | (G, n) |
| z      | what the module makes of them, differentiable in its parameters          | (G, n) |
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from actsmith.errors import ActsmithError
from actsmith.nn.activation import Activation
from actsmith.nn.kan import KANLinear
from actsmith.nn.spline_activation import SplineActivation

__all__ = ["Channels", "Edges", "Elements", "Tap", "taps_of"]

EDGES = 64
"""Edges of a KAN layer that one update looks at."""
MOST_CALLS = 64
"""Calls of a module that one sample draws from; what comes after is not looked at."""
FAR = 1 << 40


class Tap:
    """The sample of one module's inputs. Subclasses say what its elements are and what the module makes of them.

    Attributes:
        path, module: where it sits.
        parameters: those that training changes.
        armed: whether inputs are sampled now, in training mode.
        draw: whole random numbers, (n,) on the module's device; they choose the elements.
        taken: what was sampled since it was armed, one tensor for each call of the module.
    """

    groups = 1

    def __init__(self, path: str, module: nn.Module) -> None:
        self.path = path
        self.module = module
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self.armed = False
        self.draw = torch.empty(0, dtype=torch.int64)
        self.taken: list[Tensor] = []
        self.handle = module.register_forward_pre_hook(self._hook, with_kwargs=True)

    def arm(self, samples: int, generator: torch.Generator) -> None:
        """Sample the inputs from now on, `samples` of each."""
        self.taken.clear()
        self.draw = torch.randint(FAR, (samples,), generator=generator).to(self.parameters[0].device)
        self.armed = True

    def sample(self, samples: int) -> Tensor | None:
        """What was taken, `samples` in all at most, an equal part of every call; None without. Disarms."""
        self.armed = False
        taken = [t for t in self.taken if t.shape[-1]]
        self.taken.clear()
        if not taken:
            return None
        part = -(-samples // len(taken))
        wide = torch.promote_types(self.parameters[0].dtype, torch.float32)
        return torch.cat([t[..., :part] for t in taken], -1).to(self.parameters[0].device, wide)

    def _hook(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.armed and module.training and len(self.taken) < MOST_CALLS:
            x = args[0] if args else next(iter(kwargs.values()))
            self.taken.append(self.take(x.detach()))

    def take(self, x: Tensor) -> Tensor:
        """The sample of one input, the sampled places in the last dimension."""
        return _chosen(x, self.draw)

    def outputs(self, x: Tensor) -> Tensor:
        """z of x; past the module's hooks."""
        z: Tensor = self.module.forward(x)
        return z


class Elements(Tap):
    """All elements of the input follow one law."""

    def take(self, x: Tensor) -> Tensor:
        return super().take(x)[None]


class Channels(Tap):
    """Every channel has parameters, so a law, of its own."""

    module: Activation

    def __init__(self, path: str, module: Activation) -> None:
        super().__init__(path, module)
        self.groups = module.channels or 1

    def take(self, x: Tensor) -> Tensor:
        return _chosen(x.movedim(self.module.channel_dim, -1), self.draw, keep=1).T

    def outputs(self, x: Tensor) -> Tensor:
        z: Tensor = self.module.forward(self.placed(x))
        return z.reshape(self.groups, -1) if self.module.channel_dim == 0 else z.reshape(-1, self.groups).T

    def placed(self, x: Tensor) -> Tensor:
        """x (G, n) with the channels in the dimension where the module looks for them."""
        dim = self.module.channel_dim
        if dim == 0:
            return x
        before, after = (dim - 1, 0) if dim > 0 else (0, -dim - 1)
        return x.T.reshape(-1, *[1] * before, self.groups, *[1] * after)


class Edges(Tap):
    """The edge functions of a KAN layer, each of its own input's law: some of them at each update, drawn at random."""

    module: KANLinear

    def __init__(self, path: str, module: KANLinear) -> None:
        super().__init__(path, module)
        self.groups = min(EDGES, module.in_features * module.out_features)
        self.edges = torch.arange(self.groups)

    def arm(self, samples: int, generator: torch.Generator) -> None:
        super().arm(samples, generator)
        count = self.module.in_features * self.module.out_features
        self.edges = torch.randperm(count, generator=generator)[: self.groups].to(self.draw.device)

    def take(self, x: Tensor) -> Tensor:
        return _chosen(x, self.draw, keep=1).T

    def outputs(self, x: Tensor) -> Tensor:
        return self.module.edge_outputs(x, self.edges // self.module.in_features, self.edges % self.module.in_features)


def taps_of(model: nn.Module) -> Iterator[Tap]:
    """A tap for every module of ours with learnable parameters, in the model's order.

    Raises:
        ActsmithError: the model has none.
    """
    found = False
    for path, module in model.named_modules():
        if not any(p.requires_grad for p in module.parameters(recurse=False)):
            continue
        if isinstance(module, KANLinear):
            yield Edges(path, module)
        elif isinstance(module, Activation) and module.share == "channel":
            yield Channels(path, module)
        elif isinstance(module, Activation | SplineActivation):
            yield Elements(path, module)
        else:
            continue
        found = True
    if not found:
        raise ActsmithError(
            f"entropy descent: {type(model).__name__} has no activation with learnable parameters; put some in, as "
            "with acts.replace_(model, HermiteActivation('gelu'))"
        )


def _chosen(x: Tensor, draw: Tensor, keep: int = 0) -> Tensor:
    """The elements, or rows of the last `keep` dimensions, at random places; all where there are no more than drawn.

    By the index of every dimension: flattening would copy an input that is not contiguous.
    """
    shape = x.shape[: x.ndim - keep]
    count = shape.numel()
    if count <= draw.numel():
        return x.flatten(0, x.ndim - 1 - keep) if x.ndim > keep else x[None]
    rest, places = draw % count, []
    for size in reversed(shape):
        places.append(rest % size)
        rest = rest // size
    return x[tuple(reversed(places))]

"""Taps: how entropy descent reads the pre-activations of a layer in passing, and sees its outputs again.

A tap sits in front of one module as a forward pre-hook. Unless it is armed it does nothing; armed, it takes a few
elements of the input that passes. A later input of the same step replaces a share of them, so that in the end every
call has the same: the c-th takes each place with probability 1/c (reservoir sampling). What a hook does is plain
indexing of tensors of fixed sizes, so that torch.compile takes it into the graph, and all randomness was drawn before.

| symbol | meaning                                                                  | shape  |
|--------|--------------------------------------------------------------------------|--------|
| x      | sampled pre-activations: one row, or one for each channel or input       | (., n) |
| z      | what the module makes of them, differentiable in its parameters; G laws  | (G, n) |
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from actsmith.errors import ActsmithError
from actsmith.nn.activation import Activation
from actsmith.nn.jet_tensor import Jet
from actsmith.nn.kan import KANLinear
from actsmith.nn.spline_activation import SplineActivation

__all__ = ["Channels", "Edges", "Elements", "Tap", "taps_of"]

EDGES = 64
"""Edges of a KAN layer that one update looks at."""
CALLS = 63
"""Calls of a module in one step that have an equal share of the sample; each one after them takes 1/63 of it."""
FAR = 1 << 40


@lru_cache(maxsize=8)
def _turns(samples: int) -> Tensor:
    """Whole numbers (n,), bit c set where a place of the sample goes to call c: with probability 1/(c + 1)."""
    calls = torch.arange(CALLS, device="cpu")[:, None]
    chance = torch.rand(CALLS, samples, generator=torch.Generator().manual_seed(0), device="cpu")
    return ((chance < 1 / (calls + 1)).long() << calls).sum(0)


class Tap:
    """The sample of one module's inputs. Subclasses say what its elements are and what the module makes of them.

    Attributes:
        path, module: where it sits.
        parameters: its learnable ones, when it was made.
        armed: whether inputs are sampled now, in training mode.
        draw: whole random numbers, (n,) on the module's device; they choose the elements.
        pool: what was sampled since it was armed, (G, n) or fewer; None before the first call.
        calls: how many came after the first.
    """

    groups = 1

    def __init__(self, path: str, module: nn.Module) -> None:
        self.path = path
        self.module = module
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self.armed = False
        self.draw = torch.empty(0, dtype=torch.int64)
        self.pool: Tensor | None = None
        self.calls = torch.zeros((), dtype=torch.int64)
        self.turns = torch.empty(0, dtype=torch.int64)
        self.handle = module.register_forward_pre_hook(self._hook, with_kwargs=True)

    def arm(self, samples: int, generator: torch.Generator) -> None:
        """Sample the inputs from now on, `samples` of each law."""
        device = self.parameters[0].device
        if len(self.turns) != samples or self.turns.device != device:
            self.turns = _turns(samples).to(device)
        self.pool = None
        self.calls = torch.zeros((), dtype=torch.int64, device=device)
        self.draw = torch.randint(FAR, (samples,), generator=generator, device="cpu").to(device)
        self.armed = True

    def disarm(self) -> Tensor | None:
        """Sample no more: what was taken, as wide as the parameters and float32 at least; None without."""
        pool, self.pool, self.armed = self.pool, None, False
        if pool is None:
            return None
        p = self.parameters[0]
        return pool.to(p.device, torch.promote_types(p.dtype, torch.float32))

    def _hook(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not (self.armed and module.training):
            return
        x = args[0] if args else next(iter(kwargs.values()), None)
        x = x.value if isinstance(x, Jet) else x
        if not (isinstance(x, Tensor) and x.is_floating_point() and x.numel() and self.fits(x)):
            return  # nothing to see, or the module's own error comes next
        if self.pool is None:
            self.pool = self.take(x.detach(), self.draw)
        else:
            self.calls.add_(1)
            n = self.pool.shape[-1]
            fresh = self.take(x.detach(), self.draw[:n], exactly=True).to(self.pool.dtype)
            turn = (self.turns[:n] >> self.calls.clamp(max=CALLS - 1)) & 1
            self.pool = torch.where(turn == 1, fresh, self.pool)

    def fits(self, x: Tensor) -> bool:
        """Whether the module takes such an input."""
        return True

    def take(self, x: Tensor, draw: Tensor, *, exactly: bool = False) -> Tensor:
        """The sample of one input, the places in the last dimension: as many as drawn, or all where there are fewer."""
        return _chosen(x, draw, exactly)

    @property
    def inputs(self) -> int:
        """Rows of a sample."""
        return self.groups

    def seen(self, x: Tensor) -> Tensor:
        """What each law's function sees of a sample, (G, n)."""
        return x

    def outputs(self, x: Tensor) -> Tensor:
        """z of x; past the module's hooks."""
        z: Tensor = self.module.forward(x)
        return z


class Elements(Tap):
    """All elements of the input follow one law."""

    def take(self, x: Tensor, draw: Tensor, *, exactly: bool = False) -> Tensor:
        return super().take(x, draw, exactly=exactly)[None]


class Channels(Tap):
    """Every channel has parameters, so a law, of its own."""

    module: Activation

    def __init__(self, path: str, module: Activation) -> None:
        super().__init__(path, module)
        self.groups = module.channels or 1

    def fits(self, x: Tensor) -> bool:
        dim = self.module.channel_dim
        return -x.ndim <= dim < x.ndim and x.shape[dim] == self.groups

    def take(self, x: Tensor, draw: Tensor, *, exactly: bool = False) -> Tensor:
        return _chosen(x.movedim(self.module.channel_dim, -1), draw, exactly, keep=1).T

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
        chosen = torch.randperm(count, generator=generator, device="cpu")[: self.groups]
        self.edges = chosen.to(self.draw.device)

    def fits(self, x: Tensor) -> bool:
        return x.shape[-1:] == (self.module.in_features,)

    def take(self, x: Tensor, draw: Tensor, *, exactly: bool = False) -> Tensor:
        return _chosen(x, draw, exactly, keep=1).T

    @property
    def inputs(self) -> int:
        return self.module.in_features

    def seen(self, x: Tensor) -> Tensor:
        return x[self.edges % self.module.in_features]

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


def _chosen(x: Tensor, draw: Tensor, exactly: bool, keep: int = 0) -> Tensor:
    """The elements, or rows of the last `keep` dimensions, at random places; a copy.

    All where there are no more than drawn, unless `exactly` as many are wanted. By the index of every dimension:
    flattening would copy an input that is not contiguous.
    """
    shape = x.shape[: x.ndim - keep]
    count = shape.numel()
    if count == draw.numel() or (count < draw.numel() and not exactly):
        return x.reshape(-1, *x.shape[x.ndim - keep :]).clone()
    rest, places = draw % count, []
    for size in reversed(shape):
        places.append(rest % size)
        rest = rest // size
    return x[tuple(reversed(places))]

"""Whether a network carries a signal with the activations that it has: one batch forward and backward through it.

| symbol     | meaning                                                                                        |
|------------|------------------------------------------------------------------------------------------------|
| deviation  | standard deviation over the examples of a batch, over the root mean square: 0 says nothing      |
| growth     | root mean square behind the last activation over that behind the first                          |
| gradient   | root mean square of the loss's gradient in an activation's output                               |

Criticality says what a plain deep network would do; a normalised or residual one does something else, so here the
network itself is asked. Refused is only what cannot be trained: what is not finite, what is the same for every example,
and gradients that vanish or explode on their way to the first activation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import inf, isfinite
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from actsmith.errors import ActsmithError
from actsmith.nn.private import inside_compiled
from actsmith.nn.untouched import untouched
from actsmith.surgery.observe import Place
from actsmith.surgery.proof import tensors_in
from actsmith.surgery.running import run_batch
from actsmith.surgery.sites import LOOKED_FOR, observing

__all__ = ["Signal", "SiteSignal", "signal"]

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)

SAME = 1e-6
"""A smaller relative deviation is float32's rounding."""
FAR = 1e7
"""Times that the gradients of the first and the last activation may differ: the reach of float32's digits."""


@dataclass(frozen=True)
class SiteSignal:
    """One call of an activation.

    Attributes:
        path: of the site.
        rms: root mean square of its output.
        deviation: of its output, over the examples.
        gradient: of the loss in its output; None where none reaches it.
    """

    path: str
    rms: float
    deviation: float
    gradient: float | None


@dataclass(frozen=True)
class Signal:
    """What became of one batch.

    Attributes:
        sites: the calls of activations in the order of execution, squashes (squeeze-and-excitation) left out.
        deviation: over the examples, of what the network returned.
        reason: why it cannot be trained; None where it can, as far as one batch tells.
    """

    sites: tuple[SiteSignal, ...]
    deviation: float
    reason: str | None

    @property
    def carries(self) -> bool:
        """Whether there is no reason against training it."""
        return self.reason is None

    @property
    def growth(self) -> float:
        """Root mean square behind the last activation over that behind the first."""
        first, last = self.sites[0].rms, self.sites[-1].rms
        return last / first if first else inf if last else 1.0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "carries": self.carries, "growth": self.growth}


def signal(model: nn.Module, inputs: Any, loss: Callable[[nn.Module, Any], Tensor] | None = None) -> Signal:
    """One batch through the network as it stands, forward and backward; the network is left as it was.

    Dropout is off, batch normalisation takes the batch's own statistics, as in training.

    Args:
        model: any module, its activations modules or swapped in by `replace_`.
        inputs: a batch of two examples or more, as `probe` takes it; with `loss`, whatever that takes.
        loss: (model, batch) -> a scalar, as `Problem.loss`; by default the `.loss` of what the model returns, or else a
            fixed random combination of its outputs.

    Raises:
        ActsmithError: no activation runs, or no gradient can be had.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
        >>> signal(model, torch.randn(16, 4)).carries
        True
    """
    model = inside_compiled(model)
    watch = _Watch(model)
    with untouched(model, training=False, grad=True), watch.observer.watching(), watch.root():
        for module in model.modules():
            if isinstance(module, _BATCH_NORMS):
                module.train()
        torch.manual_seed(0)
        if loss is not None:
            value = loss(model, inputs)
        else:
            output = run_batch(model, inputs, targets=True)
            value = _value(output)
        return watch.result(value)


def _value(output: Any) -> Tensor:
    own = getattr(output, "loss", None)
    if isinstance(own, Tensor) and own.numel() == 1:
        return own
    tensors = [t for t in tensors_in(output) if t.is_floating_point() and t.requires_grad]
    if not tensors:
        raise ActsmithError("signal: nothing that the model returns has a gradient; give loss=lambda model, batch: ...")
    return torch.stack([(t.float() * torch.randn_like(t, dtype=torch.float32)).mean() for t in tensors]).sum()


class _Watch:
    """Remembers of every call of an activation what its output was like, and where its gradient is to be had."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.observer = observing(model, after=self._after, follow=True)
        self.calls: list[tuple[Place, float, float, GradientEdge | None]] = []
        self.deviation: float | None = None

    def root(self) -> Any:
        """Watches what the whole network returns."""

        def returned(_: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any], output: Any) -> None:
            given = [t for t in tensors_in([list(arguments), keywords]) if t.ndim]
            found = [t for t in tensors_in(output) if t.is_floating_point() and t.ndim]
            found = [t for t in found if not given or t.shape[0] == given[0].shape[0]]
            if found:
                self.deviation = max(_moments(t)[1] for t in found)

        return self.model.register_forward_hook(returned, with_kwargs=True)

    def _after(self, place: Place, y: Tensor) -> None:
        if y.is_floating_point() and y.ndim and y.numel():
            self.calls.append((place, *_moments(y), get_gradient_edge(y) if y.requires_grad else None))

    def result(self, value: Tensor) -> Signal:
        calls = [call for call in self.calls if not self.observer.calls[call[0]].scaling] or self.calls
        if not calls:
            name = type(self.model).__name__
            raise ActsmithError(f"signal: no activation of {name} runs on the batch; looked for {LOOKED_FOR}")
        edges = [edge for *_, edge in calls if edge is not None]
        if not value.requires_grad or not edges:
            raise ActsmithError("signal: the loss does not depend on what the activations get; is the model frozen?")
        grads = iter(torch.autograd.grad(value, edges, allow_unused=True))
        sites = []
        for place, rms, deviation, edge in calls:
            grad = next(grads) if edge is not None else None
            size = None if grad is None else float(grad.double().square().mean().sqrt())
            sites.append(SiteSignal(place.path, rms, deviation, size))
        shown = self.deviation if self.deviation is not None else sites[-1].deviation
        return Signal(tuple(sites), shown, _reason(sites, shown))


def _moments(y: Tensor) -> tuple[float, float]:
    """Root mean square, and the deviation over the first dimension in its units."""
    y = y.detach().double()
    rms = float(y.square().mean().sqrt())
    spread = float(y.var(0, correction=0).mean().sqrt()) if len(y) > 1 else 0.0
    return rms, spread / rms if rms else 0.0


def _reason(sites: list[SiteSignal], deviation: float) -> str | None:
    count = len(sites)
    for i, site in enumerate(sites, 1):
        if not isfinite(site.rms):
            return f"its output is not finite behind activation {i} of {count} ({site.path})"
    if max(deviation, sites[-1].deviation) < SAME:  # a readout that starts at zero says nothing yet
        dead = next(i for i, site in enumerate(sites, 1) if site.deviation < SAME)
        return (
            f"from activation {dead} of {count} ({sites[dead - 1].path}) on its output is the same for every example "
            f"(relative deviation {sites[dead - 1].deviation:.1e})"
        )
    if not isfinite(deviation):
        return "what the network returns is not finite"
    return _gradient_reason([site.gradient for site in sites if site.gradient is not None])


def _gradient_reason(gradients: list[float]) -> str | None:
    if not all(isfinite(g) for g in gradients):
        return "its gradient is not finite"
    first, last = gradients[0], gradients[-1]
    if last == 0:  # the readout starts at zero: there is no gradient yet, whatever the activation
        return None
    if first * FAR < last or first > last * FAR:
        how = "vanishes" if first < last else "explodes"
        return (
            f"its gradient {how} on the way from the last activation to the first: it is {first / last:.1e} times as "
            "large there"
        )
    return None

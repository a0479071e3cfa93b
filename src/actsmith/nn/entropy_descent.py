"""`EntropyDescent`: the activations of a network follow the entropy of their outputs while the network learns.

    loss = task loss + weight schedule(step) sum over layers of J(f_l(X_l; theta_l))          (EAFO, arXiv:2405.12954)

J is a property of a law, not of a batch, so it is not part of the loss: every few steps a sample of each layer's
pre-activations gives the histogram of the layer's outputs, the histogram the score, and the score the gradient

    dJ/dtheta = sum_i dJ/dz_i df/dtheta(x_i)

which is added to the parameters' `.grad` at every step until the next sample (see `output_score`).
"""

from __future__ import annotations

from collections.abc import Callable
from math import cos, isfinite, pi
from types import TracebackType
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from actsmith.errors import ActsmithError
from actsmith.nn.hook import Hook
from actsmith.nn.kept_critical import KeptCritical
from actsmith.nn.output_score import (
    GRID,
    Objective,
    counts_of,
    entropy_of,
    score_of,
    slope_of,
    standardised,
    sums_of,
)
from actsmith.nn.tap import Edges, Tap, taps_of

__all__ = ["EntropyDescent", "cosine"]

Schedule = Callable[[int], float]


class EntropyDescent(Hook):
    """Adds the gradient of the entropy of the activations' outputs to what the task's loss gives.

        descent = EntropyDescent(model, weight=1e-3)
        ...
        loss.backward()
        descent.step()        # between backward and the optimiser's step
        optimiser.step()

    It serves every `Activation`, `SplineActivation` and `KANLinear` of the model that has learnable parameters; in a
    KAN layer J is summed over its edges, each edge function's output by itself: over 64 of them, drawn anew at each
    update, where it has more. With share="channel", every channel has its own law and entropy.

    No forward pass is added: on every `every`-th step the modules' inputs are sampled as they pass, in training mode.
    Create it before `torch.compile` first runs the model. Under torch.distributed, sums, histograms and gradients are
    summed over the processes, all of which must step alike. With gradient accumulation, step once, after the last
    backward pass. With a GradScaler, unscale first, or give `step(scale=scaler.get_scale())`. Where gradients are
    clipped, step afterwards if the entropy's are not to be. `state_dict` belongs in the checkpoint.

    Args:
        model: what is trained.
        weight: of the entropy in the loss. Positive lowers it, the direction of the theory (THEORY 1.5 and 4); negative
            raises it, the sign that the paper published.
        every: steps from one sample to the next.
        samples: pre-activations of each law in a sample.
        objective: "smoothed", J_0.1 = H((Z - E Z)/std Z + 0.1 N), for any f; "scale_free", H(Z) - log std Z, for
            strictly monotone f: its score is not integrable where f folds, and it has no value where f is flat.
        keep: "critical" keeps E f^2, E f'^2 and E[x f f'] under N(0, 1), on which critical initialisation rests, as
            they are: the gradients of the activations' parameters, the task's part included, are projected, and at
            each update what the optimiser's steps have moved is brought back.
        schedule: step -> factor of the weight; constant 1 by default.
        memory: how much of the histogram stays at an update. 0.9 averages over about 19 samples.
        seed: of the draws.
        group: the torch.distributed group; the default one by default.

    Attributes:
        steps: how many were taken.
        entropy: path -> J_0.1 in nats at the last update, a tensor with a value for each law of the layer.

    Raises:
        ActsmithError: a bad argument; a model without such activations; "scale_free" for a formula that is not strictly
            monotone; "critical" where parameters are too few.

    Example:
        >>> from actsmith.nn import HermiteActivation
        >>> model = nn.Sequential(nn.Linear(4, 32), HermiteActivation("relu"), nn.Linear(32, 1))
        >>> with EntropyDescent(model, weight=0.1, every=2) as descent:
        ...     for _ in range(3):
        ...         model(torch.randn(64, 4)).square().mean().backward()
        ...         descent.step()
        >>> descent.steps, list(descent.entropy)
        (3, ['1'])
    """

    def __init__(
        self,
        model: nn.Module,
        weight: float = 1e-3,
        every: int = 10,
        samples: int = 4096,
        *,
        objective: Objective = "smoothed",
        keep: Literal["nothing", "critical"] = "nothing",
        schedule: Schedule | None = None,
        memory: float = 0.9,
        seed: int = 0,
        group: Any = None,
    ) -> None:
        _check(weight, every, samples, objective=objective, keep=keep, memory=memory, seed=seed)
        self.weight = weight
        self.every = every
        self.samples = samples
        self.objective: Objective = objective
        self.schedule = schedule or (lambda step: 1.0)
        self.memory = memory
        self.seed = seed
        self.group = group
        self.steps = 0
        self.entropy: dict[str, Tensor] = {}
        self._taps = list(taps_of(model))
        try:
            if objective == "scale_free":
                for tap in self._taps:
                    _require_monotone(tap)
            self._kept = [KeptCritical(tap) for tap in self._taps] if keep == "critical" else []
        except ActsmithError:
            self.close()
            raise
        self._parameters = list({id(p): p for tap in self._taps for p in tap.parameters}.values())
        self._held = [torch.zeros_like(p, dtype=torch.float32) for p in self._parameters]
        self._counts = [_zeros(tap.groups, GRID, like=tap) for tap in self._taps]
        self._closed = False
        self._arm()

    def step(self, scale: float = 1.0) -> None:
        """Add the entropy's gradient to `.grad`, taken anew where it is due.

        Args:
            scale: what the loss was multiplied by, where the gradients still are.

        Raises:
            ActsmithError: a sample is due and no tapped module was called in training mode since the last step; it was
                closed.
        """
        if self._closed:
            raise ActsmithError("entropy descent: step() after close(), which took its hooks off; create another one")
        if self._due():
            self._update()
        factor = self.weight * self.schedule(self.steps) * scale
        for p, held in zip(self._parameters, self._held, strict=True):
            if not p.requires_grad:  # frozen since
                continue
            if p.grad is None:
                p.grad = torch.zeros_like(p)
            p.grad.add_(held.to(p.grad), alpha=factor)
        for kept in self._kept:
            kept.project()
        self.steps += 1
        self._arm()

    def before_step(self, step: int) -> None:
        """As a hook of `actsmith.training`."""
        self.step()

    def close(self) -> None:
        """Take the hooks off the model. Further steps are an error."""
        self._closed = True
        for tap in self._taps:
            tap.handle.remove()
            tap.disarm()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def state_dict(self) -> dict[str, Any]:
        """All that later steps depend on; training resumes from it bit for bit."""
        return {
            "steps": self.steps,
            "paths": [tap.path for tap in self._taps],
            "gradients": [t.clone() for t in self._held],
            "counts": [t.clone() for t in self._counts],
            "critical": [(kept.target.clone(), kept.slopes.clone()) for kept in self._kept],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict` of the same model and settings.

        Raises:
            ActsmithError: it belongs to other layers.
        """
        mine, saved = [*self._held, *self._counts], [*state["gradients"], *state["counts"]]
        paths, count = [tap.path for tap in self._taps], len(state["critical"])
        shapes = [[t.shape for t in tensors] for tensors in (mine, saved)]
        if state["paths"] != paths or shapes[0] != shapes[1] or count != len(self._kept):
            raise ActsmithError(
                f"entropy descent: the state is of the layers {state['paths']}, expected {paths} and the same settings"
            )
        self.steps = state["steps"]
        for tensor, value in zip(mine, saved, strict=True):
            tensor.copy_(value)
        for kept, (target, slopes) in zip(self._kept, state["critical"], strict=True):
            kept.target, kept.slopes = target.cpu().clone(), slopes.cpu().clone()
        self._arm()

    # ------------------------------------------------------------------------------------------------ an update

    def _due(self) -> bool:
        return self.steps % self.every == 0

    def _arm(self) -> None:
        """Sample from now on, if the next step is due, at places that seed and step alone decide."""
        generator = torch.Generator().manual_seed((self.seed << 32) + self.steps)
        for tap in self._taps:
            if self._due():
                tap.arm(self.samples, generator)
            else:
                tap.disarm()

    def _update(self) -> None:
        samples = [tap.disarm() for tap in self._taps]
        called = torch.tensor([float(sum(x is not None for x in samples))], device=self._parameters[0].device)
        if not float(self._summed([called])[0]):  # in no process
            raise ActsmithError(
                "entropy descent: a sample was due and no activation was called in training mode since the last step; "
                "call the model before step(), with a batch that is not empty; create EntropyDescent before "
                "torch.compile first runs the model, and anew after its activations were exchanged"
            )
        for kept in self._kept:
            kept.update()
        with torch.autocast(self._parameters[0].device.type, enabled=False):
            self._descend([_outputs(tap, x) for tap, x in zip(self._taps, samples, strict=True)])

    def _descend(self, outputs: list[Tensor]) -> None:
        """From the sampled outputs, with their graphs, to the gradients held until the next update."""
        sums = self._summed([sums_of(z.detach()) for z in outputs])
        u_std = [standardised(z.detach(), s) for z, s in zip(outputs, sums, strict=True)]
        fresh = self._summed([counts_of(u) for u, _ in u_std])
        totals = {id(p): torch.zeros_like(p, dtype=torch.float64) for p in self._parameters}
        for i, (tap, z) in enumerate(zip(self._taps, outputs, strict=True)):
            memory = 0.0 if isinstance(tap, Edges) else self.memory  # other edges have other laws
            counts = self._counts[i] = self._counts[i].to(fresh[i].device) * memory + fresh[i]
            self.entropy[tap.path] = entropy_of(counts)
            learned = [p for p in tap.parameters if p.requires_grad]
            if z.requires_grad and learned:
                slope = slope_of(*u_std[i], score_of(counts, self.objective), counts) / sums[i][:, :1].clamp(min=1)
                found = torch.autograd.grad(z, learned, slope.to(z.dtype), allow_unused=True)
                for p, g in zip(learned, found, strict=True):
                    totals[id(p)] += 0 if g is None else g
        sound = self._summed(list(totals.values()))
        self._held = [
            torch.where(torch.isfinite(total), total, held.to(total)).float()
            for held, total in zip(self._held, sound, strict=True)
        ]

    def _summed(self, tensors: list[Tensor]) -> list[Tensor]:
        """Each summed over the processes, in one message for all."""
        distributed = torch.distributed
        if not (distributed.is_available() and distributed.is_initialized()):
            return tensors
        if distributed.get_world_size(self.group) == 1:
            return tensors
        flat = torch.cat([t.reshape(-1) for t in tensors])
        distributed.all_reduce(flat, group=self.group)
        parts = torch.split(flat, [t.numel() for t in tensors])
        return [part.view(t.shape) for part, t in zip(parts, tensors, strict=True)]


def cosine(steps: int, warm_up: int = 0) -> Schedule:
    """A schedule: rises linearly to 1 over `warm_up` steps, falls as a half cosine to 0 at `steps`, and stays there.

    >>> [round(cosine(100)(step), 3) for step in (0, 50, 100, 200)]
    [1.0, 0.5, 0.0, 0.0]
    """

    def factor(step: int) -> float:
        if step < warm_up:
            return step / warm_up
        return 0.5 * (1 + cos(pi * min((step - warm_up) / max(steps - warm_up, 1), 1.0)))

    return factor


def _zeros(groups: int, width: int, *, like: Tap) -> Tensor:
    return torch.zeros(groups, width, dtype=torch.float64, device=like.parameters[0].device)


def _outputs(tap: Tap, x: Tensor | None) -> Tensor:
    """z (G, n) with its graph, NaN where x is not finite; n = 0 where nothing was sampled in this process."""
    if x is None:
        return tap.parameters[0].detach().new_empty(tap.groups, 0)
    known = torch.isfinite(tap.seen(x))
    with torch.enable_grad():
        return torch.where(known, tap.outputs(torch.where(torch.isfinite(x), x, 0)), torch.nan)


def _require_monotone(tap: Tap) -> None:
    """The scale-free entropy needs f strictly monotone: no atom, no fold."""
    p = tap.parameters[0]
    x = torch.linspace(-4, 4, 401, dtype=torch.float64, device=p.device).expand(tap.inputs, -1)
    with torch.no_grad():
        change = tap.outputs(x).diff(dim=1)
    if not ((change > 0).all(1) | (change < 0).all(1)).all():
        raise ActsmithError(
            f"entropy descent: objective='scale_free': {tap.path or 'the model'} is not strictly monotone on [-4, 4]; "
            "take objective='smoothed'"
        )


def _check(
    weight: float, every: int, samples: int, *, objective: str, keep: str, memory: float, seed: int
) -> None:  # fmt: skip
    whole = all(isinstance(n, int) for n in (every, samples, seed)) and 0 <= seed < 1 << 31
    if not whole or not isfinite(weight) or every < 1 or samples < 100 or not 0 <= memory < 1:
        raise ActsmithError(
            f"entropy descent: got weight={weight}, every={every}, samples={samples}, memory={memory}, seed={seed}; "
            "expected a finite weight, whole numbers every >= 1, samples >= 100 and 0 <= seed < 2**31, and "
            "0 <= memory < 1"
        )
    if objective not in ("smoothed", "scale_free"):
        raise ActsmithError(f"entropy descent: got objective={objective!r}; expected 'smoothed' or 'scale_free'")
    if keep not in ("nothing", "critical"):
        raise ActsmithError(f"entropy descent: got keep={keep!r}; expected 'nothing' or 'critical'")

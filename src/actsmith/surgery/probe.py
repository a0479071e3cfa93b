"""What the activations of a real model see and do: one pass, bounded memory, nothing kept but sums.

laws = probe(model, batches)        path -> law of the pre-activations
laws.records["1"].dead, .K, .K_star, .entropy_in, .entropy_out
print(laws.table())
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from actsmith.errors import ActsmithError, LawError
from actsmith.nn.hook import Hook
from actsmith.nn.private import inside_compiled
from actsmith.nn.recognise import Recognised, recognise_module
from actsmith.nn.untouched import untouched
from actsmith.surgery.observe import Observer, Place
from actsmith.surgery.record import Probe, Record, Statistics
from actsmith.surgery.running import as_batches, run_batch
from actsmith.surgery.sites import LOOKED_FOR, Site, named_module, observing, sites_of

__all__ = ["Probe", "ProbeEvery", "Record", "probe"]

Loss = Callable[[Any, Any], Tensor]
"""(what the model returned, the batch) -> a scalar."""


def probe(
    model: nn.Module,
    batches: Iterable[Any],
    sites: Sequence[str] | None = None,
    *,
    strict: bool = True,
    gradients: bool = False,
    loss: Loss | None = None,
) -> Probe:
    """The empirical law of the input of every activation, over all elements of all batches, and what it does with it.

    The model runs in evaluation mode without gradients; its modes, buffers and hooks are as before afterwards, also
    after an error. Each element is counted in a histogram as it passes, so memory does not grow with the batches. An
    activation that is called several times has one law, of all its calls; one that the batches never reach has none.

    Args:
        model: any module. Batches are moved to the device of its parameters.
        batches: inputs, or (inputs, targets) as a DataLoader gives them, of which the targets are left out, or
            dictionaries of keyword arguments, of which labels and what the model does not take are left out. One
            tensor or dictionary stands for one batch.
        sites: paths to probe: modules, whatever they are, or attribute and function sites as `actsmith.sites` names
            them; the activations that are found, by default.
        strict: whether a site whose input has no law is an error; else its record says why. A value that repeats (an
            atom), as the zeros behind a ReLU that a residual branch of zero weights passes on, is an error only at
            sites that `sites` names, or where no site has a law.
        gradients: whether to measure the gradient of the loss in each output; nothing is accumulated in `.grad`.
        loss: (output, batch) -> scalar, for `gradients`; by default the `.loss` of what the model returns for a batch
            with its labels.

    Returns:
        A mapping path -> law in the order of execution, with a `Record` of every site in `.records`.

    Raises:
        ActsmithError: no activation in the model, a path that is none, or no batch reached the sites.
        LawError: the inputs of a site have no law (fewer than 100, not finite, or an atom); it says which site.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
        >>> probe(model, torch.randn(100, 4)).keys()
        KeysView(<Probe: 1 site>)
    """
    model = inside_compiled(model)
    watched = _Watch(model, sites, gradients, strict)
    with untouched(model, training=False, grad=gradients), watched.observer.watching():
        for batch in as_batches(batches):
            output = run_batch(model, batch, targets=gradients and loss is None)
            if gradients:
                watched.backward(_loss(output, batch, loss))
    return watched.result()


class ProbeEvery(Hook):
    """A callback for a training loop: every so many steps, probe the model on the same batches.

    A hook of `actsmith.training`, too, and may be called from any other loop.

    Args:
        model, batches: as for `probe`; the batches are kept.
        every: steps between two probes; the first call probes too.
        keep: what to keep of each, `Probe.to_dict` by default.
        options: as for `probe`; strict=False by default, so that a layer that collapses ends no training.

    Attributes:
        history: (step, what was kept), in the order of the steps.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
        >>> watch = ProbeEvery(model, torch.randn(100, 4), every=10)
        >>> for step in range(21):
        ...     watch(step)
        >>> [step for step, _ in watch.history]
        [0, 10, 20]
    """

    def __init__(
        self,
        model: nn.Module,
        batches: Iterable[Any],
        every: int = 100,
        keep: Callable[[Probe], Any] = Probe.to_dict,
        **options: Any,
    ) -> None:
        if every < 1:
            raise ActsmithError(f"probe: got every={every}; expected at least 1 step")
        self.model = model
        self.batches = list(as_batches(batches))
        self.every = every
        self.keep = keep
        self.options = {"strict": False, **options}
        self.history: list[tuple[int, Any]] = []
        self._calls = 0

    def __call__(self, step: int | None = None) -> None:
        """After an optimiser step; `step` counts from the calls where it is not given."""
        step = self._calls if step is None else step
        self._calls += 1
        if step % self.every == 0:
            self.history.append((step, self.keep(probe(self.model, self.batches, **self.options))))

    def before_step(self, step: int) -> None:
        """As a hook: the model as it is after `step` steps of the optimiser."""
        self(step)

    def state_dict(self) -> dict[str, Any]:
        """What was kept so far."""
        return {"calls": self._calls, "history": list(self.history)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a checkpoint stood."""
        self._calls, self.history = state["calls"], list(state["history"])


class _Watch:
    """An observer with statistics of the sites wanted."""

    def __init__(self, model: nn.Module, wanted: Sequence[str] | None, gradients: bool, strict: bool) -> None:
        self.model = model
        self.wanted = wanted
        self.strict = strict
        self.statistics: dict[Place, Statistics] = {}
        self.outputs: list[tuple[Place, GradientEdge]] | None = [] if gradients else None
        self.forced: list[str] = []
        if wanted is None:
            self.observer = observing(model, before=self._before, after=self._after, follow=True)
            return
        if isinstance(wanted, str):
            raise ActsmithError(f"probe: got sites={wanted!r}; expected a list of paths")
        modules = dict(model.named_modules())
        self.forced = [p for p in wanted if p in modules or not self._may_be_call(p)]
        named = {p: named_module(model, p, "probe") for p in self.forced}
        what = {p: recognise_module(m) or Recognised(None, None, False) for p, m in named.items()}
        self.observer = Observer(model, what, before=self._before, after=self._after, nested=True)

    def _may_be_call(self, path: str) -> bool:
        owner, _, name = path.partition(":")[0].rpartition(".")
        modules = dict(self.model.named_modules())
        return ":" in path or (owner in modules and name in vars(modules[owner]))

    def _before(self, place: Place, x: Tensor) -> None:
        if self.wanted is None or place.path in self.wanted:
            statistics = self.statistics.setdefault(place, Statistics())
            try:
                statistics.see_input(x)
            except LawError as error:
                if self.strict:
                    raise LawError(f"probe: site {place.path!r}: {error}") from None
                statistics.failure = str(error)

    def _after(self, place: Place, y: Tensor) -> None:
        if place in self.statistics and y.is_floating_point():
            self.statistics[place].see_output(y, self.observer.calls[place].channel_dim)
            if self.outputs is not None and y.requires_grad:
                self.outputs.append((place, get_gradient_edge(y)))  # of y as it is here; it may change in place later

    def backward(self, loss: Tensor) -> None:
        outputs = self.outputs or []
        if outputs:
            grads = torch.autograd.grad(loss, [edge for _, edge in outputs], allow_unused=True)
            for (place, _), g in zip(outputs, grads, strict=True):
                if g is not None:
                    self.statistics[place].see_gradient(g)
        outputs.clear()

    def result(self) -> Probe:
        seen = {p.path for p in self.statistics}
        known = self.forced or list(self.observer.modules)
        if not seen and not known and self.wanted is None:
            raise ActsmithError(f"probe: {type(self.model).__name__} holds no activation; looked for {LOOKED_FOR}")
        if not seen and self.wanted is None:
            raise ActsmithError(
                f"probe: no batch reached {', '.join(known)}; expected batches that run the model through them"
            )
        if missed := [p for p in self.wanted or () if p not in seen]:
            raise ActsmithError(f"probe: no batch reached {', '.join(missed)}; leave it out of `sites`")
        found: dict[str, Site] = {s.path: s for s in sites_of(self.model, self.observer)}
        named = self.wanted is not None or all(s.has_atom() for s in self.statistics.values())
        records = {
            place.path: s.record(found[place.path], self.strict and (named or not s.has_atom()))
            for place, s in self.statistics.items()
        }
        return Probe(records)


def _loss(output: Any, batch: Any, loss: Loss | None) -> Tensor:
    value = loss(output, batch) if loss is not None else getattr(output, "loss", None)
    if not isinstance(value, Tensor) or value.numel() != 1:
        raise ActsmithError(
            "probe: gradients=True needs a scalar loss; give loss=lambda output, batch: ..., or batches with labels "
            "for a model that returns .loss"
        )
    return value

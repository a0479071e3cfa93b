"""The training loop: one network, or several side by side, on one device or many.

    for each epoch, for each batch:   loss -> backward -> clip -> AdamW, the rate rising, then falling as a cosine
    then, where asked, L-BFGS on the whole training set

Nothing random has a state: every step seeds torch's generator from (seed, step, rank) and every epoch's order from
(seed, epoch). A training that goes on from a checkpoint is therefore the one that was never interrupted, bit for bit on
the CPU; one net of many has the batches that it would have alone.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from actsmith.errors import ActsmithError
from actsmith.files import plain, to_json
from actsmith.nn.activation import Activation
from actsmith.nn.hook import Hook
from actsmith.training.checkpoint import Checkpoint
from actsmith.training.nets import Alone, SideBySide
from actsmith.training.problem import Problem, Split
from actsmith.training.recipe import Recipe, warm_cosine
from actsmith.training.runtime import (
    Runtime,
    few,
    generators_kept,
    mixed,
    peak_bytes,
    reset_peak,
    seed_step,
    threads_for,
)
from actsmith.training.stack import joined, split

__all__ = ["Fit", "Mode", "Stopped", "fit", "learned"]

Mode = Literal["alone", "own", "vmap"]
"""How several nets are trained: one after another, or stacked in one of the two forms of `training.stack`."""
LBFGS_ITERATIONS = 20
"""Iterations in one step of L-BFGS, between which there is no checkpoint."""
EXPLODED = 1e3
"""A last epoch's loss so many times above the lowest is that of a training that diverged."""
Scores = dict[str, float]


class Stopped(Exception):  # noqa: N818  (not an error: the caller asked)
    """`stop` said so; the checkpoint holds the state."""


@dataclass(frozen=True)
class Fit:
    """A finished training of one network.

    Attributes:
        seed, rate: of the net.
        diverged: whether its loss was not finite at some step, or ended `EXPLODED` times above its lowest epoch.
        loss: mean training loss of each epoch, then of each L-BFGS step.
        validation, test: name -> score after the last step; test is None where it was not looked at.
        curve: (epoch, validation scores) during training, where asked.
        step_seconds: median time of a step, on a GPU of an epoch's mean; of a stack, its share of it.
        peak_bytes: on a GPU what the allocator held at most; on the CPU parameters, gradients and AdamW's two moments,
            and what the first step kept for backward. Of a stack, its share.
        parameters: learned values of the activations, by module.
        watched: the hook's records.
    """

    seed: int
    rate: float
    diverged: bool
    loss: list[float]
    validation: Scores
    test: Scores | None
    curve: list[tuple[int, Scores]]
    step_seconds: float
    peak_bytes: int
    parameters: dict[str, list[float]]
    watched: list[dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; a number that is not finite becomes null."""
        values: dict[str, Any] = plain(dict(vars(self)))
        return values


@dataclass
class _State:
    """All that a checkpoint holds beside networks, optimiser and hook."""

    step: int = 0
    lbfgs: int = 0
    peak_bytes: int = 0
    running: list[Tensor] = field(default_factory=list)
    loss: list[Tensor] = field(default_factory=list)
    curve: list[tuple[int, list[Scores]]] = field(default_factory=list)
    watched: list[dict[str, Any]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)


def fit(
    problem: Problem,
    models: Sequence[nn.Module],
    *,
    seeds: Sequence[int],
    rates: Sequence[float],
    recipe: Recipe,
    runtime: Runtime,
    mode: Mode = "alone",
    threads: int | None = None,
    examples: float = 1.0,
    test: bool = False,
    hook: Callable[[nn.Module], Hook] | None = None,
    checkpoint: Checkpoint | None = None,
    stop: Callable[[], bool] | None = None,
) -> list[Fit]:
    """Train the models in place; torch's global generators and its number of threads are left as they were.

    Args:
        problem: data, loss and scores of one net.
        models: ordinary modules, of one structure where they are stacked.
        seeds: one a model: the order of its data and all randomness of its steps.
        rates: the largest learning rate of each.
        recipe: the budget.
        runtime: the devices.
        mode: how several models are trained.
        threads: of torch at most, as `choose` found; None takes one for small networks that say their `width`.
        examples: the share of the training examples that is used, the same for all.
        test: whether the test split is scored.
        hook: makes what looks on, from the module that is trained: the model, or a stack's module.
        checkpoint: where the training in flight is kept; what is there already of the same seeds, rates, recipe and
            mode is gone on from.
        stop: asked after every step.

    Raises:
        ActsmithError: lengths that differ, a rate that is not positive, L-BFGS or several processes with a stack,
            a checkpoint for several models in turn.
        Stopped: `stop` said so.
    """
    if not len(models) == len(seeds) == len(rates) or not models or not all(0 < r < float("inf") for r in rates):
        raise ActsmithError(
            f"fit: got {len(models)} models, seeds {list(seeds)[:5]}, rates {list(rates)[:5]}; expected one seed and "
            "one positive rate a model"
        )
    if not 0 < examples <= 1:
        raise ActsmithError(f"fit: examples: got {examples}; expected a share of the training examples, above 0 to 1")
    if mode == "alone" and len(models) > 1 and checkpoint is not None:
        raise ActsmithError(f"fit: got one checkpoint for {len(models)} models in turn; expected one model")
    if mode != "alone" and (recipe.lbfgs or runtime.world > 1 or runtime.scales):
        raise ActsmithError("fit: L-BFGS, several processes and float16 train one net at a time; expected mode='alone'")
    if checkpoint is not None:
        checkpoint.seconds = runtime.checkpoint_seconds
    shared: dict[str, Any] = {
        "recipe": recipe, "runtime": runtime, "examples": examples, "hook": hook, "checkpoint": checkpoint, "stop": stop
    }  # fmt: skip
    turns = [range(i, i + 1) for i in range(len(models))] if mode == "alone" else [range(len(models))]
    found: list[Fit] = []
    for turn in turns:
        chosen, own = [models[i] for i in turn], [seeds[i] for i in turn]
        count = few(chosen, min(recipe.batch, problem.size)) if threads is None else threads
        with threads_for(count), generators_kept(runtime.device):
            loop = _Loop(problem, chosen, seeds=own, rates=[rates[i] for i in turn], mode=mode, **shared)
            found += loop.run(test)
    return found


def _exploded(loss: Tensor) -> bool:
    """Whether a net diverged, from its mean loss in each epoch."""
    return not bool(torch.isfinite(loss).all()) or bool(loss[-1] > EXPLODED * loss.abs().min().clamp_min(1e-3))


class _Loop:
    def __init__(
        self,
        problem: Problem,
        models: Sequence[nn.Module],
        *,
        seeds: Sequence[int],
        rates: Sequence[float],
        recipe: Recipe,
        runtime: Runtime,
        mode: Mode,
        examples: float,
        hook: Callable[[nn.Module], Hook] | None,
        checkpoint: Checkpoint | None,
        stop: Callable[[], bool] | None,
    ) -> None:
        self.problem, self.seeds, self.recipe, self.runtime = problem, list(seeds), recipe, runtime
        self.checkpoint, self.stop, self.device = checkpoint, stop, runtime.device
        self.nets: Alone | SideBySide
        if mode == "alone":
            self.nets = Alone(models[0], rates[0], recipe, runtime)
        else:
            self.nets = SideBySide(models, rates, recipe, runtime, mode)
        self.hook = hook(self.nets.module) if hook is not None else None
        self.used = _used(problem.size, recipe.drawn, self.seeds, examples)
        self.size = problem.size if self.used is None else self.used.shape[1]
        self.batch = min(recipe.batch, self.size)
        self.steps = self.size // self.batch
        self.state = _State()
        self.of = to_json([mode, self.seeds, list(rates), examples, vars(recipe)])

    def run(self, test: bool) -> list[Fit]:
        reset_peak(self.device)
        try:
            saved = self.checkpoint.load() if self.checkpoint is not None else None
            saved = saved if saved is not None and saved["of"] == self.of else None
            if saved is not None:
                self.load(saved)
            if saved is None or saved["phase"] == "adam":
                for epoch in range(len(self.state.loss), self.recipe.epochs):
                    self.epoch(epoch)
                    if not torch.isfinite(self.state.loss[-1]).any():
                        break
            if self.recipe.lbfgs:
                self.lbfgs(saved if saved is not None and saved["phase"] == "lbfgs" else None)
            return self.fits(test)
        finally:
            if self.hook is not None:
                self.hook.close()

    def fits(self, test: bool) -> list[Fit]:
        state, nets = self.state, len(self.seeds)
        loss = torch.stack(state.loss, 1)
        validation = self.score("validation")
        tested = self.score("test") if test else [None] * nets
        values = self.nets.gathered(learned)
        watched = [
            [record if self.hook is None else self.hook.of_net(record, i) for record in state.watched]
            for i in range(nets)
        ]
        self.nets.finish()
        return [
            Fit(
                seed=self.seeds[i],
                rate=self.nets.rates[i],
                diverged=_exploded(loss[i]),
                loss=loss[i].tolist(),
                validation=validation[i],
                test=tested[i],
                curve=[(epoch, scores[i]) for epoch, scores in state.curve],
                step_seconds=statistics.median(state.times) / nets,
                peak_bytes=state.peak_bytes // nets,
                parameters=values[i],
                watched=watched[i],
            )
            for i in range(nets)
        ]

    def epoch(self, epoch: int) -> None:
        """The steps of one epoch that are not done yet."""
        state = self.state
        first = state.step - epoch * self.steps
        self.nets.train()
        orders = torch.split(self.order(epoch), self.batch, 1)[first : self.steps]
        shares = (order[:, self.runtime.rank :: self.runtime.world] for order in orders)
        cpu = self.device.type == "cpu"
        began = before = time.perf_counter()
        for batch in self.batches(shares):
            with _Kept(self.nets.module) if cpu and state.step == 0 else nullcontext() as kept:
                losses = self.nets.losses(self.problem, batch)
            if kept is not None:
                state.peak_bytes = kept.bytes
            self.descend(losses)
            state.running.append(self.runtime.mean(losses.detach()))
            state.step += 1
            if cpu:
                state.times.append(time.perf_counter() - before)
            stopped = self.stopped()
            if stopped or (self.checkpoint is not None and self.checkpoint.due()):
                self.save("adam", self.nets.optimiser)
            if stopped:
                raise Stopped
            before = time.perf_counter()
        state.loss.append(torch.stack(state.running).cpu().double().mean(0))
        if not cpu and first < self.steps:  # steps run ahead of the clock: their time is known where one waits for them
            state.times.append((time.perf_counter() - began) / (self.steps - first))
        self.end(epoch)

    def stopped(self) -> bool:
        """Whether the caller says stop, to any of the processes."""
        return self.stop is not None and self.runtime.anywhere(self.stop())

    def order(self, epoch: int) -> Tensor:
        """The training examples of each net in another order, (nets, size)."""
        orders = {}
        for seed in set(self.seeds):
            generator = torch.Generator().manual_seed(mixed(seed, 0, epoch))
            orders[seed] = torch.randperm(self.size, generator=generator)
        order = torch.stack([orders[seed] for seed in self.seeds])
        return order if self.used is None else self.used.gather(1, order)

    def batches(self, orders: Iterator[Tensor]) -> Iterator[Any]:
        """Each order's examples, torch's generator seeded for the step before they are drawn."""
        problem, device, nets = self.problem, self.device, len(self.seeds)

        def seeded() -> Iterator[Tensor]:
            for step, order in enumerate(orders, self.state.step):
                seed_step(device, self.seeds[0], 1, step, self.runtime.rank)
                yield order

        if isinstance(self.nets, Alone):
            yield from problem.batches((order[0] for order in seeded()), device)
        elif not problem.random:
            for order in seeded():
                yield split(problem.batch(order.flatten(), device), nets)
        else:
            for step, order in enumerate(orders, self.state.step):
                parts = []
                for seed, own in zip(self.seeds, order, strict=True):
                    seed_step(device, seed, 1, step, self.runtime.rank)
                    parts.append(problem.batch(own, device))
                yield joined(parts)

    def descend(self, losses: Tensor) -> None:
        step, total = self.state.step, self.recipe.epochs * self.steps
        factor = warm_cosine(step + 1, total, max(round(self.recipe.warm_up * total), 1))
        self.runtime.backward(losses.sum())
        if self.hook is not None:
            self.hook.before_step(step)
        self.nets.step(factor, self.recipe.clip)

    def end(self, epoch: int) -> None:
        state = self.state
        state.peak_bytes = max(state.peak_bytes, peak_bytes(self.device) or 0)
        state.running = []
        if self.recipe.scored(epoch + 1):
            state.curve.append((epoch + 1, self.score("validation")))
        if self.hook is not None and (record := self.hook.after_epoch(epoch)) is not None:
            state.watched.append({"epoch": epoch + 1, **record})

    def lbfgs(self, saved: dict[str, Any] | None) -> None:
        """Quasi-Newton steps on the whole training set."""
        assert isinstance(self.nets, Alone)
        model = self.nets.model
        optimiser = torch.optim.LBFGS(
            model.parameters(), lr=1.0, max_iter=LBFGS_ITERATIONS, history_size=50, line_search_fn="strong_wolfe"
        )
        if saved is not None:
            optimiser.load_state_dict(saved["optimiser"])
        state, runtime = self.state, self.runtime
        self.nets.release()
        everything = torch.arange(self.problem.size) if self.used is None else self.used[0]
        share = everything[self.runtime.rank :: self.runtime.world]
        self.nets.train()

        def closure() -> Tensor:
            seed_step(self.device, self.seeds[0], 2, 0, self.runtime.rank)
            optimiser.zero_grad()
            loss = self.problem.loss(model, self.problem.batch(share, self.device))
            runtime.backward(loss)
            return runtime.mean(loss.detach())

        step: Callable[[Callable[[], Tensor]], Tensor] = optimiser.step
        while state.lbfgs < self.recipe.lbfgs and torch.isfinite(state.loss[-1]).all():
            state.loss.append(step(closure).cpu().double().reshape(1))
            state.lbfgs += 1
            stopped = self.stopped()
            if stopped or (self.checkpoint is not None and self.checkpoint.due()):
                self.save("lbfgs", optimiser)
            if stopped:
                raise Stopped

    def score(self, which: Split) -> list[Scores]:
        def one(model: nn.Module) -> Scores:
            with torch.no_grad():
                return {name: float(v) for name, v in self.problem.score(model, which).items()}

        return self.nets.gathered(one)

    def save(self, phase: str, optimiser: Any) -> None:
        if not self.runtime.main or self.checkpoint is None:
            return
        hook = self.hook.state_dict() if self.hook is not None else {}
        state = {
            "of": self.of,
            "phase": phase,
            "model": self.nets.module.state_dict(),
            "optimiser": optimiser.state_dict(),
        }
        self.checkpoint.save({**state, "hook": hook, "state": dict(vars(self.state))})

    def load(self, saved: dict[str, Any]) -> None:
        self.nets.module.load_state_dict(saved["model"])
        if saved["phase"] == "adam":
            self.nets.optimiser.load_state_dict(saved["optimiser"])
        if self.hook is not None:
            self.hook.load_state_dict(saved["hook"])
        self.state = _State(**saved["state"])
        self.state.running = [loss.to(self.device) for loss in self.state.running]


def _used(size: int, drawn: int | None, seeds: Sequence[int], share: float) -> Tensor | None:
    """Which training examples each net sees, (nets, used); None where all see all of them. A share is the same for all
    nets, of what a seed draws for itself its own."""
    if drawn is None and share == 1:
        return None
    if drawn is not None and drawn > size:
        raise ActsmithError(f"fit: drawn: got {drawn}; expected at most the {size} training examples that there are")
    numbers = [0] * len(seeds) if drawn is None else [mixed(seed, 3) for seed in seeds]
    count = max(round(share * (drawn or size)), 1)
    found = {n: torch.randperm(size, generator=torch.Generator().manual_seed(n))[:count] for n in set(numbers)}
    return torch.stack([found[n] for n in numbers])


def learned(model: nn.Module) -> dict[str, list[float]]:
    """Module path and parameter name -> values of the activations' learned parameters."""
    return {
        f"{path}.{name}" if path else name: p.detach().cpu().double().flatten().tolist()
        for path, module in model.named_modules()
        if isinstance(module, Activation)
        for name, p in module.named_parameters(recurse=False)
    }


class _Kept:
    """Counts what a forward pass keeps for backward, each storage once, and what AdamW keeps beside the weights."""

    def __init__(self, model: nn.Module) -> None:
        self.own = {p.untyped_storage().data_ptr() for p in model.parameters()}
        self.bytes = sum(4 * p.numel() * p.element_size() for p in model.parameters())
        self.seen: dict[int, Tensor] = {}
        self.hooks = torch.autograd.graph.saved_tensors_hooks(self.pack, lambda tensor: tensor)

    def pack(self, tensor: Tensor) -> Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in self.own and place not in self.seen:
            self.seen[place] = tensor.detach()
            self.bytes += tensor.untyped_storage().nbytes()
        return tensor

    def __enter__(self) -> _Kept:
        self.hooks.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.hooks.__exit__(*error)
        self.seen.clear()

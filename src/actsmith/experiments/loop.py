"""The training loop, on Hugging Face Accelerate: one device or many, the same result.

    for each epoch, for each batch:   loss -> backward -> clip -> AdamW, the rate rising, then falling as a cosine
    then, where asked, L-BFGS on the whole training set

Nothing random has a state: every step seeds torch's generator from (seed, step, rank) and every epoch's order from
(seed, epoch). A training that goes on from a checkpoint is therefore the one that was never interrupted, bit for bit on
the CPU.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from actsmith.errors import ActsmithError
from actsmith.experiments.checkpoint import Checkpoint
from actsmith.experiments.folder import finite_or_none
from actsmith.experiments.problem import Problem
from actsmith.experiments.schedule import warm_cosine
from actsmith.experiments.training import FEW_OUTPUTS
from actsmith.nn.activation import Activation

__all__ = ["Fit", "Recipe", "Runtime", "Watcher", "fit"]

Scores = dict[str, list[float]]
LBFGS_ITERATIONS = 20
"""Iterations in one step of L-BFGS, between which there is no checkpoint."""


@dataclass(frozen=True)
class Recipe:
    """A training budget.

    Attributes:
        epochs, batch: passes over the training examples, examples in a step over all devices (at most the size).
        weight_decay: decoupled; of weights alone, not of biases, normalisations and activations.
        warm_up: share of the steps over which the rate rises.
        clip: largest norm of the gradient, where given.
        lbfgs: steps of 20 L-BFGS iterations on the whole training set after the epochs.
        score_every: epochs between validation scores; 0 scores once, at the end.
    """

    epochs: int
    batch: int
    weight_decay: float = 0.01
    warm_up: float = 0.1
    clip: float | None = None
    lbfgs: int = 0
    score_every: int = 0

    def shortened(self, share: float) -> Recipe:
        """The same for a share of the epochs and L-BFGS steps, one epoch at least."""
        return replace(self, epochs=max(round(share * self.epochs), 1), lbfgs=round(share * self.lbfgs))


@dataclass(frozen=True)
class Runtime:
    """Where trainings run: Accelerate's view of this process among the others.

    Attributes:
        accelerator: prepares models, sums over processes.
        checkpoint_seconds: least time between two checkpoints.
    """

    accelerator: Any
    checkpoint_seconds: float = 20.0

    @classmethod
    def create(
        cls, device: Literal["auto", "cpu"] = "auto", precision: Literal["no", "bf16", "fp16"] = "no"
    ) -> Runtime:
        """The runtime of this process; under `accelerate launch` or torchrun, one of several.

        Raises:
            ActsmithError: accelerate is missing.
        """
        try:
            from accelerate import Accelerator
        except ImportError:
            raise ActsmithError("training: accelerate is missing; pip install 'actsmith[experiments]'") from None
        return cls(Accelerator(cpu=device == "cpu", mixed_precision=precision))

    @property
    def main(self) -> bool:
        """Whether this process writes the results."""
        return bool(self.accelerator.is_main_process)

    @property
    def rank(self) -> int:
        return int(self.accelerator.process_index)

    @property
    def world(self) -> int:
        """Number of processes."""
        return int(self.accelerator.num_processes)


class Watcher(Protocol):
    """Looks on while a network trains, or acts on its gradients."""

    def before_step(self, step: int) -> None:
        """After backward, before the optimiser."""

    def after_epoch(self, epoch: int) -> dict[str, Any] | None:
        """A record of plain values for the results, or None."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@dataclass(frozen=True)
class Fit:
    """A finished training of one network, or of several side by side.

    Attributes:
        seeds: one a net.
        diverged: whether the net's loss was not finite at some step.
        loss: mean training loss of each epoch, then of each L-BFGS step; a list for each net.
        validation, test: name -> a score for each net after the last step; test is None where it was not looked at.
        curve: (epoch, validation scores) during training, where asked.
        step_seconds: median time of a step.
        peak_bytes: on a GPU what the allocator held at most; on the CPU parameters, gradients and AdamW's two moments,
            and what the first step kept for backward.
        parameters: learned values of the activations, by module.
        watched: the watcher's records.
    """

    seeds: tuple[int, ...]
    diverged: list[bool]
    loss: list[list[float]]
    validation: Scores
    test: Scores | None
    curve: list[tuple[int, Scores]]
    step_seconds: float
    peak_bytes: int
    parameters: dict[str, list[float]]
    watched: list[dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; a number that is not finite becomes null."""
        values: dict[str, Any] = finite_or_none(dict(vars(self)))
        return values


@dataclass
class _State:
    """All that a checkpoint holds beside model, optimiser and watcher."""

    step: int = 0
    lbfgs: int = 0
    peak_bytes: int = 0
    running: list[Tensor] = field(default_factory=list)
    loss: list[Tensor] = field(default_factory=list)
    curve: list[tuple[int, Scores]] = field(default_factory=list)
    watched: list[dict[str, Any]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)


def fit(
    problem: Problem,
    model: nn.Module,
    *,
    seeds: Sequence[int],
    rate: float,
    recipe: Recipe,
    runtime: Runtime,
    test: bool = False,
    watcher: Watcher | None = None,
    checkpoint: Checkpoint | None = None,
) -> Fit:
    """Train `model` in place.

    Args:
        problem: data, loss and scores.
        model: from (nets, batch, ...) to (nets, batch, outputs), one net a seed.
        seeds: decide the order of the data and all randomness of the steps.
        rate: the largest learning rate.
        recipe: the budget.
        runtime: the devices.
        test: whether the test split is scored.
        watcher: looks on.
        checkpoint: where the training in flight is kept; what is there already is gone on from.

    Raises:
        ActsmithError: L-BFGS for several nets at once, whose line search would couple them.
    """
    if recipe.lbfgs and len(seeds) > 1:
        raise ActsmithError(f"training: L-BFGS: got {len(seeds)} nets side by side; expected one, train them in turn")
    if checkpoint is not None:
        checkpoint.seconds = runtime.checkpoint_seconds
    with _threads(model, len(seeds), min(recipe.batch, problem.size)):
        loop = _Loop(
            problem, model, seeds=tuple(seeds), rate=rate, recipe=recipe, runtime=runtime, watcher=watcher,
            checkpoint=checkpoint,
        )  # fmt: skip
        return loop.run(test)


@contextmanager
def _threads(model: nn.Module, nets: int, batch: int) -> Iterator[None]:
    """One thread where a layer's outputs are few: starting a second costs more than it saves."""
    before, width = torch.get_num_threads(), getattr(model, "width", None)
    if width is not None and nets * batch * width < FEW_OUTPUTS:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Loop:
    def __init__(
        self,
        problem: Problem,
        model: nn.Module,
        *,
        seeds: tuple[int, ...],
        rate: float,
        recipe: Recipe,
        runtime: Runtime,
        watcher: Watcher | None,
        checkpoint: Checkpoint | None,
    ) -> None:
        self.problem, self.seeds, self.rate, self.recipe = problem, seeds, rate, recipe
        self.runtime, self.watcher, self.checkpoint = runtime, watcher, checkpoint
        accelerator = runtime.accelerator
        self.device = accelerator.device
        self.bare = model.to(self.device)
        adam = torch.optim.AdamW(_groups(model, recipe.weight_decay), lr=rate, fused=True)
        self.model, self.optimiser = accelerator.prepare(model, adam)
        self.batch = min(recipe.batch, problem.size)
        self.steps = problem.size // self.batch
        self.state = _State()

    def run(self, test: bool) -> Fit:
        saved = self.checkpoint.load() if self.checkpoint is not None else None
        if saved is not None:
            self.load(saved, self.optimiser if saved["phase"] == "adam" else None)
        if saved is None or saved["phase"] == "adam":
            for epoch in range(len(self.state.loss), self.recipe.epochs):
                self.epoch(epoch)
                if not torch.isfinite(self.state.loss[-1]).any():
                    break
        if self.recipe.lbfgs:
            self.lbfgs(saved if saved is not None and saved["phase"] == "lbfgs" else None)
        loss = torch.stack(self.state.loss, 1)
        return Fit(
            seeds=self.seeds,
            diverged=(~torch.isfinite(loss).all(1)).tolist(),
            loss=loss.tolist(),
            validation=self.score("validation"),
            test=self.score("test") if test else None,
            curve=self.state.curve,
            step_seconds=statistics.median(self.state.times),
            peak_bytes=self.state.peak_bytes,
            parameters=_learned(self.bare),
            watched=self.state.watched,
        )

    def epoch(self, epoch: int) -> None:
        """The steps of one epoch that are not done yet."""
        state = self.state
        first = state.step - epoch * self.steps
        self.model.train()
        orders = torch.split(_order(self.seeds, epoch, self.problem.size), self.batch, 1)[first : self.steps]
        shares = (order[:, self.runtime.rank :: self.runtime.world] for order in orders)
        batches = self.problem.batches(self.seeded(shares), self.device)
        began = time.perf_counter()
        for batch in batches:
            with _Kept(self.bare) if state.step == 0 else nullcontext() as kept:
                loss = self.problem.loss(self.model, batch)
            if kept is not None:
                state.peak_bytes = kept.bytes
            self.descend(loss)
            state.running.append(self.runtime.accelerator.reduce(loss.detach(), "mean"))
            state.step += 1
            now = time.perf_counter()
            state.times.append(now - began)
            if self.checkpoint is not None and self.checkpoint.due():
                self.save("adam", self.optimiser)
                now = time.perf_counter()
            began = now
        self.end(epoch)

    def seeded(self, orders: Iterator[Tensor]) -> Iterator[Tensor]:
        """The orders, torch's generator seeded for the step of each."""
        for step, order in enumerate(orders, self.state.step):
            _seed(_mixed(self.seeds[0], 1, step, self.runtime.rank), self.device)
            yield order

    def descend(self, loss: Tensor) -> None:
        accelerator, step = self.runtime.accelerator, self.state.step
        total = self.recipe.epochs * self.steps
        factor = warm_cosine(step + 1, total, max(round(self.recipe.warm_up * total), 1))
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate * factor
        accelerator.backward(loss.sum())
        if self.watcher is not None:
            self.watcher.before_step(step)
        if self.recipe.clip is not None:
            accelerator.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.optimiser.step()
        self.optimiser.zero_grad()

    def end(self, epoch: int) -> None:
        state = self.state
        if torch.cuda.is_available() and self.device.type == "cuda":
            state.peak_bytes = torch.cuda.max_memory_allocated(self.device)
        state.loss.append(torch.stack(state.running).double().mean(0).cpu())
        state.running = []
        if self.recipe.score_every and (epoch + 1) % self.recipe.score_every == 0:
            state.curve.append((epoch + 1, self.score("validation")))
        if self.watcher is not None and (record := self.watcher.after_epoch(epoch)) is not None:
            state.watched.append({"epoch": epoch + 1, **record})

    def lbfgs(self, saved: dict[str, Any] | None) -> None:
        """Quasi-Newton steps on the whole training set, one seed's."""
        optimiser = torch.optim.LBFGS(
            self.model.parameters(), lr=1.0, max_iter=LBFGS_ITERATIONS, history_size=50, line_search_fn="strong_wolfe"
        )
        if saved is not None:
            optimiser.load_state_dict(saved["optimiser"])
        state, accelerator = self.state, self.runtime.accelerator
        share = torch.arange(self.problem.size)[None, self.runtime.rank :: self.runtime.world]
        self.model.train()

        def closure() -> Tensor:
            _seed(_mixed(self.seeds[0], 2, 0, self.runtime.rank), self.device)
            optimiser.zero_grad()
            loss = self.problem.loss(self.model, self.problem.batch(share, self.device))
            accelerator.backward(loss.sum())
            total: Tensor = accelerator.reduce(loss.detach(), "mean").sum()
            return total

        step: Callable[[Callable[[], Tensor]], Tensor] = optimiser.step
        while state.lbfgs < self.recipe.lbfgs and torch.isfinite(state.loss[-1]).all():
            state.loss.append(step(closure).double().reshape(1).cpu())
            state.lbfgs += 1
            if self.checkpoint is not None and self.checkpoint.due():
                self.save("lbfgs", optimiser)

    def score(self, split: Literal["validation", "test"]) -> Scores:
        self.bare.eval()
        with torch.no_grad():
            scores = self.problem.score(self.bare, split)
        self.bare.train()
        return {name: values.double().tolist() for name, values in scores.items()}

    def save(self, phase: str, optimiser: Any) -> None:
        if not self.runtime.main or self.checkpoint is None:
            return
        watcher = self.watcher.state_dict() if self.watcher is not None else {}
        state = {"phase": phase, "model": self.bare.state_dict(), "optimiser": optimiser.state_dict()}
        self.checkpoint.save({**state, "watcher": watcher, "state": dict(vars(self.state))})

    def load(self, saved: dict[str, Any], optimiser: Any) -> None:
        self.bare.load_state_dict(saved["model"])
        if optimiser is not None:
            optimiser.load_state_dict(saved["optimiser"])
        if self.watcher is not None:
            self.watcher.load_state_dict(saved["watcher"])
        self.state = _State(**saved["state"])


def _seed(value: int, device: torch.device) -> None:
    """Seed what a step draws from: the CPU's generator and the device's. torch.manual_seed would besides, at each call,
    queue a call stack for every kind of device that is not in use: a quarter of a small network's step.
    """
    torch.default_generator.manual_seed(value)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(value)


def _mixed(*numbers: int) -> int:
    """One seed from several numbers (the odd multiplier of splitmix64)."""
    value = 0
    for number in numbers:
        value = ((value ^ number) * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) % 2**63
    return value


def _order(seeds: Sequence[int], epoch: int, size: int) -> Tensor:
    """A permutation of the training examples for each net, (nets, size)."""
    generators = (torch.Generator().manual_seed(_mixed(seed, 0, epoch)) for seed in seeds)
    return torch.stack([torch.randperm(size, generator=generator) for generator in generators])


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weights, which decay, and the rest: biases, normalisations, activations."""
    norms = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm, nn.PReLU, Activation)
    spared = {id(p) for module in model.modules() if isinstance(module, norms) for p in module.parameters()}
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    decays = [p for name, p in named if id(p) not in spared and "bias" not in name and p.ndim > 1]
    chosen = {id(p) for p in decays}
    others = [p for _, p in named if id(p) not in chosen]
    return [{"params": decays, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def _learned(model: nn.Module) -> dict[str, list[float]]:
    """Module path and parameter name -> values of the activations' learned parameters."""
    return {
        f"{path}.{name}" if path else name: p.detach().double().flatten().tolist()
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

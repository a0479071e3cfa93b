"""What the loop trains: one network as Accelerate prepares it, or a stack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from actsmith.training.adamw import AdamW, decaying
from actsmith.training.problem import Problem
from actsmith.training.recipe import Recipe
from actsmith.training.runtime import Runtime
from actsmith.training.stack import Form, Stack

__all__ = ["Alone", "SideBySide"]

T = TypeVar("T")
_WRAPPED = ("forward", "_original_forward")
"""What Accelerate leaves on a module that it unwrapped."""
SCALE = 2.0**16
"""Of float16's gradients at the start, as in torch.amp.GradScaler."""


class Alone:
    """One network, on one process or several.

    Attributes:
        module: the network itself; `model` is what Accelerate made of it.
        optimiser: holds the state of AdamW: ours, or torch's own where gradients are scaled.
    """

    def __init__(self, model: nn.Module, rate: float, recipe: Recipe, runtime: Runtime) -> None:
        self.rates, self.runtime = [rate], runtime
        self.module = model.to(runtime.device)
        self.own = {name: vars(model)[name] for name in _WRAPPED if name in vars(model)}
        self.optimiser: Any
        decays = decaying(model)
        if runtime.scales:
            named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
            groups = [
                {"params": [p for name, p in named if (name in decays) == decay], "weight_decay": size}
                for decay, size in ((True, recipe.weight_decay), (False, 0.0))
            ]
            adam = torch.optim.AdamW([g for g in groups if g["params"]], lr=rate, fused=True)
            self.model, adam = runtime.accelerator.prepare(model, adam)
            self.optimiser = _Scaled(adam, runtime.accelerator.scaler)
        else:
            self.model = runtime.accelerator.prepare(model)
            self.optimiser = AdamW(self.module, self.rates, recipe.weight_decay, decays)

    def train(self) -> None:
        self.model.train()

    def losses(self, problem: Problem, batch: Any) -> Tensor:
        """(1,)."""
        return problem.loss(self.model, batch).reshape(1)

    def step(self, factor: float, clip: float | None) -> None:
        """One update; the gradients are cleared."""
        if isinstance(self.optimiser, AdamW):
            if clip is not None:
                self.optimiser.clip(clip)
            self.optimiser.step(factor)
            return
        for group in self.optimiser.adam.param_groups:
            group["lr"] = self.rates[0] * factor
        if clip is not None:
            self.runtime.accelerator.clip_grad_norm_(self.model.parameters(), clip)
        self.optimiser.adam.step()
        self.optimiser.adam.zero_grad()

    def release(self) -> None:
        """Nothing more for AdamW to do."""
        if isinstance(self.optimiser, AdamW):
            self.optimiser.release()

    def gathered(self, function: Callable[[nn.Module], T]) -> list[T]:
        """What the function says of each net, in evaluation mode."""
        self.module.eval()
        try:
            return [function(self.module)]
        finally:
            self.module.train()

    def finish(self) -> None:
        """Leave the module as one gets it: Accelerate wraps its forward for mixed precision."""
        self.release()
        self.module.eval()
        unwrapped = self.runtime.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        assert unwrapped is self.module
        self.runtime.forget()
        for name in _WRAPPED:
            vars(self.module).pop(name, None)
        vars(self.module).update(self.own)


class _Scaled:
    """torch's AdamW, and the scale of the gradients, which begins anew with every training; the CPU has none."""

    def __init__(self, adam: Any, scaler: Any) -> None:
        self.adam, self.scaler = adam, scaler
        if scaler is not None:
            scaler.load_state_dict(scaler.state_dict() | {"scale": SCALE, "_growth_tracker": 0})

    def state_dict(self) -> dict[str, Any]:
        return {"adam": self.adam.state_dict(), "scaler": None if self.scaler is None else self.scaler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.adam.load_state_dict(state["adam"])
        if self.scaler is not None:
            self.scaler.load_state_dict(state["scaler"])


class SideBySide:
    """A stack on one device; the models have its values when it is finished."""

    def __init__(
        self, models: Sequence[nn.Module], rates: Sequence[float], recipe: Recipe, runtime: Runtime, form: Form
    ) -> None:
        self.rates, self.runtime, self.models = list(rates), runtime, list(models)
        self.stack = Stack(models, form).to(runtime.device)
        self.module = self.stack.module
        self.optimiser = AdamW(self.module, rates, recipe.weight_decay, decaying(self.stack.one))

    def train(self) -> None:
        self.stack.train()

    def losses(self, problem: Problem, batch: Any) -> Tensor:
        """(nets,)."""
        with self.runtime.accelerator.autocast():
            return self.stack.losses(problem, batch)

    def step(self, factor: float, clip: float | None) -> None:
        """One update of every net; the gradients are cleared."""
        if clip is not None:
            self.optimiser.clip(clip)
        self.optimiser.step(factor)

    def gathered(self, function: Callable[[nn.Module], T]) -> list[T]:
        """What the function says of each net, in evaluation mode."""
        with self.runtime.accelerator.autocast():  # as the forward that Accelerate gives to one network
            return [function(self.stack.net(i).eval()) for i in range(self.stack.nets)]

    def finish(self) -> None:
        """Write the values back into the models."""
        self.stack.write(self.models)
        for model in self.models:
            model.eval()

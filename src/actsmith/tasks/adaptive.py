"""Activations that go on changing while a network learns: models to try them in, and what moves and watches them.

    task      eps <- the gradient of the task's loss
    entropy   eps <- the gradient of weight sum over layers of J_0.1(f_l(X_l; eps_l))         (EAFO, arXiv:2405.12954)
    both      eps <- the sum

| symbol | meaning                                                | one network | of a stack |
|--------|--------------------------------------------------------|-------------|------------|
| eps    | coefficients of the Hermite family, each layer's own   | ()          | (nets,)    |
| J_0.1  | smoothed entropy of a layer's outputs, in nats         | a number    | (nets,)    |
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import isfinite, prod
from typing import Any, Literal

from torch import Tensor, nn

from actsmith.errors import ActsmithError
from actsmith.formula.formula import Formula
from actsmith.nn.activation import Activation
from actsmith.nn.entropy_descent import EntropyDescent
from actsmith.nn.hook import Hook
from actsmith.nn.jet_tensor import Jet
from actsmith.nn.kan import KANLinear
from actsmith.nn.output_score import counts_of, entropy_of, standardised, sums_of
from actsmith.training.problem import Problem

__all__ = ["EntropyWatch", "Kan"]

DECIMALS = 4
"""Of a recorded entropy: a sample of 4096 leaves an error of about 0.01."""


@dataclass(frozen=True)
class EntropyWatch:
    """Writes down the entropy of every activation's outputs; where it has a weight, or criticality is to be kept, an
    `EntropyDescent` sees to that.

    Each record holds `looks`: a step, and the path of every activation -> J_0.1. They are taken from the forward pass
    of that step, in training mode; step 0 is the untrained network. Scaled gradients (float16) are not for it, nor are
    stacks but in a model's own batched form.

    Attributes:
        weight: of the entropy in the loss: positive lowers it, negative raises it, 0 leaves it alone.
        task: whether the task's loss moves the activations' parameters, too.
        keep: "critical" to keep criticality, as `EntropyDescent` does.
        every, samples: steps between two samples of the descent, pre-activations in one.
        look: steps between two looks; 0 looks never.
    """

    weight: float = 0.0
    task: bool = True
    keep: Literal["nothing", "critical"] = "nothing"
    every: int = 10
    samples: int = 4096
    look: int = 0
    acts = True
    stacks = True

    def build(self, model: nn.Module, problem: Problem) -> Hook:
        """One that starts with the model's training.

        Raises:
            ActsmithError: a weight, and no activation with learnable parameters; parameters that nothing moves.
        """
        if not (self.task or self.weight):
            raise ActsmithError("entropy watch: got task=False, weight=0; expected one that moves the parameters")
        return _EntropyWatcher(self, model)


class _EntropyWatcher(Hook):
    stacks = True

    def __init__(self, config: EntropyWatch, model: nn.Module) -> None:
        self.looks = _Looks(model, config.look)
        self.descent: EntropyDescent | None = None
        if config.weight or config.keep != "nothing":
            self.descent = EntropyDescent(model, config.weight, config.every, config.samples, keep=config.keep)
        self.alone = [] if config.task else [p for _, m in _activations(model) for p in m.parameters()]

    def before_step(self, step: int) -> None:
        self.looks.before_step(step)
        for p in self.alone:
            if p.grad is not None:
                p.grad.zero_()
        if self.descent is not None:
            self.descent.step()

    def after_epoch(self, epoch: int) -> dict[str, Any] | None:
        return self.looks.collected()

    def of_net(self, record: dict[str, Any], i: int) -> dict[str, Any]:
        """Each look's entropies as numbers: those of net i."""
        looks = [{**look, "entropy": {p: v[i] for p, v in look["entropy"].items()}} for look in record["looks"]]
        return {**record, "looks": looks}

    def state_dict(self) -> dict[str, Any]:
        descent = self.descent.state_dict() if self.descent is not None else None
        return {"looks": self.looks.state_dict(), "descent": descent}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.looks.load_state_dict(state["looks"])
        if self.descent is not None:
            self.descent.load_state_dict(state["descent"])

    def close(self) -> None:
        self.looks.close()
        if self.descent is not None:
            self.descent.close()


class _Looks:
    """The entropies of activations' outputs, at every so many steps; none where there is no activation."""

    def __init__(self, model: nn.Module, every: int) -> None:
        sites = _activations(model)
        self.every = every if sites else 0
        self.armed = self.every > 0
        self.outputs: dict[str, Tensor] = {}
        self.taken: list[dict[str, Any]] = []
        self.hooks = [module.register_forward_hook(self._hook(path)) for path, module in sites if self.every]

    def _hook(self, path: str) -> Any:
        def take(module: Activation, args: tuple[Any, ...], z: Tensor | Jet) -> None:
            if self.armed and module.training and path not in self.outputs:  # of several calls in a step the first
                self.outputs[path] = _laws(module, (z.value if isinstance(z, Jet) else z).detach())

        return take

    def before_step(self, step: int) -> None:
        if self.armed:
            if not self.outputs:
                raise ActsmithError(
                    "entropy watch: no activation of the module ran: a stack by vmap does not run its modules one by "
                    "one; train in the model's own batched form, or alone"
                )
            entropy = {path: _entropy(z) for path, z in self.outputs.items()}
            self.taken.append({"step": step, "entropy": entropy})
            self.outputs.clear()
        self.armed = self.every > 0 and (step + 1) % self.every == 0

    def collected(self) -> dict[str, Any] | None:
        taken, self.taken = self.taken, []
        return {"looks": taken} if taken else None

    def state_dict(self) -> dict[str, Any]:
        return {"armed": self.armed, "taken": list(self.taken)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.armed, self.taken = state["armed"], state["taken"]

    def close(self) -> None:
        for hook in self.hooks:
            hook.remove()


def _activations(model: nn.Module) -> list[tuple[str, Activation]]:
    """The activations by path, without the base functions inside KAN layers."""
    inside = {id(m.base) for m in model.modules() if isinstance(m, KANLinear)}
    return [(p, m) for p, m in model.named_modules() if isinstance(m, Activation) and id(m) not in inside]


def _laws(module: Activation, z: Tensor) -> Tensor:
    """Outputs as (G, n): a law for each net of a stack, else one for the layer."""
    several = module.share == "channel" and module.channel_dim == 0
    return z.reshape(len(z) if several else 1, -1)


def _entropy(z: Tensor) -> list[float | None]:
    """J_0.1 of each law; None where it has none, as for outputs that are all alike or not finite."""
    u, _ = standardised(z, sums_of(z))
    return [round(j, DECIMALS) if isfinite(j) else None for j in entropy_of(counts_of(u)).tolist()]


@dataclass(frozen=True)
class Kan:
    """A Kolmogorov-Arnold network whose edge functions are the Hermite family on the activation.

    Attributes:
        width, depth: units in a hidden layer, number of hidden layers.
        order: of the family.
    """

    width: int = 8
    depth: int = 1
    order: int = 5

    def build(self, formula: Formula, seed: int, problem: Problem) -> nn.Module:
        """Inputs (batch, ...) to (batch, outputs); torch's generator draws the weights."""
        fans = [prod(problem.inputs), *[self.width] * self.depth, problem.outputs]
        layers = [KANLinear(a, b, formula, self.order) for a, b in pairwise(fans)]
        return nn.Sequential(nn.Flatten(), *layers)

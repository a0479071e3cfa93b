"""AdamW (Loshchilov, Hutter, arXiv:1711.05101) with a rate for each net.

    m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) g^2
    theta <- theta - c_t rate [ (m/(1 - b1^t)) / (sqrt(v/(1 - b2^t)) + eps) + decay theta ]

The parameters lie in one flat buffer for each dtype, of which neighbours of one rate and one decay are one piece.
torch's fused kernel goes once over the pieces, so that a step reads and writes every number once; what
`torch.optim.AdamW` does around that kernel is a fifth of a small network's step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from actsmith.errors import ActsmithError
from actsmith.nn.activation import Activation

__all__ = ["AdamW", "decaying"]

BETA_1, BETA_2, EPS = 0.9, 0.999, 1e-8


def decaying(model: nn.Module) -> set[str]:
    """Names of the weights that decay: not biases, normalisations, activations."""
    norms = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm, nn.PReLU, Activation)
    spared = {id(p) for module in model.modules() if isinstance(module, norms) for p in module.parameters()}
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    return {name for name, p in named if id(p) not in spared and "bias" not in name and p.ndim > 1}


class AdamW:
    """The update at the head of this file. The module's parameters become views of flat buffers, until `release`.

    Args:
        module: what is trained; of a stack, each parameter has a first dimension of nets.
        rates: one a net.
        weight_decay: of the parameters that decay.
        decays: their names.

    Raises:
        ActsmithError: no parameter requires a gradient.
    """

    def __init__(self, module: nn.Module, rates: Sequence[float], weight_decay: float, decays: set[str]) -> None:
        named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        if not named:
            raise ActsmithError(f"training: {type(module).__name__} has no parameter that requires a gradient")
        named.sort(key=lambda pair: pair[0] not in decays)  # what decays alike lies together
        self.parameters, self.nets = [p for _, p in named], len(rates)
        self.flat = []
        for dtype in dict.fromkeys(p.dtype for p in self.parameters):
            own = [(p, weight_decay if name in decays else 0.0) for name, p in named if p.dtype == dtype]
            self.flat.append(_Flat(own, rates))

    def clip(self, norm: float) -> None:
        """Scale each net's gradient to a norm of at most `norm`."""
        gradients = [g for flat in self.flat for g in flat.collected()]
        rows = [g.view(self.nets, -1) for g in gradients]
        wide = [g if g.dtype == torch.float64 else g.float() for g in rows]
        squares = torch.stack([g.square().sum(1) for g in wide]).sum(0)
        factors = (norm / (squares.sqrt() + 1e-6)).clamp(max=1.0)
        for g in rows:
            g.mul_(factors[:, None])

    @torch.no_grad()
    def step(self, factor: float) -> None:
        """One update from the parameters' gradients, which it then clears."""
        for flat in self.flat:
            flat.step(factor)

    def release(self) -> None:
        """The parameters are ordinary tensors again, without gradients."""
        for p in self.parameters:
            p.data, p.grad = p.data.clone(), None

    def state_dict(self) -> dict[str, Any]:
        """Plain tensors."""
        return {"flat": [{"m": flat.m, "v": flat.v, "t": flat.t} for flat in self.flat]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        for flat, saved in zip(self.flat, state["flat"], strict=True):
            for name, value in saved.items():
                getattr(flat, name).copy_(value)


class _Flat:
    """The parameters of one dtype."""

    def __init__(self, parameters: Sequence[tuple[nn.Parameter, float]], rates: Sequence[float]) -> None:
        self.parameters = [p for p, _ in parameters]
        self.values = torch.cat([p.detach().reshape(-1) for p in self.parameters])
        self.gradients, self.m, self.v = (torch.zeros_like(self.values) for _ in range(3))
        self.t = torch.zeros((), device=self.values.device)
        self.views: list[Tensor] = []
        at = 0
        for p in self.parameters:
            p.data = self.values[at : at + p.numel()].view(p.shape)
            self.views.append(self.gradients[at : at + p.numel()].view(p.shape))
            p.grad = self.views[-1]
            at += p.numel()
        self.pieces = list(self._pieces(parameters, rates))

    def _pieces(
        self, parameters: Sequence[tuple[nn.Parameter, float]], rates: Sequence[float]
    ) -> Iterator[tuple[float, float, Any]]:
        """(rate, decay, the lists that torch's kernel takes) for all that has this rate and decay."""
        ranges: dict[tuple[float, float], list[list[int]]] = {}
        at = 0
        for p, decay in parameters:
            for rate in rates:
                own, size = ranges.setdefault((rate, decay), []), p.numel() // len(rates)
                if own and own[-1][1] == at:
                    own[-1][1] += size
                else:
                    own.append([at, at + size])
                at += size
        for (rate, decay), own in ranges.items():
            parts = [[buffer[a:b] for a, b in own] for buffer in (self.values, self.gradients, self.m, self.v)]
            yield rate, decay, (*parts, [], [self.t] * len(own))

    def collected(self) -> list[Tensor]:
        """The gradients, those too that somebody put in the place of the buffer's."""
        for p, view in zip(self.parameters, self.views, strict=True):
            if p.grad is not view:
                view.copy_(p.grad) if p.grad is not None else view.zero_()
                p.grad = view
        return self.views

    def step(self, factor: float) -> None:
        self.collected()
        self.t += 1
        for rate, decay, lists in self.pieces:
            torch._fused_adamw_(
                *lists, lr=rate * factor, beta1=BETA_1, beta2=BETA_2, weight_decay=decay, eps=EPS, amsgrad=False,
                maximize=False,
            )  # fmt: skip
        self.gradients.zero_()

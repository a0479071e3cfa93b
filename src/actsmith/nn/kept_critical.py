"""Criticality, kept while an activation's parameters are trained.

At kernel K = 1 the critical C_W and C_b, and how perturbations grow, follow from three means over x ~ N(0, 1):

    m(theta) = (E f^2, E f'^2, E[x f f'])

A network initialised for one m stays critical while m stays. So gradients are projected on the tangent of m = const,
g - C^T (C C^T)^+ C g with C = dm/dtheta, and Newton's method along C^T brings back what finite steps have moved.

| symbol | meaning                                        | shape     |
|--------|------------------------------------------------|-----------|
| theta  | parameters, a row for each law (channel)       | (G, p)    |
| m      | the three means                                | (G, 3)    |
| C      | their gradients                                | (G, 3, p) |
"""

from __future__ import annotations

from math import pi, sqrt

import numpy as np
import torch
from torch import Tensor

from actsmith.errors import ActsmithError
from actsmith.nn.activation import Activation
from actsmith.nn.private import buffers_of, parameters_of
from actsmith.nn.spline_activation import SplineActivation
from actsmith.nn.tap import Edges, Tap
from actsmith.theory.quadrature import nodes

__all__ = ["KeptCritical"]

NEWTON = 4
REACH = 12.0


class KeptCritical:
    """The conditions of one tapped module.

    Attributes:
        target: m as it is to stay, (G, 3).

    Raises:
        ActsmithError: a KAN layer, whose edges no depth theory covers, or three parameters or fewer, which the three
            conditions leave nowhere to go.
    """

    def __init__(self, tap: Tap) -> None:
        count = sum(p.numel() for p in tap.parameters) // tap.groups
        if isinstance(tap, Edges) or count <= 3:
            why = "the edges of a KAN layer" if isinstance(tap, Edges) else f"{count} learnable parameters"
            raise ActsmithError(
                f"entropy descent: keep='critical': {tap.path or 'the model'} has {why}; expected an activation with "
                "four or more, as HermiteActivation(base, order=6) has"
            )
        self.tap = tap
        rule = nodes(tuple(sorted({0.0, *_kinks(tap.module)})), cut=REACH, step=0.1)
        density = np.exp(-(rule.x**2) / 2) / sqrt(2 * pi)
        inside = density > 1e-30
        self.x = torch.from_numpy(rule.x[inside]).expand(tap.groups, -1)
        self.weight = torch.from_numpy((rule.w * density)[inside])
        self.target = self.means()[0]
        self.slopes = self.means()[1]

    def means(self) -> tuple[Tensor, Tensor]:
        """m and C at the present parameters, in float64 on the CPU."""
        learned = {id(p) for p in self.tap.parameters}
        theta = {n: p.detach().cpu().double() for n, p in self.tap.module.named_parameters()}
        leaves = [theta[n].requires_grad_() for n, p in self.tap.module.named_parameters() if id(p) in learned]
        x = self.x.clone().requires_grad_()
        with torch.enable_grad():
            f = _at(self.tap, theta, x)
            (slope,) = torch.autograd.grad(f.sum(), x, create_graph=True)
            m = torch.stack([f.square(), slope.square(), x * f * slope], 1) @ self.weight
            rows = [torch.autograd.grad(m[:, i].sum(), leaves, retain_graph=True) for i in range(3)]
        free = [torch.full_like(p, float(p.requires_grad), device="cpu") for p in self.tap.parameters]
        slopes = torch.stack([_rows(row, self.tap.groups) for row in rows], 1)
        return m.detach(), slopes * _rows(free, self.tap.groups)[:, None]

    def update(self) -> None:
        """Bring the parameters back onto m = target, and take C there; a law whose m is lost is left as it is."""
        for _ in range(NEWTON):
            m, slopes = self.means()
            known = torch.isfinite(torch.cat([m[:, :, None], slopes], 2)).all((1, 2))
            self.slopes = slopes = torch.where(known[:, None, None], slopes, self.slopes)
            off = torch.where(known[:, None], m - self.target, 0)
            if float(off.abs().max()) < 1e-9:
                return
            self._add(-(slopes.mT @ (_pseudo_inverse(slopes) @ off[:, :, None]))[:, :, 0])

    def project(self) -> None:
        """Leave of the parameters' `.grad` the part along which m does not change."""
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.tap.parameters]
        g = _rows([t.detach() for t in gradients], self.tap.groups)
        c = self.slopes.to(g)
        across = c.mT @ (_pseudo_inverse(c) @ (c @ g[:, :, None]))
        self._store(gradients, g - across[:, :, 0])

    @torch.no_grad()
    def _add(self, change: Tensor) -> None:
        rows = _rows(self.tap.parameters, self.tap.groups)
        self._store(self.tap.parameters, rows + change.to(rows))

    @torch.no_grad()
    def _store(self, tensors: list[Tensor] | list[torch.nn.Parameter], rows: Tensor) -> None:
        at = 0
        for t in tensors:
            width = t.numel() // self.tap.groups
            t.copy_(rows[:, at : at + width].reshape(t.shape))
            at += width


def _kinks(module: torch.nn.Module) -> tuple[float, ...]:
    """Where the module's function is not smooth."""
    if isinstance(module, Activation):
        return module._family.formula.kinks
    assert isinstance(module, SplineActivation)
    return tuple(module.grid.low + module.grid.step * i for i in range(module.grid.cells - 1))


def _at(tap: Tap, theta: dict[str, Tensor], x: Tensor) -> Tensor:
    """The module's outputs (G, n) on the CPU, with other parameters."""
    own, held = parameters_of(tap.module), buffers_of(tap.module)
    parameters, buffers = dict(own), dict(held)
    try:
        own.update(theta)  # type: ignore[arg-type]
        held.update({name: b.cpu() for name, b in buffers.items() if b is not None})
        return tap.outputs(x)
    finally:
        own.update(parameters)
        held.update(buffers)


def _rows(tensors: list[Tensor] | tuple[Tensor, ...] | list[torch.nn.Parameter], groups: int) -> Tensor:
    return torch.cat([t.detach().double().reshape(groups, -1) for t in tensors], 1)


def _pseudo_inverse(c: Tensor) -> Tensor:
    """(C C^T)^+: conditions may depend on one another, as all three do where f is odd in all its parameters."""
    inverse: Tensor = torch.linalg.pinv(c @ c.mT, rtol=1e-10, hermitian=True)
    return inverse

"""A smooth family: a line, and a few waves, gates, saturating parts, squares and Hermite functions.

    f(x) = base(x) + l x + sum_i a_i g_i(x, u_i),   u_i = k_i x + s_i

Members are drawn at random, or are mutations of the best that were tried: whatever was tried is read back as a member,
its terms of another form as the base.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
import sympy as sp
from numpy.polynomial import hermite_e
from numpy.typing import NDArray
from scipy import special

from actsmith.formula.formula import Formula
from actsmith.formula.parse import X
from actsmith.formula.primitives import normal_cdf, relu, sigmoid, tanh
from actsmith.formula.text import to_text
from actsmith.search.draft import Draft, build, rounded
from actsmith.search.evidence import Evidence

__all__ = ["Family", "Member", "Part", "member_of"]

Array = NDArray[np.float64]

LEADERS = 8
"""How many of the best are mutated, each 0.8 times as often as the one before it."""
MUTATIONS = 0.7
"""The share of mutations, where something was tried."""
BASED = 0.25
"""The share of random members that are Hermite functions beside the start or a leader."""
NEAR = 0.15
"""How far a mutation moves a constant, as a share of it."""
MOST = 5
"""Parts of a member at most."""
LONGEST = 120
"""Characters of a base."""


@dataclass(frozen=True)
class Shape:
    """One kind of part.

    Attributes:
        value: g(x, u).
        slope: dg/dx from (x, u, k).
        text: formula text, u at {u}.
        shifted: whether s may differ from 0.
    """

    value: Callable[[Array, Array], Array]
    slope: Callable[[Array, Array, Array], Array]
    text: str
    shifted: bool = True


def _density(u: Array) -> Array:
    return np.asarray(np.exp(-u * u / 2) / math.sqrt(2 * math.pi), np.float64)


def _hermite(j: int, text: str) -> Shape:
    """psi_j = He_j(u) exp(-u^2/2); psi_j' = -k psi_{j+1}."""

    def psi(order: int, u: Array) -> Array:
        return np.asarray(hermite_e.hermeval(u, [0.0] * order + [1.0]) * np.exp(-u * u / 2), np.float64)

    return Shape(lambda x, u: psi(j, u), lambda x, u, k: -k * psi(j + 1, u), f"{text}*exp(-({{u}})**2/2)")


SHAPES = {
    "gelu": Shape(lambda x, u: x * special.ndtr(u), lambda x, u, k: special.ndtr(u) + k * x * _density(u),
                  "x*normal_cdf({u})", shifted=False),
    "silu": Shape(lambda x, u: x * special.expit(u),
                  lambda x, u, k: special.expit(u) * (1 + k * x * special.expit(-u)), "x*sigmoid({u})", shifted=False),
    "tanh": Shape(lambda x, u: np.tanh(u), lambda x, u, k: k * (1 - np.tanh(u) ** 2), "tanh({u})"),
    "sin": Shape(lambda x, u: np.sin(u), lambda x, u, k: k * np.cos(u), "sin({u})"),
    "relu2": Shape(lambda x, u: np.maximum(u, 0) ** 2, lambda x, u, k: 2 * k * np.maximum(u, 0), "relu({u})**2"),
    "psi1": _hermite(1, "({u})"),
    "psi2": _hermite(2, "(({u})**2 - 1)"),
    "psi3": _hermite(3, "(({u})**3 - 3*({u}))"),
}  # fmt: skip
SIMPLE, HERMITE = ("gelu", "silu", "tanh", "sin", "relu2"), ("psi1", "psi2", "psi3")


@dataclass(frozen=True)
class Part:
    """a g(x, k x + s): a the size, k the rate, s the shift."""

    kind: str
    size: float
    rate: float
    shift: float = 0.0


@dataclass(frozen=True)
class Member:
    """A function of the family; `base` is formula text, empty for none."""

    base: str
    line: float
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """Formula text."""
        terms = [f"({self.base})"] if self.base else []
        terms += [f"{self.line!r}*x"] if self.line else []
        for part in self.parts:
            u = f"{part.rate!r}*x + {part.shift!r}" if part.shift else f"{part.rate!r}*x"
            terms.append(f"{part.size!r}*{SHAPES[part.kind].text.format(u=u)}")
        return " + ".join(terms)


class Family:
    """Random members of the family, and mutations of the best."""

    name = "family"
    notes: tuple[str, ...] = ()

    def propose(self, evidence: Evidence, rng: np.random.Generator, n: int) -> list[Draft]:
        """Mutations of the leaders, `MUTATIONS` of them where something was tried, and random members."""
        best = [t.candidate.formula for t in evidence.best(LEADERS)]
        leaders = [(f.name, m) for f in best if (m := member_of(f)) is not None]
        bases = [(f.name, to_text(f.bound)) for f in (evidence.start, *best[:2])]
        bases = [(name, text) for name, text in bases if len(text) <= LONGEST]
        scale, median = evidence.grid.scale, float(evidence.grid.law.quantile(0.5))
        weights = 0.8 ** np.arange(len(leaders))
        members: list[Member] = []
        origins: list[tuple[str, tuple[str, ...]]] = []
        for _ in range(n):
            if leaders and rng.random() < MUTATIONS:
                name, parent = leaders[int(rng.choice(len(leaders), p=weights / weights.sum()))]
                members.append(_mutated(parent, rng))
                origins.append((f"mutation of {name} in the smooth family", (name,)))
            elif bases and rng.random() < BASED:
                name, text = bases[int(rng.integers(len(bases)))]
                members.append(Member(text, 0.0, _hermite_parts(median, scale, rng)))
                origins.append((f"{name} and Hermite functions of {evidence.grid.law}", (name,)))
            else:
                members.append(_random(scale, rng))
                origins.append(("a random member of the smooth family", ()))
        values, slopes = _evaluate(members, evidence.grid.x)
        return [
            Draft(f, d, self.name, origin, parents, partial(build, member.text, self.name, origin, parents, short=True))
            for f, d, member, (origin, parents) in zip(values, slopes, members, origins, strict=True)
        ]


def _random(scale: float, rng: np.random.Generator) -> Member:
    """One to three parts, and a line in half of them; rates about 1/scale, so that parts bend where the law lies."""
    kinds = rng.choice(SIMPLE, size=int(rng.integers(1, 4)), replace=False)
    sizes = rng.normal(0, 1, kinds.size)
    sizes[0] = math.exp(rng.normal(0, 0.4))
    rates = np.exp(rng.normal(0, 0.5, kinds.size)) / scale
    shifts = rng.normal(0, 0.5, kinds.size) * (rng.random(kinds.size) < 0.5)
    line = rounded(rng.normal(0, 0.4)) if rng.random() < 0.5 else 0.0
    parts = zip(map(str, kinds), sizes, rates, shifts, strict=True)
    return Member("", line, tuple(_part(kind, size, rate, shift) for kind, size, rate, shift in parts))


def _hermite_parts(median: float, scale: float, rng: np.random.Generator) -> tuple[Part, ...]:
    """One or two Hermite functions of the law's standard units, about a fifth of its size."""
    kinds = rng.choice(HERMITE, size=int(rng.integers(1, 3)), replace=False)
    return tuple(_part(str(kind), 0.2 * scale * rng.normal(), 1 / scale, -median / scale) for kind in kinds)


def _part(kind: str, size: float, rate: float, shift: float) -> Part:
    """Constants to three digits; a size is never zero."""
    shift = rounded(shift) if SHAPES[kind].shifted and abs(shift) >= 1e-3 else 0.0
    return Part(kind, rounded(size) or 1e-3, rounded(rate), shift)


def _mutated(member: Member, rng: np.random.Generator) -> Member:
    """Each constant moved in half of the cases by some `NEAR` of it; now and then a small part more, or one less."""

    def moved(value: float, floor: float) -> float:
        return value + rng.normal(0, NEAR) * max(abs(value), floor) if rng.random() < 0.5 else value

    parts = [_part(p.kind, moved(p.size, 0.1), moved(p.rate, 0.1), moved(p.shift, 0.5)) for p in member.parts]
    line, chance = rounded(moved(member.line, 0.3)), rng.random()
    if (chance < 0.2 and len(parts) < MOST) or not parts:
        rate = parts[0].rate if parts else 1.0
        parts.append(_part(str(rng.choice(SIMPLE)), rng.normal(0, 0.1), rate * math.exp(rng.normal(0, 0.4)), 0.0))
    elif chance > 0.9 and len(parts) > 1:
        del parts[int(np.argmin([abs(p.size) for p in parts]))]
    return replace(member, line=line, parts=tuple(parts))


def _evaluate(members: Sequence[Member], x: Array) -> tuple[Array, Array]:
    """Values and slopes, each (len(members), m): all parts of one kind at once."""
    values = np.array([m.line for m in members])[:, None] * x
    slopes = np.repeat(np.array([m.line for m in members])[:, None], x.size, 1)
    for i, member in enumerate(members):
        if member.base:
            f, d = _base(member.base, x.tobytes())
            values[i] += f
            slopes[i] += d
    with np.errstate(all="ignore"):
        for kind, shape in SHAPES.items():
            mine = [(i, p.size, p.rate, p.shift) for i, m in enumerate(members) for p in m.parts if p.kind == kind]
            if mine:
                owners = np.array([entry[0] for entry in mine])
                a, k, s = np.array([entry[1:] for entry in mine]).T[:, :, None]
                u = k * x + s
                np.add.at(values, owners, a * shape.value(x, u))
                np.add.at(slopes, owners, a * shape.slope(x, u, k))
    return values, slopes


@lru_cache(maxsize=256)
def _base(text: str, x: bytes) -> tuple[Array, Array]:
    f, d = Formula(text).jet(np.frombuffer(x), 1)
    return f, d


@lru_cache(maxsize=1024)
def member_of(formula: Formula) -> Member | None:
    """The formula, at its parameters' values, as a member; constants to three digits. None where its base is too long.

    >>> member_of(Formula("tanh(0.835*x + 0.404) - 0.299*x")).text
    '-0.299*x + 1.0*tanh(0.835*x + 0.404)'
    """
    line, rest = 0.0, sp.S.Zero
    parts: list[Part] = []
    for term in sp.Add.make_args(sp.expand_mul(formula.bound)):
        factor, shape = term.as_coeff_Mul()
        if shape == X:
            line += float(factor)
        elif (found := _recognised(shape)) is not None and len(parts) < MOST:
            kind, rate, shift = found
            parts.append(_part(kind, float(factor), rate, shift))
        else:
            rest += term
    base = "" if rest == 0 else to_text(rest)
    return Member(base, rounded(line), tuple(parts)) if len(base) <= LONGEST else None


def _recognised(e: Any) -> tuple[str, float, float] | None:
    """Kind, rate and shift of a part of size 1; None where it is none of them."""
    if isinstance(e, sp.Mul) and len(e.args) == 2 and X in e.args:
        gate = e.args[1] if e.args[0] == X else e.args[0]
        kind = {normal_cdf: "gelu", sigmoid: "silu"}.get(type(gate))
        line = _line(gate.args[0]) if kind else None
        return (kind, *line) if kind and line and line[1] == 0 else None
    if isinstance(e, sp.Pow) and e.exp == 2 and isinstance(e.base, relu):
        kind, inner, turn = "relu2", e.base.args[0], 0.0
    elif isinstance(e, tanh | sp.sin | sp.cos):
        kind, inner = "tanh" if isinstance(e, tanh) else "sin", e.args[0]
        turn = math.pi / 2 if isinstance(e, sp.cos) else 0.0
    else:
        return None
    line = _line(inner)
    return (kind, line[0], line[1] + turn) if line else None


def _line(e: Any) -> tuple[float, float] | None:
    """k and s of k x + s; None where it is no such line."""
    k, s = e.coeff(X, 1), e.coeff(X, 0)
    return (float(k), float(s)) if k.is_number and s.is_number and k != 0 and sp.expand(e - k * X - s) == 0 else None

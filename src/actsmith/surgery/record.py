"""What one site does, measured: the law of its input, its output, its gradient, beside what theory asks.

| symbol | meaning                                                        |
|--------|----------------------------------------------------------------|
| K      | E[x^2], the kernel that the site sees                          |
| K*     | the kernel at which its activation is critical                 |
| H      | differential entropy in nats; J_tau the smoothed, scale-free one |
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from actsmith.display import Shown
from actsmith.errors import ActsmithError, LawError
from actsmith.files import plain
from actsmith.surgery.sites import Site
from actsmith.theory.criticality import Criticality, criticality
from actsmith.theory.empirical import Empirical
from actsmith.theory.entropy import Entropy, entropy
from actsmith.theory.histogram import Histogram

__all__ = ["Probe", "Record", "Statistics"]

CURVE = 81
"""Points of the density in `to_dict`, between the quantiles 0.1% and 99.9%."""
DEAD = 0.05
"""A share of dead units that is worth a word."""
NAMED = 4
"""Sites that a verdict names."""
FAR = math.log(4.0)
"""A site is far from critical where K is off K* by more than a factor of 4."""


class Statistics:
    """Streaming sums of one site: a histogram of its input, and per unit the range of its output."""

    def __init__(self) -> None:
        self.input = Histogram()
        self.count = 0
        self.zeros = 0
        self.total, self.squares = 0.0, 0.0
        self.low: Tensor | None = None
        self.high: Tensor | None = None
        self.gradient, self.gradients = 0.0, 0
        self.failure: str | None = None  # why there can be no law: a batch that was not finite

    def see_input(self, x: Tensor) -> None:
        """Count the pre-activations x."""
        x = x.detach() if x.dtype == torch.float64 else x.detach().float()
        self.input.update(x.cpu().numpy().ravel())

    def see_output(self, y: Tensor, channel_dim: int) -> None:
        """Count the outputs y; the units are along channel_dim."""
        y = y.detach() if y.dtype == torch.float64 else y.detach().float()
        if not y.numel():
            return
        self.count += y.numel()
        self.zeros += int((y == 0).sum())
        self.total += float(y.sum(dtype=torch.float64))
        self.squares += float(y.double().square().sum())
        dims = [d for d in range(y.ndim) if d != channel_dim % y.ndim] if y.ndim else []
        low, high = (y.amin(dims), y.amax(dims)) if dims else (y, y)
        if self.low is None or self.high is None or self.low.shape != low.shape:
            self.low, self.high = low, high
        else:
            self.low, self.high = torch.minimum(self.low, low), torch.maximum(self.high, high)

    def see_gradient(self, g: Tensor) -> None:
        """Count the gradient of the loss in the outputs."""
        self.gradient += float(g.double().square().sum())
        self.gradients += g.numel()

    def has_atom(self) -> bool:
        """Whether a value repeats among the inputs, so that they have no density."""
        if self.failure is not None:
            return False
        try:
            self.input.bins()  # counts what waits; too few inputs are another reason to have no law
        except LawError:
            with suppress(LawError):
                self.input.check_atoms()
                return False
            return True
        return False

    def record(self, site: Site, strict: bool) -> Record:
        """The record of the site.

        Raises:
            LawError: the inputs have no law, where `strict`.
        """
        law: Empirical | None = None
        reason = None
        try:
            if self.failure is not None:
                raise LawError(self.failure)
            law = Empirical.from_bins(self.input.bins())
        except LawError as error:
            if strict:
                raise LawError(f"probe: site {site.path!r}: {error}") from None
            reason = str(error)
        mean = self.total / self.count if self.count else math.nan
        variance = max(self.squares / self.count - mean**2, 0.0) if self.count else math.nan
        dead, units = 0.0, 0
        if self.low is not None and self.high is not None:
            units = self.low.numel()
            still = self.high - self.low <= 1e-6 * max(math.sqrt(variance), 1e-30)
            dead = float(still.double().mean()) if units else 0.0
        h = self.input
        return Record(
            site, law, reason, h.count, h.mean, h.std, h.low, h.high, mean, math.sqrt(variance),
            self.zeros / self.count if self.count else math.nan, dead, units,
            math.sqrt(self.gradient / self.gradients) if self.gradients else None,
        )  # fmt: skip


@dataclass(frozen=True)
class Record:
    """What was measured at one site.

    Attributes:
        site: which.
        law: of its input; None where there is none, `reason` says why.
        count, mean, std, low, high: of its input.
        out_mean, out_std: of its output.
        zeros: the share of outputs that are exactly 0.
        dead: the share of units whose output never changed.
        units: how many units it has.
        gradient: the root mean square of the loss's gradient in its outputs; None unless asked for.
        in_normalised_block: whether it stands in a residual block with a normalisation, where criticality asks nothing;
            `surgery.blocks` finds that.
    """

    site: Site
    law: Empirical | None
    reason: str | None
    count: int
    mean: float
    std: float
    low: float
    high: float
    out_mean: float
    out_std: float
    zeros: float
    dead: float
    units: int
    gradient: float | None
    in_normalised_block: bool = False

    @property
    def K(self) -> float:
        """E[x^2]."""
        return self.mean**2 + self.std**2

    @cached_property
    def entropy_in(self) -> float | None:
        """H(X) in nats."""
        return None if self.law is None else self.law.entropy

    @cached_property
    def entropy_out(self) -> Entropy | None:
        """The entropies of the output, by theory from the measured law; None without a law or a formula."""
        if self.law is None or self.site.formula is None:
            return None
        try:
            return entropy(self.site.formula, self.law)
        except ActsmithError:
            return None

    @cached_property
    def criticality(self) -> Criticality | None:
        """Of the activation; None where its formula is not known."""
        return None if self.site.formula is None else criticality(self.site.formula)

    @property
    def K_star(self) -> float | None:
        """The critical kernel nearest to K on a logarithmic scale; None where there is none, or every K is critical."""
        c = self.criticality
        if c is None or not c.points or c.universality == "scale_invariant":
            return None
        usable = [p.K for p in c.points if p.kind == c.universality]
        return min(usable, key=lambda k: abs(math.log(max(k, 1e-12) / max(self.K, 1e-12))))

    @property
    def off_critical(self) -> float | None:
        """log(K/K*) for K* > 0; 0 where every K is critical; None where K* is 0 or there is none."""
        c = self.criticality
        if c is not None and c.universality == "scale_invariant":
            return 0.0
        star = self.K_star
        return math.log(self.K / star) if star and self.K > 0 else None

    @property
    def far_from_critical(self) -> bool:
        """Whether K is off K* by more than a factor of 4, and is asked not to be."""
        return not self.in_normalised_block and abs(self.off_critical or 0.0) > FAR

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, the numbers of theory and a curve of the density among them."""
        measured = ("count", "mean", "std", "low", "high", "out_mean", "out_std", "zeros", "dead", "units", "gradient")
        out, c = self.entropy_out, self.criticality
        curve = None
        if self.law is not None:
            low, high = self.law.quantile([0.001, 0.999])
            x = np.linspace(low, high, CURVE)
            curve = {"x": x.tolist(), "p": self.law.pdf(x).tolist()}
            if self.site.formula is not None:
                curve["f"] = np.asarray(self.site.formula(x)).tolist()
        return {
            "site": self.site.to_dict(),
            **{name: plain(getattr(self, name)) for name in measured},
            "reason": self.reason,
            "K": self.K,
            "K_star": self.K_star,
            "off_critical": self.off_critical,
            "far_from_critical": self.far_from_critical,
            "in_normalised_block": self.in_normalised_block,
            "universality": None if c is None else c.universality,
            "entropy_in": self.entropy_in,
            "entropy_out": None if out is None else out.mixed,
            "atom_mass": None if out is None else out.atom_mass,
            "smoothed_out": None if out is None else out.smoothed,
            "density": curve,
        }


@dataclass(eq=False, repr=False)
class Probe(Shown, Mapping[str, Empirical]):
    """Path -> law of the input, for the sites that have one; `records` holds everything of every site."""

    records: dict[str, Record] = field(default_factory=dict)

    def __getitem__(self, path: str) -> Empirical:
        law = self.records[path].law
        if law is None:
            raise KeyError(path)
        return law

    def __iter__(self) -> Any:
        return (path for path, record in self.records.items() if record.law is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"<Probe: {len(self.records)} site{'' if len(self.records) == 1 else 's'}>"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: `{"sites": [...], "verdict": "..."}`, the sites in the order of execution."""
        return {"sites": [record.to_dict() for record in self.records.values()], "verdict": self.verdict}

    @property
    def verdict(self) -> str:
        """What stands out, in a sentence or two: sites far from critical, dead units, what had no law."""
        records = list(self.records.values())
        far = [r for r in records if r.far_from_critical]
        dead = [r for r in records if r.dead > DEAD]
        blind = [r for r in records if r.law is None]
        inside = sum(r.in_normalised_block for r in records)
        parts = []
        if far:
            parts.append(f"{_count(far)} far from critical (K off K* by more than a factor of 4): {_named(far)}.")
        if dead:
            parts.append(f"{_count(dead)} with more than {DEAD:.0%} of dead units: {_named(dead)}.")
        if blind:
            parts.append(f"{_count(blind)} without a law: {_named(blind)}.")
        head = f"{len(records)} site{'s' * (len(records) != 1)}"
        if inside:
            head += f", {inside} of them in residual blocks with normalisation, where nothing has to be critical"
        return " ".join([f"{head}.", *(parts or ["Nothing stands out: no dead units, and none far from critical."])])

    def rows(self) -> list[dict[str, str]]:
        """The table's cells: column -> text, a row per site."""
        return [_row(record) for record in self.records.values()]

    def table(self) -> str:
        """A plain-text table, one line per site."""
        rows = self.rows()
        if not rows:
            return "no sites"
        widths = {c: max(len(c), *(len(r[c]) for r in rows)) for c in rows[0]}
        lines = ["  ".join(c.ljust(w) for c, w in widths.items())]
        lines += ["  ".join(r[c].ljust(w) for c, w in widths.items()) for r in rows]
        return "\n".join(line.rstrip() for line in lines)


def _count(records: list[Record]) -> str:
    return "One is" if len(records) == 1 else f"{len(records)} are"


def _named(records: list[Record]) -> str:
    paths = [r.site.path or r.site.class_name for r in records]
    return ", ".join(paths[:NAMED]) + (f" and {len(paths) - NAMED} more" if len(paths) > NAMED else "")


def _row(r: Record) -> dict[str, str]:
    c, out = r.criticality, r.entropy_out
    star = "any" if c is not None and c.universality == "scale_invariant" else _text(r.K_star)
    return {
        "site": r.site.path,
        "activation": r.site.activation or r.site.class_name,
        "mean": _text(r.mean),
        "std": _text(r.std),
        "K": _text(r.K),
        "K*": star,
        "H in": _text(r.entropy_in),
        "H out": _text(None if out is None else out.mixed),
        "J out": _text(None if out is None else out.smoothed),
        "zero": f"{r.zeros:.1%}",
        "dead": f"{r.dead:.1%}",
        **({} if r.gradient is None else {"grad": f"{r.gradient:.2e}"}),
    }


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"

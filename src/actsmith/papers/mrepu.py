"""What the reproductions of arXiv:2408.02697 share: the activations, and when one of them fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from actsmith.formula.catalogue import get_activation
from actsmith.formula.formula import Formula
from actsmith.papers.claims import Better, versus
from actsmith.papers.findings import Claim
from actsmith.trials.tables import Row, Table
from actsmith.trials.verdict import Verdict, claimed

__all__ = ["ACTIVATIONS", "MREPU", "MREPUS", "PAPER", "REPU", "USELESS", "fails", "survives"]

PAPER = "Kim, Kang, arXiv:2408.02697, Why Rectified Power Unit Networks Fail and How to Improve It"

REPU: tuple[Formula, ...] = tuple(get_activation("repu", p=p).renamed(f"repu_{p}") for p in (2, 3))
MREPU: tuple[Formula, ...] = tuple(get_activation("mrepu", p=p).renamed(f"mrepu_{p}") for p in (1, 2, 3))
MREPUS = tuple(f.name for f in MREPU)
ACTIVATIONS: tuple[Formula, ...] = (
    *(get_activation(name) for name in ("relu", "gelu", "silu", "tanh")), *REPU, *MREPU, get_activation("crrelu"),
)  # fmt: skip

USELESS = 0.9
"""A relative error above this is hardly better than that of a constant, 1."""
DRAWN_BELOW = 10.0
"""Figures leave out larger relative errors, beside which the others could not be told apart."""


def fails(row: Row) -> bool:
    """Whether an activation cannot be trained: a net of it diverged, or its error's interval lies above `USELESS`."""
    return row.low is None or row.low > USELESS


def survives(
    statement: str, tables: Sequence[Table], p: int, fails: Callable[[Row], bool] = fails, *, wherever: bool = False
) -> Claim:
    """That MRePU of power p trains and RePU fails, in every table; or wherever one of them fails."""
    cases: list[tuple[str, bool, bool]] = []
    for t in tables:
        old, new = fails(t.row(f"repu_{p}")), fails(t.row(f"mrepu_{p}"))
        cases.append((t.name, old, new))
    verdicts: list[Verdict] = [
        "better" if old and not new else "worse" for _, old, new in cases if old or new or not wherever
    ]
    listed = [", ".join(case[0] for case in cases if case[which]) or "none" for which in (1, 2)]
    (compared,) = Better("", versus(f"mrepu_{p}", f"repu_{p}")).claims(tables)
    return Claim(
        f"{statement}.", claimed(verdicts),
        f"Fails, RePU in {sum(c[1] for c in cases)} of {len(cases)} experiments ({listed[0]}), MRePU in "
        f"{sum(c[2] for c in cases)} ({listed[1]}). {compared.evidence}",
    )  # fmt: skip

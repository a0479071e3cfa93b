"""Is the worst activation the worst? The central statement of arXiv:2405.12954, trained.

The paper's theorem: among activations between fixed bounds the distribution function of the pre-activation has the
largest output entropy, the worst activation under boundary conditions (WAFBC). Here it is 2F - 1, from -1 to 1, for F
of N(0, 1), of the logistic law, and of the law that a ReLU network's own pre-activations have after training; against
twenty known activations, on five tasks, from either start. The paper has no such table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from actsmith.formula.formula import Formula
from actsmith.papers.claims import Claim, Question, judge, sampled
from actsmith.papers.crrelu import SOURCE
from actsmith.papers.experiment import Results
from actsmith.papers.findings import Findings
from actsmith.papers.five_tasks import SMALL, Size, five_tasks
from actsmith.papers.measured import Measured, Suggestion
from actsmith.papers.readers import budget_of, table
from actsmith.papers.reproduce import Preset, Reproduction
from actsmith.theory.eafo import worst_activation
from actsmith.trials.tables import Table

__all__ = ["REPRODUCTION"]

KNOWN = (
    "relu", "leaky_relu", "relu_squared", "hardtanh", "hardswish", "elu", "selu", "gelu", "silu", "mish", "softplus",
    "logish", "tanh", "sigmoid", "softsign", "arctan", "gaussian", "sin", "snake", "crrelu",
)  # fmt: skip
WORST = {law: Formula(worst_activation(law).expr, {}, f"worst_{law}") for law in ("normal", "logistic")}
OF_THE_NET = Suggestion("worst_measured", kind="worst")
NAMES = (*(f.name for f in WORST.values()), OF_THE_NET.name)
MIDDLE = 0.1
"""A share of the known activations within so much of one half is that of the middle."""
SMALLEST = {"digits": 0.005, "fashion-mnist": 0.005, "cifar10": 0.005, "polynomial": 0.05, "austen": 0.02}
"""What is too small to matter: in accuracy, in decades of the error, in bits per character."""
STARTS = {"critical": "each from its own critical start", "kaiming": "all from He's start"}

QUESTIONS = tuple(
    Question(
        f"The worst activation for the normal law trains worse than ReLU on {task}, {words}",
        "relu",
        "worst_normal",
        margin,
        task if start == "critical" else f"{task}-{start}",
        "paper",
        "section 3, the worst activation",
    )
    for start, words in STARTS.items()
    for task, margin in SMALLEST.items()
)
PLACE = "The worst activation ({law} law) trains worse than most known ones, {words}"


TWENTY = replace(SMALL, seeds=tuple(range(20)))


def _small(formulas: tuple[Formula, ...], size: Size = TWENTY) -> tuple[Measured, ...]:
    return tuple(
        Measured.of(experiment, (OF_THE_NET,), 4e-3)
        for start in STARTS
        for experiment in five_tasks(formulas, size, start)  # type: ignore[arg-type]
    )


def _smoke(formulas: tuple[Formula, ...]) -> tuple[Measured, ...]:
    left_out = {*KNOWN, *NAMES} - {"relu", "tanh", "worst_normal"}
    few = tuple(f for f in formulas if f.name not in left_out)
    return _small(few, Size(600, 600, {"digits": 2}, width=16, depth=3, rates=(3e-3,), seeds=(0, 1)))


def read(folder: Results, parts: tuple[Measured, ...]) -> Findings:
    """A table a task and start, the place of the worst among the known, the claims."""
    tables = [
        table(folder, p, p.problem.metric, title=f"{p.labels['task']}, {STARTS[p.labels['start']]}") for p in parts
    ]
    sizes = f"perceptrons of {parts[0].model.depth} layers; " + "; ".join(map(budget_of, parts[:5]))  # type: ignore[attr-defined]
    shares = {
        (start, name): _shares([t for t in tables if t.labels["start"] == start], name)
        for start in STARTS for name in NAMES
    }  # fmt: skip
    return Findings(
        summary=_summary(tables),
        tables=tuple(tables),
        claims=(*_places(shares, sizes), *judge(QUESTIONS, tables, sizes)),
        facts={
            "laws": {p.name: p.record(folder)["laws"]["mixture"] for p in parts},
            "share of the known that train better": {
                f"{name}, {start}": found.mean(1).round(3).tolist()
                for (start, name), found in shares.items()
                if found.size
            },
        },
    )


def _shares(tables: Sequence[Table], name: str) -> np.ndarray:
    """The share of the known activations that score better than one of the worst: (tables, seeds)."""
    found: list[list[float]] = []
    if not all(name in {row.name for row in t.rows} for t in tables):
        return np.array(found)
    for t in tables:
        known = [row for row in t.rows if row.name not in NAMES]
        mine = t.row(name).values
        merit = [[t.metric.merit([v]) for v in row.values] for row in known]
        found.append([float(np.mean([m[s] > t.metric.merit([v]) for m in merit])) for s, v in enumerate(mine)])
    return np.array(found)


def _places(shares: dict[tuple[str, str], np.ndarray], size: str) -> Iterator[Claim]:
    for (start, name), found in shares.items():
        if not found.size:
            continue
        law = name.removeprefix("worst_")
        question = Question(
            PLACE.format(law=law, words=STARTS[start]), name, "", MIDDLE, origin="paper",
            where="section 3, the worst activation", panel="crrelu" if (law, start) == ("normal", "critical") else "",
        )  # fmt: skip
        each = ", ".join(f"{100 * share:.0f} %" for share in found.mean(1))
        evidence = f"share of the {len(KNOWN)} known activations that train better, a task each: {each}"
        yield sampled(question, (found.mean(0) - 0.5).tolist(), "share above one half", evidence, size=size)


def _summary(tables: Sequence[Table]) -> str:
    places = []
    for t in tables:
        order = [row.name for row in t.rows]
        at = ", ".join(f"{name.removeprefix('worst_')} {order.index(name) + 1}" for name in NAMES if name in order)
        places.append(f"{t.name}: {at} of {len(order)}")
    return f"Place of the worst activation, by the law it is made of: {'; '.join(places)}."


REPRODUCTION = Reproduction(
    name="crrelu-worst",
    title="Is the worst activation the worst to train?",
    source=f"{SOURCE}, section 3",
    claims="The distribution function of the pre-activation is the worst activation under boundary conditions.",
    activations=(*KNOWN, *WORST.values()),
    presets={
        "smoke": Preset(_smoke, "10 seconds on one thread; digits, three activations, 2 seeds"),
        "small": Preset(
            _small,
            "15 minutes on one thread, measured; 20 seeds; needs --data with austen and cifar10; Fashion-MNIST from "
            "Debian's package, from --data or torchvision",
        ),
        "paper": Preset(
            lambda f: _small(f, Size(None, 500_000, {"digits": 60, "fashion-mnist": 20, "cifar10": 30, "polynomial": 60,
                                                     "austen": 10}, pool=1, width=256, tuning_share=0.2)),
            "the same at full size; about a day on one GPU, not measured; the paper prescribes none",
        ),
    },
    read=read,
    questions=QUESTIONS,
)  # fmt: skip

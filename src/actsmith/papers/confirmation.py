"""A confirmation of what was found: frozen functions against a panel of known ones, for each kind of network.

    by kind      a few functions for each kind of network, against GELU, SiLU, ReLU and CRReLU
    generalist   functions for all kinds, against GELU over all of them together

Every activation is tuned alike; seeds, and data or sizes, are others than those that found the functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import log10

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import get_activation
from actsmith.formula.formula import Formula
from actsmith.papers.claims import SPELLED, Claim, Question, judge, over_a_page
from actsmith.papers.crrelu import ONE_PERCENT
from actsmith.papers.experiment import Experiment, Results
from actsmith.papers.findings import Findings
from actsmith.papers.readers import budget_of, order_of, table
from actsmith.papers.reproduce import Preset, Reproduction
from actsmith.tasks.judged import Judged
from actsmith.tasks.task import ModelConfig, ProblemConfig
from actsmith.training.problem import Metric
from actsmith.training.recipe import Recipe
from actsmith.trials.statistics import holm, paired_difference, paired_p
from actsmith.trials.tables import Table

__all__ = ["FIVE_PERCENT", "PANEL", "Confirmation", "Kind", "formulas"]

PANEL = ("gelu", "silu", "relu", "crrelu", "tanh", "sin", "mish", "hardswish", "relu_squared", "snake")
BEATEN = ("gelu", "silu", "relu", "crrelu")
"""What a finalist is to be better than."""
STRICT = 0.01
"""The p, after Holm's correction, that a find needs."""
FIVE_PERCENT = 0.0212
"""In decades: of an error of a regression."""


def formulas(**texts: str) -> tuple[Formula, ...]:
    """Name -> text, as formulas."""
    return tuple(Formula(text, {}, name) for name, text in texts.items())


@dataclass(frozen=True)
class Kind:
    """A kind of network, at another task or larger than where the functions were found.

    Attributes:
        what: in words.
        problem, model, recipe, rates: of the experiment.
        score: that is compared, by its logarithm.
        margin: in decades.
        chooses: whether the score chooses the rate, too; of a physics-informed network its own loss does.
    """

    what: str
    problem: ProblemConfig
    model: ModelConfig
    recipe: Recipe
    rates: tuple[float, ...]
    score: str = "loss"
    margin: float = ONE_PERCENT
    chooses: bool = True

    @property
    def metric(self) -> Metric:
        """Of the score."""
        return Metric(self.score, "lower", log=True)


@dataclass(frozen=True)
class Confirmation:
    """What is compared where.

    Attributes:
        kinds: name -> kind of network.
        finalists: kind -> what was frozen for it before any of these trainings.
        generalists: what was frozen for all.
        best_known: kind -> a known function that joins the panel there.
        seeds: of the scored trainings.
        climbs: whether the scale of the output is tuned beside the rate.
    """

    kinds: Mapping[str, Kind]
    finalists: Mapping[str, tuple[Formula, ...]]
    generalists: tuple[Formula, ...]
    best_known: Mapping[str, Formula]
    seeds: tuple[int, ...]
    climbs: bool = False

    @property
    def questions(self) -> tuple[Question, ...]:
        """Each finalist against each of `BEATEN`, each generalist against GELU, everywhere and by kind."""
        found = [
            Question(f"{f.name} is better than {SPELLED.get(other, 'CRReLU')}: {kind}", f.name, other,
                     self.kinds[kind].margin, kind)
            for kind, own in self.finalists.items() for f in own for other in BEATEN
        ]  # fmt: skip
        for f in self.generalists:
            found.append(
                Question(f"{f.name} is better than GELU over all kinds of network together", f.name, "gelu", 0.0)
            )
            found += [Question(f"{f.name} is better than GELU: {kind}", f.name, "gelu", k.margin, kind)
                      for kind, k in self.kinds.items()]  # fmt: skip
        return tuple(found)

    def part(self, kind: str, known: Sequence[Formula], **changes: object) -> Experiment:
        """The experiment of a kind: the known ones, its finalists and the generalists.

        Raises:
            ActsmithError: two functions of one name.
        """
        k = self.kinds[kind]
        problem = Judged(k.problem, k.score) if k.chooses and k.problem.metric.name != k.score else k.problem
        arms: dict[str, Formula] = {}
        for f in (*known, self.best_known[kind], *self.finalists[kind], *self.generalists):
            if arms.setdefault(f.name, f) != f:
                raise ActsmithError(f"confirmation: {kind}: {f.name} is {arms[f.name].text} and {f.text}; rename one")
        made = Experiment(
            kind, problem, k.model, tuple(arms.values()), k.rates, k.recipe, reference="gelu", seeds=self.seeds,
            tuning_seeds=(1000,), tuning_share=0.5, labels={"kind": kind}, climbs=self.climbs,
        )  # fmt: skip
        return replace(made, **changes)  # type: ignore[arg-type]

    def reproduction(self, name: str, title: str, claims: str, cost: str) -> Reproduction:
        """What `actsmith reproduce NAME` runs; `cost` is that of the small preset."""
        few = "seconds: two known functions beside the frozen ones on a polynomial, 2 seeds"
        return Reproduction(
            name=name,
            title=title,
            source="an experiment of its own, after arXiv:2405.12954's question for better activations",
            claims=claims,
            activations=tuple(get_activation(known) for known in PANEL),
            presets={
                "smoke": Preset(self.smoke, few),
                "small": Preset(self.small, cost),
                "paper": Preset(self.small, "no paper has such a table; the small size"),
            },
            read=self.read,
            questions=self.questions,
        )

    def small(self, known: tuple[Formula, ...]) -> tuple[Experiment, ...]:
        """All kinds."""
        return tuple(self.part(kind, known) for kind in self.kinds)

    def smoke(self, known: tuple[Formula, ...]) -> tuple[Experiment, ...]:
        """Two known functions of the panel, on a regression, for seconds."""
        few = [f for f in known if f.name not in PANEL[2:]]
        return (self.part("smooth", few, recipe=Recipe(1, 256), rates=(3e-3,), seeds=(0, 1), climbs=False),)

    def read(self, folder: Results, parts: tuple[Experiment, ...]) -> Findings:
        """A table for each kind of network, the claims, and how each finalist stands to the best of the panel."""
        tables = [
            table(folder, part, self.kinds[part.name].metric, title=f"{part.name}: {self.kinds[part.name].what}")
            for part in parts
        ]
        sizes = {**{part.name: budget_of(part) for part in parts}, "*": f"{len(parts)} kinds of network"}
        asked = {where: [q for q in self.questions if q.tables == where] for where in sizes}
        claims = over_a_page([c for where, size in sizes.items() for c in judge(asked[where], tables, size)])
        return Findings(
            summary=" ".join([self._conclusion(claims, tables), *map(self._sentence, tables)]),
            tables=tuple(tables),
            claims=claims,
            facts={"frozen": {kind: {f.name: f.text for f in own} for kind, own in self.finalists.items()},
                   "generalists": {f.name: f.text for f in self.generalists}},
        )  # fmt: skip

    def _conclusion(self, claims: Sequence[Claim], tables: Sequence[Table]) -> str:
        """Which finalists beat all four, beyond what matters and by any amount, and how they stand to the best of the
        panel; which generalist beats GELU."""
        sure = {c.contrast for c in claims if c.verdict == "holds" and c.p is not None and c.p < STRICT}
        won = {
            t.name: [
                f.name for f in self.finalists[t.name]
                if sure >= {f"{f.name} - {other} in {t.name}" for other in BEATEN}
            ]
            for t in tables
        }  # fmt: skip
        ahead = self._ahead(tables)
        also = {kind: [name for name in own if name not in won[kind]] for kind, own in ahead.items()}
        found, more = (
            [f"{name} for {t.name} ({self._against_panel(t, name)})" for t in tables for name in own[t.name]]
            for own in (won, also)
        )  # fmt: skip
        general = [f.name for f in self.generalists if f"{f.name} - {BEATEN[0]} in *" in sure]
        return (
            f"On other data or in larger networks {sum(map(bool, won.values()))} of {len(tables)} kinds of network "
            f"have a frozen function that is better than GELU, SiLU, ReLU and CRReLU (each p < {STRICT}): "
            f"{', '.join(found) or 'none'}. By any amount (p < {STRICT} after Holm's correction over all finalists) "
            f"better than the four is also: {', '.join(more) or 'none'}. Better than GELU over all kinds together: "
            f"{', '.join(general) or 'no generalist'}."
        )

    def _ahead(self, tables: Sequence[Table]) -> dict[str, list[str]]:
        """Kind -> the finalists that are better than each of `BEATEN`, whatever the margin; none where a net failed."""
        found: dict[tuple[str, str, str], tuple[float, float]] = {}
        for t in tables:
            rows = {row.name: row for row in t.rows}
            for f, other in product(self.finalists[t.name], BEATEN):
                if f.name in rows and other in rows:
                    ours, theirs = (
                        [log10(v) for v in rows[name].values if v is not None] for name in (f.name, other)
                    )  # fmt: skip
                    whole = len(ours) == len(theirs) == len(rows[f.name].values)
                    found[t.name, f.name, other] = (
                        paired_p(ours, theirs) if whole else 1.0, sum(theirs) - sum(ours)
                    )  # fmt: skip
        corrected = holm([p for p, _ in found.values()])
        sure = {
            key for key, p, (_, gain) in zip(found, corrected, found.values(), strict=True) if p < STRICT and gain > 0
        }
        return {
            t.name: [f.name for f in self.finalists[t.name] if sure >= {(t.name, f.name, other) for other in BEATEN}]
            for t in tables
        }

    def _against_panel(self, found: Table, name: str) -> str:
        """By how much of its error, and whether that is more than its noise."""
        best = found.row(self._best_known(found))
        pairs = [(a, b) for a, b in zip(found.row(name).values, best.values, strict=True) if a and b]
        d = paired_difference([log10(a) for a, _ in pairs], [log10(b) for _, b in pairs])
        word = "ahead of" if d.high < 0 else "behind" if d.low > 0 else "not told apart from"
        low, high = sorted(1 - 10**v for v in (d.low, d.high))
        return f"{word} {best.name}, the best known: {1 - 10**d.mean:+.1%} [{low:+.1%}, {high:+.1%}] of its error saved"

    def _best_known(self, found: Table) -> str:
        return next(row.name for row in found.rows if row.name in (*PANEL, self.best_known[found.name].name))

    def _sentence(self, found: Table) -> str:
        """Where the finalists stand among the known ones."""
        places = {row.name: place for place, row in enumerate(found.rows, 1)}
        frozen = (*self.finalists[found.name], *self.generalists)
        own = ", ".join(f"{f.name} {places[f.name]}" for f in frozen if f.name in places)
        best = self._best_known(found)
        return f"{order_of(found, 3)} Best of the panel: {best}; places of the found ones among {len(places)}: {own}."

"""Which functions the table measures: one sequence, the same whenever it is asked for, each function in it once.

catalogue     what is known, at the published values of its parameters
literature    the same functions at other values of their parameters
correction    EAFO corrections of known functions under several laws, both signs
affine        a f(b x + c) + d x of known functions, their critical forms among them
family        random members of the smooth family that searches draw from
mutation      known functions with one change, and crosses of two
grammar       random expression trees

The catalogue comes first, then the others in turn, so that every beginning of the sequence is a mixture. A parameter
that training would learn stands at the value that it starts from: what is measured is the function.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import CATALOGUE
from actsmith.formula.formula import Formula
from actsmith.nn.start import start_of
from actsmith.search.candidates import Candidate, Step, derive
from actsmith.search.draft import Draft, Grid, rounded
from actsmith.search.evidence import Evidence, Tried
from actsmith.search.proposers.affine import Affine
from actsmith.search.proposers.evolution import Evolution
from actsmith.search.proposers.family import Family
from actsmith.search.proposers.known import ELSEWHERE, Known
from actsmith.search.space import Space
from actsmith.theory.laws import Normal, resolve_law
from actsmith.trials.runner import has_table

__all__ = ["Member", "members"]

FAMILIES = ("literature", "correction", "affine", "family", "mutation", "grammar")
BATCH = 3
"""Drafts that a proposer is asked for at once."""
SPREAD = 0.7
"""Of the logarithm of a parameter, about its published value."""
LAWS = ("normal", "logistic", "laplace", "uniform:-2,2", "mixture:0.5*normal(-1,0.6)+0.5*normal(1,0.6)")
STEPS = (Step(0.3, False), Step(0.6, False), Step(0.1, False))
CORRECTED = ("relu", "gelu", "silu", "tanh", "softplus", "mish", "elu", "erf", "leaky_relu", "arctan", "hardswish",
             "sin")  # fmt: skip
LONGEST = 240
"""Characters of a formula: longer ones say nothing to a reader."""
DEPTH = 6
"""Layers for which a function must have a start."""


@dataclass(frozen=True)
class Member:
    """One function of the table.

    Attributes:
        formula: without parameters; its name is its own.
        family: one of the kinds above.
        origin: where it comes from, in a line.
    """

    formula: Formula
    family: str
    origin: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"formula": self.formula.to_dict(), "family": self.family, "origin": self.origin}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Member:
        """The inverse of `to_dict`."""
        return cls(Formula.from_dict(values["formula"]), values["family"], values["origin"])


def members(count: int, seed: int = 0) -> list[Member]:
    """The first `count` functions; a longer sequence begins with a shorter one.

    Args:
        count: how many, at least 1.
        seed: of what is drawn.

    Raises:
        ActsmithError: fewer than one.

    Example:
        >>> [m.formula.name for m in members(3)]
        ['identity', 'relu', 'leaky_relu']
    """
    if count < 1:
        raise ActsmithError(f"table: functions: got {count}; expected 1 or more")
    grid = Grid.of(Normal())
    space, names = Space(grid), set[str]()
    sources = {
        "catalogue": _catalogue(),
        "literature": _literature(np.random.default_rng([seed, 0])),
        "correction": _corrections(),
        **{
            name: _proposed(make, name, grid, np.random.default_rng([seed, number]))
            for number, (name, make) in enumerate(
                {"affine": Affine, "family": Family, "mutation": Evolution, "grammar": Evolution}.items(), 1
            )
        },
    }
    known = _admitted(sources.pop("catalogue"), space, grid, names)
    others = [_admitted(sources[name], space, grid, names) for name in FAMILIES]
    return list(itertools.islice(itertools.chain(known, _in_turn(others)), count))


def _in_turn(sources: list[Iterator[Member]]) -> Iterator[Member]:
    """One of each, until all are at their ends."""
    while sources:
        for source in list(sources):
            found = next(source, None)
            if found is None:
                sources.remove(source)
            else:
                yield found


def _admitted(source: Iterator[tuple[Draft, str]], space: Space, grid: Grid, names: set[str]) -> Iterator[Member]:
    """Those that are new, can be read from a table, and have a start."""
    for draft, family in source:
        if family != "catalogue" and space.admit(draft) is not None:
            continue
        try:
            candidate = _bound(draft.make())
            if family != "catalogue" and len(candidate.formula.text) > LONGEST:
                continue
            refused = space.admit(candidate)
            if refused is not None and candidate.formula.name != "identity":
                continue
            if not has_table(candidate.formula) or not _starts(candidate.formula):
                continue
        except ActsmithError:
            continue
        name = candidate.formula.name
        if name in names:
            name = next(f"{name}-{i}" for i in itertools.count(2) if f"{name}-{i}" not in names)
        names.add(name)
        yield Member(candidate.formula.renamed(name), family, candidate.origin)


def _bound(candidate: Candidate) -> Candidate:
    """Its parameters at their values."""
    f = candidate.formula
    return replace(candidate, formula=Formula(f.bound, {}, f.name)) if f.params else candidate


def _starts(formula: Formula) -> bool:
    start = start_of(formula, DEPTH)
    return all(math.isfinite(v) for v in (start.C_W, start.C_b, start.K0, start.readout)) and start.input_scale() > 0


def _catalogue() -> Iterator[tuple[Draft, str]]:
    grid = Grid.of(Normal())
    for entry in CATALOGUE.values():
        origin = f"{entry.summary}; {entry.source}"
        yield Draft.of(Candidate(entry.formula(), "known", origin, Known.name), grid), "catalogue"
    for other in ELSEWHERE:
        formula = Formula(other.text, other.params, other.name)
        yield Draft.of(Candidate(formula, "known", f"{other.summary}; {other.source}", Known.name), grid), "catalogue"


def _literature(rng: np.random.Generator) -> Iterator[tuple[Draft, str]]:
    """Known functions with parameters, one after another, at values drawn about the published ones."""
    grid = Grid.of(Normal())
    built = [entry.formula() for entry in CATALOGUE.values()]
    built += [Formula(entry.text, entry.params, entry.name) for entry in ELSEWHERE]
    with_parameters = [f for f in built if f.params]
    for f in itertools.cycle(with_parameters):
        values = {}
        for name, p in f.params.items():
            drawn = p.value * math.exp(rng.normal(0, SPREAD)) if p.value else rng.normal(0, 0.5)
            values[name] = rounded(float(np.clip(drawn, p.low, p.high)))
        shown = ", ".join(f"{name}={value:g}" for name, value in values.items())
        try:
            member = f.at(**values).renamed(f"{f.name}({shown})")
        except ActsmithError:
            continue
        yield Draft.of(Candidate(member, "candidate", f"{f.name} at {shown}", "literature"), grid), "literature"


def _corrections() -> Iterator[tuple[Draft, str]]:
    """Of each function under each law; a step after another."""
    grid = Grid.of(Normal())
    for step, law in itertools.product(STEPS, LAWS):
        for name in CORRECTED:
            found, _ = derive(CATALOGUE[name].formula(), {law: resolve_law(law)}, (step,))
            for candidate in found:
                f = candidate.formula.renamed(candidate.formula.name.replace(", fixed]", "]"))
                yield Draft.of(replace(candidate, formula=f), grid), "correction"


def _proposed(
    make: Callable[[], Any], family: str, grid: Grid, rng: np.random.Generator
) -> Iterator[tuple[Draft, str]]:
    """What a proposer of the search gives, known functions its start in turn; for mutations they are its population."""
    proposer = make()
    known = [entry.formula() for entry in CATALOGUE.values() if entry.name != "identity"]
    tried = tuple(Tried(Candidate(f, "known", ""), 0.0) for f in known) if family == "mutation" else ()
    for f in itertools.cycle(known):
        evidence = Evidence(f, grid, {"normal": grid.law}, tried)
        for draft in proposer.propose(evidence, rng, BATCH):
            if family != "mutation" or draft.parents:
                yield draft, family

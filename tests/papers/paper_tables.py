"""Made-up tables and trainings."""

from dataclasses import replace

from actsmith.formula.catalogue import get_activation
from actsmith.papers.experiment import Saved
from actsmith.training.problem import Metric
from actsmith.trials.tables import Row, Table
from actsmith.trials.tables import table as table_of
from actsmith.trials.trial import History, Outcome, Trial

ACCURACY, ERROR = Metric("accuracy", "higher"), Metric("relative_rmse", "lower", log=True)


def row(name, values, **changes):
    """A row that knows its values alone, and what is given."""
    nothing = dict.fromkeys(("mean", "low", "high", "difference", "difference_low", "difference_high", "p", "effect"))
    made = Row(
        name=name, values=tuple(values), rate=0.1, at_edge=False, step_seconds=1.0, peak_bytes=1,
        diverged=sum(v is None for v in values), **nothing,
    )  # fmt: skip
    return replace(made, **changes)


def table(metric=ACCURACY, name="net", labels=None, **values):
    """Activations with their scores by seed, as one table."""
    rows = tuple(row(activation, own) for activation, own in values.items())
    return Table(name, name, metric, next(iter(values)), rows, labels=labels or {})


def outcome(task, activation, seed, test, *, stage="score", rate=1e-2, diverged=False, **details):
    """A finished training; `activation` is a formula or the name of one, `test` its scores."""
    formula = get_activation("relu").renamed(activation) if isinstance(activation, str) else activation
    trial = Trial(task, formula, stage, rate, seed, test=stage == "score")
    details = {"loss": [1.0], "watched": [], "parameters": {}, **details}
    return Outcome(trial, test, test, diverged=diverged, step_seconds=0.5, peak_bytes=100, details=details)


def folder(outcomes, results=None):
    """What a reproduction may be read from."""
    return Saved(results or {}, History(outcomes))


def measured(found, metric=ACCURACY, reference="relu", **options):
    """The table of outcomes by activation."""
    return table_of(found, metric, reference=reference, rates=(1e-3, 1e-2), name="t", title="t", **options)

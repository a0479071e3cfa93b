"""What a confirmation compares, and what it concludes, on tables whose answer is known."""

from dataclasses import replace

import numpy as np
import pytest

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import get_activation
from actsmith.papers.confirmation import BEATEN, formulas
from actsmith.papers.found import WHICH
from actsmith.trials.tables import table
from actsmith.trials.trial import Outcome, Trial

KNOWN = tuple(get_activation(name) for name in ("gelu", "silu", "relu", "crrelu", "tanh"))
SMOOTH = replace(WHICH, kinds={"smooth": WHICH.kinds["smooth"]}, generalists=())


def test_two_functions_of_one_name_are_refused():
    clash = replace(SMOOTH, finalists={"smooth": formulas(tanh="sin(x)")})
    with pytest.raises(ActsmithError, match="tanh is tanh"):
        clash.part("smooth", KNOWN)
    assert [f.name for f in SMOOTH.part("smooth", KNOWN).activations[:5]] == [f.name for f in KNOWN]


def test_a_finalist_that_beats_all_by_little_is_told_from_one_that_does_not():
    """Ahead of each of the four by 5 % on paired seeds, and by nothing; where a net failed nothing is said."""
    metric = SMOOTH.kinds["smooth"].metric
    rng = np.random.default_rng(0)
    base = np.log(0.3) + 0.1 * rng.standard_normal(15)
    names = {f.name: f for f in (*KNOWN, *SMOOTH.finalists["smooth"])}
    ahead = SMOOTH.finalists["smooth"][0].name
    logs = {name: base + 0.01 * rng.standard_normal(15) for name in names}
    logs[ahead] = base - 0.05 + 0.01 * rng.standard_normal(15)

    def made(lost):
        outcomes = {}
        for name, values in logs.items():
            scores = [None if (name, i) == lost else float(np.exp(v)) for i, v in enumerate(values)]
            outcomes[name] = [
                Outcome(Trial("smooth", names[name], "score", 0.01, i, test=True), {metric.name: s}, {metric.name: s})
                for i, s in enumerate(scores)
            ]
        return table(outcomes, metric, reference="gelu", rates=(0.01,), name="smooth", title="smooth")

    assert SMOOTH._ahead([made(None)]) == {"smooth": [ahead]}
    assert SMOOTH._ahead([made((ahead, 3))]) == {"smooth": []}
    assert SMOOTH._ahead([made((BEATEN[0], 3))]) == {"smooth": []}

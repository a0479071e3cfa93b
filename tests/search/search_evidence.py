"""Histories for the tests of proposers and of the space."""

from actsmith.formula.catalogue import get_activation
from actsmith.search.candidates import Candidate
from actsmith.search.draft import Grid, build
from actsmith.search.evidence import Evidence, Tried
from actsmith.theory.laws import Mixture, Normal

SKEWED = Mixture((0.3, 0.7), (Normal(-1.2, 0.5), Normal(0.4, 0.9)))
LEADER = "tanh(0.835*x + 0.404) - 0.299*x"


def evidence(law=None, texts=(), known=("relu", "silu", "sin", "elu")):
    """What a search from GELU knows: these formulas in the lead, in this order, and known functions behind them."""
    grid = Grid.of(law or Normal())
    tried = [Tried(build(text, "own", "given"), 0.05 - 0.01 * i) for i, text in enumerate(texts)]
    tried += [Tried(Candidate(get_activation(name), "known", ""), -0.02 - 0.01 * i) for i, name in enumerate(known)]
    laws = {"normal": Normal(), **({} if law is None else {"pooled": law})}
    return Evidence(get_activation("gelu"), grid, laws, tuple(tried))


def led_by_tanh(law=None):
    return evidence(law, (LEADER, "tanh(0.8*x + 0.3) - 0.3*x", "0.95*tanh(0.9*x + 0.5) - x/4"))


def distance(grid, first, second):
    """Share of the second's size by which the first differs, values under the law."""
    return float((grid.weights @ (first - second) ** 2 / (grid.weights @ second**2)) ** 0.5)

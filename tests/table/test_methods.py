"""Search methods replayed where the answer is planted: who sees shapes finds it, and what is left out is missed."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from synthetic import made

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import resolve
from actsmith.formula.formula import Formula
from actsmith.report.methods_page import render_methods
from actsmith.search.candidates import Candidate
from actsmith.search.draft import Draft, Grid
from actsmith.search.evidence import Evidence, Tried
from actsmith.search.round import next_round
from actsmith.search.space import Space
from actsmith.table.functions import members
from actsmith.table.methods import METHODS, OURS, RETUNED, replay
from actsmith.table.ours import Ours
from actsmith.table.peers import BEGIN
from actsmith.table.replay import Draw, Method, Play, drawn, played, scored
from actsmith.table.retuned import GRID, in_words, retuned
from actsmith.table.screen import Screen
from actsmith.table.shapes import shapes_of
from actsmith.theory.laws import Normal
from actsmith.theory.measured import measured

SHARES = np.array([0.1, 0.25, 0.5, 1.0])
KINDS = np.array(["catalogue", "affine", "family", "grammar"])
FUNCTIONS, BUDGET = 240, 64
BEST = "family"
"""The family that the optimum is in."""


def planted(seed: int, eigenvalues: bool = False) -> tuple[Draw, NDArray[np.float64]]:
    """Functions about centres, one for each family; the score is the distance from one of them."""
    rng = np.random.default_rng(seed)
    families = rng.choice(KINDS, FUNCTIONS, p=[0.07, 0.31, 0.31, 0.31])
    centres = {kind: 2 * rng.normal(size=4) for kind in KINDS}
    points = np.stack([centres[kind] for kind in families]) + rng.normal(size=(FUNCTIONS, 4))
    score = np.linalg.norm(points - centres[BEST], axis=1)
    nothing = rng.normal(size=(FUNCTIONS, 5))
    fisher = np.repeat(points[:, None], 1, 1) if eigenvalues else np.zeros((FUNCTIONS, 1, 0))
    outputs = nothing if eigenvalues else points
    return Draw(np.arange(FUNCTIONS), families, points, outputs, nothing[:, None], fisher), score


def play_of(draw: Draw, score: NDArray[np.float64], noise: float = 0.0, budget: int = BUDGET) -> Play:
    """What is told of a beginning of a training is the score, and noise that ends with the training."""
    told = np.repeat(score[:, None], len(SHARES), 1)
    told[:, :-1] += noise * np.random.default_rng(0).normal(size=(len(score), len(SHARES) - 1))
    return Play(draw, 0, told, SHARES, budget)


def regret(method: Method, *, eigenvalues: bool = False, noise: float = 0.0) -> NDArray[np.float64]:
    """The second half of the budget, in the mean, of twelve repetitions."""
    found = []
    for seed in range(12):
        draw, score = planted(seed, eigenvalues)
        curve = played(method, play_of(draw, score, noise), score - score.min(), np.random.default_rng(seed))
        found.append(curve[BUDGET // 2 :].mean())
    return np.array(found)


@pytest.mark.parametrize("name", ["evolution", "TPE", "Gaussian process", "AQuaSurF", OURS])
def test_who_sees_shapes_is_better_than_chance(name: str) -> None:
    gain = regret(METHODS["random"][1]) - regret(METHODS[name][1])
    assert gain.mean() > 2 * gain.std() / np.sqrt(len(gain))


def test_fisher_eigenvalues_are_seen_where_outputs_say_nothing() -> None:
    gain = regret(METHODS["random"][1], eigenvalues=True) - regret(METHODS["AQuaSurF"][1], eigenvalues=True)
    assert gain.mean() > 2 * gain.std() / np.sqrt(len(gain))


def test_tpe_concentrates_about_the_best() -> None:
    draw, score = planted(1)
    play = play_of(draw, score)
    METHODS["TPE"][1](play, np.random.default_rng(1))
    assert np.median(score[play.tried[BEGIN:]]) < np.quantile(score, 0.2)
    assert len(set(play.tried)) == len(play.tried) == BUDGET


def test_ours_misses_the_family_of_the_optimum_and_the_surrogate() -> None:
    ours = regret(Ours())
    for worse in (Ours(without=BEST), Ours(screened=False)):
        loss = regret(worse) - ours
        assert loss.mean() > 2 * loss.std() / np.sqrt(len(loss))
    draw, score = planted(0)
    play = play_of(draw, score)
    Ours(without=BEST)(play, np.random.default_rng(0))
    assert BEST not in set(draw.families[play.tried])


def test_short_looks_are_taken_where_they_rank_and_nowhere_else() -> None:
    draw, score = planted(0)
    short, blind = play_of(draw, score), play_of(draw, score, noise=50.0)
    for play in (short, blind):
        Ours()(play, np.random.default_rng(0))
    assert len(short.tried) > BUDGET
    assert set(short.done[short.tried]) == {0.25, 1.0}
    assert len(blind.tried) == BUDGET


def test_a_look_costs_its_share_and_the_rest_is_paid_later() -> None:
    draw, score = planted(0)
    play = play_of(draw, score, budget=3)
    best, worst = int(np.argmin(score)), int(np.argmax(score))
    play.train([worst])
    play.train([best, *(i for i in range(3) if i not in {best, worst})], 0.25)
    assert play.chosen == worst  # what was looked at only is not chosen
    play.train([best])
    assert play.cost == pytest.approx(1 + 0.25 * (len(play.tried) - 1) + 0.75)
    play.train(np.arange(FUNCTIONS))
    assert play.over
    assert play.choices().tolist() == [worst, worst, best]


def test_a_screen_is_the_textbook_process_and_what_is_taken_becomes_certain() -> None:
    draw, score = planted(0)
    tried, y = np.arange(0, 60, 3), score[:60:3] - score[:60:3].mean()
    screen = Screen(draw.kernels, tried, y, more=2)
    kernel, noise = screen.kernel.astype(float), screen.noise

    def told(places: NDArray[np.int64], scores: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        covariance = (1 - noise) * kernel[np.ix_(places, places)] + noise * np.eye(len(places))
        across = (1 - noise) * kernel[:, places]
        variance = 1 - noise - np.sum(across * np.linalg.solve(covariance, across.T).T, 1)
        return across @ np.linalg.solve(covariance, scores), variance

    for place in (100, 200):
        mean, variance = told(tried, y)
        np.testing.assert_allclose(screen.mean, mean, atol=1e-3)
        np.testing.assert_allclose(screen.variance, variance, atol=1e-3)
        screen.take(place)
        tried, y = np.append(tried, place), np.append(y, mean[place])


@pytest.mark.slow
def test_the_replayed_rules_find_what_the_search_itself_finds() -> None:
    table = measured()
    if table is None:
        pytest.skip("this copy has no table")
    shapes, pairs = shapes_of(table), []
    formulas = zip(table.formulas, table.names, table.families, strict=True)
    grid = Grid.of(Normal())
    drafts = [
        Draft.of(Candidate(Formula(text).renamed(name), "candidate", "", family), grid)
        for text, name, family in formulas
    ]
    for r in range(5):
        draw = drawn(table, shapes, np.random.default_rng([0, r]))
        method = partial(by_the_search, drafts=[drafts[i] for i in draw.rows], grid=grid)
        budget = min(96, len(draw.rows) * 3 // 4)
        for j in range(len(table.tasks)):
            told, judged = scored(table, draw, j)
            play = partial(Play, draw, j, told, table.shares, budget)
            rules = Ours(known=len(draw.rows), look=1.0)
            pairs.append([played(m, play(), judged, np.random.default_rng(r)).mean() for m in (method, rules)])
    original, replayed = np.array(pairs).T
    assert abs(np.mean(replayed - original)) < 0.05
    assert np.corrcoef(original, replayed)[0, 1] > 0.8


def by_the_search(play: Play, rng: np.random.Generator, drafts: list[Draft], grid: Grid) -> None:
    """Rounds by `search.round.next_round` itself, each family a proposer of the functions that it holds."""
    places = {draft.make().formula.name: i for i, draft in enumerate(drafts)}
    families = sorted({draft.proposer for draft in drafts})
    proposers = [Stored(name, [draft for draft in drafts if draft.proposer == name]) for name in families]
    play.train(rng.permutation(np.flatnonzero(play.draw.families == "catalogue")))
    while not play.over:
        scores = play.scores()
        ahead = set(np.argsort(scores, kind="stable")[: len(scores) // 4 + 1].tolist())
        tried = [Tried(drafts[i].make(), -float(scores[k]), k in ahead) for k, i in enumerate(play.tried)]
        evidence = Evidence(resolve("relu"), grid, {"normal": Normal()}, tuple(tried))
        space = Space(grid).remembering(evidence)
        made = next_round(evidence, proposers, space, seed=[int(rng.integers(99)), len(tried)], n=16)
        play.train([places[candidate.formula.name] for candidate in made.candidates])
        if not made.candidates:
            return


@dataclass(frozen=True)
class Stored:
    """Proposes what there is of one family."""

    name: str
    drafts: list[Draft]
    notes: tuple[str, ...] = ()

    def propose(self, evidence: Evidence, rng: np.random.Generator, n: int) -> list[Draft]:
        return self.drafts


def test_a_table_of_few_functions_that_are_whole_says_so() -> None:
    table = made(members(40))
    diverged = table.diverged.copy()
    diverged[5, 1] = np.nan
    with pytest.raises(ActsmithError, match="got 5 functions that were trained on every task"):
        replay(replace(table, diverged=diverged))


def test_retuning_is_judged_where_it_was_not_chosen() -> None:
    rng = np.random.default_rng(0)
    noise = 1 + 0.1 * rng.normal(size=(len(GRID), 8, 4, 10))
    lucky = retuned(noise)
    assert lucky.default[1] < 0 < lucky.default[2]  # the best of noise is no better elsewhere
    better = noise.copy()
    better[5] -= 0.5
    found = retuned(better)
    assert found.chosen == ((in_words(GRID[5]), 1.0),)
    assert found.default == pytest.approx((-0.5, -0.5, -0.5), abs=0.1)
    assert GRID[0] == Ours()


def test_the_page_says_what_the_replay_found(tmp_path: Path) -> None:
    table = made(members(100))
    found = replay(table, repetitions=2, budget=24)
    assert {track.method for track in found.tracks} == {*METHODS, RETUNED}
    draw = drawn(table, shapes_of(table), np.random.default_rng(0))
    assert found.among == len(draw.rows) == 50
    assert np.sum(draw.families == "catalogue") == (np.sum(np.array(table.families) == "catalogue") + 1) // 2
    files = render_methods(found, tmp_path, "Made up.")
    page = files[0].read_text()
    assert all(track.method in page for track in found.tracks)
    assert f"{found.tracks[0].late:.2f}" in page
    assert {c.name for c in found.changes if c.part} >= {"without catalogue", "without the surrogate"}
    assert all("<svg" in file.read_text() for file in files[1:])

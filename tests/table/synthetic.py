"""A table whose answers are known: outcomes are made from a quantity, and nothing is trained."""

import numpy as np

from actsmith.table.functions import Member
from actsmith.theory.measured import NODES, MeasuredTable, TableTask

SHARES = np.array([0.1, 0.5, 1.0])


def made(found: list[Member], tasks: int = 3, noise: float = 0.1, seed: int = 0) -> MeasuredTable:
    """log outcome = a quantity + noise; the forward gain is that quantity, the backward gain says nothing."""
    rng, n = np.random.default_rng(seed), len(found)
    quantity = rng.normal(size=n)
    log = quantity[:, None] + noise * rng.normal(size=(n, tasks))
    two = log[..., None] + noise * rng.normal(size=(n, tasks, 2))
    outcome = np.exp(two.mean(2))
    outcome[0, 0] = np.nan
    sizes = np.array([2.0, 0.5, 0.05])
    usable = np.arange(n) % 5
    return MeasuredTable(
        names=tuple(m.formula.name for m in found),
        formulas=tuple(m.formula.text for m in found),
        families=tuple(m.family for m in found),
        origins=tuple(m.origin for m in found),
        tasks=tuple(TableTask(f"task{i}", "loss", "lower", "nats", True, "made up") for i in range(tasks)),
        outcome=outcome,
        seeds=np.exp(two),
        rate=np.full((n, tasks), 0.01),
        by_rate=np.repeat(outcome[..., None], 3, 2),
        rates=np.ones((tasks, 3)),
        shares=SHARES,
        early=np.exp(log[..., None] + sizes * rng.normal(size=(n, tasks, 3))),
        diverged=np.where(quantity > np.quantile(quantity, 0.7), 0.5, 0.0)[:, None] * np.ones((n, tasks)),
        step_seconds=np.full((n, tasks), 1e-3),
        start={"forward": np.repeat(quantity[:, None], tasks, 1), "backward": rng.normal(size=(n, tasks))},
        fisher=np.full((n, tasks, 16), 1 / 16),
        theory={"entropy": -quantity, "usable": usable.astype(float), "chance": rng.normal(size=n)},
        values=np.array([m.formula(NODES) for m in found]),
        about={"functions": n, "trainings": 6 * n * tasks, "seeds": 2, "seeds_closely": 10, "closely": 0},
    )

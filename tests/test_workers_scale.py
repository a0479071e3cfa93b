"""Throughput of workers, the ledger's costs, and the simulation of many."""

from __future__ import annotations

from pathlib import Path

import pytest

from actsmith.benchmarks.workers import Costs, costs_of, simulated, throughput

COSTS = Costs(publish=0.004, claim=0.008, finish=0.008, look=0.001, idle=0.001)


def test_a_few_workers_with_long_trainings_are_linear() -> None:
    assert simulated(10, 60.0, COSTS) == pytest.approx(1.0, abs=0.03)
    assert simulated(1000, 600.0, COSTS) == pytest.approx(1.0, abs=0.03)


def test_no_more_jobs_a_second_than_the_storage_does() -> None:
    """Twenty milliseconds a job: fifty a second at most, and nearly as many."""
    rate = simulated(500, 2.0, COSTS) * 500 / 2.0
    assert 25 < rate <= 1 / COSTS.job
    twice = simulated(500, 2.0, COSTS, at_once=4) * 500 / 2.0
    assert twice > 1.3 * rate


def test_costs_are_measured(tmp_path: Path) -> None:
    costs = costs_of(tmp_path, 12, last=5)
    assert all(0 < cost < 5 for cost in vars(costs).values())
    assert costs.job == costs.publish + costs.claim + costs.finish


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2, 4, 8])
def test_throughput_is_linear(workers: int) -> None:
    assert throughput(workers, 8) <= 1 / 0.9

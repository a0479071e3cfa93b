"""A pool on a Ray cluster of two nodes, which are processes of this machine."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from actsmith.errors import ActsmithError
from actsmith.search.run import search
from actsmith.training.runtime import threads_for
from actsmith.trials.pool import Here
from actsmith.trials.ray_workers import RayPool
from actsmith.trials.runner import Place, Runner
from actsmith.trials.testing import PoolContract, SumRunner, trials
from actsmith.trials.trial import Outcome, Trial

ray = pytest.importorskip("ray", reason="pip install 'actsmith[cluster]'")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own, of sockets and processes


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of one core; the head has none, and cannot be lost."""
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    found.nodes = [found.add_node(num_cpus=1) for _ in range(2)]
    found.wait_for_nodes()
    # An actor imports what this file names.
    runtime = {
        "env_vars": {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])}
    }
    ray.init(found.address, log_to_driver=False, logging_level="ERROR", runtime_env=runtime)
    yield found
    ray.shutdown()
    found.shutdown()


class Told(SumRunner):
    """Says where it trained, reads what was measured, and does what the stage says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, group: Sequence[Trial], place: Place) -> list[Outcome]:
        stage = group[0].stage
        if stage == "hangs":
            time.sleep(600)
        if stage == "dies":
            os._exit(1)
        if stage == "slow":
            time.sleep(3)
        told = {
            "node": ray.get_runtime_context().get_node_id(),
            "measured": (self.folder / "measured.json").read_text(),
        }
        return [replace(outcome, details={**outcome.details, **told}) for outcome in super().run(group, place)]


def unmade(folder: Path) -> Told:
    raise ActsmithError("worker: no data here")


def without_folder(make_runner: Callable[[], Runner], folder: Path) -> Runner:
    return make_runner()


class TestRayPool(PoolContract):
    @pytest.fixture(autouse=True)
    def _cluster(self, cluster: Any) -> None:
        self.cluster = cluster

    def make(self, make_runner: Callable[[], Runner]) -> RayPool:
        return RayPool("auto", partial(without_folder, make_runner))


def test_two_nodes_train_and_one_is_lost(cluster: Any, tmp_path: Path) -> None:
    """The same outcomes as here; what the lost node trained is trained elsewhere."""
    (tmp_path / "measured.json").write_text('{"how": 1}')
    asked = [[t] for t in trials(8, "slow")]
    found: list[Outcome] = []
    with RayPool("auto", Told) as pool:
        for outcomes in pool.run(asked, Place(tmp_path)):
            found += outcomes
            if len(found) == 2:
                cluster.remove_node(cluster.nodes.pop())
            if len(found) == 6:
                cluster.nodes.append(cluster.add_node(num_cpus=1))
    expected = {o.trial.key: o for group in Here(SumRunner()).run([trials(8)], Place()) for o in group}
    assert sorted(o.trial.seed for o in found) == list(range(8))
    assert {o.trial.seed: o.validation for o in found} == {o.trial.seed: o.validation for o in expected.values()}
    assert all(o.reason is None for o in found)
    assert {o.details["measured"] for o in found} == {'{"how": 1}'}
    assert len({o.details["node"] for o in found}) >= 2


def test_a_search_that_loses_a_node_ends_as_without_ray(cluster: Any, tmp_path: Path) -> None:
    asked: dict[str, Any] = {
        "task": "trial_runners:small_task", "start": "relu", "known": ["gelu"], "seeds": 3, "rates": [3e-3, 1e-2],
        "trials": 4, "device": "cpu",
    }  # fmt: skip
    lost = []

    def progress(stage: str, done: int, total: int, message: str) -> None:
        if stage == "explore" and "gelu" in message and not lost:
            lost.append(cluster.remove_node(cluster.nodes.pop()))

    try:
        with threads_for(1):
            alone = search(**asked, out=tmp_path / "alone")
        (tmp_path / "ray").mkdir()
        (tmp_path / "ray" / "measured.json").write_bytes((tmp_path / "alone" / "measured.json").read_bytes())
        among = search(**asked, out=tmp_path / "ray", ray="auto", progress=progress)
    finally:
        if lost:
            cluster.nodes.append(cluster.add_node(num_cpus=1))
    assert lost
    assert among.conclusion.replace(str(among.folder), "") == alone.conclusion.replace(str(alone.folder), "")
    assert _timeless(among.folder) == _timeless(alone.folder)


def _timeless(folder: Path) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """The table, and every training by its key; without seconds."""
    rows = json.loads((folder / "leaderboard.json").read_text())["rows"]
    records = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    times = ("step_seconds", "seconds")
    plain = [{k: v for k, v in values.items() if k not in times} for values in (*rows, *records)]
    return plain[: len(rows)], {r["key"]: r for r in plain[len(rows) :]}


def test_mishaps(cluster: Any, tmp_path: Path) -> None:
    with RayPool("auto", Told, timeout=2.0) as pool:
        found = [
            o
            for group in pool.run([trials(1, "hangs"), trials(1, "dies"), trials(1, "fails")], Place(tmp_path))
            for o in group
        ]
    reasons = {o.trial.stage: str(o.reason) for o in found}
    assert reasons["hangs"] == "ended after 2 s (--trial-timeout)"
    assert reasons["dies"].startswith("its actor ended 3 times: ")
    assert reasons["fails"] == "ValueError: seed 0 fails"
    (failed,) = [o for o in found if o.trial.stage == "fails"]
    assert "ValueError: seed 0 fails" in (tmp_path / failed.details["traceback"]).read_text()
    with RayPool("auto", unmade) as pool, pytest.raises(ActsmithError, match="worker: no data here"):
        list(pool.run([trials(1)], Place()))


def test_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(
        ray, "init", lambda *_, **__: (_ for _ in ()).throw(ConnectionError("Could not find any\nmore"))
    )
    with pytest.raises(ActsmithError, match="ray: no cluster at 'h:1': Could not find any"):
        RayPool("h:1", Told)

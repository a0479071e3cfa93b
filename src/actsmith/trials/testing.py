"""What every store and every pool must pass: suites to inherit, for those of other people too.

    class TestMyStore(StoreContract):
        def make(self): return MyStore(...)

    class TestMyPool(PoolContract):
        def make(self, make_runner): return MyPool(make_runner)

They are plain classes of plain assertions; whatever runs methods named `test_...` runs them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from actsmith.formula.catalogue import resolve
from actsmith.formula.formula import Formula
from actsmith.training.fit import Stopped
from actsmith.training.problem import Metric, Split
from actsmith.trials.pool import Here, Pool
from actsmith.trials.runner import Once, Place, Runner
from actsmith.trials.store import Store
from actsmith.trials.trial import Outcome, Trial

__all__ = ["PoolContract", "StoreContract", "SumRunner", "trials"]


def trials(count: int, stage: str = "score", formula: str = "relu") -> list[Trial]:
    """So many different ones."""
    return [Trial("sum", resolve(formula), stage, 0.5, seed, context="c") for seed in range(count)]


class SumRunner:
    """Trains nothing: the score is the sum of rate and seed. A trial of stage "fails" raises, one of "stops" hears the
    deadline at once, one of "waits" sleeps for a second."""

    name, metric, context = "sum", Metric("score", "higher"), "c"
    rates: tuple[float, ...] = (0.5,)
    usual, descends, device = "relu", False, torch.device("cpu")
    judge: Split = "validation"

    def remember(self, once: Once) -> None:
        """Nothing is measured."""

    def groups(self, round_: Sequence[Trial]) -> list[list[Trial]]:
        """Pairs."""
        return [list(round_[i : i + 2]) for i in range(0, len(round_), 2)]

    def run(self, group: Sequence[Trial], place: Place) -> list[Outcome]:
        """See `Runner`."""
        for trial in group:
            if trial.stage == "fails":
                raise ValueError(f"seed {trial.seed} fails")
            if trial.stage == "stops":
                raise Stopped
            if trial.stage == "waits":
                time.sleep(1.0)
        return [Outcome(t, {"score": t.rate + t.seed, "lost": None}, step_seconds=0.1) for t in group]

    def config(self) -> dict[str, Any]:
        """See `Runner`."""
        return {}

    def cost(self) -> None:
        """See `Runner`."""

    def silent(self, formula: Formula) -> None:
        """See `Runner`."""

    def start(self, formula: Formula) -> str:
        """See `Runner`."""
        return ""

    def maker(self, folder: Path) -> Callable[[], Runner]:
        """See `Runner`."""
        return SumRunner


class StoreContract:
    """A store: give `make`, and `again` where outcomes outlive it."""

    def make(self) -> Store:
        """An empty one, another at each call."""
        raise NotImplementedError

    def again(self, store: Store) -> Store | None:
        """The same store as another process would open it later; None where it does not outlive this one."""
        return None

    def outcomes(self, count: int = 3) -> list[Outcome]:
        """With a score that is missing, a test split and a reason among them."""
        done = [Outcome(t, {"score": 1.5, "lost": None}, details={"curve": [1, 2.5]}) for t in trials(count)]
        done[0] = Outcome(done[0].trial, {"score": 0.25}, {"score": 0.5}, seconds=2.0, peak_bytes=7)
        done[-1] = Outcome(done[-1].trial, reason="ValueError: no")
        return done

    def test_a_new_one_is_empty(self) -> None:
        assert len(self.make().all()) == 0

    def test_what_was_put_is_there(self) -> None:
        store, done = self.make(), self.outcomes()
        store.put(done[:1])
        store.put(done[1:])
        assert list(store.all()) == [o.trial.key for o in done]
        for outcome in done:
            found = store.all()[outcome.trial.key]
            assert found.to_dict() == outcome.to_dict()
            assert found.trial == outcome.trial
        assert store.all()[done[0].trial.key].test == {"score": 0.5}
        assert store.all()[done[1].trial.key].test is None

    def test_the_same_put_twice_counts_once(self) -> None:
        store, done = self.make(), self.outcomes()
        store.put(done)
        store.put(done)
        assert len(store.all()) == len(done)

    def test_a_later_outcome_replaces_an_earlier_one(self) -> None:
        store, done = self.make(), self.outcomes()
        store.put(done)
        store.put([Outcome(done[-1].trial, {"score": 3.0})])
        assert len(store.all()) == len(done)
        assert store.all()[done[-1].trial.key].score("score") == 3.0

    def test_all_or_none_of_them_are_put(self) -> None:
        store, done = self.make(), self.outcomes()

        def broken() -> Iterator[Outcome]:
            yield done[0]
            raise RuntimeError

        try:
            store.put(broken())
        except RuntimeError:
            pass
        else:
            raise AssertionError("the error was lost")
        assert len(store.all()) == 0

    def test_nobody_claims_what_another_holds(self) -> None:
        store, (first, second) = self.make(), trials(2)
        assert store.claim(first.key, "a", 60.0)
        assert not store.claim(first.key, "b", 60.0)
        assert store.claim(first.key, "a", 60.0)
        assert store.claim(second.key, "b", 60.0)

    def test_a_lease_that_ran_out_is_free(self) -> None:
        store, (trial,) = self.make(), trials(1)
        assert store.claim(trial.key, "a", 0.01)
        time.sleep(0.05)
        assert store.claim(trial.key, "b", 60.0)
        assert not store.claim(trial.key, "a", 60.0)

    def test_nobody_claims_what_is_done(self) -> None:
        store, done = self.make(), self.outcomes()
        key = done[0].trial.key
        assert store.claim(key, "a", 60.0)
        store.put(done)
        assert not store.claim(key, "a", 60.0)
        assert not store.claim(key, "b", 60.0)

    def test_it_outlives_the_process(self) -> None:
        store, done = self.make(), self.outcomes()
        store.put(done)
        store.put([Outcome(done[0].trial, {"score": 9.0})])
        later = self.again(store)
        if later is not None:
            assert [o.to_dict() for o in later.all().values()] == [o.to_dict() for o in store.all().values()]
            assert later.all()[done[0].trial.key].score("score") == 9.0


class PoolContract:
    """A pool: give `make`."""

    place = Place()
    """Without a folder; one for the tests of yours where the pool needs it."""

    def make(self, make_runner: Callable[[], Runner]) -> Pool:
        """One that trains by what `make_runner` makes; the function can be pickled."""
        raise NotImplementedError

    def test_every_group_has_its_outcomes(self) -> None:
        asked = SumRunner().groups(trials(7))
        with self.make(SumRunner) as pool:
            found = list(pool.run(asked, self.place))
        assert sorted(tuple(o.trial.seed for o in group) for group in found) == [(0, 1), (2, 3), (4, 5), (6,)]
        assert {o.trial.key: o.score("score") for group in found for o in group} == {
            t.key: t.rate + t.seed for t in trials(7)
        }

    def test_nothing_is_nothing(self) -> None:
        with self.make(SumRunner) as pool:
            assert list(pool.run([], self.place)) == []

    def test_outcomes_are_those_of_this_process(self) -> None:
        asked = [*SumRunner().groups(trials(4)), trials(1, "fails")]
        with self.make(SumRunner) as pool:
            found = {o.trial.key: o for group in pool.run(asked, self.place) for o in group}
        expected = {o.trial.key: o for group in Here(SumRunner()).run(asked, self.place) for o in group}
        assert found.keys() == expected.keys()
        for key, outcome in found.items():
            assert outcome.validation == expected[key].validation
            assert outcome.reason == expected[key].reason

    def test_a_failure_is_an_outcome_and_the_rest_goes_on(self) -> None:
        asked = [trials(1, "fails"), *([t] for t in trials(3))]
        with self.make(SumRunner) as pool:
            found = [o for group in pool.run(asked, self.place) for o in group]
        assert len(found) == 4
        (lost,) = [o for o in found if o.reason is not None]
        assert lost.reason == "ValueError: seed 0 fails"
        assert lost.score("score") is None

    def test_what_stops_has_no_outcome(self) -> None:
        with self.make(SumRunner) as pool:
            assert list(pool.run([trials(1, "stops")], self.place)) == []

    def test_nothing_is_begun_after_the_deadline(self) -> None:
        asked = iter([[t] for t in trials(3)])
        with self.make(SumRunner) as pool:
            assert list(pool.run(asked, Place(deadline=time.time() - 1))) == []
        assert len(list(asked)) == 3

    def test_groups_are_asked_for_when_somebody_is_free(self) -> None:
        """So the outcomes so far can decide what comes next."""
        heard: list[int] = []

        def asked() -> Iterator[list[Trial]]:
            for trial in trials(12):
                if trial.seed >= 8:
                    assert heard, "nobody waits for eight groups"
                yield [trial]

        with self.make(SumRunner) as pool:
            for (outcome,) in pool.run(asked(), self.place):
                heard.append(outcome.trial.seed)
        assert sorted(heard) == list(range(12))

    def test_it_runs_again_after_a_run_that_was_left(self) -> None:
        with self.make(SumRunner) as pool:
            for group in pool.run([[t] for t in trials(3, "waits")], self.place):
                assert len(group) == 1
                break
            found = [o.trial.seed for group in pool.run([[t] for t in trials(3)], self.place) for o in group]
        assert sorted(found) == [0, 1, 2]

    def test_it_may_be_closed_twice(self) -> None:
        pool = self.make(SumRunner)
        assert len(list(pool.run([trials(1)], self.place))) == 1
        pool.close()
        pool.close()

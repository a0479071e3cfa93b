"""Worker processes that die, hang, or cannot start; parents that die."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from trial_runners import Mishaps, unmakeable

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import resolve
from actsmith.training.fit import Stopped
from actsmith.trials.pool import Processes, cores, ending, memory_kills
from actsmith.trials.runner import Place
from actsmith.trials.testing import SumRunner, trials
from actsmith.trials.trial import Outcome, Trial
from actsmith.trials.worker import attempt, failed


def trial(stage: str, seed: int = 0) -> Trial:
    return Trial("sum", resolve("relu"), stage, 0.5, seed)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state not in "ZX"


def gone(pid: int, seconds: float = 10.0) -> bool:
    until = time.monotonic() + seconds
    while alive(pid):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def test_workers_that_die_or_hang(tmp_path: Path) -> None:
    """Whatever happens to a process, every trial has its outcome, and the others are as ever."""
    stages = ["score", "dies once", "hangs", "faults", "score"]
    asked = [[trial(stage, seed)] for seed, stage in enumerate(stages)]
    with Processes(Mishaps, 2, timeout=3.0) as pool:
        found = {o.trial.seed: o for (o,) in pool.run(asked, Place(tmp_path))}
        workers = [w.process.pid for w in pool._workers]
    assert sorted(found) == [0, 1, 2, 3, 4]
    assert [found[i].reason for i in (0, 1, 4)] == [None] * 3
    assert found[1].score("score") not in (None, found[0].score("score"))  # a fresh worker did it
    assert found[2].reason == "ended after 3 s (--trial-timeout)"
    assert found[3].reason == "its worker process ended twice: SIGSEGV, a fault in compiled code"
    assert gone(int((tmp_path / "child").read_text())), "what the hanging training had started goes with it"
    assert all(gone(pid) for pid in workers if pid is not None)


def test_the_deadline_ends_what_does_not_listen(tmp_path: Path) -> None:
    with Processes(Mishaps, 1, grace=0.5) as pool:
        ((first,),) = pool.run([[trial("score")]], Place(tmp_path))  # the worker is there
        began = time.time()
        asked = iter([[trial("hangs")], [trial("score", 1)]])
        assert list(pool.run(asked, Place(tmp_path, deadline=began + 1.0))) == []
        assert 1.4 < time.time() - began < 5.0
        assert len(list(asked)) == 1
        assert gone(int((tmp_path / "child").read_text()))
        ((last,),) = pool.run([[trial("score", 2)]], Place(tmp_path))
    assert first.reason is last.reason is None


def test_what_cannot_be_made_is_one_clear_error() -> None:
    failing = pytest.raises(ActsmithError, match="worker: making what should be run failed with FileNotFoundError: no")
    with Processes(unmakeable, 2) as pool, failing:
        list(pool.run([trials(1)], Place()))
    with pytest.raises(ActsmithError, match="define it at the top of a module or script"):
        Processes(lambda: Mishaps(), 1)  # noqa: PLW0108
    with pytest.raises(ActsmithError, match="workers=0"):
        Processes(SumRunner, 0)
    assert Processes(SumRunner, cores()).threads == 1
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert Processes(SumRunner, 1).threads == 1  # as the user asked for
    finally:
        torch.set_num_threads(threads)


def test_how_a_process_ended() -> None:
    assert ending(-signal.SIGSEGV, None) == "SIGSEGV, a fault in compiled code"
    assert ending(-signal.SIGKILL, True) == "SIGKILL, for want of memory"
    assert ending(-signal.SIGKILL, False) == "SIGKILL, from outside"
    assert ending(-signal.SIGKILL, None) == "SIGKILL, from outside or for want of memory"
    assert ending(-signal.SIGTERM, True) == "SIGTERM, from outside"
    assert ending(3, None) == "it left with status 3"
    count = memory_kills()
    assert count is None or count >= 0


def test_a_failure_keeps_its_traceback(tmp_path: Path) -> None:
    (lost,) = attempt(SumRunner(), trials(1, "fails"), Place(tmp_path))
    assert lost.reason == "ValueError: seed 0 fails"
    text = (tmp_path / lost.details["traceback"]).read_text()
    assert "in run" in text
    assert text.endswith("ValueError: seed 0 fails\n")
    bare = failed(trial("score"), ActsmithError("a sentence"), Place(), 1.0)
    assert bare.reason == "a sentence"
    assert "a sentence" in bare.details["traceback"]
    assert Outcome.from_dict(lost.to_dict()) == lost
    with pytest.raises(Stopped):
        attempt(SumRunner(), trials(1, "stops"), Place())


def test_trials_and_outcomes_cross_a_pipe() -> None:
    outcome = Outcome(trial("score"), {"score": 1.0}, details={"curve": [[1, {"score": 1.0}]]})
    assert pickle.loads(pickle.dumps(outcome)) == outcome


SCRIPT = """
from pathlib import Path
from actsmith.trials.pool import Processes
from actsmith.trials.runner import Place
from trial_runners import Mishaps
{more}
def main(make):
    from test_pool import trial
    with Processes(make, 1) as pool:
        for outcomes in pool.run([[trial({stage!r})]], Place(Path({folder!r}))):
            print(outcomes)
"""
HERE = str(Path(__file__).parent)


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


def script(folder: Path, stage: str, last: str, more: str = "") -> list[str]:
    text = SCRIPT.format(stage=stage, folder=str(folder), more=more)
    path = folder / "script.py"
    path.write_text(f"import sys\nsys.path.insert(0, {HERE!r})\n{text}\n{textwrap.dedent(last)}\n")
    return [sys.executable, str(path)]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_workers_do_not_outlive_their_parent(tmp_path: Path, how: signal.Signals) -> None:
    command = script(tmp_path, "hangs", 'if __name__ == "__main__":\n    main(Mishaps)')
    # What is started in the background of a shell ignores SIGINT, and so would this.
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    parent = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heard)  # noqa: PLW1509
    until = time.monotonic() + 90
    while not (tmp_path / "child").exists() or not (tmp_path / "child").read_text():
        assert parent.poll() is None, parent.stderr and parent.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.05)
    (begun,) = tmp_path.glob("*.begun")
    parent.send_signal(how)
    errors = parent.communicate(timeout=30)[1]
    assert gone(int(begun.read_text()))
    assert gone(int((tmp_path / "child").read_text()))
    if how == signal.SIGINT:
        assert errors.count("KeyboardInterrupt") == 1, errors


def test_a_script_without_its_guard_says_how_to_mend(tmp_path: Path) -> None:
    done = run(script(tmp_path, "score", "main(Mishaps)"))
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "script.py starts the search again in every worker process" in last
    assert 'if __name__ == "__main__":' in last
    assert done.stderr.count("Traceback") == 1


def test_a_function_that_workers_cannot_find_says_how_to_mend(tmp_path: Path) -> None:
    last = """
        if __name__ == "__main__":
            def make(): return Mishaps()
            main(make)
    """
    done = run(script(tmp_path, "score", last))
    assert "cannot import what it should run" in done.stderr.strip().splitlines()[-1]
    assert done.stderr.count("Traceback") == 1

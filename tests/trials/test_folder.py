"""The run folder beside its contract: what may be begun again, and what was measured."""

import pytest

from actsmith.errors import ActsmithError
from actsmith.trials.folder import RunFolder


def test_a_folder_without_results_is_begun_again(tmp_path):
    with RunFolder(tmp_path / "run", {"task": "a"}, resume=False) as folder:
        folder.once("cost", lambda: 1.0)
    with RunFolder(tmp_path / "run", {"task": "b"}, resume=False) as folder:
        assert folder.once("cost", lambda: 2.0) == 2.0  # of another task
        folder.append("key", {"score": 1.0})
    with pytest.raises(ActsmithError, match="holds a run already"), RunFolder(tmp_path / "run", {}, resume=False):
        pass


def test_a_measurement_holds_until_another_is_noted(tmp_path):
    with RunFolder(tmp_path / "run", {}, resume=False) as folder:
        assert folder.once("seeds", lambda: 3) == 3
        folder.note("seeds", 5)
        assert folder.once("seeds", lambda: 3) == 5
    with RunFolder(tmp_path / "run", {}, resume=True) as folder:
        assert folder.once("seeds", lambda: 3) == 5

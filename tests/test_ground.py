"""The ground floor: files that are whole or old, plain JSON, the cache, data folders, names, extras."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path

import numpy as np
import pytest

from actsmith.errors import ActsmithError, missing_extra, require
from actsmith.files import cache_folder, data_folder, plain, read_json, to_json, write_atomically, written_atomically
from actsmith.names import did_you_mean, in_current_folder, named_object

# ------------------------------------------------------------------------------------------------------------ files


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_atomically(path, "Größe")
    assert path.read_text(encoding="utf-8") == "Größe"
    with pytest.raises(TypeError, match="bytes-like"), written_atomically(path) as file:
        file.write("text")  # type: ignore[arg-type]
    assert path.read_text(encoding="utf-8") == "Größe"
    write_atomically(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_plain_json() -> None:
    values = {"a": float("nan"), "b": (1, -float("inf"), [np.float32(0.5), np.int64(3)]), "c": np.array([1.0, np.inf])}
    found = plain(values | {"d": Path("x"), "e": None, "f": True, "g": np.float64("nan"), "h": "text"})
    assert found == {
        "a": None, "b": [1, None, [0.5, 3]], "c": [1.0, None], "d": "x", "e": None, "f": True, "g": None, "h": "text",
    }  # fmt: skip
    assert found["f"] is True
    assert json.loads(to_json(values)) == {"a": None, "b": [1, None, [0.5, 3]], "c": [1.0, None]}
    assert "\n" in to_json(values, indent=1)


def test_a_damaged_json_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": [1, 2]}')
    assert read_json(path) == {"a": [1, 2]}
    path.write_text('{"a": ')
    with pytest.raises(ActsmithError, match=r"a\.json: not JSON"):
        read_json(path)


def test_the_cache_is_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "actsmith").mkdir(mode=0o755)
    folder = cache_folder("kernels")
    assert folder == tmp_path / "actsmith" / "kernels"
    assert cache_folder() == tmp_path / "actsmith"
    for made in (folder, folder.parent):
        assert stat.S_IMODE(made.stat().st_mode) == 0o700
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    assert cache_folder("data") == tmp_path / "home" / ".cache" / "actsmith" / "data"


def test_a_cache_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(ActsmithError, match="belongs to another user"):
        cache_folder("kernels")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(ActsmithError, match=r"cannot be used: .*set XDG_CACHE_HOME"):
        cache_folder("kernels")


def test_data_of_one_set_or_of_several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert data_folder(None, "mnist") is None
    assert data_folder(tmp_path, "mnist") == tmp_path
    (tmp_path / "mnist").write_text("")  # a file is no folder
    assert data_folder(tmp_path, "mnist") == tmp_path
    (tmp_path / "cifar10").mkdir()
    assert data_folder(str(tmp_path), "cifar10") == tmp_path / "cifar10"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data_folder("~/cifar10", "mnist") == tmp_path / "cifar10"
    with pytest.raises(ActsmithError, match=r"mnist: no folder '.*nowhere'; give the folder"):
        data_folder(tmp_path / "nowhere", "mnist")


# ------------------------------------------------------------------------------------------------------------ names


def test_near_matches() -> None:
    assert did_you_mean("GLEU", ["relu", "Gelu", "tanh"]) == "did you mean Gelu?"
    assert did_you_mean("digit", ("digits", "digit2")) == "did you mean digits or digit2?"
    assert did_you_mean("zzz", ["relu"]) == did_you_mean("relu", []) == ""


def test_an_object_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ground_own.py").write_text("class Box:\n    content = 3\nvalue = 4\n")
    (tmp_path / "ground_bad.py").write_text("import no_such_thing\n")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    assert named_object("ground_own:value", "task") == 4
    assert named_object("ground_own:Box.content", "task") == 3
    with pytest.raises(ActsmithError, match=r"task ground_own:valu: ground_own has no 'valu'; did you mean value\?"):
        named_object("ground_own:valu", "task")
    with pytest.raises(ActsmithError, match=r"ground_own\.Box has no 'contents'; did you mean content\?"):
        named_object("ground_own:Box.contents", "task")
    with pytest.raises(ActsmithError, match=r"no module 'ground_ow' in the current folder.*; did you mean ground_own"):
        named_object("ground_ow:value", "task")
    with pytest.raises(ModuleNotFoundError, match="no_such_thing"):  # the user's own error
        named_object("ground_bad:value", "task")
    for text in ("ground_own", "ground_own:", ":value", "a b:c", "ground_own:1"):
        with pytest.raises(ActsmithError, match="expected module:object, as in"):
            named_object(text, "task")
    assert sys.path == before


def test_the_path_is_as_before_also_after_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    with in_current_folder():
        assert sys.path[0] == str(tmp_path)
    with pytest.raises(ZeroDivisionError), in_current_folder():
        _ = 1 / 0
    assert sys.path == before


# ----------------------------------------------------------------------------------------------------------- extras


def test_an_extra_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert require("json", "search", "x") is json
    assert require("os.path", "search", "x") is os.path
    for name in ("sklearn", "sklearn.datasets"):  # another test may have imported either
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        ActsmithError, match=r"^images digits: scikit-learn is missing; pip install 'actsmith\[search\]'$"
    ):
        require("sklearn.datasets", "search", "images digits")
    assert str(missing_extra("images", "PIL.Image", "vision")) == (
        "images: pillow is missing; pip install 'actsmith[vision]'"
    )

"""The cache of compiled kernels: damage, foreign files, folders that execute nothing, its size, mappings of memory."""

from __future__ import annotations

import ctypes
import gc
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from actsmith.nn import compiler
from actsmith.nn.compiler import CannotCompile, library

SOURCE = "int run(int n) { return n + %d; }\n"
EXPORTED = '__attribute__((visibility("default"))) '


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "actsmith" / "kernels"


def add(number: int) -> compiler.Library:
    return library(EXPORTED + SOURCE % number, [ctypes.c_int])


def damaged(change: Callable[[Path], None], folder: Path) -> compiler.Library:
    """The library of 2 after what happened to its file, in this process, which has unloaded the first one."""
    assert add(2).fresh
    gc.collect()
    (path,) = folder.iterdir()
    change(path)
    return add(2)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


CHANGES: dict[str, Callable[[Path], None]] = {
    "empty": lambda p: os.truncate(p, 0),
    "half": lambda p: os.truncate(p, p.stat().st_size // 2),
    "one byte short": lambda p: os.truncate(p, p.stat().st_size - 1),
    "one bit": flip,
    "text": lambda p: p.write_text("no library", encoding="utf-8"),
    "zeros": lambda p: p.write_bytes(bytes(p.stat().st_size)),
    "gone": Path.unlink,
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_damaged_library_is_made_again(name: str, folder: Path) -> None:
    found = damaged(CHANGES[name], folder)
    assert found.fresh
    assert found.short(3) == 5
    gc.collect()
    assert not add(2).fresh  # for good


def test_the_library_of_another_source_is_not_loaded(folder: Path) -> None:
    other = add(7).path.rename(folder.parent / "other")
    found = damaged(lambda path: shutil.copy(other, path), folder)
    assert found.fresh
    assert found.short(1) == 3


def test_a_link_in_its_place_is_replaced(folder: Path) -> None:
    def link(path: Path) -> None:
        path.rename(folder.parent / "elsewhere")
        path.symlink_to("/dev/zero")

    assert damaged(link, folder).short(3) == 5
    assert not any(p.is_symlink() for p in folder.iterdir())


def test_a_folder_that_executes_nothing_has_a_second_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.statvfs

    def statvfs(path: Path) -> object:
        answer = real(path)
        if path == folder:
            return type("Answer", (), {"f_flag": answer.f_flag | os.ST_NOEXEC})
        return answer

    monkeypatch.setattr(os, "statvfs", statvfs)
    monkeypatch.setattr(compiler.tempfile, "gettempdir", lambda: str(tmp_path))
    found = add(4)
    assert found.short(1) == 5
    assert found.path.parent == tmp_path / f"actsmith-{os.getuid()}"
    assert not list(folder.iterdir())
    found.path.parent.chmod(0o755)
    with pytest.raises(CannotCompile, match=r"executes nothing \(noexec\).*not a folder of this user's alone"):
        add(5)


def test_the_libraries_used_longest_ago_go_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(0)
    size = next(folder.iterdir()).stat().st_size
    monkeypatch.setattr(compiler, "LARGEST", 6 * size)
    unfinished = folder / ".new-abc.so"
    unfinished.write_text("", encoding="utf-8")
    os.utime(unfinished, (0, 0))
    paths = [add(n).path for n in range(6)]
    assert not unfinished.exists()
    for age, path in enumerate(reversed(paths)):
        os.utime(path, (time.time() - 100 - age, time.time() - 100 - age))
    gc.collect()
    assert not add(0).fresh  # used now
    add(6)
    left = {p.name for p in folder.iterdir()}
    assert len(left) == 4
    assert paths[0].name in left
    assert paths[1].name not in left


def test_many_formulas_in_one_process() -> None:
    code = """
        import gc, torch, actsmith as acts
        from actsmith.nn.family import _family
        mappings = lambda: sum(1 for _ in open("/proc/self/maps"))
        def use(n):
            acts.nn.Activation(f"x*sigmoid({1 + n/1000}*x)")(x)
        x = torch.randn(9)
        use(0)
        before = mappings()
        for n in range(1, 31):
            use(n)
        most = mappings()
        _family.cache_clear(); gc.collect()
        print(most - before, mappings() - before)
    """
    if not sys.platform.startswith("linux"):
        pytest.skip("counts /proc/self/maps")
    lines = "\n".join(line.removeprefix("        ") for line in code.splitlines())
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True)
    most, left = map(int, done.stdout.split())
    assert most <= 30 * 2 + 20  # two for each library; five before
    assert left <= 20

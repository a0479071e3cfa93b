"""Where kernels come from and what happens without them: compilers, folders, forks, threads."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from actsmith.errors import ActsmithError
from actsmith.formula.formula import Formula
from actsmith.nn import Activation
from actsmith.nn.backend import backend, current
from actsmith.nn.family import family
from actsmith.nn.hermite import hermite_formula
from actsmith.nn.kernel import agrees, samples

USE = """
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import torch
    from actsmith.nn import Activation, CRReLU
    x = torch.linspace(-2, 2, 100, requires_grad=True)
    for act in (CRReLU(), Activation("mish"), Activation("gelu")):
        act(x).sum().backward()
ours = [str(w.message) for w in caught if w.category is RuntimeWarning and "activation" in str(w.message)]
print(len(ours), *ours)
"""


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def script(folder: Path, text: str) -> str:
    path = folder / "cc"
    path.write_text("#!/bin/sh\n" + text, encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def test_the_cache_is_the_users_own_and_is_used_again(tmp_path: Path) -> None:
    first = python(USE, XDG_CACHE_HOME=str(tmp_path))
    assert first.stdout.strip() == "0", first.stderr
    folder = tmp_path / "actsmith" / "kernels"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    kernels = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    assert kernels
    assert all(name.endswith(".so") and not name.startswith(".") for name in kernels)
    again = python(USE, XDG_CACHE_HOME=str(tmp_path))
    assert again.stdout.strip() == "0", again.stderr
    assert {p.name: p.stat().st_mtime_ns for p in folder.iterdir()} == kernels


def test_no_compiler(tmp_path: Path) -> None:
    done = python(USE, XDG_CACHE_HOME=str(tmp_path), PATH=str(tmp_path), CC="")
    assert done.stdout.startswith("1 activation crrelu is computed by plain torch"), done.stdout + done.stderr
    assert "no C compiler was found" in done.stdout


def test_a_failing_compiler(tmp_path: Path) -> None:
    done = python(USE, XDG_CACHE_HOME=str(tmp_path), CC=script(tmp_path, "echo broken here >&2; exit 1\n"))
    assert done.stdout.startswith("1 "), done.stdout + done.stderr
    assert "broken here" in done.stdout
    assert not list((tmp_path / "actsmith" / "kernels").iterdir())


def test_a_compiler_that_writes_nonsense(tmp_path: Path) -> None:
    done = python(USE, XDG_CACHE_HOME=str(tmp_path), TMPDIR=str(tmp_path), CC=script(tmp_path, "exit 0\n"))
    assert done.stdout.startswith("1 "), done.stdout + done.stderr
    assert "cannot be loaded" in done.stdout


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("", encoding="utf-8")
    done = python(USE, XDG_CACHE_HOME=str(blocked), TMPDIR=str(tmp_path))  # another one serves
    assert done.stdout.strip() == "0", done.stderr
    assert list(tmp_path.glob("actsmith-*/*.so"))
    (folder,) = tmp_path.glob("actsmith-*")
    folder.chmod(0o777)  # others could put something there
    done = python(USE, XDG_CACHE_HOME=str(blocked), TMPDIR=str(tmp_path))
    assert done.stdout.startswith("1 "), done.stdout + done.stderr
    assert "cannot be used" in done.stdout
    assert "not a folder of this user's alone" in done.stdout


def test_compiled_refuses_where_auto_warns(tmp_path: Path) -> None:
    done = python(USE, XDG_CACHE_HOME=str(tmp_path), CC=script(tmp_path, "exit 1\n"), ACTSMITH_BACKEND="compiled")
    assert done.returncode != 0
    assert "the backend is 'compiled'" in done.stderr


def test_composite_compiles_nothing(tmp_path: Path) -> None:
    done = python(USE, XDG_CACHE_HOME=str(tmp_path), ACTSMITH_BACKEND="composite")
    assert done.stdout.strip() == "0", done.stderr
    assert not (tmp_path / "actsmith").exists()


def test_names() -> None:
    before = current()
    with backend("composite"):
        assert current() == "composite"
    assert current() == before
    with pytest.raises(ActsmithError, match="expected 'auto', 'compiled' or 'composite'"):
        backend("fast")  # type: ignore[arg-type]


def test_first_use_from_eight_threads_at_once(tmp_path: Path) -> None:
    done = python(
        """
        import threading, torch, actsmith as acts
        from actsmith.nn import Activation
        acts.nn.backend("compiled")
        barrier, found = threading.Barrier(8), []
        def work():
            act, x = Activation("crrelu"), torch.linspace(-3, 3, 50_000, requires_grad=True)
            barrier.wait()
            y = act(x)
            found.append((y.detach(), *torch.autograd.grad(y.sum(), [x, act.eps])))
        threads = [threading.Thread(target=work) for _ in range(8)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        print(len(found), all(torch.equal(a, b) for f in found for a, b in zip(f, found[0])))
        """,
        XDG_CACHE_HOME=str(tmp_path),
    )
    assert done.stdout.strip() == "8 True", done.stderr


@pytest.mark.parametrize("n", [100, 100_000])
def test_forked_after_use(tmp_path: Path, n: int) -> None:
    done = python(
        f"""
        import os, time, torch, warnings
        from actsmith.nn import Activation
        warnings.simplefilter("ignore")
        x = torch.linspace(-3, 3, {n}, requires_grad=True)
        def use(name):
            act = Activation(name)
            y = act(x)
            return y.detach(), torch.autograd.grad(y, x, torch.ones({n}))[0]
        before = use("crrelu")  # the parent's threads exist now
        child = os.fork()
        if child == 0:
            with torch.no_grad():
                again = Activation("crrelu")(x)
                new = Activation("mish")(x)  # compiled in the child
            # In slices, since torch's own threads are gone.
            same = all(torch.equal(a, b) for a, b in zip(again.split(1000), before[0].split(1000)))
            os._exit(0 if same and torch.isfinite(new[:1000]).all() else 3)
        for _ in range(600):
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                break
            time.sleep(0.1)
        else:
            os.kill(child, 9)
            status = -1
        print(status)
        """,
        XDG_CACHE_HOME=str(tmp_path),
    )
    assert done.stdout.strip() == "0", done.stderr


def cancelling() -> Formula:
    """Terms of size 100 that cancel where it changes its sign."""
    f = hermite_formula("relu", 5)
    return Formula(f.expr, {name: replace(p, value=10.0) for name, p in f.params.items()}, f.name)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_kernel_of_terms_that_cancel_passes_its_check(dtype: torch.dtype) -> None:
    x = torch.randn(100, dtype=dtype, requires_grad=True)
    with backend("compiled"):
        Activation(cancelling())(x).sum().backward()


def test_the_check_sees_one_wrong_element() -> None:
    node = family(cancelling()).value
    inputs = samples(node, torch.float32, False, 777)
    found = node.evaluate(inputs)
    assert agrees(node, inputs, found, torch.float32)
    for place in (3, 300, 500, 770):
        wrong = [t.clone() for t in found]
        wrong[0][place] += 1e-3 * (1 + wrong[0][place].abs())
        assert not agrees(node, inputs, wrong, torch.float32)

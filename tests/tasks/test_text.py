"""Text as characters and as byte pairs: what is read, what is shown, what is asked."""

import gzip
import math

import pytest
import torch

from actsmith.errors import ActsmithError
from actsmith.experiments import language
from actsmith.experiments.language import NextCharacter, NextToken, SmallGpt2, austen_text
from actsmith.experiments.models import Mlp
from actsmith.formula.catalogue import get
from actsmith.nn.activation import Activation

TEXT = "It is a truth universally acknowledged, that a single man must be in want of a wife. " * 60


@pytest.fixture
def data(tmp_path):
    (tmp_path / "austen").mkdir()
    (tmp_path / "austen" / "prideprejudice.txt.gz").write_bytes(gzip.compress(TEXT.encode()))
    return tmp_path


def test_the_text_is_read_from_its_folder_or_beside_it(data, tmp_path):
    assert austen_text(data) == austen_text(data / "austen") == TEXT
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "prideprejudice.txt").write_text(TEXT)
    assert austen_text(tmp_path / "plain") == TEXT


def test_the_preface_and_the_licence_are_left_out(tmp_path):
    around = f"Preface\r\n*** START OF THE BOOK ***\r\n{TEXT}\r\n*** END OF THE BOOK ***\r\nLicence\r\n"
    (tmp_path / "prideprejudice.txt").write_bytes(around.encode())
    assert austen_text(tmp_path) == TEXT.strip()


def test_a_text_that_is_missing_or_damaged_is_named(tmp_path):
    with pytest.raises(ActsmithError, match="holds no prideprejudice"):
        austen_text(tmp_path)
    (tmp_path / "prideprejudice.txt.gz").write_bytes(b"\x1f\x8bnothing")
    with pytest.raises(ActsmithError, match="fetch the file again"):
        austen_text(tmp_path)


def test_without_the_internet_the_message_says_what_to_do(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError("no route")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    with pytest.raises(ActsmithError, match="--data"):
        austen_text(None)


def test_characters_are_windows_of_one_table(data):
    config = NextCharacter(context=5, embedding=3, alphabet=10, train=64, evaluated=32)
    problem = config.load(data)
    x, y = problem.train
    assert x.shape == (64, 15)
    assert problem.outputs == 11
    assert int(y.max()) <= 10
    vectors = {tuple(v) for v in x.view(-1, 3).tolist()}
    assert 1 < len(vectors) <= 11  # one for each character that is told apart, one for all others
    assert torch.equal(x, config.load(data).train[0])


def test_each_part_of_the_text_is_asked_about_itself(data):
    begin, end = language._parts(len(TEXT))[2]
    problem = NextCharacter(context=4, embedding=2, train=16, evaluated=16).load(data)
    assert (begin, end) == (round(0.9 * len(TEXT)), len(TEXT))
    assert not torch.equal(problem.splits["test"][0], problem.splits["validation"][0])
    with pytest.raises(ActsmithError, match="expected 5004"):
        NextCharacter(context=4, train=16, evaluated=5000).load(data)


def test_bits_of_a_uniform_guess(data):
    problem = NextCharacter(context=4, embedding=2, alphabet=7, train=32, evaluated=32).load(data)
    model = Mlp(8, 1).build(get("relu"), (0, 1), problem)
    for p in model.parameters():
        torch.nn.init.zeros_(p)
    scores = problem.score(model, "test")
    assert scores["bits_per_character"].tolist() == pytest.approx([3.0, 3.0])


def test_blocks_overlap_in_one_token_and_spell_the_text(data):
    pytest.importorskip("transformers")
    config = NextToken(length=16, vocabulary=300)
    problem, tokenizer = config.load(data), config.tokenizer(data)
    assert torch.equal(problem.train[:-1, -1], problem.train[1:, 0])
    begin, end = language._parts(len(TEXT))[1]
    assert TEXT[begin:end].startswith(tokenizer.decode(problem.splits["validation"][0]))
    assert tokenizer.eos_token_id == tokenizer.pad_token_id == 0


def test_small_gpt2_has_the_formula_and_looks_back_alone(data):
    pytest.importorskip("transformers")
    problem = NextToken(length=16, vocabulary=300).load(data)
    model = SmallGpt2(width=16, depth=2, heads=2, positions=32).build(get("crrelu"), (3,), problem).eval()
    assert sum(isinstance(m, Activation) for m in model.modules()) == 2
    tokens = problem.train[None, :2, :-1]
    changed = tokens.clone()
    changed[..., 10] = (changed[..., 10] + 1) % 300
    with torch.no_grad():
        one, other = model(tokens), model(changed)
    assert one.shape == (1, 2, 16, 300)
    assert torch.equal(one[:, :, :10], other[:, :, :10])
    assert not torch.equal(one[:, :, 10:], other[:, :, 10:])


def test_loss_of_tokens_is_the_mean_over_positions(data):
    pytest.importorskip("transformers")
    problem = NextToken(length=16, vocabulary=300).load(data)
    model = SmallGpt2(width=16, depth=1, heads=2, positions=16).build(get("gelu"), (0,), problem)
    for p in model.parameters():
        torch.nn.init.zeros_(p)
    scores = problem.score(model, "test")
    assert float(scores["loss"]) == pytest.approx(math.log(300))
    assert float(scores["perplexity"]) == pytest.approx(300, rel=1e-5)
    assert problem.loss(model, problem.train[None, :3]).shape == (1,)

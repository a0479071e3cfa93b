"""Text as characters and as byte pairs: what is read, what is shown, what is asked."""

import gzip
import math

import pytest
import torch

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import resolve
from actsmith.nn.activation import Activation
from actsmith.tasks.decoder import Decoder
from actsmith.tasks.named import find_task
from actsmith.tasks.perceptron import Mlp
from actsmith.tasks.text import BYTES, NextCharacter, NextToken, SmallGpt2
from actsmith.tasks.text_files import austen_text, parts_of, python_manual, python_source, text_of
from actsmith.trials.runner import FitRunner

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
    begin, end = parts_of(len(TEXT))[2]
    problem = NextCharacter(context=4, embedding=2, train=16, evaluated=16).load(data)
    assert (begin, end) == (round(0.9 * len(TEXT)), len(TEXT))
    assert not torch.equal(problem.splits["test"][0], problem.splits["validation"][0])
    with pytest.raises(ActsmithError, match="expected 5004"):
        NextCharacter(context=4, train=16, evaluated=5000).load(data)


def test_bits_of_a_uniform_guess(data):
    problem = NextCharacter(context=4, embedding=2, alphabet=7, train=32, evaluated=32).load(data)
    model = Mlp(8, 1).build(resolve("relu"), 0, problem)
    for p in model.parameters():
        torch.nn.init.zeros_(p)
    scores = problem.score(model, "test")
    assert float(scores["bits_per_character"]) == pytest.approx(3.0)


def test_blocks_overlap_in_one_token_and_spell_the_text(data):
    pytest.importorskip("transformers")
    config = NextToken(length=16, vocabulary=300)
    problem, tokenizer = config.load(data), config.tokenizer(data)
    assert torch.equal(problem.train[:-1, -1], problem.train[1:, 0])
    begin, end = parts_of(len(TEXT))[1]
    assert TEXT[begin:end].startswith(tokenizer.decode(problem.splits["validation"][0]))
    assert tokenizer.eos_token_id == tokenizer.pad_token_id == 0


def test_small_gpt2_has_the_formula_and_looks_back_alone(data):
    pytest.importorskip("transformers")
    problem = NextToken(length=16, vocabulary=300).load(data)
    model = SmallGpt2(width=16, depth=2, heads=2, positions=32).build(resolve("crrelu"), 3, problem).eval()
    assert sum(isinstance(m, Activation) for m in model.modules()) == 2
    tokens = problem.train[:2, :-1]
    changed = tokens.clone()
    changed[..., 10] = (changed[..., 10] + 1) % 300
    with torch.no_grad():
        one, other = model(tokens), model(changed)
    assert one.shape == (2, 16, 300)
    assert torch.equal(one[:, :10], other[:, :10])
    assert not torch.equal(one[:, 10:], other[:, 10:])


def test_loss_of_tokens_is_the_mean_over_positions(data):
    pytest.importorskip("transformers")
    problem = NextToken(length=16, vocabulary=300).load(data)
    model = SmallGpt2(width=16, depth=1, heads=2, positions=16).build(resolve("gelu"), 0, problem)
    for p in model.parameters():
        torch.nn.init.zeros_(p)
    scores = problem.score(model, "test")
    assert float(scores["loss"]) == pytest.approx(math.log(300))
    assert float(scores["perplexity"]) == pytest.approx(300, rel=1e-5)
    assert problem.loss(model, problem.train[:3]).shape == ()


def test_bytes_are_tokens_where_the_vocabulary_is_256(data):
    config = NextToken(16, BYTES)
    problem = config.load(data)
    begin, end = parts_of(len(TEXT))[0]
    spelled = bytes(problem.train[:, :-1].flatten().tolist()).decode()
    assert TEXT[begin:end].startswith(spelled)
    assert len(spelled) == len(problem.train) * 16
    assert config.tokenizer(data) is None
    assert problem.inputs_of(problem.batch(torch.arange(2), torch.device("cpu"))).shape == (2, 16)


def test_blocks_are_left_out_at_even_distances(data):
    whole, few = NextToken(16, BYTES).load(data), NextToken(16, BYTES, train=10, evaluated=5).load(data)
    assert [len(few.train), len(few.splits["test"])] == [10, 5]
    assert torch.equal(few.train[[0, -1]], whole.train[[0, -1]])
    assert few.fingerprint != whole.fingerprint == NextToken(16, BYTES).load(data).fingerprint


def test_any_text_file_will_do(tmp_path):
    (tmp_path / "own.txt").write_text("anything at all " * 50)
    assert text_of(None, tmp_path) == text_of(str(tmp_path / "own.txt"), None) == "anything at all " * 50
    assert NextToken(8, BYTES, file=str(tmp_path / "own.txt")).load(None).size == 640 // 8 - 1
    (tmp_path / "other.txt").write_text("more")
    with pytest.raises(ActsmithError, match=r"holds other.txt, own.txt; name the one"):
        text_of(None, tmp_path)
    with pytest.raises(ActsmithError, match=r"no file '.*none.txt'"):
        text_of(str(tmp_path / "none.txt"), None)
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ActsmithError, match="cannot be read as text"):
        text_of(str(tmp_path / "binary.txt"), None)
    (tmp_path / "short.txt").write_text("x" * 50)
    with pytest.raises(ActsmithError, match=r"got 40 tokens in a part of it; expected more than a block, 64"):
        NextToken(64, BYTES, file=str(tmp_path / "short.txt")).load(None)


def test_what_comes_with_python_is_a_text(monkeypatch):
    manual, code = text_of("python-manual", None), text_of("python-source", None)
    assert manual == python_manual()
    assert manual.count(" the ") > 1000
    assert len(code) >= 1_000_000
    assert code.startswith('"""Record of phased-in') or "import " in code[:5000]
    assert code == python_source()
    characters = NextCharacter(context=5, train=64, evaluated=32, file="python-source").load(None)
    assert characters.fingerprint != NextCharacter(context=5, train=64, evaluated=32, file="python-manual").load(
        None
    ).fingerprint  # fmt: skip
    monkeypatch.setattr("sysconfig.get_path", lambda name: "/no/such/folder")
    with pytest.raises(ActsmithError, match="without its modules' source; name a text file"):
        python_source()


def test_a_decoder_has_the_formula_and_looks_back_alone(data):
    problem = NextToken(16, BYTES).load(data)
    torch.manual_seed(0)
    model = Decoder(16, 2, 2).build(resolve("crrelu"), 0, problem).eval()
    assert sum(isinstance(m, Activation) for m in model.modules()) == 2
    tokens = problem.train[:2, :-1]
    changed = tokens.clone()
    changed[..., 10] = (changed[..., 10] + 1) % BYTES
    with torch.no_grad():
        one, other = model(tokens), model(changed)
    assert one.shape == (2, 16, BYTES)
    torch.testing.assert_close(one[:, :10], other[:, :10])
    assert (one[:, 10:] - other[:, 10:]).abs().amax(-1).min() > 1e-6
    # Small weights: at first every byte is as likely as any other.
    loss = problem.loss(model, problem.train[:4])
    assert loss.item() == pytest.approx(math.log(256), abs=0.05)
    loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def test_a_decoder_of_what_is_no_text_is_refused():
    shape = type("Shape", (), {"inputs": (3, 8, 8), "outputs": 10})
    with pytest.raises(ActsmithError, match=r"got inputs \(3, 8, 8\); expected blocks of tokens"):
        Decoder().build(resolve("relu"), 0, shape)
    with pytest.raises(ActsmithError, match="heads that divide the width"):
        Decoder(width=10, heads=3)


def test_where_a_text_lies_is_no_part_of_the_task(tmp_path):
    text = "It is a truth universally acknowledged, that a single man in possession of a good fortune. " * 600
    runners = []
    for folder, content in (("a", text), ("b", text), ("c", text[::-1])):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "book.txt").write_text(content)
        task = find_task("austen/mlp", train_file=tmp_path / folder / "book.txt")
        runners.append(FitRunner.opened(task))
    contexts = [runner.context for runner in runners]
    assert contexts[0] == contexts[1] != contexts[2]

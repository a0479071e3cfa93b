"""The full probe: moments, dead units, entropy, K, gradients, functions; the callback, the page and the advice."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import actsmith as acts
from actsmith.errors import ActsmithError, LawError
from actsmith.nn import Activation
from actsmith.report.probe_page import probe_page
from actsmith.surgery.advise import advise
from actsmith.surgery.probe import ProbeEvery, probe

X = torch.randn(2000, 4, generator=torch.Generator().manual_seed(0))
Y = torch.randint(3, (2000,), generator=torch.Generator().manual_seed(0))


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = nn.Linear(4, 32), nn.Linear(32, 16), nn.Linear(16, 3)
        self.act = nn.ReLU(inplace=True)
        with torch.no_grad():
            self.a.bias[:8] = -100.0  # a quarter of the units never fire

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Any:
        x = functional.gelu(self.b(self.act(self.a(x))))
        return self.c(x)


def test_what_is_measured() -> None:
    model = Network()
    found = probe(model, [X[:700], X[700:]])
    assert list(found) == ["act", "gelu:0"]
    with torch.no_grad():
        pre = model.a(X)
        post = torch.relu(pre)
        second = model.b(post)
    r = found.records["act"]
    assert r.count == pre.numel()
    assert (r.mean, r.std) == pytest.approx((pre.double().mean().item(), pre.double().std().item()), rel=1e-4)
    assert (r.low, r.high) == (pre.min().item(), pre.max().item())
    assert (r.out_mean, r.out_std) == pytest.approx((post.mean().item(), post.std().item()), rel=1e-3)
    assert r.zeros == pytest.approx((post == 0).double().mean().item())
    assert (r.dead, r.units) == (0.25, 32)
    assert pytest.approx(pre.double().square().mean().item(), rel=1e-4) == r.K
    assert r.K_star is None
    assert r.off_critical == 0
    s = found.records["gelu:0"]
    assert s.law is found["gelu:0"]
    assert s.law.count == second.numel()
    assert s.K_star == pytest.approx(3.5616, abs=1e-4)
    assert s.off_critical == pytest.approx(math.log(s.K / 3.5615528), abs=1e-5)
    assert s.entropy_in == s.law.entropy
    assert s.entropy_out is not None
    assert s.entropy_out.smoothed == acts.entropy("gelu", s.law).smoothed
    assert s.gradient is None
    assert "gelu:0" in found.table()
    json.dumps(found.to_dict(), allow_nan=False)


def test_sites_of_every_form_can_be_chosen() -> None:
    assert list(probe(Network(), X, sites=["gelu:0"])) == ["gelu:0"]
    assert list(probe(Network(), X, sites=["a"])) == ["a"]
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = nn.TransformerEncoder(layer, 2)
    laws = probe(model, torch.randn(4, 6, 8))
    assert list(laws) == ["layers.0.activation", "layers.1.activation"]
    assert list(probe(model, torch.randn(4, 6, 8), sites=["layers.1.activation"])) == ["layers.1.activation"]


def test_gradients() -> None:
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(inplace=True), nn.Linear(16, 3), nn.Tanh())
    found = probe(model, [(X, Y)], gradients=True, loss=lambda out, batch: functional.cross_entropy(out, batch[1]))
    assert all(p.grad is None for p in model.parameters())
    h = torch.relu(model[0](X)).detach().requires_grad_()
    out = torch.tanh(model[2](h))
    g_h, g_out = torch.autograd.grad(functional.cross_entropy(out, Y), [h, out])
    assert found.records["1"].gradient == pytest.approx(g_h.square().mean().sqrt().item(), rel=1e-4)
    assert found.records["3"].gradient == pytest.approx(g_out.square().mean().sqrt().item(), rel=1e-4)
    with pytest.raises(ActsmithError, match="needs a scalar loss"):
        probe(model, X, gradients=True)


def test_gradients_of_a_model_with_its_own_loss() -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        n_layer=2, n_head=2, n_embd=32, vocab_size=50, bos_token_id=1, eos_token_id=2
    )  # fmt: skip
    model = transformers.GPT2LMHeadModel(config)
    tokens = torch.randint(50, (4, 12))
    found = probe(model, {"input_ids": tokens, "labels": tokens}, gradients=True)
    assert [r.site.activation for r in found.records.values()] == ["gelu_tanh"] * 2
    assert all(r.gradient and r.gradient > 0 for r in found.records.values())


def test_a_site_without_a_law_has_a_reason() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.ReLU())
    with pytest.raises(LawError, match="site '2'"):
        probe(model, X, ["1", "2"])
    found = probe(model, X)
    assert list(found) == ["1"]
    assert len(found) == 1
    assert "atom" in str(found.records["2"].reason)
    with pytest.raises(KeyError):
        found["2"]
    broken = probe(model, torch.full((200, 4), math.nan), strict=False)
    assert "not finite" in str(broken.records["1"].reason)
    json.dumps(broken.to_dict(), allow_nan=False)


def test_the_callback_leaves_training_alone() -> None:
    def train(watch: bool) -> tuple[Tensor, list[tuple[int, Any]]]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.5), nn.BatchNorm1d(16), nn.Linear(16, 3))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        callback = ProbeEvery(model, X[:300], every=2, keep=lambda p: p.records["1"].std)
        for step in range(5):
            optimizer.zero_grad()
            functional.cross_entropy(model(X), Y).backward()
            optimizer.step()
            if watch:
                callback(step)
        return model[0].weight.detach(), callback.history

    (plain, _), (watched, history) = train(False), train(True)
    assert torch.equal(plain, watched)
    assert [step for step, _ in history] == [0, 2, 4]
    assert len({std for _, std in history}) == 3


def test_the_page() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.ReLU())
    before = probe(model, X, strict=False).to_dict()
    with torch.no_grad():
        model[0].weight.mul_(3)
    after = json.loads(json.dumps(probe(model, X, strict=False).to_dict()))
    page = probe_page({"before <b>": before, "after": after}, title="a & b")
    assert not re.search(r"<script|<link|<img|<iframe| src=|`", re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL))
    assert page.count("<svg") == 3  # all sites, and the site with a law, before and after
    assert page.count("<tr>") == 5
    assert "before &lt;b&gt;" in page
    assert "a &amp; b" in page
    assert "atom" in page
    assert "nan" not in page
    head, _, _ = page.partition("<svg")
    assert "before &lt;b&gt;: 2 sites. One is without a law: 2." in head
    assert ">gradient<" not in page  # nothing stands in that column
    assert "pre-activation x" in page


def test_advice() -> None:
    model = nn.Sequential(
        nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 32), nn.GELU(), nn.Linear(32, 8), nn.Tanhshrink(), nn.ReLU(),
        nn.Threshold(0.0, 0.0),
    )  # fmt: skip
    relu, gelu, shrink, *_ = advice = advise(model, X)
    assert [a.path for a in advice] == ["1", "3", "5", "6", "7"]
    assert relu.suggested is not None
    assert relu.predicted is not None
    assert relu.predicted < 0
    law = relu.record.law
    assert law is not None
    was, new = acts.entropy("relu", law).smoothed, acts.entropy(relu.suggested, law).smoothed
    assert was is not None
    assert new is not None
    assert new - was == pytest.approx(relu.predicted, abs=1e-9)
    assert "Every K is critical" in relu.text
    assert gelu.record.far_from_critical
    assert "below K* = 3.56" in gelu.text
    assert not re.search(r"\d{9}", gelu.text), "numbers of a sentence are short"
    assert shrink.suggested is None
    assert "tanhshrink+eafo is not a finite real number near x = " in shrink.reason
    assert "atom" in str(advice[-1].reason)
    json.dumps([a.to_dict() for a in advice], allow_nan=False)


def test_the_text_names_the_correction_not_the_activation_s_own_parameter() -> None:
    torch.manual_seed(0)
    (advice,) = advise(nn.Sequential(nn.Linear(4, 8), Activation("crrelu"), nn.Linear(8, 1)), X)
    assert advice.suggested is not None
    assert f"with eps1 starting at {advice.suggested.params['eps1'].value:g}:" in advice.text


class Scaled(nn.Module):
    """Changes the activation's output in place, or not."""

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.act, self.b, self.in_place = nn.Linear(4, 32), nn.GELU(), nn.Linear(32, 3), in_place

    def forward(self, x: Tensor) -> Tensor:
        h = self.act(self.a(x))
        if self.in_place:
            h *= 100
        return self.b(h if self.in_place else h * 100)


def test_the_gradient_is_that_of_the_output_at_the_site() -> None:
    got, want = (
        probe(Scaled(i), X, gradients=True, loss=lambda y, _: y.square().mean()).records["act"].to_dict()
        for i in (True, False)
    )
    assert got == want


class Blocks(nn.Module):
    """A stem, residual blocks with or without a normalisation, a readout."""

    def __init__(self, norm: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.act = nn.Linear(4, 16), nn.GELU()
        self.norm = nn.LayerNorm(16) if norm else nn.Identity()
        self.up, self.inner, self.down, self.out = nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16), nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.act(self.stem(x))
        return self.out(h + self.down(self.inner(self.up(self.norm(h)))))


@pytest.mark.parametrize("norm", [True, False])
def test_advice_and_the_start_speak_with_one_voice(norm: bool) -> None:
    model = Blocks(norm)
    notes = {layer.path: layer.note for layer in acts.nn.critical_init_(Blocks(norm), example=X)}
    stem, inner = advise(model, X)
    assert (stem.path, inner.path) == ("act", "inner")
    assert "left alone" not in notes["stem"]
    assert stem.record.far_from_critical
    assert "Far from critical" in stem.text
    left = "inside a residual block with normalisation"
    assert (left in notes["up"]) == (left in inner.text.lower()) == norm
    assert inner.record.far_from_critical is not norm
    assert ("ar from critical" in inner.text) is not norm
    assert inner.to_dict()["far_from_critical"] is not norm

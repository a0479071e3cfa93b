"""Products by oneDNN are torch's own, to any order of derivatives, and serve where they are faster alone."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import grad
from torch.nn import functional

from actsmith.nn import products
from actsmith.nn.private import onednn_linear

X = torch.randn(3, 400, 6, generator=torch.Generator().manual_seed(0))
W = torch.randn(5, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="no oneDNN")
def test_derivatives(monkeypatch):
    monkeypatch.setattr(products, "_serves", lambda: True)

    def all_of(multiply):
        x, w = X.clone().requires_grad_(), W.clone().requires_grad_()
        y = multiply(x, w)
        first = grad(y.square().sum(), [x, w], create_graph=True)
        return [y, *first, *grad(sum(g.square().sum() for g in first), [x, w])]

    for mine, true in zip(all_of(products.product), all_of(functional.linear), strict=True):
        assert torch.allclose(mine, true, rtol=1e-4, atol=1e-4 * float(true.detach().abs().max()))
    assert torch.allclose(onednn_linear(X, W), functional.linear(X, W), atol=1e-5)


def test_it_serves_large_float32_alone(monkeypatch):
    asked = []
    monkeypatch.setattr(products, "_serves", lambda: asked.append(True) or False)
    products.product(X.double(), W.double())
    products.product(X[0, :10], W)
    assert not asked
    assert torch.equal(products.product(X, W), functional.linear(X, W))
    assert asked


def test_a_torch_without_it_is_no_error(monkeypatch):
    def missing(x, weight):
        raise AttributeError("_linear_pointwise")

    monkeypatch.setattr(products, "onednn_linear", missing)
    products._serves.cache_clear()
    try:
        assert torch.equal(products.product(X, W), functional.linear(X, W))
    finally:
        products._serves.cache_clear()

"""The residual perceptron: its equation, its start, its draws."""

import pytest
import torch
from torch.nn import functional

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import resolve
from actsmith.tasks.residual import ResidualMlp


class Shape:
    """Of a problem."""

    inputs, outputs, square = (3, 40), 5, 4.0


def test_it_is_its_equation():
    net = ResidualMlp(8, 2, expand=3).build(resolve("silu"), 0, Shape).eval()
    x = torch.randn(6, 3, 40)
    h = functional.linear(x.flatten(1), net.read.weight)
    for i in range(2):
        z = functional.silu(functional.linear(functional.layer_norm(h, (8,)), net.rise[i].weight))
        assert z.shape == (6, 24)
        h = h + functional.linear(z, net.fall[i].weight)
    torch.testing.assert_close(net(x), functional.linear(functional.layer_norm(h, (8,)), net.readout.weight))


def test_the_start_keeps_the_pre_activations_near_a_standard_normal_law():
    net = ResidualMlp(256, 4).build(resolve("gelu"), 0, Shape).eval()
    seen = []
    for layer in (net.read, *net.rise):
        layer.register_forward_hook(lambda module, args, out: seen.append(out))
    net(2 * torch.randn(512, 3, 40))
    assert [float(z.detach().std()) for z in seen] == pytest.approx([1.0] * 5, abs=0.06)


def test_one_seed_gives_the_same_draws_under_every_activation():
    one, other, third = (
        ResidualMlp(8, 2).build(resolve(f), s, Shape) for f, s in (("relu", 3), ("sin", 3), ("relu", 4))
    )
    for name, weight in one.state_dict().items():
        assert torch.equal(weight, other.state_dict()[name])
    assert not torch.equal(one.read.weight, third.read.weight)
    with pytest.raises(ActsmithError, match="got width=8, depth=0, expand=2; expected 1 or more"):
        ResidualMlp(8, 0)

"""timm: formulas as act_layer, by class and by name."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from actsmith.nn import Activation, CRReLU, MRePU
from actsmith.nn.swap_record import rebuild_, swap_record
from actsmith.surgery.replace import replace_

timm = pytest.importorskip("timm")
from actsmith.integrations.timm import register  # noqa: E402


@pytest.mark.parametrize("act_layer", [CRReLU, MRePU, partial(Activation, "gelu"), "crrelu", "x*sigmoid(1.5*x)"])
@pytest.mark.parametrize("name", ["resnet18", "vgg11", "convnext_atto", "mobilenetv3_small_050"])
def test_models_are_built_with_them(name, act_layer):
    register("x*sigmoid(1.5*x)")
    if name == "vgg11" and isinstance(act_layer, str):
        pytest.skip("timm's VGG takes no names")
    model = timm.create_model(name, act_layer=act_layer, num_classes=2).eval()
    assert any(isinstance(m, Activation) for m in model.modules())
    if name != "vgg11":
        assert model(torch.randn(1, 3, 64, 64)).shape == (1, 2)


def test_its_own_names_stay_its_own():
    register()
    assert timm.layers.get_act_layer("gelu") is not None
    assert not isinstance(timm.layers.create_act_layer("relu"), Activation)
    assert isinstance(timm.layers.create_act_layer("CRReLU", inplace=True), Activation)
    with pytest.raises(KeyError):
        timm.layers.create_act_layer("no_such")


def test_a_state_dictionary_of_a_swapped_model():
    model = timm.create_model("resnet18", act_layer=CRReLU, num_classes=2).eval()
    other = timm.create_model("resnet18", num_classes=2).eval()
    rebuild_(other, swap_record(model))
    other.load_state_dict(model.state_dict())
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(other(x), model(x))


def test_a_state_dictionary_where_calls_of_functions_were_swapped():
    def build():
        torch.manual_seed(0)
        return timm.create_model("mobilevitv2_050", num_classes=2).eval()

    model, other, x = build(), build(), torch.randn(2, 3, 64, 64)
    swaps = replace_(model, "crrelu", example=x, gates=True)
    assert {c.method for c in swaps.changed} == {"module", "code"}
    with torch.no_grad():
        for p in swaps.parameters():
            p.add_(0.1)
    assert rebuild_(other, swap_record(model)) == len(swaps.changed)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(x), model(x))

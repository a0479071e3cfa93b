"""PEFT: an adapter that knows the swap of its base, whichever way it is saved and loaded."""

from __future__ import annotations

import copy
import json
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional

from actsmith.errors import ActsmithError
from actsmith.surgery.replace import replace_

peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")
from actsmith.integrations.peft import KEY, modules_to_save, register  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
IDS = {"input_ids": torch.arange(8).reshape(1, 8)}


class Net(nn.Module):
    """Two layers and a call of a function."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x):
        return self.last(functional.relu(self.first(x)))


@pytest.fixture(scope="module")
def base():
    config = transformers.GPT2Config(
        vocab_size=50, n_positions=32, n_embd=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0
    )
    torch.manual_seed(0)
    return transformers.GPT2LMHeadModel(config).eval()


def lora(model, **options):
    return peft.LoraConfig(
        target_modules=["c_attn"], fan_in_fan_out=True, modules_to_save=modules_to_save(model), **options
    )


def trained(model):
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.add_(0.3)
    return model.eval()


def logits(model):
    with torch.no_grad():
        return model(**IDS).logits


def swapped(base, to):
    model = copy.deepcopy(base)
    replace_(model, to, example=IDS)
    return model


@pytest.mark.parametrize("to", ["crrelu", "silu"])
@pytest.mark.parametrize("low", [False, True])
def test_a_plain_save_and_load(base, to, low, tmp_path):
    model = swapped(base, to)
    assert (modules_to_save(model) is None) == (to == "silu")
    model = trained(peft.get_peft_model(model, lora(model)))
    model.save_pretrained(tmp_path)
    again = peft.PeftModel.from_pretrained(copy.deepcopy(base), tmp_path, low_cpu_mem_usage=low).eval()
    assert torch.equal(logits(again), logits(model))
    again.save_pretrained(tmp_path / "again")
    third = peft.PeftModel.from_pretrained(copy.deepcopy(base), tmp_path / "again").eval()
    assert torch.equal(logits(third), logits(model))
    on_swapped = peft.PeftModel.from_pretrained(swapped(base, to), tmp_path).eval()
    assert torch.equal(logits(on_swapped), logits(model))


def test_parameters_that_no_adapter_saved_start_where_the_formula_does(base, tmp_path):
    model = swapped(base, "crrelu")
    model = trained(peft.get_peft_model(model, peft.LoraConfig(target_modules=["c_attn"], fan_in_fan_out=True)))
    model.save_pretrained(tmp_path)
    again = peft.PeftModel.from_pretrained(copy.deepcopy(base), tmp_path, low_cpu_mem_usage=True).eval()
    assert torch.equal(logits(again), logits(model))


def test_adapters_of_transformers_own(base, tmp_path):
    model = swapped(base, "crrelu")
    model.add_adapter(lora(model))
    trained(model).save_pretrained(tmp_path)
    again = copy.deepcopy(base)
    again.load_adapter(str(tmp_path))
    assert torch.equal(logits(again.eval()), logits(model))


def test_a_prompt_is_an_adapter(base, tmp_path):
    model = swapped(base, "silu")
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    model = trained(peft.get_peft_model(model, config))
    model.save_pretrained(tmp_path)
    again = peft.PeftModel.from_pretrained(copy.deepcopy(base), tmp_path).eval()
    assert torch.equal(logits(again), logits(model))


def test_calls_of_functions(tmp_path):
    torch.manual_seed(0)
    net, x = Net(), torch.randn(3, 4)
    fresh = copy.deepcopy(net)
    replace_(net, "crrelu", example=x)
    model = peft.get_peft_model(net, peft.LoraConfig(target_modules=["first"], modules_to_save=modules_to_save(net)))
    trained(model).save_pretrained(tmp_path)
    again = peft.PeftModel.from_pretrained(fresh, tmp_path).eval()
    assert torch.equal(again(x), model(x))


def test_a_second_adapter(base, tmp_path):
    for name, to in (("one", "silu"), ("two", "silu"), ("three", "tanh"), ("plain", None)):
        model = copy.deepcopy(base) if to is None else swapped(base, to)
        trained(peft.get_peft_model(model, lora(model))).save_pretrained(tmp_path / name)
    again = peft.PeftModel.from_pretrained(copy.deepcopy(base), tmp_path / "one")
    again.load_adapter(tmp_path / "two", "two")
    with pytest.raises(ActsmithError, match="which has adapters already; load it onto a base of its own"):
        again.load_adapter(tmp_path / "three", "three")


def test_a_configuration_used_again_swaps_nothing(base):
    model = swapped(base, "silu")
    config = lora(model)
    peft.get_peft_model(model, config)
    other = copy.deepcopy(base)
    before = logits(other)
    model = peft.get_peft_model(other, config).eval()
    assert torch.equal(logits(model), before)
    assert KEY not in model.peft_config["default"].to_dict()


def test_a_process_that_knows_nothing_of_it_is_told(base, tmp_path):
    model = swapped(base, "silu")
    peft.get_peft_model(model, lora(model)).save_pretrained(tmp_path)
    assert len(json.loads((tmp_path / "adapter_config.json").read_text())[KEY]) == 2
    code = f"import peft; peft.PeftConfig.from_pretrained({str(tmp_path)!r})"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=200)
    assert f"Unexpected keyword arguments ['{KEY}']" in run.stderr


def test_a_swap_before_peft_is_imported():
    code = """
import importlib.util, sys, torch
from torch import nn
from actsmith.surgery.replace import replace_
net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
replace_(net, "silu", example=torch.zeros(2, 4))
replace_(net, "gelu", example=torch.zeros(2, 4))
assert "peft" not in sys.modules
assert importlib.util.find_spec("peft") is not None  # as transformers asks
import peft
assert not any(type(f).__name__ == "_Waiting" for f in sys.meta_path)
assert len(peft.get_peft_model(net, peft.LoraConfig(target_modules=["0"])).peft_config["default"].to_dict()[%r]) == 1
"""
    run = subprocess.run([sys.executable, "-c", code % KEY], check=False, capture_output=True, text=True, timeout=200)
    assert run.returncode == 0, run.stderr


def test_registering_twice_wraps_once():
    register()
    before = peft.PeftModel.__init__
    register()
    assert peft.PeftModel.__init__ is before

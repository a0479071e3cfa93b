"""PEFT: an adapter with the record of its base's swap beside it."""

from __future__ import annotations

import copy

import pytest
import torch

from actsmith.errors import ActsmithError
from actsmith.surgery.replace import replace_

peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")
from actsmith.integrations.peft import from_pretrained, modules_to_save, save_pretrained  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
IDS = {"input_ids": torch.arange(8).reshape(1, 8)}


@pytest.mark.parametrize("to", ["crrelu", "silu"])
def test_an_adapter_comes_back_on_a_swapped_base(to, tmp_path):
    config = transformers.GPT2Config(vocab_size=50, n_positions=32, n_embd=16, n_layer=2, n_head=2)
    base = transformers.GPT2LMHeadModel(config).eval()
    fresh = copy.deepcopy(base)
    replace_(base, to, example=IDS)
    kept = modules_to_save(base)
    assert (kept is None) == (to == "silu")
    model = peft.get_peft_model(base, peft.LoraConfig(target_modules=["c_attn"], modules_to_save=kept)).eval()
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.add_(0.3)
    save_pretrained(model, tmp_path)
    again = from_pretrained(fresh, tmp_path).eval()
    assert torch.equal(again(**IDS).logits, model(**IDS).logits)


def test_an_adapter_without_a_record_is_refused(tmp_path):
    with pytest.raises(ActsmithError, match=r"no actsmith.json in .*saved without a record"):
        from_pretrained(torch.nn.Linear(2, 2), tmp_path)

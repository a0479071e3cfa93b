"""transformers: a swap that save_pretrained and from_pretrained keep; formulas as hidden_act; no weight decay."""

from __future__ import annotations

import copy
import json
import subprocess
import sys

import pytest
import torch

from actsmith.nn import Activation
from actsmith.surgery.replace import replace_

transformers = pytest.importorskip("transformers")
from actsmith.integrations.transformers import register, without_decay_  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
IDS = {"input_ids": torch.arange(8).reshape(1, 8)}
GPT2 = {"vocab_size": 50, "n_positions": 32, "n_embd": 16, "n_layer": 2, "n_head": 2}
GPT2 |= {"bos_token_id": 0, "eos_token_id": 0}
LLAMA = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
LLAMA |= {"num_attention_heads": 2, "num_key_value_heads": 1}
BERT = {**LLAMA, "max_position_embeddings": 32}
del BERT["num_key_value_heads"]


@pytest.fixture(autouse=True)
def registered():
    register()


def gpt2(**options):
    torch.manual_seed(0)
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**GPT2, **options)).eval()


def llama():
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**LLAMA)).eval()


def bert():
    return transformers.BertForMaskedLM(transformers.BertConfig(**BERT)).eval()


def learned(model):
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, Activation):
                for p in module.parameters():
                    p.add_(0.3)
    return model


def outputs(model):
    with torch.no_grad():
        return model(**IDS)[0]


@pytest.mark.parametrize("make", [gpt2, llama, bert])
@pytest.mark.parametrize("to", ["crrelu", "x*sigmoid(1.5*x)"])
def test_a_swap_lasts(make, to, tmp_path):
    model = make()
    replace_(model, to, example=IDS, gates=True)
    learned(model)
    config = copy.deepcopy(model.config.to_dict())
    model.save_pretrained(tmp_path)
    assert model.config.to_dict() | {"dtype": 0, "architectures": 0} == config | {"dtype": 0, "architectures": 0}
    again = type(model).from_pretrained(tmp_path)
    assert torch.equal(outputs(again), outputs(model))
    again.save_pretrained(tmp_path / "again")
    assert torch.equal(outputs(type(model).from_pretrained(tmp_path / "again")), outputs(model))


def test_bases_and_heads_take_the_swap_along(tmp_path):
    model = gpt2()
    replace_(model, "crrelu", example=IDS)
    learned(model).save_pretrained(tmp_path / "head")
    base = transformers.AutoModel.from_pretrained(tmp_path / "head")
    assert torch.equal(outputs(base), outputs(model.transformer))
    base.save_pretrained(tmp_path / "base")
    head = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    assert torch.equal(outputs(head.transformer), outputs(base))


def test_a_part_of_the_sites_and_a_copy(tmp_path):
    model = gpt2()
    replace_(model, {"transformer.h.1.mlp.act": "crrelu"}, example=IDS)
    copy.deepcopy(model).save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    assert torch.equal(outputs(again), outputs(model))
    kinds = [type(block.mlp.act).__name__ for block in again.transformer.h]
    assert kinds == ["NewGELUActivation", "Activation"]


def test_parameters_of_the_whole_model_stay_tied(tmp_path):
    model = gpt2()
    replace_(model, "crrelu", example=IDS, share="model")
    learned(model).save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    first, second = (block.mlp.act for block in again.transformer.h)
    assert first.eps is second.eps
    assert torch.equal(outputs(again), outputs(model))


def test_the_same_configuration_without_a_swap_is_saved_as_ever(tmp_path):
    model = gpt2()
    other = transformers.GPT2LMHeadModel(model.config).eval()
    swaps = replace_(model, "crrelu", example=IDS)
    other.save_pretrained(tmp_path)
    assert torch.equal(outputs(type(model).from_pretrained(tmp_path)), outputs(other))
    swaps.undo()
    model.save_pretrained(tmp_path)
    found = json.loads((tmp_path / "config.json").read_text())
    assert found["activation_function"] == "gelu_new"
    assert "actsmith" not in found


def test_a_process_that_knows_nothing_of_it_says_so(tmp_path):
    model = gpt2()
    replace_(model, "silu", example=IDS)  # no parameter gives it away
    model.save_pretrained(tmp_path)
    code = f"import transformers as t; t.GPT2LMHeadModel.from_pretrained({str(tmp_path)!r})"
    run = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=200)
    assert run.returncode == 1
    assert "actsmith:gelu_new" in run.stderr


TOKENS = {"decoder_input_ids": IDS["input_ids"][:, :4]}
T5 = {"vocab_size": 50, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
T5 |= {"decoder_start_token_id": 0, "relative_attention_num_buckets": 8}
WHISPER = {"vocab_size": 50, "num_mel_bins": 8, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1}
WHISPER |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
WHISPER |= {"max_source_positions": 20, "max_target_positions": 16, "decoder_start_token_id": 1}
WHISPER |= {"pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}
DBRX = {"vocab_size": 50, "d_model": 16, "n_heads": 2, "n_layers": 1, "max_seq_len": 32}
DBRX |= {
    "ffn_config": {"ffn_hidden_size": 16, "moe_num_experts": 2, "moe_top_k": 1},
    "attn_config": {"kv_n_heads": 1, "rope_theta": 1e4, "clip_qkv": 8},
}
NAMED = {
    "T5": ("T5", T5, IDS | TOKENS, 2, {"dense_act_fn": "actsmith:relu", "feed_forward_proj": "relu"}),
    "T5 gated": (
        "T5",
        {**T5, "feed_forward_proj": "gated-gelu"},
        IDS | TOKENS,
        2,
        {"dense_act_fn": "actsmith:gelu_new", "feed_forward_proj": "gated-gelu"},
    ),
    "SwitchTransformers": (
        "SwitchTransformers",
        {**T5, "num_experts": 2, "num_decoder_layers": 1},
        IDS | TOKENS,
        2,
        {"dense_act_fn": "actsmith:relu"},
    ),
    "Whisper": (
        "Whisper",
        WHISPER,
        {"input_features": torch.linspace(-1, 1, 320).reshape(1, 8, 40), **TOKENS},
        4,  # two of them calls of a function
        {"activation_function": "actsmith:gelu"},
    ),
    "OpenAIGPT": ("OpenAIGPT", GPT2, IDS, 1, {"afn": "actsmith:gelu"}),
    "Dbrx": ("Dbrx", DBRX, IDS, 1, {"ffn_config": {"ffn_act_fn": {"name": "actsmith:silu"}}}),
}


def holds(config, wanted):
    """Whether nested dictionaries hold these values."""
    return all(holds(config[k], v) if isinstance(v, dict) else config[k] == v for k, v in wanted.items())


@pytest.mark.parametrize("of", NAMED)
def test_the_configuration_says_that_its_activation_was_exchanged(of, tmp_path):
    kind, options, example, count, wanted = NAMED[of]
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}Model")(getattr(transformers, f"{kind}Config")(**options)).eval()
    swaps = replace_(model, "crrelu", example=example, gates=True)
    assert len(swaps.changed) == count
    learned(model).save_pretrained(tmp_path)
    assert holds(json.loads((tmp_path / "config.json").read_text()), wanted)
    again = type(model).from_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(again(**example)[0], model(**example)[0])
    assert not holds(model.config.to_dict(), wanted)
    swaps.undo()
    model.save_pretrained(tmp_path)
    assert "actsmith" not in (tmp_path / "config.json").read_text()


class HardConfig(transformers.PretrainedConfig):
    model_type = "hard"
    size: int = 4


class HardBody(transformers.PreTrainedModel):
    """Its activations are calls of functions, of which its configuration says nothing."""

    config_class, base_model_prefix, main_input_name = HardConfig, "body", "x"

    def __init__(self, config):
        super().__init__(config)
        self.first, self.last = torch.nn.Linear(config.size, 4), torch.nn.Linear(4, 4)
        self.post_init()

    def forward(self, x):
        return self.last(torch.nn.functional.gelu(self.first(x)))


class HardHead(transformers.PreTrainedModel):
    config_class, base_model_prefix, main_input_name = HardConfig, "body", "x"

    def __init__(self, config):
        super().__init__(config)
        self.body, self.head = HardBody(config), torch.nn.Linear(4, 2)
        self.post_init()

    def forward(self, x):
        return self.head(torch.relu(self.body(x)))


class OtherHead(HardHead):
    def forward(self, x):
        return self.head(self.body(x).tanh())


X = torch.linspace(-2, 2, 8).reshape(2, 4)


@pytest.mark.parametrize("to", ["crrelu", "silu"])
def test_calls_of_functions_last(to, tmp_path):
    torch.manual_seed(0)
    model = HardHead(HardConfig()).eval()
    assert len(replace_(model, to, example=X).changed) == 2
    with pytest.warns(UserWarning, match=r"configuration of HardHead names no activation.*without .*register\(\)"):
        learned(model).save_pretrained(tmp_path)
    again = HardHead.from_pretrained(tmp_path)
    assert torch.equal(again(X), model(X))
    with pytest.warns(UserWarning, match="names no activation"):
        again.save_pretrained(tmp_path / "again")
    assert torch.equal(HardHead.from_pretrained(tmp_path / "again")(X), model(X))


@pytest.mark.filterwarnings("ignore:save_pretrained")
def test_calls_of_functions_go_along_to_bases_and_heads(tmp_path):
    torch.manual_seed(0)
    model = HardHead(HardConfig()).eval()
    replace_(model, "crrelu", example=X)
    learned(model).save_pretrained(tmp_path / "head")
    body = HardBody.from_pretrained(tmp_path / "head")
    assert torch.equal(body(X), model.body(X))
    other = OtherHead.from_pretrained(tmp_path / "head")
    assert torch.equal(other(X), model.head(model.body(X).tanh()))
    body.save_pretrained(tmp_path / "body")
    head = HardHead.from_pretrained(tmp_path / "body")
    assert torch.equal(head.body(X), model.body(X))
    assert torch.equal(head(X), head.head(torch.relu(model.body(X))))


@pytest.mark.parametrize("text", ["crrelu", "x*sigmoid(1.5*x)", "max(0, x) + sin(x)/9"])
def test_any_formula_is_a_hidden_act(text, tmp_path):
    model = learned(gpt2(activation_function=text))
    assert isinstance(model.transformer.h[0].mlp.act, Activation)
    model.save_pretrained(tmp_path)
    assert torch.equal(outputs(type(model).from_pretrained(tmp_path)), outputs(model))


def test_what_is_transformers_own_stays_its_own():
    from transformers.activations import ACT2FN, get_activation

    assert type(ACT2FN["silu"]).__name__ in ("SiLU", "SiLUActivation")
    assert "crrelu" in ACT2FN
    assert "no_such" not in ACT2FN
    assert isinstance(get_activation("crrelu"), Activation)
    with pytest.raises(KeyError, match="no_such not found in ACT2FN mapping; as a formula: no activation named"):
        ACT2FN["no_such"]


def test_parameters_that_a_checkpoint_lacks_start_where_the_formula_does(tmp_path):
    gpt2().save_pretrained(tmp_path)
    model = transformers.GPT2LMHeadModel.from_pretrained(tmp_path, activation_function="crrelu")
    assert [round(b.mlp.act.eps.item(), 6) for b in model.transformer.h] == [0.01, 0.01]


def test_the_trainer_takes_no_decay_of_them(tmp_path):
    pytest.importorskip("accelerate")
    model = gpt2()
    swaps = replace_(model, "crrelu", example=IDS)
    options = transformers.TrainingArguments(tmp_path, weight_decay=0.1, report_to=[], use_cpu=True)
    trainer = without_decay_(transformers.Trainer(model, options))
    optimizer = trainer.create_optimizer()
    ours = {id(p) for p in swaps.parameters()}
    rates = [g["weight_decay"] for g in optimizer.param_groups for p in g["params"] if id(p) in ours]
    assert rates == [0.0, 0.0]
    assert any(g["weight_decay"] == 0.1 and len(g["params"]) > 3 for g in optimizer.param_groups)
    assert sum(len(g["params"]) for g in optimizer.param_groups) == len(list(model.parameters()))

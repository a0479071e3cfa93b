"""Many models of torchvision, timm and transformers, each swapped for the formulas that it has.

Every output must be what it was. `python tests/surgery/sweep.py [PACKAGE ...]` prints what was found, swapped and left.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from actsmith.errors import ActsmithError
from actsmith.surgery.proof import tensors_in
from actsmith.surgery.replace import replace_
from actsmith.surgery.running import run_example

TOLERANCE = 1e-3
"""Relative, of outputs in float32: a formula's rounding, through as many layers as a model has."""
LARGEST = 30_000_000
"""Parameters of a timm model: of larger ones, a smaller relative has run."""
SMALL = {
    "hidden_size": 32, "d_model": 32, "n_embd": 32, "embedding_size": 32, "num_hidden_layers": 2, "n_layer": 2,
    "num_layers": 2, "encoder_layers": 2, "decoder_layers": 2, "num_attention_heads": 4, "n_head": 4, "num_heads": 4,
    "encoder_attention_heads": 4, "decoder_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 64,
    "d_ff": 64, "ffn_dim": 64, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "d_kv": 8, "head_dim": 8, "vocab_size": 99,
    "image_size": 32, "patch_size": 8, "max_position_embeddings": 64, "n_positions": 64, "num_experts": 4,
    "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1,
}  # fmt: skip
TRANSFORMERS = (
    "albert", "audio-spectrogram-transformer", "bart", "beit", "bert", "bert-generation", "big_bird", "biogpt",
    "blenderbot-small", "bloom", "camembert", "canine", "codegen", "cohere", "convbert", "convnext",
    "convnextv2", "ctrl", "cvt", "data2vec-text", "data2vec-vision", "deberta", "deberta-v2", "deit", "dinov2",
    "distilbert", "dpr", "electra", "ernie", "esm", "falcon", "focalnet", "fnet", "gemma", "gemma2", "glm",
    "glpn", "gpt2", "gpt_bigcode", "gpt_neo", "gpt_neox", "gptj", "granite", "hiera", "ibert", "imagegpt",
    "jamba", "layoutlm", "led", "levit", "lilt", "llama", "longformer", "luke", "mamba", "marian", "mbart",
    "megatron-bert", "mistral", "mixtral", "mobilebert", "mobilenet_v1", "mobilenet_v2", "mobilevit",
    "mobilevitv2", "mpnet", "mpt", "mt5", "mvp", "nezha", "nystromformer", "olmo", "olmo2", "opt", "pegasus",
    "persimmon", "phi", "phi3", "plbart", "poolformer", "pvt", "pvt_v2", "qwen2", "qwen2_moe", "qwen3",
    "recurrent_gemma", "regnet", "rembert", "resnet", "roberta", "roc_bert", "roformer", "segformer", "seggpt",
    "squeezebert", "stablelm", "starcoder2", "swiftformer", "swin", "swinv2", "switch_transformers", "t5",
    "vit", "vit_mae", "vit_msn", "xglm", "xlm", "xlm-roberta", "xlnet", "xmod", "yolos", "yoso",
)  # fmt: skip
SIZES = "pico|nano|atto|femto|tiny|mini|micro|_xxs|_xs|small|_s_|_s$|_050|_0?75|18|lite"


@dataclass(frozen=True)
class Row:
    """What became of one model: `wrong` is None where every output is what it was."""

    name: str
    found: int
    ordinary: int
    swapped: int
    left: Counter[str]
    wrong: str | None

    def __str__(self) -> str:
        left = ", ".join(f"{n} {why}" for why, n in self.left.items())
        return f"| {self.name} | {self.found} | {self.ordinary} | {self.swapped} | {left} | {self.wrong or ''} |"


def sweep(name: str, build: Callable[[], tuple[nn.Module, Any]]) -> Row | None:
    """None where the model cannot be built or run as it is, or holds no activation."""
    torch.manual_seed(0)
    try:
        model, example = build()
        before = _outputs(model, example)
    except Exception:
        return None
    try:
        swaps = replace_(model, _own, where=lambda s: s.formula is not None, example=example, gates=True, squashes=True)
    except ActsmithError as error:
        if "holds no activation" in str(error):
            return None
        return Row(name, 0, 0, 0, Counter(), None if "fails on the example in train" in str(error) else str(error))
    after = _outputs(model, example)
    size = max(1e-20, *(float(t.abs().max()) for t in before))
    far = max(float((a - b).abs().max()) for a, b in zip(before, after, strict=True)) / size
    swaps.undo()
    restored = all(torch.equal(a, b) for a, b in zip(before, _outputs(model, example), strict=True))
    wrong = f"differs by {far:.1e}" if not far <= TOLERANCE else None if restored else "undo leaves a difference"
    reasons = Counter(s.reason for s in swaps.found if s.reason is not None)
    reasons.update(why.partition("(")[0].strip() for s, why in swaps.skipped)
    ordinary = sum(s.ordinary for s in swaps.found)
    return Row(name, len(swaps.found), ordinary, len(swaps.changed), reasons, wrong)


def _own(site: Any) -> Any:
    return site.formula


@torch.no_grad()
def _outputs(model: nn.Module, example: Any) -> list[torch.Tensor]:
    model.eval()
    found = tensors_in(run_example(model, example))
    return [t.clone() for t in found if t.is_floating_point()]


def torchvision() -> Iterator[tuple[str, Callable[[], tuple[nn.Module, Any]]]]:
    import torchvision.models as package

    seen = set()
    for name in package.list_models(module=package):
        family = re.split(r"[\d_]", name)[0]
        if family not in seen or re.search(r"swin_v2_t|efficientnet_v2_s|mobilenet_v3|resnext50|wide|inception", name):
            seen.add(family)
            yield f"torchvision {name}", lambda name=name: (package.get_model(name, num_classes=5), images(96, name))


def timm() -> Iterator[tuple[str, Callable[[], tuple[nn.Module, Any]]]]:
    import timm as package

    for module in package.list_modules():
        names = package.list_models(module=module)
        fit = [n for n in names if re.search(SIZES, n)] or names
        for name in sorted(fit, key=len)[:2]:

            def build(name: str = name) -> tuple[nn.Module, Any]:
                model = package.create_model(name, num_classes=5).eval()
                if sum(p.numel() for p in model.parameters()) > LARGEST:
                    raise ValueError(name)
                try:  # most take small images, too
                    with torch.no_grad():
                        model(torch.zeros(2, 3, 96, 96))
                    return model, torch.randn(2, 3, 96, 96)
                except Exception:
                    return model, torch.randn(2, *model.default_cfg["input_size"])

            yield f"timm {name}", build


def images(size: int, name: str) -> torch.Tensor:
    if re.search(r"vit|swin|inception|alexnet", name):
        size = 299 if "inception" in name else 224
    return torch.randn(2, 3, size, size)


def transformers() -> Iterator[tuple[str, Callable[[], tuple[nn.Module, Any]]]]:
    import transformers as package

    for kind in TRANSFORMERS:

        def build(kind: str = kind) -> tuple[nn.Module, Any]:
            config = package.AutoConfig.for_model(kind)
            for key, value in SMALL.items():
                if isinstance(getattr(config, key, None), int) and key in config.to_dict():
                    setattr(config, key, value)
            model = package.AutoModel.from_config(config)
            if model.main_input_name == "pixel_values":
                size = getattr(config, "image_size", 64)
                return model, {"pixel_values": torch.randn(2, 3, size, size)}
            tokens = torch.randint(3, 90, (2, 16))
            pairs = {"decoder_input_ids": tokens[:, :6]} if getattr(config, "is_encoder_decoder", False) else {}
            return model, {"input_ids": tokens, **pairs}

        yield f"transformers {kind}", build


PACKAGES = {"torchvision": torchvision, "timm": timm, "transformers": transformers}

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for package in sys.argv[1:] or PACKAGES:
        for row in (sweep(*one) for one in PACKAGES[package]()):
            if row is not None:
                print(row, flush=True)

"""The models of the sweep: name -> how it is built with random weights, and an example of its input."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import torch
from torch import nn

__all__ = ["PACKAGES", "Build"]

Build = Callable[[], tuple[nn.Module, Any]]
LARGEST = 30_000_000
"""Parameters of a model of timm or transformers: of larger ones, a smaller relative is on the list."""


# ------------------------------------------------------------------------------------------------------ torchvision

RELATIVES = r"swin_v2_t|efficientnet_v2_s|mobilenet_v3|resnext50|wide|inception|regnet_y_400mf|resnet18"
"""Beside the first model of every family: those that are built of other parts."""
OTHERS = {
    "segmentation": ("fcn_resnet50", "deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large"),
    "video": ("r3d_18", "mc3_18", "r2plus1d_18", "s3d"),
}
"""By module: heads that only training has, and volumes."""


def torchvision() -> Iterator[tuple[str, Build]]:
    import torchvision.models as package

    seen = set()
    for name in package.list_models(module=package):
        family = re.split(r"[\d_]", name)[0]
        if family not in seen or re.search(RELATIVES, name):
            seen.add(family)
            yield name, partial(_torchvision, name, images)
    for module, names in OTHERS.items():
        for name in names:
            yield name, partial(_torchvision, name, clips if module == "video" else images)


def _torchvision(name: str, example: Callable[[str], torch.Tensor]) -> tuple[nn.Module, Any]:
    import torchvision.models as package

    heads = {"weights_backbone": None, "aux_loss": True} if name in OTHERS["segmentation"] else {}
    if name.startswith("lraspp"):
        heads.pop("aux_loss")
    return package.get_model(name, weights=None, num_classes=5, **heads), example(name)


def images(name: str) -> torch.Tensor:
    size = 299 if "inception" in name else 224 if re.search(r"vit|swin|alexnet", name) else 96
    return torch.randn(2, 3, size, size)


def clips(name: str) -> torch.Tensor:
    return torch.randn(2, 3, 16, 224, 224) if name == "s3d" else torch.randn(2, 3, 4, 64, 64)


# ------------------------------------------------------------------------------------------------------ timm

SIZES = "pico|nano|atto|femto|tiny|mini|micro|_xxs|_xs|small|_s_|_s$|_050|_0?75|18|lite"


def timm() -> Iterator[tuple[str, Build]]:
    """Of every module of timm two models with small names."""
    import timm as package

    for module in package.list_modules():
        names = package.list_models(module=module)
        fit = [n for n in names if re.search(SIZES, n)] or names
        for name in sorted(fit, key=lambda n: (len(n), n))[:2]:
            yield name, partial(_timm, name)


def _timm(name: str) -> tuple[nn.Module, Any]:
    import timm as package

    refuse_large(lambda: package.create_model(name, num_classes=5))
    options: dict[str, Any]
    for options in ({}, {"img_size": 96}):  # most take small images, too, or can be built for them
        try:
            model = package.create_model(name, num_classes=5, **options).eval()
        except Exception:
            break
        for size in (64, 96):
            with suppress(Exception), torch.no_grad():
                model(torch.zeros(1, 3, size, size))
                return model, torch.randn(2, 3, size, size)
    return package.create_model(name, num_classes=5), torch.randn(2, *model.default_cfg["input_size"])


# ------------------------------------------------------------------------------------------------------ transformers

SMALL = {
    "hidden_size": 32, "d_model": 32, "n_embd": 32, "dim": 32, "emb_dim": 32, "embedding_size": 32,
    "num_hidden_layers": 2, "n_layer": 2, "n_layers": 2, "num_layers": 2, "encoder_layers": 2, "decoder_layers": 2,
    "num_decoder_layers": 2, "num_encoder_layers": 2, "num_attention_heads": 4, "n_head": 4, "n_heads": 4,
    "num_heads": 4, "encoder_attention_heads": 4, "decoder_attention_heads": 4, "num_encoder_attention_heads": 4,
    "num_decoder_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 64, "d_ff": 64, "ffn_dim": 64,
    "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "hidden_dim": 64, "d_kv": 8, "d_head": 8, "head_dim": 8,
    "d_inner": 64, "vocab_size": 99, "image_size": 64, "patch_size": 8, "max_position_embeddings": 64,
    "n_positions": 64, "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2,
    "moe_intermediate_size": 32, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    "decoder_start_token_id": 1, "rotary_dim": 8, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8,
    "qk_head_dim": 16, "q_lora_rank": 16, "kv_lora_rank": 16, "n_shared_experts": 1, "channel_shrink_ratio": 1,
    "entity_vocab_size": 99, "mamba_d_head": 16, "mamba_n_heads": 4,
}  # fmt: skip
NEEDED = ("vocab_size", "n_routed_experts", "n_shared_experts", "head_dim", "num_key_value_heads", "intermediate_size")
"""Set where the configuration has None, too."""
KINDS = (
    "afmoe", "albert", "apertus", "arcee", "audio-spectrogram-transformer", "bamba", "bart", "beit", "bert",
    "bert-generation", "big_bird", "bigbird_pegasus", "biogpt", "bit", "bitnet", "blenderbot", "blenderbot-small",
    "bloom", "camembert", "canine", "clip_text_model", "clip_vision_model", "codegen", "cohere", "cohere2", "convbert",
    "convnext", "convnextv2", "ctrl", "cvt", "cwm", "data2vec-audio", "data2vec-text", "data2vec-vision", "deberta",
    "deberta-v2", "deepseek_v2", "deepseek_v3", "deit", "diffllama", "dinat", "dinov2", "dinov2_with_registers",
    "dinov3_convnext", "dinov3_vit", "distilbert", "doge", "donut-swin", "dots1", "dpr", "efficientnet", "electra",
    "ernie", "ernie4_5", "esm", "eurobert", "exaone4", "falcon", "falcon_h1", "falcon_mamba", "flaubert", "flex_olmo",
    "fnet", "focalnet", "fsmt", "funnel", "gemma", "gemma2", "gemma3_text", "glm", "glm4", "glpn", "gpt2",
    "gpt_bigcode", "gpt_neo", "gpt_neox", "gpt_neox_japanese", "gpt_oss", "gptj", "granite", "granitemoe",
    "granitemoehybrid", "gte", "helium", "hgnet_v2", "hiera", "hubert", "hunyuan_v1_dense", "ibert", "ijepa",
    "imagegpt", "jamba", "jetmoe", "layoutlm", "led", "levit", "lfm2", "lilt", "llama", "longformer", "longt5", "luke",
    "m2m_100", "mamba", "mamba2", "marian", "markuplm", "maskformer-swin", "mbart", "megatron-bert", "minimax",
    "ministral", "mistral", "mixtral", "mobilebert", "mobilenet_v1", "mobilenet_v2", "mobilevit", "mobilevitv2",
    "modernbert", "modernbert-decoder", "mpnet", "mpt", "mra", "mt5", "mvp", "nanochat", "nemotron", "nomic_bert",
    "nystromformer", "olmo", "olmo2", "olmo3", "olmoe", "openai-gpt", "opt", "pegasus", "pegasus_x", "perceiver",
    "persimmon", "phi", "phi3", "phimoe", "plbart", "poolformer", "prophetnet", "pvt", "pvt_v2", "qwen2", "qwen2_moe",
    "qwen3", "qwen3_moe", "qwen3_next", "recurrent_gemma", "reformer", "regnet", "rembert", "resnet", "roberta",
    "roberta-prelayernorm", "roc_bert", "roformer", "rwkv", "seed_oss", "segformer", "seggpt", "siglip_vision_model",
    "smollm3", "splinter", "squeezebert", "stablelm", "starcoder2", "swiftformer", "swin", "swin2sr", "swinv2",
    "switch_transformers", "t5", "t5gemma", "textnet", "umt5", "unispeech", "vaultgemma", "vit", "vit_mae", "vit_msn",
    "vitdet", "wav2vec2", "wavlm", "whisper", "xglm", "xlm", "xlm-roberta", "xlm-roberta-xl", "xlnet", "xlstm", "xmod",
    "yolos", "yoso", "zamba2",
)  # fmt: skip


def transformers() -> Iterator[tuple[str, Build]]:
    for kind in KINDS:
        yield kind, partial(_transformers, kind)


def _transformers(kind: str) -> tuple[nn.Module, Any]:
    import transformers as package

    config = package.AutoConfig.for_model(kind)
    _shrink(config)
    refuse_large(lambda: package.AutoModel.from_config(config))
    model = package.AutoModel.from_config(config)
    if model.main_input_name == "pixel_values":
        size = getattr(config, "image_size", 64)
        return model, {"pixel_values": torch.randn(2, getattr(config, "num_channels", 3), size, size)}
    if model.main_input_name == "input_values":
        shape = (2, 4000) if hasattr(config, "conv_dim") else (2, 1024, 128)
        return model, {"input_values": torch.randn(shape)}
    tokens = torch.randint(3, 90, (2, 16))
    pairs = {"decoder_input_ids": tokens[:, :6]} if getattr(config, "is_encoder_decoder", False) else {}
    if model.main_input_name == "input_features":
        return model, {"input_features": torch.randn(2, config.num_mel_bins, 3000), **pairs}
    return model, {"input_ids": tokens, **pairs}


def _shrink(config: Any) -> None:
    """The configuration, and those inside it, with small numbers where it has such a field."""
    fields = config.to_dict()
    for key, value in SMALL.items():
        if isinstance(fields.get(key), int) or (key in NEEDED and fields.get(key, 0) is None):
            setattr(config, key, value)
    for name in getattr(config, "sub_configs", {}):
        inner = getattr(config, name, None)
        if inner is not None:
            _shrink(inner)


def refuse_large(build: Callable[[], nn.Module]) -> None:
    """Count the parameters without making them."""
    try:
        with torch.device("meta"):
            count = sum(p.numel() for p in build().parameters())
    except Exception:  # it needs the values of its tensors to be built
        return
    if count > LARGEST:
        raise ValueError(f"{count / 1e6:.0f} million parameters, more than the {LARGEST // 10**6} that are tried")


PACKAGES: dict[str, Callable[[], Iterator[tuple[str, Build]]]] = {
    "torchvision": torchvision,
    "timm": timm,
    "transformers": transformers,
}

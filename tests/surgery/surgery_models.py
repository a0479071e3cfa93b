"""Real model code, small: constructed from configuration, with an input each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Model:
    """One row of the table of models.

    Attributes:
        name: as the table shows it.
        package: what must be installed.
        build: () -> (model, example).
        sites: how many activations it has: (ordinary, gates, squashes).
        options: further arguments for the swap of the test.
        slow: whether it takes long to build or run.
    """

    name: str
    package: str
    build: Callable[[], tuple[nn.Module, Any]]
    sites: tuple[int, int, int]
    options: dict[str, Any] = field(default_factory=dict)


def images(size: int = 64) -> Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))


def tokens(width: int = 10, words: int = 50) -> Tensor:
    return torch.randint(words, (2, width), generator=torch.Generator().manual_seed(0))


def timm(name: str, size: int = 64, **options: Any) -> Callable[[], tuple[nn.Module, Any]]:
    def build() -> tuple[nn.Module, Any]:
        package = pytest.importorskip("timm")
        torch.manual_seed(0)
        return package.create_model(name, pretrained=False, num_classes=10, **options), images(size)

    return build


def vgg() -> tuple[nn.Module, Any]:
    models = pytest.importorskip("torchvision").models
    torch.manual_seed(0)
    # The stages of VGG-11 on 4 x 4 outputs, with a small head: the original's holds 119 million weights.
    features = models.vgg.make_layers(models.vgg.cfgs["A"])
    model = models.VGG(features, num_classes=10, init_weights=False)
    model.avgpool = nn.AdaptiveAvgPool2d(1)
    model.classifier[0] = nn.Linear(512, 64)
    model.classifier[3] = nn.Linear(64, 64)
    model.classifier[6] = nn.Linear(64, 10)
    return model, images()


def densenet() -> tuple[nn.Module, Any]:
    models = pytest.importorskip("torchvision").models
    torch.manual_seed(0)
    return models.DenseNet(8, (2, 2), 16, num_classes=10), images()


def transformers(
    model: str, config: str, example: Callable[[], Any], **options: Any
) -> Callable[[], tuple[nn.Module, Any]]:
    def build() -> tuple[nn.Module, Any]:
        package = pytest.importorskip("transformers")
        torch.manual_seed(0)
        kind: Any = package
        for part in model.split("."):
            kind = getattr(kind, part)
        return kind(getattr(package, config)(**options)), example()

    return build


def torch_transformer() -> tuple[nn.Module, Any]:
    torch.manual_seed(0)
    model = nn.Transformer(16, 2, 2, 2, 32, batch_first=True)
    return model, (torch.randn(2, 5, 16), torch.randn(2, 4, 16))


def torch_encoder() -> tuple[nn.Module, Any]:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 32, activation="gelu", batch_first=True)
    return nn.TransformerEncoder(layer, 2), torch.randn(2, 5, 16)


SMALL = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
WORDS = {"vocab_size": 50}
BERT = {**SMALL, **WORDS}
GPT2 = {"n_layer": 2, "n_head": 2, "n_embd": 32, "bos_token_id": 1, "eos_token_id": 2, **WORDS}
LLAMA = {"num_key_value_heads": 2, **SMALL, **WORDS}
T5 = {"num_layers": 2, "d_model": 32, "d_kv": 16, "d_ff": 64, "num_heads": 2, **WORDS}
VIT = {"image_size": 32, "patch_size": 8, **SMALL}
WHISPER = {
    "d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_layers": 1,
    "decoder_attention_heads": 2, "decoder_ffn_dim": 64, "num_mel_bins": 8, "max_source_positions": 20,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1, **WORDS,
}  # fmt: skip


def ids() -> Any:
    return {"input_ids": tokens()}


def pairs() -> Any:
    return {"input_ids": tokens(), "decoder_input_ids": tokens(6)}


def pixels() -> Any:
    return {"pixel_values": images(32)}


def sound() -> Any:
    return {"input_features": torch.randn(2, 8, 40, generator=torch.Generator().manual_seed(0))}


ENCODER = "models.whisper.modeling_whisper.WhisperEncoder"
SLIM = {"img_size": 32, "depth": 4}
NEXT = {"depths": (1, 1, 2, 1)}
TNT = {"img_size": 32, "embed_dim": 48, "inner_dim": 8, "depth": 3, "num_heads_inner": 2, "num_heads_outer": 3}
GATES = {"gates": True}

MODELS = [
    Model("timm ViT (vit_tiny_patch16_224, 4 blocks)", "timm", timm("vit_tiny_patch16_224", 32, **SLIM), (4, 0, 0)),
    Model("timm DeiT (deit_tiny_patch16_224, 4 blocks)", "timm", timm("deit_tiny_patch16_224", 32, **SLIM), (4, 0, 0)),
    Model("timm TNT (tnt_s_patch16_224, 3 blocks)", "timm", timm("tnt_s_patch16_224", 32, **TNT), (6, 0, 0)),
    Model("timm ResNet (resnet18)", "timm", timm("resnet18"), (17, 0, 0)),
    Model("timm SE-ResNet (seresnet18)", "timm", timm("seresnet18"), (25, 0, 8)),
    Model("timm ConvNeXt (convnext_atto, 5 blocks)", "timm", timm("convnext_atto", **NEXT), (5, 0, 0)),
    Model("timm EfficientNet (efficientnet_b0)", "timm", timm("efficientnet_b0"), (49, 0, 16)),
    Model("timm MobileViT (mobilevit_xxs)", "timm", timm("mobilevit_xxs"), (34, 0, 0)),
    Model("timm MobileViT v2 (mobilevitv2_050)", "timm", timm("mobilevitv2_050"), (25, 9, 0), GATES),
    Model("torchvision VGG (11 layers, small head)", "torchvision", vgg, (10, 0, 0)),
    Model("torchvision DenseNet (2 blocks)", "torchvision", densenet, (11, 0, 0)),
    Model("transformers GPT-2", "transformers", transformers("GPT2LMHeadModel", "GPT2Config", ids, **GPT2), (2, 0, 0)),
    Model("transformers BERT", "transformers", transformers("BertModel", "BertConfig", ids, **BERT), (2, 0, 1)),
    Model("transformers Llama", "transformers",
          transformers("LlamaForCausalLM", "LlamaConfig", ids, **LLAMA), (0, 2, 0),
          GATES),
    Model("transformers ViT", "transformers", transformers("ViTModel", "ViTConfig", pixels, **VIT), (2, 0, 1)),
    Model("transformers T5", "transformers", transformers("T5Model", "T5Config", pairs, **T5), (4, 0, 0)),
    Model("transformers T5, gated", "transformers",
          transformers("T5Model", "T5Config", pairs, feed_forward_proj="gated-gelu", **T5), (0, 4, 0), GATES),
    Model("transformers Whisper encoder", "transformers", transformers(ENCODER, "WhisperConfig", sound, **WHISPER),
          (4, 0, 0)),
    Model("torch nn.Transformer", "torch", torch_transformer, (4, 0, 0)),
    Model("torch nn.TransformerEncoder", "torch", torch_encoder, (2, 0, 0)),
]  # fmt: skip

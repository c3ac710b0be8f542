"""Small models of every covered architecture, with random weights, and inputs for them."""

from __future__ import annotations

from typing import Any

import timm
import torch
import transformers
from torch import Tensor, nn

DIM, HEADS, WORDS, POSITIONS = 16, 2, 40, 24
TOKENS = torch.tensor([12, 7, 1])

_TEXT = {
    "vocab_size": WORDS,
    "hidden_size": DIM,
    "num_hidden_layers": 2,
    "num_attention_heads": HEADS,
    "intermediate_size": 24,
    "max_position_embeddings": POSITIONS,
    "pad_token_id": 1,
}
_IMAGE = {
    "hidden_size": DIM,
    "num_hidden_layers": 2,
    "num_attention_heads": HEADS,
    "intermediate_size": 24,
    "image_size": 8,
    "patch_size": 4,
}

# Class, class of its configuration and further options.
TEXT: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("Bert", {}),
    "bert-generation": ("BertGeneration:BertGenerationEncoder", {}),
    "camembert": ("Camembert", {}),
    "data2vec-text": ("Data2VecText", {}),
    "distilbert": (
        "DistilBert",
        {"dim": DIM, "n_layers": 2, "n_heads": HEADS, "hidden_dim": 24},
    ),
    "electra": ("Electra", {"embedding_size": 12}),
    "ernie": ("Ernie", {}),
    "roberta": ("Roberta", {}),
    "roberta-prelayernorm": ("RobertaPreLayerNorm", {}),
    "splinter": ("Splinter", {}),
    "xlm-roberta": ("XLMRoberta", {}),
    "xlm-roberta-xl": ("XLMRobertaXL", {}),
    "xmod": ("Xmod", {"languages": ["en_XX"], "default_language": "en_XX"}),
    "siglip-text": ("SiglipText", {"projection_size": DIM}),
}
IMAGE: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": ("ViT", {}),
    "deit": ("DeiT", {}),
    "dinov2": ("Dinov2", {"mlp_ratio": 2}),
    "dinov2-with-registers": ("Dinov2WithRegisters", {"mlp_ratio": 2, "num_register_tokens": 2}),
    "ijepa": ("IJepa", {}),
    "vit-mae": ("ViTMAE", {"mask_ratio": 0.0}),
    "vit-msn": ("ViTMSN", {}),
    "siglip-vision": ("SiglipVision", {}),
    "ast": ("AST", {"max_length": 16, "num_mel_bins": 16}),
    "vivit": ("Vivit", {"num_frames": 4, "tubelet_size": [2, 4, 4]}),
}
TIMM: dict[str, dict[str, Any]] = {
    "vit_tiny_patch16_224": {"class_token": True},
    "deit3_small_patch16_224": {},
    "deit_tiny_distilled_patch16_224": {},
    "vit_small_patch14_dinov2": {},
    "vit_small_patch14_reg4_dinov2": {"dynamic_img_size": True},
    "vit_medium_patch16_gap_256": {"qkv_bias": False},
    "vit_base_patch16_siglip_224": {},
}


def encoder(name: str, head: str = "Model", **options: Any) -> Any:
    """A model of transformers, in evaluation mode."""
    made, further = (TEXT | IMAGE)[name]
    family, _, cls = made.partition(":")
    sizes = {**(_TEXT if name in TEXT else _IMAGE), **further, **options}
    config = getattr(transformers, f"{family}Config")(**sizes)
    torch.manual_seed(0)
    model = getattr(transformers, cls or f"{family}{head}")(config).eval()
    return spread(model)


def vision_transformer(name: str, **options: Any) -> nn.Module:
    """A model of timm, in evaluation mode."""
    torch.manual_seed(0)
    sizes = {
        "embed_dim": DIM,
        "num_heads": HEADS,
        "depth": 2,
        "img_size": 8,
        "patch_size": 4,
        "num_classes": 3,
    }
    return spread(timm.create_model(name, **sizes, **TIMM[name], **options).eval())


def naflex(**options: Any) -> nn.Module:
    """A NaFlexViT of timm, in evaluation mode."""
    torch.manual_seed(0)
    sizes = {"embed_dim": DIM, "num_heads": HEADS, "depth": 2, "num_classes": 3, "patch_size": 4}
    return spread(timm.create_model("naflexvit_base_patch16_gap", **sizes, **options).eval())


def spread(model: nn.Module) -> Any:
    """A model whose weights are as large as those of trained ones: fresh ones make attention all but even."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


def text() -> dict[str, Tensor]:
    """A padded batch."""
    mask = torch.arange(int(TOKENS.max())) < TOKENS[:, None]
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(2, WORDS, mask.shape, generator=generator).where(mask, 1)
    return {"input_ids": ids, "attention_mask": mask.long()}


def pictures(name: str = "") -> Tensor:
    """A batch of two pictures, of two spectrograms or of two films."""
    shapes = {"ast": (2, 16, 16), "vivit": (2, 4, 3, 8, 8)}
    return torch.randn(shapes.get(name, (2, 3, 8, 8)), generator=torch.Generator().manual_seed(2))


def states(model: Any, name: str, given: dict[str, Tensor] | None = None) -> Tensor:
    """The hidden states of a model of transformers, ``[batch, tokens, dim]``."""
    if name in TEXT:
        return model(**(given or text())).last_hidden_state
    word = "input_values" if name == "ast" else "pixel_values"
    further = {"noise": torch.arange(4.0).expand(2, 4)} if name == "vit-mae" else {}
    return model(**{word: pictures(name)}, **further).last_hidden_state

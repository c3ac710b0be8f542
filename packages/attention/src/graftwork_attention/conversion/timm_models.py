"""Vision transformers of timm: every self-attention of one replaced by a mixer.

Those of `timm.layers.attention.Attention` are: ViT, DeiT and DeiT3, DINOv2-shaped models, NaFlexViT. Models
with attention of another class (rotary positions, windows, relative biases, differences) are refused.
"""

from __future__ import annotations

from timm.layers.attention import Attention as TimmAttention
from timm.models.naflexvit import NaFlexVit
from torch import nn

from graftwork import GraftworkError
from graftwork_attention.conversion.building import Attention, Needs, chosen_for, mixers_for
from graftwork_attention.conversion.layout import Layout
from graftwork_attention.conversion.record import write_record
from graftwork_attention.conversion.site import Site, foreign_attention, sites_in

_LAYOUT = Layout(
    ("qkv",),
    "num_heads",
    "proj",
    scale="scale",
    attn_dropout="attn_drop",
    dropout="proj_drop",
    returns_weights=False,
)


def layout_of(module: nn.Module) -> Layout | None:
    """The layout of timm's plain attention; None for every other module."""
    return _LAYOUT if type(module) is TimmAttention else None


def convert_vision_transformer(
    model: nn.Module, attention: Attention, *, max_len: int | None = None
) -> nn.Module:
    """Replace every self-attention of a vision transformer of timm by a mixer.

    Class and register tokens are tokens as others are. Padded patches of a NaFlexViT are masked: it is told
    to make masks of keys alone (``use_key_only_attn_mask``), and what it makes of patches is the same.

    Args:
        model: of `timm.create_model`; changed in place.
        attention: the choice of a recipe, or a function of ``(dim, heads, max_len, *, layer_index)``.
        max_len: the largest number of tokens, those of class and registers among them; by default as many as
            the model has patches at its own size, and those.

    Returns:
        The same model.

    Raises:
        GraftworkError: its attention is none that can be replaced, or the mixer does not fit; it is as before
            then.
    """
    sites = _sites(model)
    varies = isinstance(model, NaFlexVit)
    any_length = varies or bool(getattr(model, "dynamic_img_size", False))
    needs = Needs(type(model).__name__, _tokens(model), masks=varies, any_length=any_length)
    chosen = chosen_for(sites, attention, needs, max_len)
    mixers = mixers_for(sites, chosen, needs)
    for site, mixer in zip(sites, mixers, strict=True):
        site.replace(mixer, before=getattr(model, "use_key_only_attn_mask", None))
    if isinstance(model, NaFlexVit):
        model.use_key_only_attn_mask = True
    write_record(model, chosen.record)
    return model


def _sites(model: nn.Module) -> list[Site]:
    """Every self-attention of a model that consists of nothing but such.

    Raises:
        GraftworkError: it has another attention, or none.
    """
    refused = f"the attention of {type(model).__name__} cannot be replaced: "
    sites = list(sites_in(model, layout_of))
    if other := foreign_attention(model, sites):
        raise GraftworkError(
            f"{refused}it has {other}, and only timm's plain attention can be, that of ViT, DeiT, "
            "DINOv2-shaped models and NaFlexViT; take such a model, or leave the attention as it is"
        )
    if not sites:
        raise GraftworkError(
            f"{refused}it has none of timm's plain attention, as ViT, DeiT, DINOv2-shaped models and "
            "NaFlexViT have; take such a model, or leave the attention as it is"
        )
    for site in sites:
        if why := site.refusal():
            raise GraftworkError(f"{refused}its {type(site.own).__name__} {why}")
    return sites


def _tokens(model: nn.Module) -> int | None:
    """How many tokens an image of the model's own size has."""
    prefix = int(getattr(model, "num_prefix_tokens", 0))
    if isinstance(model, NaFlexVit):
        grid = model.embeds.pos_embed_grid_size
        return None if grid is None else int(grid[0] * grid[1]) + prefix
    patches = getattr(getattr(model, "patch_embed", None), "num_patches", None)
    return None if patches is None else int(patches) + prefix

"""Encoders of transformers: every self-attention of one replaced by a mixer.

Which classes of attention are softmax attention and nothing more is not told by their names or guessed: the
table below holds those whose outputs were compared with those of `sdpa` in their place, by a test each.
"""

from __future__ import annotations

import inspect

from torch import nn
from transformers import PreTrainedModel

from graftwork import GraftworkError
from graftwork_attention.conversion.building import Attention, Needs, chosen_for, mixers_for
from graftwork_attention.conversion.layout import Layout
from graftwork_attention.conversion.record import write_record
from graftwork_attention.conversion.site import Site, foreign_attention, sites_in
from graftwork_attention.conversion.transformers_attention import hand_over_masks, own_configuration

# Output map, dropout and norm stand in a module beside this one.
_BERT = Layout(("query", "key", "value"), "num_attention_heads", "output.dense", True, attn_dropout="dropout")
_VIT = Layout(("q_proj", "k_proj", "v_proj"), "num_attention_heads", "o_proj")
_SIGLIP = Layout(
    ("q_proj", "k_proj", "v_proj"), "num_heads", "out_proj", scale="scale", attn_dropout="dropout"
)
_DISTILBERT = Layout(("q_lin", "k_lin", "v_lin"), "n_heads", "out_lin", attn_dropout="dropout")

LAYOUTS = {
    **dict.fromkeys(
        (
            "bert.modeling_bert.BertSelfAttention",
            "bert_generation.modeling_bert_generation.BertGenerationSelfAttention",
            "camembert.modeling_camembert.CamembertSelfAttention",
            "data2vec.modeling_data2vec_text.Data2VecTextSelfAttention",
            "electra.modeling_electra.ElectraSelfAttention",
            "ernie.modeling_ernie.ErnieSelfAttention",
            "roberta.modeling_roberta.RobertaSelfAttention",
            "roberta_prelayernorm.modeling_roberta_prelayernorm.RobertaPreLayerNormSelfAttention",
            "splinter.modeling_splinter.SplinterSelfAttention",
            "xlm_roberta.modeling_xlm_roberta.XLMRobertaSelfAttention",
            "xlm_roberta_xl.modeling_xlm_roberta_xl.XLMRobertaXLSelfAttention",
            "xmod.modeling_xmod.XmodSelfAttention",
        ),
        _BERT,
    ),
    "distilbert.modeling_distilbert.DistilBertSelfAttention": _DISTILBERT,
    **dict.fromkeys(
        (
            "audio_spectrogram_transformer.modeling_audio_spectrogram_transformer.ASTAttention",
            "deit.modeling_deit.DeiTAttention",
            "dinov2.modeling_dinov2.Dinov2Attention",
            "dinov2_with_registers.modeling_dinov2_with_registers.Dinov2WithRegistersAttention",
            "ijepa.modeling_ijepa.IJepaAttention",
            "vit.modeling_vit.ViTAttention",
            "vit_mae.modeling_vit_mae.ViTMAEAttention",
            "vit_msn.modeling_vit_msn.ViTMSNAttention",
            "vivit.modeling_vivit.VivitAttention",
        ),
        _VIT,
    ),
    "siglip.modeling_siglip.SiglipAttention": _SIGLIP,
}


def layout_of(module: nn.Module) -> Layout | None:
    """The layout of an attention of transformers; None for every other module."""
    cls = type(module)
    name = f"{cls.__module__}.{cls.__qualname__}"
    return (
        LAYOUTS.get(name.removeprefix("transformers.models.")) if name.startswith("transformers.") else None
    )


def convert_encoder(
    model: PreTrainedModel, attention: Attention, *, max_len: int | None = None
) -> PreTrainedModel:
    """Replace every self-attention of an encoder, with or without a head, by a mixer.

    Args:
        model: BERT-, DistilBERT-, RoBERTa-, ELECTRA-, ViT-, DeiT-, DINOv2-shaped or another whose attention
            is in the table; changed in place.
        attention: the choice of a recipe, or a function of ``(dim, heads, max_len, *, layer_index)``.
        max_len: the largest number of tokens; by default as many as the model has positions.

    Returns:
        The same model, whose configuration says what it was converted to.

    Raises:
        GraftworkError: its attention is none that can be replaced, or the mixer does not fit; it is as before
            then.
    """
    sites = _sites(model)
    needs = Needs(
        type(model).__name__,
        _positions(model),
        masks=_is_padded(model),
        any_length=_is_padded(model),
    )
    chosen = chosen_for(sites, attention, needs, max_len)
    mixers = mixers_for(sites, chosen, needs)
    for site, mixer in zip(sites, mixers, strict=True):
        site.replace(mixer, before=model.config._attn_implementation)
    own_configuration(model)
    hand_over_masks(model)
    write_record(model, chosen.record)
    return model


def _sites(model: PreTrainedModel) -> list[Site]:
    """Every self-attention of a model that has no other attention.

    Raises:
        GraftworkError: it has another, or none.
    """
    refused = f"the attention of {type(model).__name__} cannot be replaced: "
    if not isinstance(model, PreTrainedModel):
        raise GraftworkError(f"{refused}it does not derive from transformers.PreTrainedModel")
    if model.config.is_encoder_decoder:
        raise GraftworkError(
            f"{refused}it is an encoder-decoder, with attention from one sequence to another, which no mixer "
            "has; take an encoder"
        )
    if getattr(model.config, "output_attentions", False):
        raise GraftworkError(
            f"{refused}its config asks for output_attentions, which mixers do not have; set that to False"
        )
    sites = list(sites_in(model, layout_of))
    for site in sites:
        if why := site.refusal():
            raise GraftworkError(f"{refused}its {type(site.own).__name__} {why}")
    if other := foreign_attention(model, sites):
        raise GraftworkError(
            f"{refused}{other} is not among those that were found to be softmax attention and nothing more, "
            "as those of BERT, RoBERTa, DistilBERT, ELECTRA, ViT, DeiT, DINOv2 and SigLIP are; take such an "
            "encoder, or leave the attention as it is"
        )
    if not sites:
        raise GraftworkError(f"{refused}it has none")
    return sites


def _is_padded(model: PreTrainedModel) -> bool:
    """Whether its batches are padded: those of text are."""
    return "input_ids" in inspect.signature(model.forward).parameters


def _positions(model: nn.Module) -> int | None:
    """How many tokens it has learned positions for."""
    found = []
    for part in model.modules():
        for name in ("position_embeddings", "position_embedding"):
            table = getattr(part, name, None)
            if isinstance(table, nn.Embedding):
                found.append(table.num_embeddings)
            elif isinstance(table, nn.Parameter) and table.dim() == 3:
                found.append(
                    table.shape[1] + getattr(getattr(part, "config", None), "num_register_tokens", 0)
                )
    return max(found, default=None)

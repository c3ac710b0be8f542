"""Models with encoder blocks of this package: every block's mixer replaced by another.

:class:`~graftwork_attention.models.encoder_block.EncoderBlock` is made for any mixer, so nothing stands
between the two, as it does in models of other libraries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from graftwork import GraftworkError
from graftwork_attention.conversion.building import Attention, Needs, chosen_for, mixers_for
from graftwork_attention.conversion.projections import put_into, taken_from
from graftwork_attention.conversion.record import write_record
from graftwork_attention.models.encoder_block import EncoderBlock


def convert_encoder_blocks(
    model: nn.Module, attention: Attention, *, max_len: int | None = None
) -> nn.Module:
    """Replace the mixer of every encoder block of a model.

    Linear maps to queries, keys, values and output go from a mixer to the next that has such, also over one
    between them that has not: those are kept beside it, in no state.

    Args:
        model: changed in place.
        attention: the choice of a recipe, or a function of ``(dim, heads, max_len, *, layer_index)``.
        max_len: the largest number of tokens; by default that of the mixers there are.

    Returns:
        The same model.

    Raises:
        GraftworkError: it has no encoder blocks, or the mixer does not fit; it is as before then.
    """
    sites = [MixerSite(module) for module in model.modules() if isinstance(module, EncoderBlock)]
    name = type(model).__name__
    if not sites:
        raise GraftworkError(
            f"the attention of {name} cannot be replaced: it has no EncoderBlock of graftwork_attention; "
            "take such a model, or leave the attention as it is"
        )
    needs = Needs(name, sites[0].max_len, masks=False, any_length=False)
    chosen = chosen_for(sites, attention, needs, max_len)
    mixers = mixers_for(sites, chosen, needs)
    for site, mixer in zip(sites, mixers, strict=True):
        site.replace(mixer, chosen.max_len)
    write_record(model, chosen.record)
    return model


@dataclass(frozen=True)
class Kept:
    """What a block keeps of mixers that were replaced; part of no state.

    Args:
        heads: of the first of them.
        max_len: that the present one was built for.
        maps: linear maps that the present one has no place for.
        facts: dropout and biases of those before.
    """

    heads: int
    max_len: int
    maps: Mapping[str, Tensor]
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class MixerSite:
    """The mixer of one block.

    Args:
        block: that has it.
    """

    block: EncoderBlock

    @property
    def max_len(self) -> int | None:
        """Tokens that the present mixer was built for; None where it does not say."""
        kept = self._kept
        found = getattr(self.block.mixer, "max_len", None) if kept is None else kept.max_len
        return found if isinstance(found, int) else None

    @property
    def sizes(self) -> tuple[int, int]:
        """Width of a token, and heads.

        Raises:
            GraftworkError: the present mixer does not say how many heads it has.
        """
        kept = self._kept
        heads = getattr(self.block.mixer, "heads", None) if kept is None else kept.heads
        if not isinstance(heads, int):
            raise GraftworkError(
                f"{type(self.block.mixer).__name__} of an EncoderBlock has no attribute heads, by which "
                "another mixer is built in its place; give it one, or build the block with the other mixer"
            )
        return self.block.dim, heads

    @property
    def weight(self) -> Tensor:
        """One of the present mixer, or of the block where that has none."""
        return next(self.block.mixer.parameters(), self.block.mixer_norm.weight)

    @property
    def facts(self) -> Mapping[str, Any]:
        """Dropout of attention weights and biases of its maps, or of those before it where it has none."""
        maps = self._maps()
        dropout = getattr(self.block.mixer, "attn_dropout", None)
        return {
            **({} if self._kept is None else self._kept.facts),
            **({} if dropout is None else {"attn_dropout": dropout}),
            **({"qkv_bias": "query.bias" in maps} if maps else {}),
        }

    def replace(self, mixer: nn.Module, max_len: int) -> None:
        """Put a mixer here, started from the maps of what stood here."""
        (dim, heads), facts = self.sizes, self.facts
        left = put_into(mixer, dim, self._maps())
        self.block.mixer = mixer.train(self.block.mixer.training)
        self.block.kept = Kept(heads, max_len, {name: tensor.clone() for name, tensor in left.items()}, facts)

    @property
    def _kept(self) -> Kept | None:
        kept = self.block.kept
        return kept if isinstance(kept, Kept) else None

    def _maps(self) -> dict[str, Tensor]:
        aside = {} if self._kept is None else self._kept.maps
        return taken_from(self.block.mixer, self.block.dim, aside)

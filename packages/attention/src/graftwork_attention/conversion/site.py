"""One self-attention of a model: where it stands, and the mixer that stands in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from graftwork_attention.conversion.layout import Layout
from graftwork_attention.conversion.masks import key_padding
from graftwork_attention.conversion.projections import put_into, taken_from

# What an attention is called with besides, and that a mixer cannot do.
_REFUSED = {
    "past_key_values": "keeps no cache of keys and values",
    "encoder_hidden_states": "does not attend to another sequence",
    "output_attentions": "has no attention weights to return",
    "is_causal": "is bidirectional",
}


@dataclass
class Kept:
    """A model's own attention, which is part of no state: not saved, not trained, not moved.

    Args:
        layout: of it.
        attention: it, on the meta device.
        output: its output map where that stood beside it, on the meta device.
        maps: those of its linear maps that the mixer has no place for.
        before: a setting of the model's that conversion changes, as it was.
    """

    layout: Layout
    attention: nn.Module
    output: nn.Module | None
    maps: dict[str, Tensor]
    before: Any = None


class Absent(nn.Module):
    """An empty tensor where a model's own attention has a weight.

    Weights of a converted model do not fit its unconverted class like this. Without it they would be loaded
    with a warning at most, and attention would be random.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.empty(0))


class MixerAttention(nn.Module):
    """A mixer with the call of an attention of transformers or timm.

    Args:
        mixer: what mixes.
        dim: width of a token.
        heads: how many.
        kept: the attention that stood here.
    """

    # What blocks ask of the attention inside them.
    is_causal = False

    def __init__(self, mixer: nn.Module, dim: int, heads: int, kept: Kept) -> None:
        super().__init__()
        self.mixer, self.dim, self.heads, self.kept = mixer, dim, heads, kept
        self.add_module(kept.layout.projections[0], Absent())
        self.returns_weights = kept.layout.returns_weights
        able: Any = mixer.capabilities
        self.takes_masks = bool(able.masks)
        self.dropout = nn.Dropout(kept.layout.dropout_of_output(kept.attention))

    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None = None, **given: Any) -> Any:
        """Mix tokens ``[batch, tokens, dim]``, of which a mask says the real ones."""
        for name, why in _REFUSED.items():
            if given.get(name) not in (None, False):
                raise ValueError(
                    f"{name} cannot be kept: {type(self.mixer).__name__}, to which this model's attention "
                    f"was converted, {why}; leave it out, or take restore(model)"
                )
        mask = given.get("attn_mask") if attention_mask is None else attention_mask
        real = key_padding(mask)
        if real is not None and not self.takes_masks:
            raise ValueError(
                f"{type(self.mixer).__name__}, to which this model's attention was converted, takes no "
                "masks; leave the mask out and give no padding, or convert it to an attention that does"
            )
        y = self.dropout(self.mixer(hidden_states, real))
        return (y, None) if self.returns_weights else y

    def named_modules(
        self, memo: set[nn.Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Module]]:
        """All modules but the empty tensor, which what adapts a `query` by its name must not find."""
        for name, module in super().named_modules(memo, prefix, remove_duplicate):
            if not isinstance(module, Absent):
                yield name, module

    def maps(self) -> dict[str, Tensor]:
        """The linear maps of the model's own attention, as training has left them."""
        return taken_from(self.mixer, self.dim, self.kept.maps)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, heads={self.heads}"


@dataclass
class Site:
    """Where a self-attention stands.

    Args:
        around: the module that has it.
        name: that it has there.
        layout: of the attention that belongs there.
    """

    around: nn.Module
    name: str
    layout: Layout

    @property
    def attention(self) -> nn.Module:
        """What stands there now."""
        return self.around.get_submodule(self.name)

    @property
    def own(self) -> nn.Module:
        """The model's own attention, on the meta device where a mixer stands in its place."""
        now = self.attention
        return now.kept.attention if isinstance(now, MixerAttention) else now

    @property
    def own_output(self) -> nn.Module:
        """The output map of the model's own attention, likewise."""
        now = self.attention
        if isinstance(now, MixerAttention) and now.kept.output is not None:
            return now.kept.output
        return self.layout.holder(self.own, self.around).get_submodule(self.layout.output)

    def refusal(self) -> str:
        """Why the maps of what stands here cannot be taken; "" where they can, or went with a file."""
        now = self.attention
        if not isinstance(now, MixerAttention):
            return self.layout.refusal(now, self.around)
        # The mixer had a place for what is not kept aside, unless that was wrapped or exchanged since.
        if self._own_names() - now.maps().keys():
            return (
                f"went into the maps of {type(now.mixer).__name__}, which are no plain torch.nn.Linear any "
                "more; merge or take off the adapters, or whatever was put around them, before"
            )
        return ""

    def _own_names(self) -> set[str]:
        return set(self.layout.maps(self.own, self.own_output))

    @property
    def sizes(self) -> tuple[int, int]:
        """Width of a token, and heads."""
        return self.layout.dim(self.own), int(getattr(self.own, self.layout.heads))

    @property
    def weight(self) -> Tensor:
        """A weight of what stands there, for device and dtype; of what is around it where it has none."""
        for part in (self.attention, self.around):
            for tensor in part.parameters():
                return tensor
        return torch.empty(0)

    @property
    def facts(self) -> Mapping[str, Any]:
        """Dropout of attention weights and biases of its own attention."""
        return {
            "attn_dropout": self.layout.dropout_of_weights(self.own),
            "qkv_bias": any(f"{name}.bias" in self.maps() for name in ("query", "key", "value")),
        }

    def maps(self) -> dict[str, Tensor]:
        """The linear maps of its own attention, by name; those are left out that were not kept with it."""
        now = self.attention
        found = now.maps() if isinstance(now, MixerAttention) else self.layout.maps(now, self.own_output)
        return {name: tensor for name, tensor in found.items() if self._is_there(tensor)}

    def _is_there(self, tensor: Tensor) -> bool:
        return not tensor.is_meta or self.weight.is_meta

    def replace(self, mixer: nn.Module, *, before: Any = None) -> None:
        """Put a mixer here, started from the maps of what stood here.

        Args:
            before: what :class:`Kept` keeps of the model.
        """
        dim, heads = self.sizes
        left = put_into(mixer, dim, self.maps())
        now = self.attention
        if isinstance(now, MixerAttention):
            kept = Kept(self.layout, now.kept.attention, now.kept.output, left, now.kept.before)
        else:
            output = self.own_output if self.layout.outside else None
            left = {name: tensor.clone() for name, tensor in left.items()}
            kept = Kept(
                self.layout, now.to("meta"), None if output is None else output.to("meta"), left, before
            )
            if output is not None:
                gone = nn.Identity().train(now.training)
                self.around.set_submodule(self.layout.output, gone, strict=True)
        self.around.set_submodule(
            self.name, MixerAttention(mixer, dim, heads, kept).train(now.training), strict=True
        )

    def restore(self) -> Any:
        """Put the model's own attention back, with its maps as they are now.

        Returns:
            What was kept as ``before``.
        """
        now = self.attention
        assert isinstance(now, MixerAttention)
        maps, weight, kept = self.maps(), self.weight, now.kept
        for module, name in ((kept.attention, self.name), (kept.output, self.layout.output)):
            if module is not None:
                module.to_empty(device=weight.device).to(weight.dtype).train(now.training)
                self.around.set_submodule(name, module, strict=True)
        self.layout.put_back(self.own, self.own_output, maps)
        return kept.before

    def lost(self) -> str:
        """A map of its own attention that is nowhere any more, "" where all are there."""
        return min(self._own_names() - self.maps().keys(), default="")


def sites_in(model: nn.Module, layout_of: Callable[[nn.Module], Layout | None]) -> Iterator[Site]:
    """Every self-attention of a model, in the order of its layers."""
    for around in model.modules():
        if isinstance(around, MixerAttention):
            continue
        for name, child in around.named_children():
            layout = child.kept.layout if isinstance(child, MixerAttention) else layout_of(child)
            if layout is not None:
                yield Site(around, name, layout)


def converted_in(model: nn.Module) -> list[Site]:
    """Where mixers stand in a model."""
    return list(sites_in(model, lambda module: None))


def foreign_attention(model: nn.Module, sites: Sequence[Site]) -> str:
    """The class of an attention that none of the sites has inside or around it; "" where there is none."""
    known: set[nn.Module] = set()
    for site in sites:
        known |= set(site.attention.modules())
    for module in model.modules():
        told = "Attention" in type(module).__name__ or "Attn" in type(module).__name__
        # One that pools tokens into a few is no mixer's.
        pools = "Pool" in type(module).__name__ or isinstance(module, nn.MultiheadAttention)
        if told and not pools and known.isdisjoint(module.modules()):
            return f"{type(module).__module__}.{type(module).__qualname__}"
    return ""

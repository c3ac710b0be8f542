"""How a library's own softmax attention is made: which linear maps it has, and under which names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from graftwork_attention.conversion.projections import NAMES
from graftwork_attention.plain_maps import is_plain


@dataclass(frozen=True, slots=True)
class Layout:
    """The names of an attention's parts.

    Args:
        projections: linear maps to queries, keys and values, or the one that makes all three.
        heads: attribute that counts them.
        output: the output map.
        outside: whether that stands beside the attention, so that its name starts at the module around both.
        scale: attribute by which logits are multiplied, which must be head width^-1/2.
        attn_dropout: attribute with the dropout of weights, a number or a module.
        dropout: module of dropout after the output map; "" where there is none inside.
        returns_weights: whether a pair of output and weights is returned.
    """

    projections: tuple[str, ...]
    heads: str
    output: str
    outside: bool = False
    scale: str = "scaling"
    attn_dropout: str = "attention_dropout"
    dropout: str = ""
    returns_weights: bool = True

    def refusal(self, attention: nn.Module, around: nn.Module) -> str:
        """Why an attention of this class is not what the layout says; "" where it is.

        Args:
            attention: that is looked at.
            around: the module that it stands in, which has the output map where that is outside.
        """
        holders = {**dict.fromkeys(self.projections, attention), self.output: self.holder(attention, around)}
        for name, holder in holders.items():
            linear = _part(holder, name)
            if not isinstance(linear, nn.Linear) or not is_plain(linear):
                return f"has no plain torch.nn.Linear {name}, as those have that were compared"
        if not hasattr(attention, self.heads):
            return f"has no {self.heads}, as those have that were compared"
        linears = self.linears(attention, holders[self.output].get_submodule(self.output))
        inside = {f"{name}." for name in (*self.projections, *(() if self.outside else (self.output,)))}
        known = tuple(inside)
        further = [
            name
            for name, _ in (*attention.named_parameters(), *attention.named_buffers())
            if not name.startswith(known)
        ]
        if further:
            return f"has {further[0]}, which no mixer has a place for"
        if any(getattr(attention, name, False) for name in ("is_decoder", "is_causal")):
            return "is causal, and mixers are bidirectional"
        dim, heads = self.dim(attention), int(getattr(attention, self.heads))
        wide = dim * (3 if len(self.projections) == 1 else 1)
        if any(linear.weight.shape != (wide, dim) for linear in linears[:-1]) or dim % heads:
            return f"has heads that do not share out its width of {dim}"
        if linears[-1].weight.shape != (dim, dim):
            return f"has an output map that is not {dim} wide"
        scale = getattr(attention, self.scale, None)
        if scale is not None and abs(scale * (dim / heads) ** 0.5 - 1) > 1e-6:
            return "scales its logits in another way than by the root of the width of a head"
        return ""

    def holder(self, attention: nn.Module, around: nn.Module) -> nn.Module:
        """The module at which the name of the output map starts."""
        return around if self.outside else attention

    def linears(self, attention: nn.Module, output: nn.Module) -> list[nn.Linear]:
        """The maps to queries, keys and values or the one to all three, then the output map."""
        found = [*(attention.get_submodule(name) for name in self.projections), output]
        return [linear for linear in found if isinstance(linear, nn.Linear)]

    def dim(self, attention: nn.Module) -> int:
        """Width of a token."""
        linear = attention.get_submodule(self.projections[0])
        assert isinstance(linear, nn.Linear)
        return linear.in_features

    def maps(self, attention: nn.Module, output: nn.Module) -> dict[str, Tensor]:
        """Its maps by name, see :mod:`~graftwork_attention.conversion.projections`."""
        *projections, last = self.linears(attention, output)
        tensors: list[tuple[Tensor | None, Tensor | None]]
        if len(projections) == 3:
            tensors = [(linear.weight, linear.bias) for linear in projections]
        else:
            (both,) = projections
            tensors = list(zip(_thirds(both.weight), _thirds(both.bias), strict=True))
        named = dict(zip(NAMES, [*tensors, (last.weight, last.bias)], strict=True))
        return {
            f"{name}.{kind}": tensor.detach()
            for name, pair in named.items()
            for kind, tensor in zip(("weight", "bias"), pair, strict=True)
            if tensor is not None
        }

    @torch.no_grad()
    def put_back(self, attention: nn.Module, output: nn.Module, maps: Mapping[str, Tensor]) -> None:
        """Write maps into its weights."""
        *projections, last = self.linears(attention, output)
        for kind in ("weight", "bias"):
            pieces = [maps.get(f"{name}.{kind}") for name in NAMES[:3]]
            parts = pieces if len(projections) == 3 else [_joined(pieces)]
            for linear, piece in zip((*projections, last), (*parts, maps.get(f"output.{kind}")), strict=True):
                tensor = getattr(linear, kind)
                if tensor is not None and piece is not None:
                    tensor.copy_(piece)

    def dropout_of_weights(self, attention: nn.Module) -> float:
        """The probability of dropout of attention weights."""
        found = getattr(attention, self.attn_dropout, 0.0)
        return float(found.p if isinstance(found, nn.Dropout) else found)

    def dropout_of_output(self, attention: nn.Module) -> float:
        """The probability of dropout of the output, where that is inside."""
        found = getattr(attention, self.dropout, None) if self.dropout else None
        return float(found.p) if isinstance(found, nn.Dropout) else 0.0


def _part(module: nn.Module, name: str) -> nn.Module | None:
    try:
        return module.get_submodule(name)
    except AttributeError:
        return None


def _thirds(tensor: Tensor | None) -> Sequence[Tensor | None]:
    """A weight or bias of one map to all three, for each of them."""
    return (None, None, None) if tensor is None else tensor.chunk(3)


def _joined(pieces: list[Tensor | None]) -> Tensor | None:
    there = [piece for piece in pieces if piece is not None]
    return torch.cat(there) if len(there) == len(pieces) else None

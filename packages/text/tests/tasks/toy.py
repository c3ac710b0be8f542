"""A plugin with two optimizers and an attention for BERT: tasks are trained without other packages."

See conftest.py.
"""

from __future__ import annotations

from types import SimpleNamespace

import torch

from graftwork import Component, Kind, hookimpl


class Evolution(torch.optim.Optimizer):
    """Two-point descent along random directions: asks for the loss twice a step, never for a gradient."""

    closure = "loss"

    def __init__(self, params, lr: float = 0.05, scale: float = 1e-2) -> None:
        super().__init__(params, {"lr": lr, "scale": scale})
        self._trained = [parameter for group in self.param_groups for parameter in group["params"]]
        for parameter in self._trained:
            self.state[parameter]["step"] = torch.zeros(())

    def _shift(self, seed, factor):
        generator = torch.Generator().manual_seed(seed)
        for parameter in self._trained:
            parameter.data.add_(torch.randn(parameter.shape, generator=generator), alpha=factor)

    def step(self, closure):
        group = self.param_groups[0]
        seed, scale = int(self.state[self._trained[0]]["step"]), group["scale"]
        self._shift(seed, scale)
        up = float(closure())
        self._shift(seed, -2 * scale)
        down = float(closure())
        self._shift(seed, scale)
        self._shift(seed, -group["lr"] * (up - down) / (2 * scale))
        for state in self.state.values():
            state["step"] += 1
        return up


class Mean(torch.nn.Module):
    """An attention: the mean of the real tokens, mapped."""

    capabilities = SimpleNamespace(
        masks=True, any_length=True, causal=False, cross=False, reuses_qkv=False, needs_positions=True
    )

    def __init__(self, dim, heads, max_len, *, layer_index=0, gain: float = 1.0) -> None:
        super().__init__()
        self.sizes, self.gain = (dim, heads, max_len, layer_index), gain
        self.map = torch.nn.Linear(dim, dim)

    def forward(self, x, mask=None):
        real = torch.ones_like(x[..., :1]) if mask is None else mask[..., None].to(x.dtype)
        return self.gain * self.map(((x * real).sum(1) / real.sum(1))[:, None].expand_as(x))


class InBert(torch.nn.Module):
    """The mean where BERT expects its own attention."""

    def __init__(self, mixer) -> None:
        super().__init__()
        self.mixer = mixer

    def forward(self, hidden_states, attention_mask=None, *args, **kwargs):
        mask = None if attention_mask is None else attention_mask[:, 0, 0].bool()
        return self.mixer(hidden_states, mask), None


def convert(model, attention, *, max_len=None):
    """Replace the attention of a BERT."""
    found = [module for module in model.modules() if type(module).__name__ == "BertAttention"]
    if not found:
        raise ValueError(f"the attention of {type(model).__name__} cannot be replaced: it is no encoder")
    for number, module in enumerate(found):
        config = module.self.config
        mixer = attention(config.hidden_size, config.num_attention_heads, max_len, layer_index=number)
        module.self = InBert(mixer)
    return model


@hookimpl
def graftwork_components():
    yield Component(Kind.OPTIMIZER, "adamw", "torch.optim:AdamW", "torch's")
    yield Component(Kind.OPTIMIZER, "evolution", f"{__name__}:Evolution", "zeroth order")
    yield Component(Kind.ATTENTION, "mean", f"{__name__}:Mean", "the mean of the tokens")
    yield Component(Kind.ATTENTION_CONVERSION, "transformers", f"{__name__}:convert", "BERT")

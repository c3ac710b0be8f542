"""The LLaMA family in the sizes of the memory-efficient pre-training literature, with random weights.

Each size is a function ``size(vocab_size, **options) -> torch.nn.Module`` that builds
``transformers.LlamaForCausalLM``: rotary positions, RMS norms, gated feed-forward, an output layer of its own
unless ``tied_embeddings``. Input ``input_ids`` [batch, tokens]; the output's ``logits`` are [batch, tokens,
vocab_size]. The shapes from ``llama_60m`` on are those of the GaLore and GWT experiments (vocabulary 32,000
there), so parameter counts and optimizer memory can be set beside the published ones.

Weights come from torch's global generator and are float32 on the CPU unless the caller has set another
default dtype or device (``with torch.device("meta")`` counts parameters without memory).

Raises:
    ValueError: an option is out of its range.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import nn

_ARGUMENTS = """

    Args:
        vocab_size: number of tokens, as the task's tokenizer counts them.
        hidden_size: width of the residual stream, a multiple of 2 * heads.
        intermediate_size: width of the feed-forward layers.
        layers: number of decoder blocks.
        heads: attention heads of a block.
        key_value_heads: heads of keys and values, a divisor of heads; none means as many as heads.
        tied_embeddings: use the input embedding as output layer too.
        attention_implementation: torch's fused kernel (sdpa) or plain matrix products (eager).
        initializer_range: standard deviation of the normal distribution that weights are drawn from.
        normalization_epsilon: added to the mean square in the RMS norms.
        maximum_positions: longest sequence that the model is declared for; memory does not depend on it.
    """


@dataclass(frozen=True, slots=True)
class LlamaShape:
    """What tells one size from another.

    Args:
        hidden_size: width of the residual stream.
        intermediate_size: width of the feed-forward layers.
        layers: number of decoder blocks.
        heads: attention heads of a block.
    """

    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int


def _sized(name: str, shape: LlamaShape, summary: str) -> Callable[..., nn.Module]:
    """Make the builder of one size: the same signature each time, with that size's defaults."""

    def build(
        vocab_size: int,
        *,
        hidden_size: int = shape.hidden_size,
        intermediate_size: int = shape.intermediate_size,
        layers: int = shape.layers,
        heads: int = shape.heads,
        key_value_heads: int | None = None,
        tied_embeddings: bool = False,
        attention_implementation: Literal["sdpa", "eager"] = "sdpa",
        initializer_range: float = 0.02,
        normalization_epsilon: float = 1e-6,
        maximum_positions: int = 2048,
    ) -> nn.Module:
        sizes = {
            "vocab_size": vocab_size,
            "hidden_size": hidden_size,
            "intermediate_size": intermediate_size,
            "layers": layers,
            "heads": heads,
            "maximum_positions": maximum_positions,
        }
        for option, value in sizes.items():
            if value < 1:
                raise ValueError(f"{option} must be at least 1, got {value}")
        if hidden_size % (2 * heads):
            raise ValueError(f"hidden_size must be a multiple of 2 * heads = {2 * heads}, got {hidden_size}")
        shared_heads = heads if key_value_heads is None else key_value_heads
        if shared_heads < 1 or heads % shared_heads:
            raise ValueError(f"key_value_heads must divide heads = {heads}, got {shared_heads}")
        if attention_implementation not in ("sdpa", "eager"):
            raise ValueError(
                f"attention_implementation must be 'sdpa' or 'eager', got {attention_implementation!r}"
            )
        if initializer_range <= 0 or normalization_epsilon <= 0:
            raise ValueError(
                "initializer_range and normalization_epsilon must be above 0, got "
                f"{initializer_range} and {normalization_epsilon}"
            )

        # Importing transformers takes seconds, and checking a recipe needs only the signature.
        from transformers import LlamaConfig, LlamaForCausalLM

        settings: dict[str, Any] = {
            "vocab_size": vocab_size,
            "hidden_size": hidden_size,
            "intermediate_size": intermediate_size,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": shared_heads,
            "tie_word_embeddings": tied_embeddings,
            "initializer_range": initializer_range,
            "rms_norm_eps": normalization_epsilon,
            "max_position_embeddings": maximum_positions,
            "attn_implementation": attention_implementation,
            "use_cache": False,
            # Which token means what is the tokenizer's business; the defaults may exceed the vocabulary.
            "bos_token_id": None,
            "eos_token_id": None,
            "pad_token_id": None,
        }
        return LlamaForCausalLM(LlamaConfig(**settings))

    build.__name__ = build.__qualname__ = name
    build.__doc__ = summary + _ARGUMENTS
    return build


SHAPES: dict[str, LlamaShape] = {
    "tiny": LlamaShape(128, 344, 4, 4),
    "60m": LlamaShape(512, 1376, 8, 8),
    "130m": LlamaShape(768, 2048, 12, 12),
    "350m": LlamaShape(1024, 2736, 24, 16),
    "1b": LlamaShape(2048, 5461, 24, 32),
    "3b": LlamaShape(2560, 6848, 32, 32),
    "7b": LlamaShape(4096, 11008, 32, 32),
}

llama_tiny = _sized(
    "llama_tiny",
    SHAPES["tiny"],
    "LLaMA for a laptop: 1.3 M parameters with 2,048 tokens, minutes on two CPU cores.",
)
llama_60m = _sized("llama_60m", SHAPES["60m"], "LLaMA 60M: 58.07 M parameters with 32,000 tokens.")
llama_130m = _sized("llama_130m", SHAPES["130m"], "LLaMA 130M: 134.11 M parameters with 32,000 tokens.")
llama_350m = _sized("llama_350m", SHAPES["350m"], "LLaMA 350M: 367.97 M parameters with 32,000 tokens.")
llama_1b = _sized("llama_1b", SHAPES["1b"], "LLaMA 1B: 1,339.08 M parameters with 32,000 tokens.")
llama_3b = _sized("llama_3b", SHAPES["3b"], "LLaMA 3B: 2,685.83 M parameters with 32,000 tokens.")
llama_7b = _sized("llama_7b", SHAPES["7b"], "LLaMA 7B: 6,738.42 M parameters with 32,000 tokens.")

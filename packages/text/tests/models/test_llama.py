"""The LLaMA sizes: published shapes, options and their checks, a forward pass."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import Any

import pytest
import torch

from graftwork.component import SHIPPED_KINDS
from graftwork.docstrings import summary_line
from graftwork.schema import schema_of
from graftwork_text.models import llama

MODEL_KIND = next(kind for kind in SHIPPED_KINDS if kind.name == "model")

# Millions of parameters with a vocabulary of 32,000: all, and those of attention and feed-forward layers.
PUBLISHED = {
    "60m": (58.07, 25.30),
    "130m": (134.11, 84.93),
    "350m": (367.97, 302.38),
    "1b": (1339.08, 1207.91),
    "3b": (2685.83, 2521.83),
    "7b": (6738.42, 6476.01),
}


def size(name: str) -> Any:
    return getattr(llama, f"llama_{name}")


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_parameter_counts(name: str) -> None:
    with torch.device("meta"):
        model = size(name)(vocab_size=32_000)
    named = dict(model.named_parameters())
    inner = sum(weight.numel() for path, weight in named.items() if "self_attn" in path or "mlp" in path)
    total = sum(weight.numel() for weight in named.values())
    assert (round(total / 1e6, 2), round(inner / 1e6, 2)) == PUBLISHED[name]


def test_tiny_has_the_size_its_summary_states() -> None:
    with torch.device("meta"):
        model = llama.llama_tiny(2048)
    assert round(sum(weight.numel() for weight in model.parameters()) / 1e6, 1) == 1.3


def test_embedding_and_output_layer_are_two_unless_tied() -> None:
    with torch.device("meta"):
        separate = llama.llama_tiny(1000)
        tied = llama.llama_tiny(1000, tied_embeddings=True)
    difference = sum(w.numel() for w in separate.parameters()) - sum(w.numel() for w in tied.parameters())
    assert difference == 1000 * 128


@pytest.mark.parametrize("name", llama.SHAPES)
def test_signature_is_a_schema(name: str) -> None:
    target = size(name)
    options = schema_of(target, MODEL_KIND).options
    shape = llama.SHAPES[name]
    assert "vocab_size" not in options
    assert options["hidden_size"].default == shape.hidden_size
    assert options["layers"].default == shape.layers
    assert options["attention_implementation"].type_text == "'sdpa' or 'eager'"
    assert all(option.meaning for option in options.values())
    assert target.__name__ == f"llama_{name}"
    assert summary_line(target).startswith("LLaMA")
    assert inspect.signature(target).parameters["vocab_size"].default is inspect.Parameter.empty


def test_forward_returns_logits_and_keeps_no_cache() -> None:
    model = llama.llama_tiny(300)
    output = model(torch.randint(300, (2, 16)))
    assert output.logits.shape == (2, 16, 300)
    assert output.logits.dtype == torch.float32
    assert output.past_key_values is None


def test_attention_is_causal() -> None:
    torch.manual_seed(0)
    model = llama.llama_tiny(300).eval()
    tokens = torch.randint(300, (1, 16))
    changed = tokens.clone()
    changed[0, 10:] = (changed[0, 10:] + 1) % 300
    with torch.no_grad():
        before, after = model(tokens).logits, model(changed).logits
    torch.testing.assert_close(before[:, :10], after[:, :10])
    assert not torch.allclose(before[:, 10:], after[:, 10:])


def test_attention_implementations_agree() -> None:
    torch.manual_seed(0)
    fused = llama.llama_tiny(300).eval()
    plain = llama.llama_tiny(300, attention_implementation="eager").eval()
    plain.load_state_dict(fused.state_dict())
    tokens = torch.randint(300, (2, 16))
    with torch.no_grad():
        torch.testing.assert_close(fused(tokens).logits, plain(tokens).logits, rtol=1e-4, atol=1e-5)


def test_weights_come_from_the_global_generator() -> None:
    torch.manual_seed(7)
    first = llama.llama_tiny(300).state_dict()
    torch.manual_seed(7)
    second = llama.llama_tiny(300).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_options_override_the_shape() -> None:
    with torch.device("meta"):
        model: Any = llama.llama_60m(1000, hidden_size=64, heads=4, key_value_heads=2, layers=3)
    assert len(model.model.layers) == 3
    assert model.model.layers[0].self_attn.k_proj.weight.shape == (32, 64)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": 0}, "layers must be at least 1, got 0"),
        ({"hidden_size": 100, "heads": 3}, r"hidden_size must be a multiple of 2 \* heads = 6, got 100"),
        ({"key_value_heads": 3}, "key_value_heads must divide heads = 4, got 3"),
        ({"attention_implementation": "flash"}, "must be 'sdpa' or 'eager', got 'flash'"),
        ({"initializer_range": 0.0}, "must be above 0, got 0.0"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        llama.llama_tiny(300, **options)


def test_module_imports_neither_torch_nor_transformers() -> None:
    code = (
        "import sys; import graftwork_text.models.llama; "
        "sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

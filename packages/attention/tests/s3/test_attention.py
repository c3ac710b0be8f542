"""S3Attention whole: what is kept, what is promised of masks and lengths, and where it can be used."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from graftwork_attention import S3Attention

PRESETS = ["robust", "paper", "reference-lra", "reference-forecast"]
PARTS = [
    {},
    *({part: False} for part in ("use_smoother", "use_stem", "use_token_branch", "use_channel_branch")),
]


def attention(**options: Any) -> S3Attention:
    return S3Attention(16, 2, 24, **options)


def sample(batch: int = 2, tokens: int = 24, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(batch, tokens, 16, dtype=dtype)


# --- what is kept -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
def test_weights_bring_tokens_and_channels_along(preset: str) -> None:
    torch.manual_seed(1)
    first = attention(preset=preset, selection_seed=1).eval()
    other = attention(preset=preset, selection_seed=2).eval()
    x = sample(dtype=torch.float32)
    assert not torch.equal(first.skeleton.token_index, other.skeleton.token_index)
    other.load_state_dict(first.state_dict())
    assert torch.equal(first(x), other(x))
    for copied in (copy.deepcopy(first), pickle.loads(pickle.dumps(first))):
        assert torch.equal(first(x), copied(x))


def test_tokens_and_channels_go_by_seed_and_layer_alone() -> None:
    torch.manual_seed(1)
    first = attention()
    torch.manual_seed(2)
    torch.rand(3)
    same, layer, seed = attention(), attention(layer_index=1), attention(selection_seed=1)
    for name in ("token_index", "channel_index"):
        index = getattr(first.skeleton, name)
        assert index.dtype == torch.int64
        assert torch.equal(index, getattr(same.skeleton, name))
    for other in (layer, seed):
        assert not torch.equal(first.skeleton.token_index, other.skeleton.token_index)
    first.resample(1)
    assert torch.equal(first.skeleton.token_index, seed.skeleton.token_index)
    assert first.to_dict() == seed.to_dict()


def test_building_and_calling_leave_the_global_generator_alone_but_for_initial_weights() -> None:
    made, x = attention(), sample(dtype=torch.float32)
    before = torch.get_rng_state()
    made(x)
    made.resample(3)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(
    "changed", [{}, {"tokens": 3, "norm": "channel_batch", "use_stem": False, "layer_index": 4}]
)
def test_a_configuration_makes_the_same_module_again(preset: str, changed: dict[str, Any]) -> None:
    first = attention(preset=preset, **changed)
    again = S3Attention.from_dict(first.to_dict())
    assert again.to_dict() == first.to_dict()
    again.load_state_dict(first.state_dict())
    x = sample(dtype=torch.float32)
    assert torch.equal(again(x), first(x))


def test_sizes_that_are_left_out_fit_small_modules() -> None:
    options = S3Attention(12, 4, 5).to_dict()
    assert (options["tokens"], options["channels"], options["segments"]) == (5, 3, 6)
    assert S3Attention(16, 2, 24).to_dict()["segments"] == 8


# --- other lengths ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("length", [48, 17])
def test_another_length(preset: str, length: int) -> None:
    made = attention(preset=preset).double()
    made.resize_length(length)
    made(sample(tokens=length)).sum().backward()
    assert all(weight.grad is not None for weight in made.parameters())
    again = S3Attention.from_dict(made.to_dict()).double()
    again.load_state_dict(made.state_dict())
    x = sample(tokens=length - 1)
    assert torch.equal(again.eval()(x), made.eval()(x))
    with pytest.raises(ValueError, match=f"max_len={length} tokens, got {length + 1}"):
        made(sample(tokens=length + 1))


def test_a_length_without_room_changes_nothing() -> None:
    made = attention()
    x = sample(dtype=torch.float32)
    before = made(x)
    with pytest.raises(ValueError, match="a length of 7 has no room for 8 landmarks"):
        made.resize_length(7)
    with pytest.raises(ValueError, match=r"max_len must be a whole number, 1 or more, got 20\.5"):
        made.resize_length(20.5)  # type: ignore[arg-type]
    assert torch.equal(made(x), before)


# --- masks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("preset", PRESETS)
def test_a_padded_batch_is_its_samples(preset: str, parts: dict[str, Any]) -> None:
    made = attention(preset=preset, **parts).double().eval()
    lengths = (24, 9, 1)
    batch = torch.full((3, 24, 16), float("nan"), dtype=torch.float64)
    mask = torch.arange(24) < torch.tensor(lengths)[:, None]
    samples = [sample(1, length) for length in lengths]
    for row, one in enumerate(samples):
        batch[row, : one.shape[1]] = one[0]
    found = made(batch, mask)
    assert (found[~mask] == 0).all()
    for row, one in enumerate(samples):
        torch.testing.assert_close(found[row, : one.shape[1]], made(one)[0], rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(made(batch[row : row + 1], mask[row : row + 1])[0], found[row])
        # Less of the same padding.
        shorter = slice(min(24, one.shape[1] + 3))
        torch.testing.assert_close(
            made(batch[row : row + 1, shorter], mask[row : row + 1, shorter])[0], found[row, shorter]
        )


@pytest.mark.parametrize("preset", PRESETS)
def test_padding_gets_no_gradient_and_gives_none(preset: str) -> None:
    made = attention(preset=preset).double()
    mask = torch.rand(3, 24) < 0.6
    mask[2] = False
    gradients = []
    for fill in (0.0, float("nan")):
        made.zero_grad()
        torch.manual_seed(0)
        x = torch.where(mask[..., None], sample(3), fill).requires_grad_()
        made(x, mask).square().sum().backward()
        assert x.grad is not None
        assert (x.grad[~mask] == 0).all()
        gradients.append([x.grad, *(weight.grad for weight in made.parameters())])
    for ours, theirs in zip(*gradients, strict=True):
        assert torch.isfinite(ours).all()
        assert torch.equal(ours, theirs)


def test_a_norm_by_token_makes_training_and_evaluation_one_without_dropout() -> None:
    made, x = attention(), sample(dtype=torch.float32)
    trained = made.train()(x)
    assert torch.equal(trained, made.eval()(x))
    assert not torch.equal(attention(norm="position_batch").train()(x), trained)


# --- learning -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("preset", PRESETS)
def test_every_parameter_gets_a_gradient(preset: str, parts: dict[str, Any]) -> None:
    made = attention(preset=preset, **parts)
    made(sample(dtype=torch.float32), torch.rand(2, 24) < 0.7).square().sum().backward()
    assert [name for name, weight in made.named_parameters() if weight.grad is None] == []


def test_data_parallel_training_finds_every_parameter_used(tmp_path: Path) -> None:
    job = Path(__file__).with_name("data_parallel_job.py")
    ended = subprocess.run(
        [sys.executable, str(job), str(tmp_path)], capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("averaged") == 2


# --- precision, compilers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
def test_bfloat16_modules_and_autocast_are_near_float32(preset: str) -> None:
    made = attention(preset=preset).eval()
    x, mask = sample(dtype=torch.float32), torch.rand(2, 24) < 0.7
    wanted = made(x, mask)
    half = copy.deepcopy(made).bfloat16()
    found = half(x.bfloat16(), mask)
    assert found.dtype == torch.bfloat16
    assert (found.float() - wanted).norm() < 0.05 * wanted.norm()
    half(x.bfloat16().requires_grad_(), mask).sum().backward()
    assert all(torch.isfinite(weight.grad).all() for weight in half.parameters())
    with torch.autocast("cpu", torch.bfloat16):
        automatic = made(x, mask)
    assert automatic.dtype == torch.bfloat16
    assert (automatic.float() - wanted).norm() < 0.05 * wanted.norm()


@pytest.mark.parametrize("preset", ["robust", "paper"])
def test_one_graph_without_recompiling_for_batches_of_one_shape(preset: str) -> None:
    made = attention(preset=preset, attn_dropout=0.0)
    compiled, graphs = counted(made)
    mask = torch.rand(2, 24) < 0.7
    for _ in range(3):
        x = sample(dtype=torch.float32)
        other = copy.deepcopy(made)
        torch.testing.assert_close(compiled(x, mask), other(x, mask))
        mask = mask.roll(1, 1)
    assert len(graphs) == 1
    compiled(x, mask).sum().backward()
    assert all(weight.grad is not None for weight in made.parameters())


def counted(module: S3Attention) -> tuple[Any, list[None]]:
    """The module compiled in one graph, run as it was captured, and a list that grows with each graph."""
    torch._dynamo.reset()
    graphs: list[None] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        graphs.append(None)
        return graph

    return torch.compile(module, backend=backend, fullgraph=True, dynamic=False), graphs


@pytest.mark.parametrize("preset", ["robust", "paper"])
def test_export(preset: str) -> None:
    made = attention(preset=preset).eval()
    x, mask = sample(dtype=torch.float32), torch.rand(2, 24) < 0.7
    program = torch.export.export(made, (x, mask))
    y = sample(dtype=torch.float32)
    torch.testing.assert_close(program.module()(y, mask.roll(1, 1)), made(y, mask.roll(1, 1)))


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        (
            "is_causal",
            "S3Attention takes no is_causal: mixers here are bidirectional; take torch.nn.functional",
        ),
        ("key", "S3Attention takes no key: a mixer mixes one sequence with itself; take torch.nn.Multihead"),
        ("attn_mask", "a mask over pairs of tokens cannot be kept here; say which tokens are real by mask"),
        ("need_weights", "returns no attention weights; take torch.nn.MultiheadAttention"),
    ],
)
def test_what_it_is_not_is_refused_with_what_is(argument: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        attention()(sample(), **{argument: True})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"heads": 3}, "heads must divide dim=16, got 3; 2 and 4 would do"),
        ({"tokens": 2.5}, r"tokens must be a whole number, got 2\.5"),
        ({"channels": "2"}, "channels must be a whole number, got '2'"),
        ({"selection_seed": None}, "selection_seed must be a whole number, got None"),
        ({"segments": 2.0}, r"segments must be a whole number, got 2\.0"),
        ({"stem_kernel": 3.0}, r"stem_kernel must be a whole number, got 3\.0"),
        ({"segments": 5}, "segments must divide dim=16, got 5; 4 and 8 would do"),
        ({"tokens": 25}, r"tokens must be in 1\.\.24 \(max_len\), got 25"),
        ({"channels": 9}, r"channels must be in 1\.\.8 \(dim / heads\), got 9"),
        ({"max_len": 0}, "max_len must be at least 1, got 0"),
        ({"layer_index": -1}, "layer_index must be at least 0, got -1"),
        ({"preset": "best"}, "preset must be one of robust, paper, reference-lra, reference-forecast"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        S3Attention(**{"dim": 16, "heads": 2, "max_len": 24, **options})


# --- cost ---------------------------------------------------------------------------------------------------


def saved_bytes(made: S3Attention, tokens: int) -> int:
    """Bytes of the tensors that a forward pass keeps for the backward pass, each storage once."""
    storages: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        kept = made(torch.randn(1, tokens, 64, requires_grad=True))
    assert kept.requires_grad
    return sum(storages.values())


def test_what_a_forward_pass_keeps_is_linear_in_length() -> None:
    lengths = (256, 512, 1024)
    sizes = [saved_bytes(S3Attention(64, 2, length), length) for length in lengths]
    assert (sizes[2] - sizes[1]) / (sizes[1] - sizes[0]) == pytest.approx(2, rel=0.02)


def test_the_time_of_a_step_is_nearly_linear_in_length() -> None:
    def seconds(length: int) -> Iterator[float]:
        made, x = S3Attention(64, 2, length), torch.randn(1, length, 64)
        while True:
            started = time.process_time()
            made(x).sum().backward()
            yield time.process_time() - started

    # In turn, the least of each: whatever else the machine does only adds.
    short, long = seconds(1024), seconds(8192)
    pairs = [(next(short), next(long)) for _ in range(6)]
    ratio = min(pair[1] for pair in pairs) / min(pair[0] for pair in pairs)
    # 8 for a linear cost, 64 for softmax attention that makes n x n.
    assert ratio < 24

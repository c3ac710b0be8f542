"""The backends compute the same, on models of many kinds; what they write, and what they allocate.

Reached from here: ``zeroth_order/in_place.py``, ``zeroth_order/side_path.py``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from graftwork_optim_core.kernels import low_rank_update
from graftwork_optim_core.lozo import LOZO
from graftwork_optim_core.mezo import MeZO
from graftwork_optim_core.zeroth_order.evaluation import DUAL_ROWS
from graftwork_optim_core.zeroth_order.ranks import Ranks

BACKENDS = ("inplace", "sidepath", "dual")
STEPS = 7


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.RMSNorm(width)
        self.attend, self.back = nn.Linear(width, 3 * width), nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, hidden: Tensor) -> Tensor:
        parts = self.attend(self.first(hidden)).unflatten(-1, (3, 2, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*parts.unbind(), is_causal=True)
        hidden = hidden + self.back(mixed.transpose(1, 2).flatten(2)) * self.gain
        return hidden + self.down(F.gelu(self.up(self.second(hidden))))


class Transformer(nn.Module):
    """Tied embeddings, position embeddings of a batch of one, norms of two kinds, a gain."""

    def __init__(self, width: int = 20, tokens: int = 31, length: int = 12) -> None:
        super().__init__()
        self.words, self.positions = nn.Embedding(tokens, width), nn.Embedding(length, width)
        self.blocks = nn.Sequential(Block(width), Block(width))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, tokens, bias=False)
        self.head.weight = self.words.weight

    def forward(self, ids: Tensor) -> Tensor:
        places = torch.arange(ids.shape[1])
        hidden = self.words(ids) + self.positions(places)
        output: Tensor = self.head(self.norm(self.blocks(hidden)))
        return output


class Raw(nn.Module):
    """Parameters of its own, used in all the ways that have a side path, on tensors of odd strides."""

    def __init__(self) -> None:
        super().__init__()
        self.right, self.left = nn.Parameter(torch.randn(16, 14) / 4), nn.Parameter(torch.randn(18, 14) / 4)
        self.added = nn.Parameter(torch.randn(18, 11) / 4)
        self.bias, self.shift = nn.Parameter(torch.randn(11)), nn.Parameter(torch.randn(16))
        self.turned = nn.Parameter(torch.randn(11, 12) / 4)
        self.scale = nn.Parameter(torch.randn(()))
        self.table = nn.Parameter(torch.randn(5, 11))
        self.entrance = nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = torch.tanh((self.shift + self.entrance(inputs)) @ self.right)
        hidden = torch.tanh(torch.matmul(hidden, self.left.t()))
        hidden = torch.addmm(self.bias, hidden, self.added)
        hidden = hidden * 0.5 + F.embedding((inputs[:, 0] > 0).long() + 2, self.table)
        hidden = torch.tanh(F.linear(hidden, self.turned.T)) - torch.mm(hidden, self.turned)
        return torch.sub(hidden + F.linear(hidden[:, 1:], self.turned.mT), self.scale)


class Attention(nn.Module):
    """Torch's own attention, whose function takes its weights as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(20, 2, 30, dropout=0.0, batch_first=True)
        self.attend = nn.MultiheadAttention(20, 4, batch_first=True)
        self.head = nn.Linear(20, 9)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.layer(inputs)
        output: Tensor = self.head(self.attend(hidden, hidden, hidden, need_weights=False)[0])
        return output


def convolutional(groups: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, stride=2, padding=1, padding_mode="circular"),
        nn.BatchNorm2d(12),
        nn.GELU(),
        nn.Conv2d(12, 24, 3, padding="same", dilation=2, groups=groups, bias=False),
        nn.GroupNorm(2, 24),
        nn.Flatten(2),
        nn.Conv1d(24, 10, 3),
        nn.Flatten(),
        nn.Linear(140, 10),
    )


def ids(batch: int = 3, length: int = 9, tokens: int = 31) -> Tensor:
    return torch.randint(0, tokens, (batch, length), generator=torch.Generator().manual_seed(5))


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def hugging_face(kind: str) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    small: dict[str, Any] = {"hidden_size": 20, "num_hidden_layers": 2, "num_attention_heads": 2}
    # The plain attention of some models takes its softmax in float32.
    small |= {"intermediate_size": 36, "vocab_size": 31, "attn_implementation": "sdpa"}
    if kind == "gpt2":
        config = transformers.GPT2Config(
            n_embd=20, n_layer=2, n_head=2, vocab_size=31, n_positions=16, attn_implementation="sdpa"
        )
        return transformers.GPT2LMHeadModel(config)
    if kind == "bert":
        return transformers.BertForMaskedLM(transformers.BertConfig(**small, max_position_embeddings=16))
    if kind == "vit":
        small.pop("vocab_size")
        return transformers.ViTForImageClassification(
            transformers.ViTConfig(**small, image_size=8, patch_size=4, num_labels=10)
        )
    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(**small, num_key_value_heads=1, max_position_embeddings=16)
    )
    # Its norms compute in float32, which would hide what is compared here.
    for module in model.modules():
        for name, child in list(module.named_children()):
            if type(child).__name__ == "LlamaRMSNorm":
                setattr(module, name, nn.RMSNorm(20, eps=1e-6))
    return model


def batch_of(name: str) -> dict[str, Tensor]:
    if name in ("gpt2", "llama"):
        return {"input_ids": ids()}
    if name == "bert":
        return {"input_ids": ids(), "attention_mask": (ids() > 4).long()}
    if name == "vit":
        return {"pixel_values": numbers(3, 3, 8, 8)}
    inputs = {
        "transformer": ids,
        "raw": lambda: numbers(16, 8).t(),
        "attention": lambda: numbers(3, 9, 20),
        "convolution": lambda: numbers(3, 3, 8, 8),
        "grouped": lambda: numbers(3, 3, 8, 8),
    }[name]()
    return {"": inputs}


def make_model(name: str) -> nn.Module:
    torch.manual_seed(7)
    model = {
        "transformer": Transformer,
        "raw": Raw,
        "attention": Attention,
        "convolution": convolutional,
        "grouped": lambda: convolutional(groups=3),
    }.get(name, lambda: hugging_face(name))()
    return model.double().eval()


def call(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    output = model(batch[""]) if "" in batch else model(**batch)
    logits: Tensor = output if isinstance(output, Tensor) else output.logits
    return logits


@pytest.fixture
def slopes(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    seen: list[Tensor] = []
    exchange = Ranks.exchange

    def spied(self: Ranks, found: Tensor) -> Tensor:
        seen.append(found.clone())
        return exchange(self, found)

    monkeypatch.setattr(Ranks, "exchange", spied)
    return seen


DOUBLED = ("transformer", "gpt2", "bert", "llama", "raw")
# Their vectors go through functions without a side path: both ends are evaluated, one after the other.
ONE_BY_ONE = ("vit", "convolution")
FULL = DOUBLED + ONE_BY_ONE


@pytest.mark.parametrize("name", [*FULL, "attention", "grouped"])
def test_7_backends_agree(slopes: list[Tensor], name: str) -> None:
    batch = batch_of(name)
    results: dict[str, tuple[Tensor, list[Tensor]]] = {}
    for backend in BACKENDS if name in FULL else BACKENDS[:2]:
        model = make_model(name)
        options: dict[str, Any] = {"momentum": 0.8, "probes": 2, "weight_decay": 0.3}
        optimizer = LOZO(
            model.named_parameters(),
            lr=1e-3,
            interval=3,
            backend=backend,
            accumulate_dtype="float64",
            **options,
        )
        optimizer.attach(model)
        slopes.clear()
        told = backend == "dual" and name in ONE_BY_ONE
        doubled = Calls(next(module for module in model.modules() if not list(module.children())))
        for _ in range(STEPS):
            with pytest.warns(UserWarning, match="one after the other") if told else nullcontext():
                optimizer.step(lambda model=model: call(model, batch).square().mean())
            told = False
        calls = doubled.count
        optimizer.merge()
        assert optimizer.evaluation.backend == backend
        if backend == "dual":
            # Once to see what uses the weights, then once a probe; twice more for a batch of a new shape.
            assert calls == (3 + 2 * STEPS if name in DOUBLED else 1 + 4 * STEPS)
        results[backend] = (torch.stack(slopes), [parameter.detach() for parameter in model.parameters()])
    expected_slopes, expected = results.pop("inplace")
    for found_slopes, found in results.values():
        torch.testing.assert_close(found_slopes, expected_slopes, rtol=1e-9, atol=1e-10)
        for one, two in zip(found, expected, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-11)


class Calls:
    """Counts a module's forward passes."""

    def __init__(self, module: nn.Module) -> None:
        self.count = 0
        module.register_forward_hook(self._add)

    def _add(self, *_: Any) -> None:
        self.count += 1


@pytest.mark.parametrize("name", ["attention", "grouped"])
def test_weights_without_a_side_path_are_perturbed_in_place(name: str) -> None:
    model = make_model(name)
    optimizer = LOZO(model.named_parameters(), lr=1e-3, backend="sidepath")
    optimizer.step(lambda: call(model, batch_of(name)).square().mean())
    expected = {
        "attention": [
            "layer.self_attn.in_proj_weight",
            "layer.self_attn.out_proj.weight",
            "attend.in_proj_weight",
            "attend.out_proj.weight",
        ],
        "grouped": ["3.weight"],
    }[name]
    assert sorted(optimizer.evaluation.names_in_place()) == sorted(expected)
    dual = LOZO(model.named_parameters(), lr=1e-3, backend="dual")
    dual.attach(model)
    with pytest.raises(ValueError, match=r"backend must be 'auto', 'inplace' or 'sidepath' here, got 'dual'"):
        dual.step(lambda: call(model, batch_of(name)).square().mean())


def test_dual_needs_to_know_the_model() -> None:
    layer = nn.Linear(16, 12)
    optimizer = LOZO(layer.parameters(), backend="dual")
    with pytest.raises(ValueError, match=r"attach\(model\) must be called before the first step"):
        optimizer.step(lambda: layer(torch.ones(2, 16)).sum())


def chosen(model: nn.Module, inputs: Tensor, *, attach: bool = True, **options: Any) -> str:
    optimizer = LOZO(model.named_parameters(), lr=1e-3, **options)
    if attach:
        optimizer.attach(model)
    optimizer.step(lambda: model(inputs).float().square().mean())
    return optimizer.evaluation.backend


def test_auto_chooses_as_documented() -> None:
    layer = nn.Linear(16, 12)
    assert chosen(layer, torch.ones(DUAL_ROWS, 16)) == "dual"
    assert chosen(layer, torch.ones(DUAL_ROWS + 1, 16)) == "sidepath"
    assert chosen(layer, torch.ones(2, 16), attach=False) == "sidepath"
    # Whether the closure or the model draws random numbers is found out by the first doubled batch.
    with pytest.warns(UserWarning, match="one after the other: the model draws random numbers"):
        assert chosen(nn.Sequential(layer, nn.Dropout()), torch.ones(2, 16)) == "dual"
    assert chosen(copy.deepcopy(layer).bfloat16(), torch.ones(2, 16).bfloat16()) == "sidepath"
    assert chosen(copy.deepcopy(layer).half(), torch.ones(2, 16).half()) == "sidepath"
    assert chosen(make_model("grouped"), numbers(3, 3, 8, 8)) == "sidepath"
    normed = nn.Sequential(layer, nn.BatchNorm1d(12))
    assert chosen(normed.train(), torch.randn(4, 16)) == "sidepath"
    assert chosen(normed.eval(), torch.randn(4, 16)) == "sidepath"
    bilinear = nn.Bilinear(9, 9, 9)
    optimizer = LOZO(bilinear.named_parameters())
    optimizer.step(lambda: bilinear(torch.ones(2, 9), torch.ones(2, 9)).sum())
    assert [*optimizer.evaluation.names_in_place()] == ["weight"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_6_with_a_learning_rate_of_zero_weights_stay(backend: Any) -> None:
    dtype = torch.float32 if backend == "inplace" else torch.bfloat16
    torch.manual_seed(0)
    model = Transformer().to(dtype)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = LOZO(model.named_parameters(), lr=0.0, interval=7, momentum=0.9, backend=backend)
    optimizer.attach(model)
    for _ in range(30):
        optimizer.step(lambda: model(ids(1, 3)).float().square().mean())
    optimizer.merge()
    for parameter, start in zip(model.parameters(), before, strict=True):
        if backend != "inplace":
            assert torch.equal(parameter, start)
        elif parameter.ndim > 1:
            assert 0 < (parameter - start).norm() <= 1e-5 * start.norm()
        else:
            assert (parameter - start).abs().max() <= 1e-5


@pytest.mark.parametrize("backend", ["sidepath", "dual"])
def test_weights_are_written_once_an_interval(backend: Any) -> None:
    model = Transformer()
    optimizer = LOZO(model.named_parameters(), lr=1e-3, interval=4, backend=backend, weight_decay=0.1)
    optimizer.attach(model)
    changed = []
    for _ in range(13):
        before = [(parameter._version, parameter.detach().clone()) for parameter in model.parameters()]
        optimizer.step(lambda: model(ids()).square().mean())
        after = [(parameter._version, parameter.detach().clone()) for parameter in model.parameters()]
        changed.append(
            any(a[0] != b[0] or not torch.equal(a[1], b[1]) for a, b in zip(before, after, strict=True))
        )
    # Step 0 has nothing to write yet.
    assert [place for place, was in enumerate(changed) if was and place] == [4, 8, 12]


# Allocation.


@dataclass
class Largest(TorchDispatchMode):
    """The most bytes of a storage that a torch function made, apart from those in a closure."""

    bytes: int = 0
    by: str = ""
    paused: bool = False
    seen: int = 0

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if self.paused:
            return result
        self.seen += 1
        given = {_storage(leaf) for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        for leaf in pytree.tree_leaves(result):
            if isinstance(leaf, Tensor) and _storage(leaf) not in given:
                size = leaf.untyped_storage().nbytes()
                if size > self.bytes:
                    self.bytes, self.by = size, f"{func} {tuple(leaf.shape)}"
        return result

    @contextmanager
    def pause(self) -> Iterator[None]:
        self.paused = True
        try:
            yield
        finally:
            self.paused = False


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


@pytest.fixture
def kernels_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Call the kernels as functions: within a registered operation the recorder sees nothing."""
    for name in ("_perturb_low_rank", "_perturb_full", "_merge_low_rank"):
        monkeypatch.setattr(low_rank_update, name, getattr(low_rank_update, name)._init_fn)


class Wide(nn.Module):
    """Matrices large enough that nothing else is as large."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.words = nn.Embedding(1200, 400, dtype=dtype)
        self.up, self.down = nn.Linear(400, 640, dtype=dtype), nn.Linear(640, 400, dtype=dtype)
        self.norm = nn.LayerNorm(400, dtype=dtype)

    def forward(self, ids: Tensor) -> Tensor:
        hidden: Tensor = self.norm(self.down(torch.relu(self.up(self.words(ids)))))
        return hidden @ self.words.weight.t()


ALLOCATING: dict[str, Callable[..., Any]] = {
    "inplace": lambda params: LOZO(params, backend="inplace", interval=1, weight_decay=0.1, momentum=0.9),
    "sidepath": lambda params: LOZO(params, backend="sidepath", interval=1, weight_decay=0.1, momentum=0.9),
    "dual": lambda params: LOZO(params, backend="dual", interval=1, weight_decay=0.1, probes=2),
    "mezo": lambda params: MeZO(params, weight_decay=0.1, probes=2),
    "mezo-momentum": lambda params: MeZO(params, momentum=0.9, weight_decay=0.1),
}


@pytest.mark.usefixtures("kernels_seen")
@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        *((name, torch.float32) for name in ALLOCATING),
        *((name, torch.bfloat16) for name in ("inplace", "sidepath")),
        ("dual", torch.float16),
    ],
    ids=str,
)
def test_8_a_step_makes_nothing_as_large_as_a_matrix(name: str, dtype: torch.dtype) -> None:
    model = Wide(dtype)
    optimizer = ALLOCATING[name](model.named_parameters())
    optimizer.attach(model)
    recorder = Largest()
    within = Largest()

    def closure() -> Tensor:
        with recorder.pause(), within:
            return model(ids(1, 3, 1200)).float().square().mean()

    # The first step has nothing yet to write into the weights; the second has.
    for _ in range(2):
        with recorder:
            optimizer.step(closure)
    smallest = min(p.numel() * p.element_size() for p in model.parameters() if p.ndim == 2)
    largest = max(p.numel() * p.element_size() for p in model.parameters())
    assert recorder.seen > 50
    # Pieces of half-precision weights go through float32, in tens of thousands of elements.
    assert recorder.bytes < largest, recorder.by
    if dtype == torch.float32:
        assert recorder.bytes < smallest, recorder.by
    if name in ("sidepath", "dual"):
        assert within.bytes < smallest / 8, within.by


def test_8_the_recorder_sees_a_copy_of_a_weight() -> None:
    recorder, weight = Largest(), torch.zeros(64, 64)
    with recorder:
        weight.view(-1).add_(1)
        assert recorder.bytes == 0
        weight + 1
    assert recorder.bytes == weight.numel() * 4


# Half precision.


@pytest.mark.parametrize(
    ("backend", "dtype"),
    [("auto", torch.bfloat16), ("sidepath", torch.float16), ("dual", torch.bfloat16)],
    ids=str,
)
def test_half_precision_weights_train(dtype: torch.dtype, backend: Any) -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(24, 20), nn.Tanh(), nn.Linear(20, 12)).to(dtype)
    inputs, targets = torch.randn(16, 24).to(dtype), torch.randn(16, 12)
    optimizer = LOZO(model.named_parameters(), lr=2e-2, rank=2, interval=10, eps=1e-2, backend=backend)
    optimizer.attach(model)
    losses = [
        float(optimizer.step(lambda: (model(inputs).float() - targets).square().mean())) for _ in range(150)
    ]
    optimizer.merge()
    final = float((model(inputs).float() - targets).square().mean())
    assert final < 0.8 * losses[0]
    assert all(parameter.dtype == dtype for parameter in model.parameters())


def moved_by(backend: Any, dtype: torch.dtype, *, stochastic: bool = True, perturbed: bool = True) -> Tensor:
    """Return by how much weights of scale 0.02 have moved after 500 steps of 1e-6 along given slopes."""
    start = (torch.randn(192, 128) * 0.02).to(dtype)
    weight = nn.Parameter(start.clone())
    options: dict[str, Any] = {"scale": "reference", "backend": backend, "stochastic_rounding": stochastic}
    optimizer = LOZO([weight], lr=1e-6, interval=50, **options)
    if not perturbed:
        optimizer.evaluation.walk = lambda *_, **__: None
    for step in range(500):
        optimizer.step_with_slopes(torch.tensor([1.0 if step % 3 else -1.0]))
    optimizer.merge()
    return weight.detach().double() - start.double()


@cache
def intended_movement() -> Tensor:
    """Return the movement without roundings: wherever weights start, the same slopes move them so."""
    return moved_by("inplace", torch.float64, perturbed=False)


def movement(backend: Any, dtype: torch.dtype, **options: bool) -> tuple[float, float]:
    """Return which share of the intended movement the weights make, and by how much they have moved
    otherwise, in units of the intended movement."""
    intended, moved = intended_movement(), moved_by(backend, dtype, **options)
    share = float((moved * intended).sum() / intended.square().sum())
    return share, float((moved - share * intended).norm() / intended.norm())


def test_fact_1_4_bfloat16_keeps_small_movement_beside_the_weights_and_loses_it_in_them() -> None:
    bfloat16 = torch.bfloat16
    updates_alone, _ = movement("inplace", bfloat16, perturbed=False)
    assert 0 < updates_alone < 0.1
    # Perturbing rounds so often that the updates survive on average, under fifty times as much noise.
    _, noise_in_place = movement("inplace", bfloat16)
    assert noise_in_place > 20
    to_nearest, _ = movement("sidepath", bfloat16, stochastic=False)
    assert 0.1 < to_nearest < 0.5
    stochastic, noise_beside = movement("sidepath", bfloat16)
    assert 0.9 < stochastic < 1.1
    assert noise_beside < noise_in_place / 10


@pytest.mark.parametrize("backend", ["inplace", "sidepath"])
def test_fact_1_4_float32_loses_nothing(backend: Any) -> None:
    share, noise = movement(backend, torch.float32)
    assert share == pytest.approx(1, abs=1e-3)
    assert noise < 1e-2


def test_fact_1_4_float16_keeps_most_beside_the_weights() -> None:
    share, noise = movement("sidepath", torch.float16)
    assert 0.8 < share < 1.05
    assert noise < movement("inplace", torch.float16)[1] / 5

"""Frozen quantized weights train: what they move lies beside them, and they are never written.

Those of torchao and bitsandbytes where they are installed; otherwise a tensor of a type of its own, as
torchao's are, and a module whose product no torch function shows, as those of bitsandbytes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graftwork_optim_core.lozo import LOZO, LOZOM


class EightBits(torch.Tensor):
    """A weight of 8 bits a number, which knows how to be multiplied with and nothing else."""

    whole: Tensor
    step: Tensor

    @staticmethod
    def __new__(cls, weight: Tensor) -> EightBits:
        return torch.Tensor._make_wrapper_subclass(
            cls, weight.shape, dtype=weight.dtype, strides=weight.stride()
        )

    def __init__(self, weight: Tensor) -> None:
        self.step = weight.abs().amax(1, keepdim=True) / 127
        self.whole = (weight / self.step).round().to(torch.int8)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.linear:
            input, weight, *bias = args
            return F.linear(input, weight.whole * weight.step, *bias, **(kwargs or {}))
        return super().__torch_function__(func, types, args, kwargs or {})

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.detach.default:
            return args[0]
        raise NotImplementedError(f"{func} of a quantized weight")


class OpaqueProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, whole: Tensor, step: Tensor) -> Tensor:
        return torch.einsum("...i,oi->...o", input, whole * step)


class PackedLinear(nn.Module):
    """A weight of int8, multiplied with by a function of its own, which reads the numbers elsewhere."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        step = linear.weight.detach().abs().amax(1, keepdim=True) / 127
        self.register_buffer("step", step)
        numbers = Marked((linear.weight.detach() / step).round().to(torch.int8))
        self.weight = nn.Parameter(numbers, requires_grad=False)
        self.bias = linear.bias

    def forward(self, input: Tensor) -> Tensor:
        numbers = self.weight.detach().as_subclass(torch.Tensor)
        return OpaqueProduct.apply(input, numbers, self.step) + self.bias


class Marked(torch.Tensor):
    """A type of its own without a behaviour of its own."""


def plain() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 128), nn.Tanh(), nn.Linear(128, 64))


def by_tensor_type() -> nn.Module:
    model = plain()
    for layer in (model[0], model[2]):
        layer.weight = nn.Parameter(EightBits(layer.weight.detach()), requires_grad=False)
    return model


def by_opaque_module() -> nn.Module:
    model = plain()
    return nn.Sequential(PackedLinear(model[0]), nn.Tanh(), PackedLinear(model[2]))


def by_torchao(kind: str) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        quantization = pytest.importorskip("torchao.quantization")
        model = plain().requires_grad_(False)
        if kind == "int8":
            config = quantization.Int8WeightOnlyConfig()
        else:
            granularity = pytest.importorskip("torchao.quantization.granularity").PerGroup(32)
            config = quantization.IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=granularity)
        quantization.quantize_(model, config)
        for layer in (model[0], model[2]):
            layer.weight.requires_grad_(False)
            layer.bias.requires_grad_(True)
        return model

    return make


def by_bitsandbytes(kind: str) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        bitsandbytes = pytest.importorskip("bitsandbytes")

        def layer(inputs: int, outputs: int) -> nn.Module:
            if kind == "8bit":
                return bitsandbytes.nn.Linear8bitLt(inputs, outputs, has_fp16_weights=False)
            return bitsandbytes.nn.Linear4bit(inputs, outputs, compute_dtype=torch.float32)

        model = nn.Sequential(layer(64, 128), nn.Tanh(), layer(128, 64))
        model.load_state_dict(plain().state_dict())
        try:
            model = model.to("cpu")
            model(torch.zeros(2, 64))
        except Exception as error:
            pytest.skip(f"bitsandbytes does not run here: {error}")
        for part in (model[0], model[2]):
            part.weight.requires_grad = False
        return model

    return make


QUANTIZED: dict[str, Callable[[], nn.Module]] = {
    "tensor-type": by_tensor_type,
    "opaque-module": by_opaque_module,
    "torchao-int8": by_torchao("int8"),
    "torchao-int4": by_torchao("int4"),
    "bitsandbytes-8bit": by_bitsandbytes("8bit"),
    "bitsandbytes-4bit": by_bitsandbytes("4bit"),
}
every = pytest.mark.parametrize("make", QUANTIZED.values(), ids=QUANTIZED)


def bits(model: nn.Module) -> list[bytes]:
    """Return what the quantized weights hold."""
    held = []
    for module in model.modules():
        weight = getattr(module, "weight", None)
        if weight is None:
            continue
        if hasattr(weight, "__tensor_flatten__"):
            parts = [getattr(weight, name) for name in weight.__tensor_flatten__()[0]]
        else:
            parts = (
                [weight.whole]
                if isinstance(weight, EightBits)
                else [weight.detach().as_subclass(torch.Tensor)]
            )
        held += [part.contiguous().view(torch.uint8).numpy().tobytes() for part in parts]
    return held


def ready(make: Callable[[], nn.Module], kind: Any = LOZO, **options: Any) -> tuple[nn.Module, Any]:
    model = make()
    optimizer = kind(LOZO.select_parameters(model), **{"lr": 5e-3, "interval": 10, **options})
    optimizer.attach(model)
    return model, optimizer


@every
def test_the_weights_are_found_by_their_type(make: Callable[[], nn.Module]) -> None:
    model = make()
    trained, beside = LOZO.select_parameters(model)
    assert [name for name, _ in trained["params"]] == ["0.bias", "2.bias"]
    assert [name for name, _ in beside["params"]] == ["0.weight", "2.weight"]
    assert beside["additive"] is True
    optimizer = LOZO([trained, beside], rank=3)
    assert optimizer.state[model[0].weight]["moved"].shape == (128, 3)
    assert optimizer.state[model[0].weight]["right"].shape == (64, 3)


@pytest.mark.parametrize(
    ("make", "kind"),
    [*((make, LOZO) for make in QUANTIZED.values()), (by_tensor_type, LOZOM), (by_opaque_module, LOZOM)],
    ids=[*QUANTIZED, "tensor-type-lozo-m", "opaque-module-lozo-m"],
)
def test_they_train(make: Callable[[], nn.Module], kind: Any) -> None:
    model, optimizer = ready(make, kind)
    inputs, targets = torch.randn(16, 64), torch.randn(16, 64)
    before, held = (model(inputs) - targets).square().mean(), bits(model)
    for _ in range(200):
        optimizer.step(lambda: (model(inputs) - targets).square().mean())
    optimizer.merge()
    assert bits(model) == held
    optimizer.eval()
    after = (model(inputs) - targets).square().mean()
    optimizer.train()
    assert after < 0.97 * before
    assert optimizer.state[model[0].weight]["moved"].count_nonzero()


@every
@pytest.mark.parametrize("decay", [0.0, 20.0])
def test_evaluation_shows_the_weight_and_what_it_moved(make: Callable[[], nn.Module], decay: float) -> None:
    """Against the product with the weight, decayed, and with the movement, written out."""
    model, optimizer = ready(make, lr=5e-3, weight_decay=decay)
    layer, inputs = model[0], torch.randn(5, 64)
    for _ in range(12):
        optimizer.step(lambda: model(inputs).square().mean())
    optimizer.merge()
    kept = (1 - 5e-3 * decay) ** 12
    product = layer(inputs) - layer.bias
    state = optimizer.state[layer.weight]
    expected = kept * product + inputs @ (state["moved"] @ state["right"].T).T + layer.bias
    optimizer.eval()
    found = layer(inputs)
    optimizer.train()
    assert (found - layer(inputs)).abs().max() > 1e-3
    # bitsandbytes rounds a product's inputs to 8 bits, which a decayed input changes.
    tolerance = 2e-2 if decay else 1e-4
    torch.testing.assert_close(found.detach(), expected.detach(), rtol=tolerance, atol=tolerance)


@every
def test_biases_of_quantized_layers_are_seen_before_they_are_written(make: Callable[[], nn.Module]) -> None:
    model, optimizer = ready(make, interval=100, lr=0.1)
    inputs = torch.randn(5, 64)
    optimizer.step(lambda: model(inputs).square().mean() * 0)
    optimizer.step_with_slopes(torch.tensor([1.0]))
    bias = model[0].bias.detach().clone()
    optimizer.eval()
    beside = model[0](inputs)
    optimizer.train()
    optimizer.merge()
    assert (model[0].bias - bias).abs().max() > 1e-2
    optimizer.eval()
    torch.testing.assert_close(model[0](inputs), beside, rtol=1e-4, atol=1e-4)
    optimizer.train()


@every
def test_resuming_is_exact(make: Callable[[], nn.Module]) -> None:
    inputs = torch.randn(5, 64)
    model, optimizer = ready(make, LOZOM)

    def train(model: nn.Module, optimizer: Any, steps: int) -> None:
        for _ in range(steps):
            optimizer.step(lambda: model(inputs).square().mean())

    train(model, optimizer, 5)
    biases = copy.deepcopy([model[0].bias, model[2].bias])
    state = copy.deepcopy(optimizer.state_dict())
    train(model, optimizer, 8)
    resumed, again = ready(make, LOZOM, lr=1.0)
    with torch.no_grad():
        for layer, bias in zip((resumed[0], resumed[2]), biases, strict=True):
            layer.bias.copy_(bias)
    again.load_state_dict(state)
    train(resumed, again, 8)
    for layer, other in ((model[0], resumed[0]), (model[2], resumed[2])):
        assert torch.equal(optimizer.state[layer.weight]["moved"], again.state[other.weight]["moved"])


def test_plain_weights_may_stay_unwritten_as_well() -> None:
    model = plain()
    before = [layer.weight.detach().clone() for layer in (model[0], model[2])]
    groups = [
        {"params": [("0.weight", model[0].weight), ("2.weight", model[2].weight)], "additive": True},
        {"params": [("0.bias", model[0].bias), ("2.bias", model[2].bias)]},
    ]
    optimizer = LOZO(groups, lr=1e-2, interval=3)
    inputs = torch.randn(4, 64)
    right = optimizer.state[model[0].weight]["right"].clone()
    for _ in range(8):
        optimizer.step(lambda: model(inputs).square().mean())
    optimizer.merge()
    assert all(
        torch.equal(layer.weight, start) for layer, start in zip((model[0], model[2]), before, strict=True)
    )
    # One V for the whole run: what lies beside is one product of rank r.
    assert torch.equal(optimizer.state[model[0].weight]["right"], right)
    assert not torch.equal(model[0].bias, plain()[0].bias)


def test_doubled_batches_see_quantized_weights_too() -> None:
    inputs = torch.randn(4, 64)
    finals = []
    for backend in ("sidepath", "dual"):
        model, optimizer = ready(by_tensor_type, backend=backend)
        for _ in range(6):
            optimizer.step(lambda m=model: m(inputs).square().mean())
        finals.append(optimizer.state[model[0].weight]["moved"])
    torch.testing.assert_close(finals[0], finals[1], rtol=1e-3, atol=1e-5)


def test_nothing_to_train_is_an_error() -> None:
    with pytest.raises(ValueError, match="no parameter with requires_grad and no quantized weight"):
        LOZO.select_parameters(plain().requires_grad_(False))

"""Both ends in one pass: when it is one, when it must not be, and that it is right either way."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graftwork_optim_core.lozo import LOZO
from graftwork_optim_core.zeroth_order.ranks import Ranks

Closure = Callable[[nn.Module, int], Tensor]


@pytest.fixture
def slopes(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    seen: list[float] = []
    exchange = Ranks.exchange

    def spied(self: Ranks, found: Tensor) -> Tensor:
        seen.extend(found.tolist())
        return exchange(self, found)

    monkeypatch.setattr(Ranks, "exchange", spied)
    return seen


class Words(nn.Module):
    """Word and position embeddings, a norm, a head; ``bent`` changes hidden states before the head."""

    def __init__(self, bent: Callable[[Tensor], Tensor] = lambda hidden: hidden) -> None:
        super().__init__()
        self.words, self.positions = nn.Embedding(31, 14), nn.Embedding(16, 14)
        self.norm, self.head = nn.LayerNorm(14), nn.Linear(14, 13)
        self.bent = bent
        self.passes = 0

    def forward(self, ids: Tensor, places: Tensor | None = None) -> Tensor:
        self.passes += 1
        if places is None:
            places = torch.arange(ids.shape[1])
        hidden = self.bent(self.norm(self.words(ids) + self.positions(places)))
        output: Tensor = self.head(torch.tanh(hidden))
        return output


def words(**options: Any) -> Words:
    torch.manual_seed(2)
    return Words(**options).double()


def ids(batch: int, length: int, step: int = 0) -> Tensor:
    return torch.randint(0, 31, (batch, length), generator=torch.Generator().manual_seed(step))


def slopes_of(
    slopes: list[float],
    make: Callable[[], nn.Module],
    closure: Closure,
    backend: Any,
    steps: int = 4,
    **options: Any,
) -> tuple[list[float], nn.Module]:
    slopes.clear()
    model = make()
    optimizer = LOZO(model.named_parameters(), lr=1e-2, interval=3, backend=backend, **options)
    optimizer.attach(model)
    for step in range(steps):
        optimizer.step(partial(closure, model, step))
    return list(slopes), model


def assert_right(
    slopes: list[float], make: Callable[[], nn.Module], closure: Closure, *, told: str | None, **options: Any
) -> nn.Module:
    """Check that ``dual`` finds the slopes of ``sidepath``, with one warning if it is to give up."""
    expected, _ = slopes_of(slopes, make, closure, "sidepath", **options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found, model = slopes_of(slopes, make, closure, "dual", **options)
    messages = [str(w.message) for w in caught if "one after the other" in str(w.message)]
    assert len(messages) == (told is not None), messages
    assert told is None or told in messages[0]
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-10)
    assert all(abs(slope) > 1e-6 for slope in found)
    return model


def mean_square(model: nn.Module, step: int) -> Tensor:
    return model(ids(4, 6, step)).square().mean()


def test_one_pass_a_step(slopes: list[float]) -> None:
    model = assert_right(slopes, words, mean_square, told=None, steps=6)
    # One to see how weights are used; in the first step each end alone as well.
    assert model.passes == 1 + 3 + 5


def test_one_pass_a_probe_and_micro_batch(slopes: list[float]) -> None:
    def averaged(model: nn.Module, step: int) -> Tensor:
        return sum((model(ids(4, 6, part)).square().mean() for part in range(3)), torch.zeros(())) / 3

    model = assert_right(slopes, words, averaged, told=None, probes=2, steps=3)
    assert model.passes == 3 + 2 + 3 * 2 * 3


def test_as_many_positions_as_doubled_samples(slopes: list[float]) -> None:
    """Neither 8 positions beside 4 samples nor 4 beside 4 are taken for the batch, inside or as arguments."""
    for batch, length in ((4, 8), (4, 4), (8, 4), (1, 1), (1, 2), (2, 1)):
        model = assert_right(
            slopes, words, lambda m, s, b=batch, n=length: m(ids(b, n, s)).square().sum(), told=None
        )
        assert model.passes == 1 + 3 + 3


def test_position_arguments_of_one_row(slopes: list[float]) -> None:
    def with_places(model: nn.Module, step: int) -> Tensor:
        return model(ids(4, 6, step), places=torch.arange(6).unsqueeze(0)).square().mean()

    assert assert_right(slopes, words, with_places, told=None).passes == 7


def test_position_arguments_that_could_be_the_batch(slopes: list[float]) -> None:
    def with_places(model: nn.Module, step: int) -> Tensor:
        return model(ids(6, 6, step), places=torch.arange(6)).square().mean()

    assert_right(slopes, words, with_places, told="")


def test_batches_that_change_their_shape(slopes: list[float]) -> None:
    def changing(model: nn.Module, step: int) -> Tensor:
        return model(ids(3 + step % 2, 5 + step % 3, step)).square().mean()

    model = assert_right(slopes, words, changing, told=None, steps=12)
    assert model.passes == 1 + 12 + 2 * 6


def test_whatever_the_model_returns(slopes: list[float]) -> None:
    class Many(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = words()

        def forward(self, ids: Tensor, *, scale: float) -> dict[str, Any]:
            logits = self.inner(ids)
            return {
                "logits": logits,
                "parts": (logits[:, 0] * scale, None),
                "named": "x",
                "best": logits.argmax(-1),
            }

    def closure(model: nn.Module, step: int) -> Tensor:
        output = model(ids(4, 6, step), scale=2.0)
        assert output["named"] == "x"
        assert output["parts"][1] is None
        assert output["best"].shape == (4, 6)
        return output["logits"].square().mean() + output["parts"][0].mean()

    assert assert_right(slopes, Many, closure, told=None).inner.passes == 7


# Where samples depend on each other, or the halves are not the ends.


def seed_and_drop(hidden: Tensor) -> Tensor:
    return F.dropout(hidden, 0.3)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: words(bent=seed_and_drop), "the model draws random numbers"),
        (lambda: words(bent=lambda h: h - h.mean(0)), "samples depend on each other"),
        (lambda: words(bent=lambda h: h * torch.arange(1, len(h) + 1)[:, None, None]), "samples depend on"),
        (lambda: words(bent=lambda h: h + h.flip(0)), "samples depend on each other"),
        # All samples of one position, then of the next: the number of rows fits, their order does not.
        (lambda: words(bent=lambda h: h.transpose(0, 1).flatten(0, 1)), "samples depend on each other"),
    ],
    ids=["dropout", "centred", "weighted-by-place", "mixed-pairs", "sequence-first"],
)
def test_gives_up_where_samples_are_not_independent(slopes: list[float], make: Any, told: str) -> None:
    def closure(model: nn.Module, step: int) -> Tensor:
        torch.manual_seed(step)
        return (model(ids(4, 6, step)) * torch.linspace(0, 1, 13)).square().mean()

    model = assert_right(slopes, make, closure, told=told)
    assert model.passes >= 2 * 4


def test_gives_up_with_batch_norm_in_training_mode(slopes: list[float]) -> None:
    def make() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(16, 14), nn.BatchNorm1d(14, affine=False), nn.Linear(14, 12)).double()

    def closure(model: nn.Module, step: int) -> Tensor:
        return model(torch.linspace(-1, 1, 96).sin().double().view(6, 16) * (step + 1)).square().mean()

    expected = "batch norm takes the statistics of the whole batch"
    assert_right(slopes, make, closure, told=expected)
    assert_right(slopes, lambda: make().eval(), closure, told=None)


class WithLoss(nn.Module):
    def __init__(self, loss: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.loss = words(), loss

    def forward(self, ids: Tensor) -> Tensor:
        return self.loss(self.inner(ids))


@pytest.mark.parametrize(
    ("loss", "told"),
    [
        (lambda logits: logits.square().mean(), "an output of shape () does not follow the batch"),
        (
            lambda logits: logits[:, 0] @ logits[:, 1].t(),
            "an output of shape (8, 8) does not follow the batch",
        ),
        (lambda logits: (logits[:, 0] @ logits[:, 1].t()).logsumexp(1), "samples depend on each other"),
        (lambda logits: logits.flatten(1).softmax(0), "samples depend on each other"),
    ],
    ids=["scalar-loss", "contrastive-logits", "contrastive-loss-a-sample", "softmax-over-samples"],
)
def test_gives_up_where_the_loss_is_within_the_model(
    slopes: list[float], loss: Callable[[Tensor], Tensor], told: str
) -> None:
    def closure(model: nn.Module, step: int) -> Tensor:
        return model(ids(4, 6, step)).square().mean() * 10

    assert_right(slopes, lambda: WithLoss(loss), closure, told=told)


def test_other_ways_through_the_model_give_up_or_are_seen(slopes: list[float]) -> None:
    """A module that does another thing with a doubled batch."""

    def longer(hidden: Tensor) -> Tensor:
        return hidden if len(hidden) < 8 else hidden * 2

    assert_right(slopes, lambda: words(bent=longer), mean_square, told="samples depend on")


def test_a_weight_that_a_new_shape_uses_otherwise_is_refused() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(14, 13)

        def forward(self, inputs: Tensor) -> Tensor:
            if len(inputs) == 3:
                return torch.einsum("bi,oi->bo", inputs, self.linear.weight)
            output: Tensor = self.linear(inputs)
            return output

    for backend in ("sidepath", "dual"):
        model = Branching()
        optimizer = LOZO(model.named_parameters(), backend=backend)
        optimizer.attach(model)
        before = model.linear.weight.detach().clone()
        optimizer.step(lambda m=model: m(torch.ones(2, 14)).square().mean())
        with pytest.raises(
            RuntimeError, match=r"'linear.weight' is used by einsum.*choose backend='inplace'"
        ):
            optimizer.step(lambda m=model: m(torch.ones(3, 14)).square().mean())
        assert torch.equal(model.linear.weight, before)
        optimizer.step(lambda m=model: m(torch.ones(2, 14)).square().mean())


@pytest.mark.parametrize(("first", "second", "said"), [(2, 1, "less often"), (1, 2, "more often")])
def test_the_closure_must_call_the_model_equally_often(first: int, second: int, said: str) -> None:
    model = words()
    optimizer = LOZO(model.named_parameters(), backend="dual")
    optimizer.attach(model)
    optimizer.step(lambda: model(ids(4, 6)).mean())
    calls = []

    def closure() -> Tensor:
        calls.append(1)
        return sum(
            (model(ids(4, 6)).mean() for _ in range(first if len(calls) == 1 else second)), torch.zeros(())
        )

    with pytest.raises(RuntimeError, match=f"called the model {said} for the second end than for the first"):
        optimizer.step(closure)
    assert "forward" not in vars(model)
    optimizer.step(lambda: model(ids(4, 6)).mean())


def test_an_error_in_the_model_comes_out_and_leaves_it_as_it_was() -> None:
    model = words()
    optimizer = LOZO(model.named_parameters(), backend="dual")
    optimizer.attach(model)
    with pytest.raises(IndexError):
        optimizer.step(lambda: model(ids(4, 6) + 40).mean())
    optimizer.step(lambda: model(ids(4, 6)).mean())
    for step in range(3):
        with pytest.raises(IndexError):
            optimizer.step(lambda step=step: model(ids(4, 6 + step % 2) + 40).mean())
    assert "forward" not in vars(model)
    optimizer.step(lambda: model(ids(4, 6)).mean())


def test_a_forward_that_was_replaced_before_stays_so(slopes: list[float]) -> None:
    model = words()
    own = model.forward
    model.forward = lambda *args: 2 * own(*args)
    replaced = model.forward
    optimizer = LOZO(model.named_parameters(), backend="dual")
    optimizer.attach(model)
    optimizer.step(lambda: model(ids(4, 6)).square().mean())
    assert model.forward is replaced

"""Each check finds the mixer that breaks its promise, published mistakes among them; a sound one passes all.

Reached from here: ``contract/check.py``, ``contract/numerics.py``, ``contract/padding.py``,
``contract/refusals.py``, ``contract/sequences.py``, ``contract/state.py``, ``contract/subject.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graftwork_attention.capabilities import Capabilities
from graftwork_attention.contract import CHECKS, ContractBroken
from graftwork_attention.masks import opened, zeroed
from graftwork_attention.mixers.fnet import FourierMixer
from graftwork_attention.mixers.nystrom import NystromAttention
from graftwork_attention.mixers.s4d import DiagonalStateSpaceMixer
from graftwork_attention.mixers.sdpa import SoftmaxAttention

BY_NAME = {check.name: check for check in CHECKS}
BROKEN: list[tuple[str, str, Callable[..., nn.Module]]] = []
"""The check that is meant for it, what it says, and the mixer."""


def breaks(name: str, sentence: str) -> Callable[[type[nn.Module]], type[nn.Module]]:
    def note(broken: type[nn.Module]) -> type[nn.Module]:
        BROKEN.append((name, sentence, broken))
        return broken

    return note


class Sound(SoftmaxAttention):
    """Softmax attention; those below change one thing of it."""


@breaks("shape", r"made torch\.float32 \[1, 24, 16\] of torch\.float64")
class AnswersInFloat32(Sound):
    def forward(self, x: Tensor, mask: Tensor | None = None, **refused: object) -> Tensor:
        return super().forward(x, mask, **refused).float()


@breaks("shape", "wrote into its input")
class WritesIntoItsInput(Sound):
    def forward(self, x: Tensor, mask: Tensor | None = None, **refused: object) -> Tensor:
        y = super().forward(x, mask, **refused)
        x.detach().mul_(2)
        return y


class WithoutLengths(nn.Module):
    """Attention with a table of positions, whose lookup stops beyond its end with an error of torch's."""

    capabilities = Capabilities(any_length=True)

    def __init__(self, dim: int, heads: int, max_len: int, *, layer_index: int = 0) -> None:
        super().__init__()
        self.max_len = max_len
        self.table = nn.Parameter(torch.randn(max_len, dim))
        self.inner = SoftmaxAttention(dim, heads, 2 * max_len)

    def forward(self, x: Tensor) -> Tensor:
        attended: Tensor = self.inner(x + self.table[: x.shape[1]])
        return attended


BROKEN.append(("lengths", "stopped with RuntimeError", WithoutLengths))


@breaks("lengths", r"took 25 tokens where max_len is 24, and made \[2, 24, 16\]")
class CutsWhatIsTooLong(WithoutLengths):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x[:, : self.max_len])


@breaks("samples-apart", "change a sample's outputs by")
class InverseStartedByTheNormsOfTheBatch(NystromAttention):
    """As published: one scale for the inverses of all samples and heads."""

    def __init__(self, dim: int, heads: int, max_len: int, *, layer_index: int = 0) -> None:
        super().__init__(dim, heads, max_len, landmarks=4)

    def forward(self, x: Tensor, mask: Tensor | None = None, **refused: object) -> Tensor:
        from graftwork_attention.mixers import nystrom

        def published(matrices: Tensor, iterations: int) -> Tensor:
            norms = matrices.abs().sum(-2).amax(-1), matrices.abs().sum(-1).amax(-1)
            inverse = matrices.mT / (norms[0].max() * norms[1].max())
            identity = torch.eye(matrices.shape[-1], dtype=matrices.dtype)
            for _ in range(iterations):
                product = matrices @ inverse
                inner = 15 * identity - product @ (7 * identity - product)
                inverse = inverse @ (13 * identity - product @ inner) / 4
            return inverse

        kept, nystrom.pseudo_inverse = nystrom.pseudo_inverse, published
        try:
            return super().forward(x, mask, **refused)
        finally:
            nystrom.pseudo_inverse = kept


@breaks("mixes", "changes no other token's output")
class EveryTokenByItself(Sound):
    def mix(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return self.value(x)  # type: ignore[no-any-return]


@breaks("order", "says needs_positions=False")
class ClaimsToSeeTheOrder(Sound):
    capabilities = Capabilities(masks=True, any_length=True)


@breaks("no-mask", r"without a mask the outputs differ by 8")
class TakesTheFirstTokenAsPaddingUntold(Sound):
    def forward(self, x: Tensor, mask: Tensor | None = None, **refused: object) -> Tensor:
        if mask is None:
            mask = torch.ones(x.shape[:2], dtype=torch.bool)
            mask[:, 0] = x.shape[1] == 1
        return super().forward(x, mask, **refused)


@breaks("padding-equals-none", r"at batch size 1 differs by .* \(torch\.float64, evaluation mode")
class SkipsTheMaskAtBatchSizeOne(Sound):
    def mix(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return super().mix(x, None if x.shape[0] == 1 else mask)


@breaks("padding-equals-none", "a sample of 11 real tokens padded to 24 in a batch differs")
class ZeroKeysKeepTheirWeight(Sound):
    """A padded key of zeros still has e⁰ in the denominator."""

    def mix(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return super().mix(x, None)


@breaks("padding-equals-none", "training mode")
class MasksInEvaluationOnly(Sound):
    def mix(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return super().mix(x, None if self.training else mask)


@breaks("padding-gradients", r"576 of the gradients at padding are not 0")
class SendsGradientsToPadding(Sound):
    def forward(self, x: Tensor, mask: Tensor | None = None, **refused: object) -> Tensor:
        return super().forward(x, mask, **refused) + (x - x.detach())


@breaks("padding-gradients", "the gradients of the parameters differ by")
class CountsABiasTwiceInPaddedBatches(Sound):
    def mix(self, x: Tensor, mask: Tensor | None) -> Tensor:
        y = super().mix(x, mask)
        return y if mask is None else y + (self.output.bias - self.output.bias.detach())


@breaks("padding-contents", "inf at trailing padding changes the outputs by inf")
class MultipliesPaddingByZero(Sound):
    def forward(self, x: Tensor, mask: Tensor | None = None, **refused: object) -> Tensor:
        if mask is None:
            return super().forward(x, mask, **refused)
        y = self.mix(x * mask[..., None], mask)
        return y * mask[..., None]


@breaks("padding-contents", r"10000\.0 at leading padding changes the outputs")
class SeesTheTokenBeforeAndItsPadding(Sound):
    def forward(self, x: Tensor, mask: Tensor | None = None, **refused: object) -> Tensor:
        before = torch.zeros_like(x)
        before[:, 1:] = x[:, :-1]
        return zeroed(super().forward(x, mask, **refused) + before, mask)


@breaks("padding-amount", "padded to 10 and to 9 tokens the same samples differ by")
class TransformsAsManyTokensAsThereAre(FourierMixer):
    """As published: the Fourier transform has the length of the padded batch."""

    def mix(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return torch.fft.fft2(x).real


@breaks("padding-is-zero", "of the outputs at trailing padding are not 0")
class LeavesTheBiasAtPadding(Sound):
    def forward(self, x: Tensor, mask: Tensor | None = None, **refused: object) -> Tensor:
        return self.mix(zeroed(x, mask), mask)


@breaks("no-real-token", "a sample without a real token has 384 outputs that are not 0")
class SoftmaxOverNothing(Sound):
    def forward(self, x: Tensor, mask: Tensor | None = None, **refused: object) -> Tensor:
        if mask is None:
            return super().forward(x, mask, **refused)
        weights = torch.zeros(mask.shape, dtype=x.dtype).masked_fill(~mask, -torch.inf).softmax(1)
        return super().forward(x, mask, **refused) + weights.sum(1)[:, None, None] * 0


@breaks("no-real-token", "a sample without a real token gives gradients that are not finite")
class DividesByTheNumberOfRealTokens(Sound):
    def mix(self, x: Tensor, mask: Tensor | None) -> Tensor:
        if mask is None:
            return super().mix(x, mask)
        return super().mix(x, mask) / mask.sum(1)[:, None, None]


@breaks("wrong-masks", "takes a float mask of ones and zeros, and ignores it or makes something else of it")
class CastsTheMask(Sound):
    def forward(self, x: Tensor, mask: Tensor | None = None, **refused: object) -> Tensor:
        return super().forward(x, None if mask is None else mask.bool(), **refused)


@breaks("wrong-masks", "refuses a float mask of ones and zeros without a word on the mask: no")
class RefusesWithoutAWord(Sound):
    def forward(self, x: Tensor, mask: Tensor | None = None, **refused: object) -> Tensor:
        try:
            return super().forward(x, mask, **refused)
        except ValueError as error:
            raise ValueError("no") from error


@breaks("wrong-masks", "takes a mask, which it says it cannot keep")
class IgnoresMasks(Sound):
    capabilities = Capabilities(any_length=True, needs_positions=True)

    def forward(self, x: Tensor, mask: Tensor | None = None, **refused: object) -> Tensor:
        return super().forward(x, None, **refused)


@breaks("other-arguments", "takes the argument is_causal, and ignores it")
class IgnoresCausal(Sound):
    def forward(self, x: Tensor, mask: Tensor | None = None, **refused: object) -> Tensor:
        return super().forward(x, mask)


class DrawnChannels(Sound):
    """Scales channels by numbers that are drawn when it is built."""

    def __init__(self, dim: int, heads: int, max_len: int, *, layer_index: int = 0) -> None:
        super().__init__(dim, heads, max_len)
        self.keep(self.drawn(layer_index))

    def drawn(self, layer_index: int) -> Tensor:
        generator = torch.Generator("cpu").manual_seed(layer_index)
        scales = torch.randn(self.dim, device="cpu", generator=generator)
        return scales.to(torch.get_default_device())

    def keep(self, scales: Tensor) -> None:
        self.register_buffer("scales", scales)

    def mix(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return super().mix(x * self.scales.to(x.dtype), mask)


@breaks("state", "after load_state_dict into one of another seed and layer_index differ")
class DoesNotSaveWhatItDrew(DrawnChannels):
    def keep(self, scales: Tensor) -> None:
        self.scales = scales


@breaks("own-choices", "the buffer scales depends on torch's global generator")
class DrawsFromTheGlobalGenerator(DrawnChannels):
    def drawn(self, layer_index: int) -> Tensor:
        return torch.randn(self.dim)


@breaks("meta", "built on the meta device, scales is on another")
class DrawsOnTheCpuAlways(DrawnChannels):
    def drawn(self, layer_index: int) -> Tensor:
        generator = torch.Generator("cpu").manual_seed(layer_index)
        return torch.randn(self.dim, device="cpu", generator=generator)


@breaks("copy", "writing into its copy changes it")
class CopiesToItself(Sound):
    def __deepcopy__(self, memo: Any) -> CopiesToItself:
        return self


@breaks("forward-draws-nothing", "evaluating it moves torch's global generator")
class DrawsInEvaluation(Sound):
    def mix(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return super().mix(x + 0 * torch.rand(1, dtype=x.dtype), mask)


@breaks("forward-draws-nothing", "evaluated twice it gives two outputs")
class GoesOnDrawingByItself(Sound):
    calls = 0

    def mix(self, x: Tensor, mask: Tensor | None) -> Tensor:
        self.calls += 1
        return super().mix(x, mask) * self.calls


@breaks("every-parameter", "the parameter spare gets no gradient without a mask")
class HasAParameterThatNothingUses(Sound):
    def __init__(self, dim: int, heads: int, max_len: int, *, layer_index: int = 0) -> None:
        super().__init__(dim, heads, max_len)
        self.spare = nn.Parameter(torch.zeros(dim))


@breaks("every-parameter", "the parameter at_padding gets no gradient without a mask")
class HasAParameterForPaddedBatchesOnly(Sound):
    def __init__(self, dim: int, heads: int, max_len: int, *, layer_index: int = 0) -> None:
        super().__init__(dim, heads, max_len)
        self.at_padding = nn.Parameter(torch.zeros(dim))

    def mix(self, x: Tensor, mask: Tensor | None) -> Tensor:
        if mask is not None:
            x = torch.where(mask[..., None], x, self.at_padding)
        return super().mix(x, mask)


@breaks("bfloat16", "stopped with NotImplementedError: Unsupported dtype BFloat16")
class TransformsInItsInputsDtype(FourierMixer):
    def mix(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return torch.fft.fft(torch.fft.fft(x, dim=2), n=self.max_len, dim=1).real[:, : x.shape[1]]


@breaks("bfloat16", "cast to bfloat16 its outputs differ from float32's by")
class AddsUpInBfloat16(Sound):
    def mix(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return super().mix(x, mask) + ((x + 1000) - 1000)


@breaks("autocast", "stopped with RuntimeError")
class WritesWhatAutocastMade(Sound):
    def mix(self, x: Tensor, mask: Tensor | None) -> Tensor:
        y = torch.zeros_like(x)
        y[:, opened(torch.ones(x.shape[:2], dtype=torch.bool))[0]] = super().mix(x, mask)  # type: ignore[index]
        return y


@breaks("compile", "stopped with Unsupported")
class AsksForAValue(Sound):
    def mix(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return super().mix(x, mask) if x.sum() > 0 else super().mix(-x, mask)


@breaks("compile", "two batches of the same shape were compiled 2 times")
class CountsItsCalls(Sound):
    even = True

    def mix(self, x: Tensor, mask: Tensor | None) -> Tensor:
        self.even = not self.even
        return super().mix(x, mask) + (0 if self.even else 1) * 0


@breaks("export", "stopped with")
class AsksForAValueToo(AsksForAValue):
    pass


@pytest.mark.parametrize(("name", "sentence", "broken"), BROKEN, ids=[case[2].__name__ for case in BROKEN])
def test_a_broken_mixer_is_found_by_the_check_for_it(
    name: str, sentence: str, broken: Callable[..., nn.Module]
) -> None:
    with pytest.raises(ContractBroken, match=sentence):
        BY_NAME[name].run(broken)


def test_every_check_has_a_mixer_that_breaks_it() -> None:
    assert {name for name, _, _ in BROKEN} == set(BY_NAME)


@pytest.mark.parametrize("name", BY_NAME)
def test_the_sound_mixer_under_the_broken_ones_passes(name: str) -> None:
    BY_NAME[name].run(DrawnChannels)


def test_a_mixer_that_cannot_be_built_or_says_nothing_of_itself_is_told_so() -> None:
    class Silent(nn.Module):
        def __init__(self, dim: int, heads: int, max_len: int, *, layer_index: int = 0) -> None:
            super().__init__()

    with pytest.raises(ContractBroken, match=r"the module has no attribute capabilities"):
        BY_NAME["shape"].run(Silent)
    odd = type("Odd", (Silent,), {"capabilities": {"masks": True}})
    with pytest.raises(ContractBroken, match=r"capabilities must be a .*: there is no masks in \{'masks': T"):
        BY_NAME["padding-is-zero"].applies(odd)
    with pytest.raises(ContractBroken, match=r"stopped with TypeError: .*layer_index"):
        BY_NAME["shape"].run(lambda dim, heads, max_len: Silent(dim, heads, max_len))  # type: ignore[arg-type]


def test_checks_leave_the_global_generator_as_it_was() -> None:
    before = torch.get_rng_state()
    for check in CHECKS:
        if check.name not in ("compile", "export"):
            check.run(DiagonalStateSpaceMixer)
    assert torch.equal(before, torch.get_rng_state())


def test_what_a_mixer_does_not_claim_is_not_asked_of_it() -> None:
    class FullLengthOnly(Sound):
        capabilities = Capabilities(needs_positions=True)

        def forward(self, x: Tensor, mask: Tensor | None = None, **refused: object) -> Tensor:
            if mask is not None:
                raise ValueError("takes no mask")
            if x.shape[1] != self.max_len:
                raise ValueError(f"takes max_len={self.max_len} tokens, got {x.shape[1]}")
            return super().forward(x, mask, **refused)

    for check in CHECKS:
        assert check.applies(FullLengthOnly) == ("masks" not in check.needs)
        if check.name not in ("compile", "export"):
            check.run(FullLengthOnly)

"""S4D against its recurrence, step by step in complex numbers of float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from graftwork_attention.mixers.s4d import DiagonalStateSpaceMixer


def recurrence(module: DiagonalStateSpaceMixer, direction: int, u: Tensor) -> Tensor:
    """Outputs ``[tokens, dim]`` of one direction for inputs in the order in which it sees them."""
    step = module.log_step[direction].exp()[:, None]
    a = torch.complex(-module.log_decay[direction].exp(), module.frequency[direction])
    c = torch.view_as_complex(module.read_out[direction].contiguous())
    state = torch.zeros_like(a)
    outputs = []
    for value in u:
        state = (step * a).exp() * state + ((step * a).exp() - 1) / a * value[:, None]
        outputs.append(2 * (c * state).sum(1).real + module.skip[direction] * value)
    return torch.stack(outputs)


def oracle(module: DiagonalStateSpaceMixer, x: Tensor) -> Tensor:
    """One sample ``[tokens, dim]``."""
    both = recurrence(module, 0, x), recurrence(module, 1, x.flip(0)).flip(0)
    linear, gate = module.output(torch.nn.functional.gelu(torch.cat(both, 1))).chunk(2, 1)
    return linear * gate.sigmoid()


@pytest.mark.parametrize("tokens", [1, 2, 3, 9, 10, 30])
@pytest.mark.parametrize("states", [2, 8])
def test_the_convolution_is_the_recurrence_in_both_directions(tokens: int, states: int) -> None:
    module = DiagonalStateSpaceMixer(5, 1, 30, states=states).double()
    x = torch.randn(2, tokens, 5, dtype=torch.float64)
    found = module(x)
    for sample in range(2):
        torch.testing.assert_close(found[sample], oracle(module, x[sample]), rtol=0, atol=1e-11)


def test_padding_inside_a_sequence_is_an_input_of_zeros() -> None:
    module = DiagonalStateSpaceMixer(4, 1, 12, states=4).double()
    x = torch.randn(1, 12, 4, dtype=torch.float64)
    mask = torch.rand(1, 12) < 0.5
    mask[:, 3] = True
    expected = oracle(module, torch.where(mask[..., None], x, 0)[0])
    torch.testing.assert_close(module(x, mask)[mask], expected[mask[0]], rtol=0, atol=1e-11)


def test_kernels_of_4096_tokens_in_float32_keep_to_float64() -> None:
    module = DiagonalStateSpaceMixer(8, 1, 4096)
    with torch.no_grad():
        found = module.kernels(4096).double()
        expected = module.double().kernels(4096)
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


def test_the_first_values_are_s4d_lins() -> None:
    module = DiagonalStateSpaceMixer(400, 1, 16)
    assert module.frequency.shape == (2, 400, 32)
    torch.testing.assert_close(module.frequency[1, 7], math.pi * torch.arange(32))
    torch.testing.assert_close(-module.log_decay.exp(), torch.full((2, 400, 32), -0.5))
    steps = module.log_step.exp()
    assert steps.min() > 0.999e-3
    assert steps.max() < 1.001e-1
    # Log-uniform: half of the steps lie below the geometric mean of the ends.
    assert (steps < 1e-2).float().mean().item() == pytest.approx(0.5, abs=0.1)


def test_gradients_of_the_whole() -> None:
    module = DiagonalStateSpaceMixer(1, 1, 4, states=2).double()
    x = torch.randn(1, 4, 1, dtype=torch.float64, requires_grad=True)
    parameters = list(module.parameters())
    mask = torch.tensor([[True, False, True, True]])
    assert torch.autograd.gradcheck(lambda y, *_: module(y, mask), (x, *parameters))


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="states must be even, got 5; 4 and 6 would do"):
        DiagonalStateSpaceMixer(4, 1, 8, states=5)
    with pytest.raises(ValueError, match=r"step_max must be at least step_min=0\.2, got 0\.1"):
        DiagonalStateSpaceMixer(4, 1, 8, step_min=0.2)

"""Activations made again in the backward pass: the same bits in less memory."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from graftwork import GraftworkError
from graftwork_trainer.gradient_checkpointing import checkpoint_gradients

ON = "trainer.gradient_checkpointing=true"


class Block(nn.Module):
    def __init__(self, norm: type[nn.Module]) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(6, 24), norm(24), nn.GELU(), nn.Dropout(0.3), nn.Linear(24, 6))

    def forward(self, x, *, scale):
        return x + scale * self.inner(x)


class Stack(nn.Module):
    def __init__(self, norm: type[nn.Module]) -> None:
        super().__init__()
        self.first, self.blocks = nn.Linear(6, 6), nn.ModuleList(Block(norm) for _ in range(4))

    def forward(self, x):
        x = self.first(x)
        for block in self.blocks:
            x = block(x, scale=0.5)
        return x


def after_two_passes(model):
    """Gradients, buffers and the generator after two passes; and the bytes that autograd kept itself."""
    kept = 0

    def pack(tensor):
        nonlocal kept
        kept += tensor.nbytes
        return tensor

    torch.manual_seed(3)
    inputs = torch.randn(32, 6, requires_grad=True)
    for _ in range(2):
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = model(inputs).square().sum()
        loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return {**gradients, "inputs": inputs.grad, **model.state_dict(), "": torch.get_rng_state()}, kept


@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.BatchNorm1d])
def test_gradients_buffers_and_draws_are_the_same_bits_and_less_is_kept(norm):
    plain = Stack(norm)
    recomputing = copy.deepcopy(plain)
    assert checkpoint_gradients(recomputing) == 4
    whole, less = after_two_passes(plain), after_two_passes(copy.deepcopy(recomputing))
    assert whole[0].keys() == less[0].keys()
    assert all(torch.equal(whole[0][name], less[0][name]) for name in whole[0])
    # What goes into each of the blocks is kept beside.
    inputs = 2 * 4 * 32 * 6 * 4
    assert less[1] + inputs < whole[1] / 4


def test_a_block_that_looks_at_a_buffer_it_moves_is_run_again_from_where_it_was():
    plain = Stack(nn.LayerNorm)
    for block in plain.blocks:
        nn.utils.parametrizations.spectral_norm(block.inner[0])
    recomputing = copy.deepcopy(plain)
    checkpoint_gradients(recomputing)
    whole, less = after_two_passes(plain)[0], after_two_passes(recomputing)[0]
    assert all(torch.equal(whole[name], less[name]) for name in whole)


def test_a_model_of_transformers_does_it_by_its_own_method_wherever_it_is():
    class Inner(nn.Module):
        supports_gradient_checkpointing = True

        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])

        def gradient_checkpointing_enable(self, settings):
            self.settings = settings

    model = nn.ModuleDict({"body": Inner()})
    assert checkpoint_gradients(model) == 1
    assert model["body"].settings == {"use_reentrant": False}
    assert "forward" not in vars(model["body"].layers[0])


@pytest.mark.parametrize(
    "settings",
    [
        ("trainer.accumulate=2",),
        ("optimizer.name=twice",),  # two gradients a step
        ("optimizer.name=evolution",),  # none
        ("optimizer.name=early", "trainer.step_in_backward=true", "trainer.clip_norm=none"),
    ],
)
def test_a_training_has_the_same_bits_and_goes_on_to_them(train, saved_bits, settings):
    settings = (*settings, "trainer.schedule=constant")
    whole = train(*settings, directory="whole").run.directory
    train(*settings, ON, "trainer.steps=6", directory="parts")
    # It may be switched off, and on.
    parts = train(*settings, ON, directory="parts", resume=True).run.directory
    ends = [saved_bits(run) for run in (whole, parts)]
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_a_model_without_blocks_is_refused():
    with pytest.raises(
        GraftworkError, match=r"trainer\.gradient_checkpointing: Linear has no blocks that re"
    ):
        checkpoint_gradients(nn.Linear(2, 2))
    alone = nn.ModuleDict(
        {"one": nn.ModuleList([nn.Linear(2, 2)]), "two": nn.Sequential(nn.ReLU(), nn.ReLU())}
    )
    with pytest.raises(GraftworkError, match="no blocks that repeat"):
        checkpoint_gradients(alone)

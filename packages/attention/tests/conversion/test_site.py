"""What tools that walk over a converted model's modules find: adapters and modes."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from toy_models import encoder, naflex, states

from graftwork import GraftworkError
from graftwork_attention.conversion import convert, restore

WITH_MAPS = ["sdpa", "s3", "nystrom", "linformer", "performer"]


class Doubled(nn.Module):
    """Around a linear map, as adapters are."""

    def __init__(self, base):
        super().__init__()
        self.base = base

    def forward(self, x):
        return 2 * self.base(x)


def wrap(model, names=("query", "value")):
    """What a tool does that is told the names of modules, as it was before conversion."""
    for path, module in list(model.named_modules()):
        if path.rpartition(".")[2] in names:
            model.set_submodule(path, Doubled(module))


def unwrap(model):
    for path, module in list(model.named_modules()):
        if isinstance(module, Doubled):
            model.set_submodule(path, module.base)


@pytest.mark.parametrize("mixer", WITH_MAPS)
def test_a_map_is_found_by_its_name_once_a_layer_and_goes_on_from_there(mixer):
    model = convert(encoder("bert"), mixer)
    found = [module for path, module in model.named_modules() if path.endswith(".query")]
    assert [type(module) for module in found] == [nn.Linear] * 2
    before = states(model, "bert")
    wrap(model)
    assert not torch.allclose(states(model, "bert"), before)


@pytest.mark.parametrize("mixer", WITH_MAPS)
def test_maps_that_were_wrapped_are_not_lost_without_a_word(mixer):
    model = convert(encoder("bert"), mixer)
    wrap(model, ["query"])
    before = states(model, "bert")
    for other in ("sdpa", "fnet"):
        with pytest.raises(GraftworkError, match=r"no plain torch\.nn\.Linear any more; merge or take off"):
            convert(model, other)
    with pytest.raises(GraftworkError, match=r"cannot be restored: its BertSelfAttention went into the maps"):
        restore(model)
    assert torch.equal(states(model, "bert"), before)
    unwrap(model)
    torch.testing.assert_close(states(restore(model), "bert"), states(encoder("bert"), "bert"))


def test_a_mixer_without_maps_may_stand_beside_anything():
    model = convert(encoder("bert"), "fnet")
    wrap(model, ["dense"])
    unwrap(model)
    torch.testing.assert_close(states(restore(model), "bert"), states(encoder("bert"), "bert"))


@pytest.mark.parametrize("make", [lambda: encoder("bert"), naflex])
@pytest.mark.parametrize("training", [True, False])
def test_every_part_is_in_the_mode_of_the_model(make, training):
    model = convert(make().train(training), "s3")
    assert {part.training for part in model.modules()} == {training}
    assert {part.training for part in restore(model).modules()} == {training}

"""Converted models where they are trained: compiled, checkpointed, one of several processes."""

from __future__ import annotations

import pytest
import torch
from toy_models import encoder, pictures, states, text, vision_transformer

from graftwork import Kind, get_registry
from graftwork_attention.conversion import convert

MIXERS = [get_registry().name_of(entry) for entry in get_registry().entries(Kind.ATTENTION)]


# That each mixer compiles by itself is in the contract.
@pytest.mark.parametrize("mixer", ["sdpa", "s3"])
def test_a_converted_model_is_one_graph(mixer):
    model, batch = convert(encoder("bert"), mixer), text()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(**batch).last_hidden_state, states(model, "bert"))
    torch._dynamo.reset()


def test_a_converted_model_of_timm_is_one_graph():
    model = convert(vision_transformer("vit_tiny_patch16_224"), "s3")
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(pictures()), model(pictures()))
    torch._dynamo.reset()


@pytest.mark.parametrize("mixer", MIXERS)
def test_checkpointed_gradients_are_the_same(mixer):
    gradients = []
    for checkpointed in (False, True):
        torch.manual_seed(0)
        model = convert(encoder("bert"), mixer).train()
        if checkpointed:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        torch.manual_seed(1)
        states(model, "bert").square().sum().backward()
        gradients.append(
            {key: value.grad for key, value in model.named_parameters() if value.grad is not None}
        )
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.equal(gradients[0][key], gradients[1][key]) for key in gradients[0])


@pytest.mark.parametrize("mixer", MIXERS)
def test_nothing_that_is_kept_aside_is_a_parameter_or_in_a_state(mixer):
    model = convert(convert(encoder("bert"), "sdpa"), mixer)
    names = {name for name, _ in model.named_parameters()}
    assert not any(".kept" in name for name in (*names, *model.state_dict()))
    of_mixers = {name for name in names if ".attention.self." in name}
    assert all(".attention.self.mixer." in name for name in of_mixers)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("mixer", MIXERS)
def test_half_precision_stays_half(mixer, dtype):
    model = convert(encoder("bert").to(dtype), mixer)
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}
    found = states(model, "bert")
    assert found.dtype == dtype
    assert found.isfinite().all()


def test_a_model_without_memory_is_converted_as_one_with():
    with torch.device("meta"):
        model = encoder("bert")
    for mixer in MIXERS:
        convert(model, mixer)
        assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    model.to_empty(device="cpu")

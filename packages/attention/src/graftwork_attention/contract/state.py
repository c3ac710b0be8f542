"""What a mixer is made of: all of it saved, none of it drawn where nobody sees."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from graftwork_attention.contract.check import ContractBroken, check
from graftwork_attention.contract.subject import (
    DIM,
    HEADS,
    MAX_LEN,
    Subject,
    backward,
    inputs,
    real_first,
    weigh,
)


@check("state", "is reproduced by its state_dict, up to the bit, in a mixer of other seed and layer")
def state(subject: Subject) -> None:
    one, other = subject.module(), subject.module(seed=1, layer_index=1)
    other.load_state_dict(one.state_dict())
    _same_outputs(subject, one, other, "after load_state_dict into one of another seed and layer_index")


@check("copy", "can be copied by copy.deepcopy, and the copy shares nothing with it")
def deep_copy(subject: Subject) -> None:
    module = subject.module()
    other = copy.deepcopy(module)
    _same_outputs(subject, module, other, "of its copy")
    before = _outputs(subject, module)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.fill_(0.5)
        for buffer in other.buffers():
            buffer.zero_()
    if not _equal(_outputs(subject, module), before):
        raise ContractBroken("writing into its copy changes it")


@check("own-choices", "makes its random choices with generators of its own: equal whatever the global one is")
def own_choices(subject: Subject) -> None:
    buffers = [dict(subject.module(seed=seed).named_buffers()) for seed in (0, 1)]
    for name, value in buffers[0].items():
        if not torch.equal(value, buffers[1][name]):
            raise ContractBroken(f"the buffer {name} depends on torch's global generator")


@check("forward-draws-nothing", "draws no random numbers in evaluation mode: equal inputs, equal outputs")
def forward_draws_nothing(subject: Subject) -> None:
    module = subject.module()
    with torch.random.fork_rng(devices=[]):
        before = torch.get_rng_state()
        first, second = _outputs(subject, module), _outputs(subject, module)
        moved = not torch.equal(before, torch.get_rng_state())
    if moved:
        raise ContractBroken("evaluating it moves torch's global generator")
    if not _equal(first, second):
        raise ContractBroken("evaluated twice it gives two outputs")


@check("every-parameter", "gives every parameter a finite gradient, with and without a mask")
def every_parameter(subject: Subject) -> None:
    cases = {"without a mask": None, "with a mask": real_first((MAX_LEN, 11, 1))}
    if not subject.capabilities.masks:
        del cases["with a mask"]
    for how, mask in cases.items():
        module = subject.module(training=True)
        if not any(parameter.requires_grad for parameter in module.parameters()):
            return
        with torch.random.fork_rng(devices=[]):
            backward(weigh(module(inputs(3), mask)))
        for name, parameter in module.named_parameters():
            if parameter.grad is None:
                raise ContractBroken(
                    f"the parameter {name} gets no gradient {how}, with which DistributedDataParallel stops"
                )
            if not parameter.grad.isfinite().all():
                raise ContractBroken(f"the parameter {name} gets a gradient that is not finite {how}")


@check("meta", "can be built on the meta device, where shapes are tried without memory")
def meta(subject: Subject) -> None:
    with torch.device("meta"):
        module = subject.build(DIM, HEADS, MAX_LEN, layer_index=0)
    on_device = [name for name, value in module.state_dict().items() if value.device.type != "meta"]
    if on_device:
        raise ContractBroken(f"built on the meta device, {on_device[0]} is on another")
    found = module(torch.empty(2, MAX_LEN, DIM, device="meta")).shape
    if found != (2, MAX_LEN, DIM):
        raise ContractBroken(f"on the meta device it makes {list(found)} of {[2, MAX_LEN, DIM]}")


def _equal(some: list[Tensor], others: list[Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(some, others, strict=True))


def _outputs(subject: Subject, module: nn.Module) -> list[Tensor]:
    x = inputs(3)
    with torch.no_grad():
        outputs = [module(x)]
        if subject.capabilities.masks:
            outputs.append(module(x, real_first((MAX_LEN, 11, 1))))
    return outputs


def _same_outputs(subject: Subject, one: nn.Module, other: nn.Module, when: str) -> None:
    for expected, found in zip(_outputs(subject, one), _outputs(subject, other), strict=True):
        if not torch.equal(expected, found):
            gap = (expected - found).abs().max().item()
            raise ContractBroken(f"the outputs {when} differ by up to {gap:.1e}")


CHECKS = (state, deep_copy, own_choices, forward_draws_nothing, every_parameter, meta)

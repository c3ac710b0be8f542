"""What padding may do: nothing."""

from __future__ import annotations

import torch

from graftwork_attention.contract.check import ContractBroken, check
from graftwork_attention.contract.subject import (
    MAX_LEN,
    TOLERANCES,
    Subject,
    backward,
    difference,
    filled,
    gradients,
    inputs,
    masks,
    parameter_gradients,
    real_first,
    weigh,
)

_MODES = {False: "evaluation", True: "training"}
_LENGTHS = (MAX_LEN, 11, 1)


@check("no-mask", "without a mask takes every token as real", needs=("masks",))
def no_mask(subject: Subject) -> None:
    module, x = subject.module(), inputs(2)
    gap = difference(module(x), module(x, torch.ones(2, MAX_LEN, dtype=torch.bool)))
    if gap > TOLERANCES[x.dtype]:
        raise ContractBroken(f"without a mask the outputs differ by {gap:.1e} from those of a mask all True")


@check(
    "padding-equals-none",
    "mixes each sample of a padded batch as it mixes it alone, without padding",
    needs=("masks", "any_length"),
)
def padding_equals_none(subject: Subject) -> None:
    mask = real_first(_LENGTHS)
    for dtype, tolerance in TOLERANCES.items():
        for training in subject.modes():
            module, x = subject.module(dtype=dtype, training=training), inputs(3, dtype=dtype)
            batch = module(x, mask)
            for i, length in enumerate(_LENGTHS):
                alone = module(x[i : i + 1, :length])
                padded = {
                    "in a batch": batch[i : i + 1],
                    "at batch size 1": module(x[i, None], mask[i, None]),
                }
                for where, outputs in padded.items():
                    gap = difference(outputs[:, :length], alone)
                    if gap > tolerance:
                        raise ContractBroken(
                            f"a sample of {length} real tokens padded to {MAX_LEN} {where} differs by "
                            f"{gap:.1e} from itself without padding ({dtype}, {_MODES[training]} mode; "
                            f"{tolerance:.0e} is allowed)"
                        )


@check(
    "padding-gradients",
    "gets the gradients of a padded batch that its samples give alone, and none at padding",
    needs=("masks", "any_length"),
)
def padding_gradients(subject: Subject) -> None:
    module, x, mask = subject.module(), inputs(3), real_first(_LENGTHS)
    by_input, by_parameters = gradients(module, x, mask)
    at_padding = int(torch.count_nonzero(by_input[~mask]))
    if at_padding:
        raise ContractBroken(f"{at_padding} of the gradients at padding are not 0")
    module.zero_grad(set_to_none=True)
    for i, length in enumerate(_LENGTHS):
        sample = x[i : i + 1, :length].clone().requires_grad_()
        backward(weigh(module(sample)))
        assert sample.grad is not None
        gap = difference(by_input[i : i + 1, :length], sample.grad)
        if gap > 1e-8:
            raise ContractBroken(
                f"the gradient by a padded sample of {length} real tokens differs by {gap:.1e} from the one "
                "without padding (1e-08 is allowed)"
            )
    gap = difference(by_parameters, parameter_gradients(module))
    if gap > 1e-8:
        raise ContractBroken(
            f"the gradients of the parameters differ by {gap:.1e} between a padded batch and its samples "
            "alone (1e-08 is allowed)"
        )


@check(
    "padding-contents",
    "does not see what stands at padding, NaN and infinity too, wherever the padding lies",
    needs=("masks",),
)
def padding_contents(subject: Subject) -> None:
    module, x = subject.module(), inputs(3)
    for where, mask in masks().items():
        clean = filled(x, mask, 0.0)
        expected = (module(clean, mask), *gradients(module, clean, mask))
        for value in (1e4, float("inf"), float("nan")):
            dirty = filled(x, mask, value)
            found = (module(dirty, mask), *gradients(module, dirty, mask))
            for what, one, other in zip(
                ("outputs", "gradients by x", "gradients of the parameters"), found, expected, strict=True
            ):
                gap = difference(one, other)
                if gap > TOLERANCES[x.dtype]:
                    raise ContractBroken(f"{value} at {where} padding changes the {what} by {gap:.1e}")


@check(
    "padding-amount",
    "gives the same outputs whatever the amount of padding behind a sequence",
    needs=("masks", "any_length"),
)
def padding_amount(subject: Subject) -> None:
    lengths = (9, 5, 1)
    for dtype, tolerance in TOLERANCES.items():
        module, x = subject.module(dtype=dtype), inputs(3, dtype=dtype)
        least = module(x[:, :9], real_first(lengths, 9))
        for tokens in (10, 17, MAX_LEN):
            gap = difference(module(x[:, :tokens], real_first(lengths, tokens))[:, :9], least)
            if gap > tolerance:
                raise ContractBroken(
                    f"padded to {tokens} and to 9 tokens the same samples differ by {gap:.1e} ({dtype}; "
                    f"{tolerance:.0e} is allowed)"
                )


@check("padding-is-zero", "gives zeros at padding", needs=("masks",))
def padding_is_zero(subject: Subject) -> None:
    module, x = subject.module(), inputs(3)
    for where, mask in masks().items():
        found = int(torch.count_nonzero(module(x, mask)[~mask]))
        if found:
            raise ContractBroken(f"{found} of the outputs at {where} padding are not 0")


@check(
    "no-real-token",
    "gives zeros and finite gradients for a sample without a real token, and leaves the other samples alone",
    needs=("masks",),
)
def no_real_token(subject: Subject) -> None:
    x = inputs(3)
    mask = real_first((MAX_LEN, 0, 5))
    for training in subject.modes():
        module = subject.module(training=training)
        outputs = module(x, mask)
        if not torch.equal(outputs[1], torch.zeros_like(outputs[1])):
            found = int(torch.count_nonzero(outputs[1]))
            raise ContractBroken(
                f"a sample without a real token has {found} outputs that are not 0 ({_MODES[training]} mode)"
            )
        gap = difference(outputs[[0, 2]], module(x[[0, 2]], mask[[0, 2]]))
        if gap > TOLERANCES[x.dtype]:
            raise ContractBroken(f"beside a sample without a real token the others differ by {gap:.1e}")
        for which, some in (("a sample", mask), ("a batch", torch.zeros_like(mask))):
            if not all(part.isfinite().all() for part in gradients(module, x, some)):
                raise ContractBroken(f"{which} without a real token gives gradients that are not finite")


CHECKS = (
    no_mask,
    padding_equals_none,
    padding_gradients,
    padding_contents,
    padding_amount,
    padding_is_zero,
    no_real_token,
)

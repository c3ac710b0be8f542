"""What must be refused, since it would be ignored otherwise: each time a ``ValueError`` or ``TypeError``."""

from __future__ import annotations

from typing import Any

import torch

from graftwork_attention.contract.check import ContractBroken, check
from graftwork_attention.contract.subject import MAX_LEN, Subject, inputs, real_first


@check("wrong-masks", "refuses a mask that is not bool [batch, tokens], in a sentence that says so")
def wrong_masks(subject: Subject) -> None:
    module, x, mask = subject.module(), inputs(2), real_first((MAX_LEN, 5))
    if not subject.capabilities.masks:
        _refused(module, "a mask, which it says it cannot keep", x, mask)
        return
    for what, wrong in {
        "a float mask of ones and zeros": mask.double(),
        "a whole-number mask": mask.long(),
        "a mask [batch, 1, 1, tokens]": mask[:, None, None],
        "a mask [batch, tokens, tokens]": mask[:, None].expand(-1, MAX_LEN, -1),
        "a mask [tokens]": mask[0],
        "a mask of one sample for two": mask[:1],
        "a mask of one token too few": mask[:, 1:],
    }.items():
        sentence = _refused(module, what, x, wrong)
        if "mask" not in sentence:
            raise ContractBroken(f"refuses {what} without a word on the mask: {sentence}")


@check("other-arguments", "refuses causal, cross and pairwise attention instead of ignoring the argument")
def other_arguments(subject: Subject) -> None:
    module, x = subject.module(), inputs(2)
    pairs = torch.ones(MAX_LEN, MAX_LEN, dtype=torch.bool).tril()
    wrong: dict[str, Any] = {"is_causal": True, "causal": True, "attn_mask": pairs, "key": inputs(2, seed=1)}
    for name, value in wrong.items():
        _refused(module, f"the argument {name}", x, **{name: value})


def _refused(module: torch.nn.Module, what: str, *arguments: object, **options: object) -> str:
    """The sentence with which it refuses."""
    try:
        module(*arguments, **options)
    except (ValueError, TypeError) as error:
        return str(error)
    except Exception as error:
        raise ContractBroken(
            f"answers {what} with {type(error).__name__} where a ValueError would say what is wrong"
        ) from error
    raise ContractBroken(f"takes {what}, and ignores it or makes something else of it")


CHECKS = (wrong_masks, other_arguments)

"""Generation: the likeliest token again and again, or another choice, to an end or a number of tokens.

Prompts are padded on the left; keys and values of earlier tokens are kept. A row that has ended goes on being
fed until all have. Of a sharded model every forward pass gathers weights from all ranks, whose answers differ
in length, so that there all tokens are generated, needed or not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from graftwork.errors import GraftworkError
from graftwork_text.tasks.fine_tuning.continuation import causal_output
from graftwork_text.tasks.fine_tuning.encoding import Batch


def line_ends(tokenizer: Any) -> Tensor:
    """The tokens after which an answer is over: those with a line's end in them, and the end of the text.

    Args:
        tokenizer: of transformers, in its fast form.

    Returns:
        int64 [tokens].
    """
    numbers = range(len(tokenizer))
    decoded = tokenizer.backend_tokenizer.decode_batch([[number] for number in numbers])
    ends = {number for number, text in zip(numbers, decoded, strict=True) if "\n" in text}
    if tokenizer.eos_token_id is not None:
        ends.add(tokenizer.eos_token_id)
    return torch.tensor(sorted(ends), dtype=torch.int64)


def generate(
    model: nn.Module,
    prompts: Batch,
    *,
    count: int,
    ends: Tensor,
    choose: Callable[[Tensor], Tensor] = lambda logits: logits.argmax(-1),
) -> Tensor:
    """What a model writes after each prompt; what follows a row's first end is without meaning.

    Args:
        model: a causal language model.
        prompts: ``input_ids`` and ``attention_mask`` [rows, width], padded on the left, on its device.
        count: tokens to generate at most.
        ends: int64, tokens that end a row.
        choose: the next token [rows] by its logits [rows, vocabulary]; the likeliest.

    Returns:
        int64 [rows, tokens].

    Raises:
        GraftworkError: the model does not evaluate what it is given.
    """
    sharded = any(isinstance(module, FSDPModule) for module in model.modules())
    tokens, mask = prompts["input_ids"], prompts["attention_mask"]
    ends = ends.to(tokens.device)
    ended = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    generated: list[Tensor] = []
    kept: Any = None
    for _ in range(count):
        output = causal_output(model, tokens, mask, keep=1, use_cache=True, past_key_values=kept)
        kept = output.past_key_values
        _check_rows(kept, len(tokens))
        tokens = choose(output.logits[:, -1])[:, None]
        generated.append(tokens)
        ended |= torch.isin(tokens[:, 0], ends)
        if not sharded and bool(ended.all()):
            break
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
    return torch.cat(generated, 1)


def _check_rows(kept: Any, rows: int) -> None:
    """Both ends of a difference in one batch: the second would go on from the answers of the first."""
    layers = getattr(kept, "layers", None)
    if layers and layers[0].keys.shape[0] != rows:
        raise GraftworkError(
            f"a batch of {rows} was evaluated as one of {layers[0].keys.shape[0]}: generated answers "
            "need each end of a difference evaluated by itself; choose optimizer.backend = 'sidepath'"
        )


def answers_of(tokenizer: Any, generated: Tensor, ends: Tensor) -> list[str]:
    """The text of each row before its first end.

    Args:
        tokenizer: of transformers, in its fast form.
        generated: int64 [rows, tokens].
        ends: int64, tokens that end a row.
    """
    stops = frozenset(ends.tolist())
    rows: list[list[int]] = []
    for row in generated.tolist():
        length = next((place for place, token in enumerate(row) if token in stops), len(row))
        # The token that ends a line may hold the last of the answer before it.
        rows.append(row[: length + 1])
    decoded: list[str] = tokenizer.backend_tokenizer.decode_batch(rows, skip_special_tokens=True)
    return [text.split("\n", 1)[0].strip() for text in decoded]

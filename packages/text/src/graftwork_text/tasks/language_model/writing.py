"""What a language model writes after a text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from graftwork import GraftworkError
from graftwork_text.tasks.answering.generation import generate
from graftwork_text.tasks.fine_tuning.continuation import accepts
from graftwork_text.tasks.fine_tuning.encoding import padded
from graftwork_text.tasks.language_model.continuations import logits_of
from graftwork_text.tasks.language_model.tokenization import TextTokenizer
from graftwork_trainer.evaluation import device_of

Chooser = Callable[[Tensor], Tensor]


def declare_end(model: nn.Module, end_of_text: int) -> None:
    """Have a model of transformers say which token ends a text, where it does not: `generate` stops there."""
    for config in (getattr(model, "config", None), getattr(model, "generation_config", None)):
        if config is not None and getattr(config, "eos_token_id", None) is None:
            config.eos_token_id = end_of_text


def longest_sequence(model: nn.Module, trained: int) -> int:
    """How many tokens a model can see at once: as many as it is declared for, else as it was trained with."""
    declared = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    return int(declared) if declared else trained


def chosen_by(temperature: float, seed: int) -> Chooser:
    """How the next token is chosen from logits [rows, vocabulary]: the likeliest with a temperature of 0."""
    if not temperature:
        return lambda logits: logits.argmax(-1)
    generator = torch.Generator().manual_seed(seed)

    def drawn(logits: Tensor) -> Tensor:
        probabilities = (logits.float() / temperature).softmax(-1).cpu()
        return torch.multinomial(probabilities, 1, generator=generator)[:, 0].to(logits.device)

    return drawn


def text_in(row: Mapping[str, Any]) -> str:
    """The text of a row.

    Raises:
        GraftworkError: it has none.
    """
    text = row.get("text")
    if not isinstance(text, str):
        raise GraftworkError(f"no text in column 'text'; its columns are {', '.join(map(str, row))}")
    return text


def written_continuations(
    model: nn.Module,
    tokenizer: TextTokenizer,
    texts: Sequence[str],
    *,
    longest: int,
    count: int,
    choose: Chooser,
) -> list[str]:
    """What a model writes after each text, up to the end of the text.

    Args:
        model: in evaluation mode.
        tokenizer: of the model.
        texts: of which no more is read than leaves room for what is written; an empty one is the beginning.
        longest: tokens that the model sees at once.
        count: tokens to write at most.
        choose: the next token.
    """
    if count >= longest:
        raise GraftworkError(
            f"predict.max_new_tokens must be below {longest}, which the model sees; got {count}"
        )
    room = longest - count
    prompts = [ids[-room:].tolist() or [tokenizer.end_of_text] for ids in tokenizer.encode(texts)]
    end = tokenizer.end_of_text
    if accepts(model, "attention_mask") and accepts(model, "past_key_values"):
        batch = padded(prompts, padding=end, side="left", max_length=room)
        moved = {name: tensor.to(device_of(model)) for name, tensor in batch.items()}
        written = generate(model, moved, count=count, ends=torch.tensor([end]), choose=choose).tolist()
    else:
        written = [_written(model, prompt, end, count, choose) for prompt in prompts]
    return [tokenizer.decode(row[: row.index(end)] if end in row else row) for row in written]


def _written(model: nn.Module, prompt: Sequence[int], end: int, count: int, choose: Chooser) -> list[int]:
    """The same of a model that takes tokens alone."""
    tokens = torch.tensor([prompt], device=device_of(model))
    for _ in range(count):
        tokens = torch.cat([tokens, choose(logits_of(model(tokens))[:, -1])[:, None]], 1)
        if tokens[0, -1] == end:
            break
    return tokens[0, len(prompt) :].tolist()

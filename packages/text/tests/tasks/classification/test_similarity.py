"""Scores by similarity: what they are, and that training moves both sides."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer

from graftwork import choose
from graftwork_text.tasks.classification.prompt_classification import PromptClassification

Options = Callable[..., dict[str, Any]]


def prompting(**options: Any) -> PromptClassification:
    """The task with options as a recipe gives them."""
    task: PromptClassification = choose("task", "prompt-classification", options)()
    return task


def embed(model: Any, tokenizer: Any, text: str) -> torch.Tensor:
    """One text alone, without padding."""
    outputs = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
    return torch.nn.functional.normalize(outputs.mean(0), dim=0)


def test_scores_are_scaled_cosines_to_the_labels_sentences(sentence_folder: Path, small: Options) -> None:
    task = prompting(**small(sentence_folder))
    assert task.scoring_name == "similarity"
    model = task.build_model().eval()
    encoded = task.scoring.encode(task.parts.train)
    batch = encoded.batch(np.arange(5))
    assert batch["input_ids"].shape[0] == 5 + 2
    tokenizer = AutoTokenizer.from_pretrained(sentence_folder)
    reference = AutoModel.from_pretrained(sentence_folder).eval()
    sentences = [embed(reference, tokenizer, f"This movie is {word}.") for word in ("terrible", "great")]
    with torch.no_grad():
        scores = task.scoring.scores(model, batch)
        for row, example in zip(scores, task.parts.train, strict=False):
            text = embed(reference, tokenizer, example.texts[0])
            expected = torch.stack([20 * text @ sentence for sentence in sentences])
            torch.testing.assert_close(row, expected, rtol=1e-4, atol=1e-4)


def test_every_parameter_gets_a_gradient_and_the_labels_sentences_give_some_of_it(
    sentence_folder: Path, small: Options
) -> None:
    task = prompting(**small(sentence_folder))
    model = task.build_model()
    batch = next(iter(task.batches("train", rank=0, world_size=1, seed=0)))
    task.loss(model, batch)[0].backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    # A word that only the labels' sentences hold learns too.
    movie = AutoTokenizer.from_pretrained(sentence_folder)("movie", add_special_tokens=False).input_ids
    assert not set(movie) & set(batch["input_ids"][:-2].flatten().tolist())
    embeddings: Any = model.get_input_embeddings()
    assert embeddings.weight.grad[movie].abs().sum() > 0

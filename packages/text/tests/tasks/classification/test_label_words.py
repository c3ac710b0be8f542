"""Scores by label words at a mask."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

from graftwork import GraftworkError, choose
from graftwork_text.corpora import LabelledExample
from graftwork_text.tasks.classification.prompt_classification import PromptClassification

Options = Callable[..., dict[str, Any]]


def prompting(**options: Any) -> PromptClassification:
    """The task with options as a recipe gives them."""
    task: PromptClassification = choose("task", "prompt-classification", options)()
    return task


def test_scores_are_the_words_logits_where_the_mask_stands(masked_folder: Path, small: Options) -> None:
    task = prompting(**small(masked_folder))
    assert task.scoring_name == "masked-lm"
    model = task.build_model().eval()
    batch = task.scoring.encode(task.parts.train).batch(np.arange(6))
    tokenizer = AutoTokenizer.from_pretrained(masked_folder)
    reference = AutoModelForMaskedLM.from_pretrained(masked_folder).eval()
    words = tokenizer.convert_tokens_to_ids(["terrible", "great"])
    with torch.no_grad():
        scores = task.scoring.scores(model, batch)
        for row, example in zip(scores, task.parts.train, strict=False):
            alone = tokenizer(f"{example.texts[0]} It was [MASK].", return_tensors="pt")
            place = alone.input_ids[0].tolist().index(tokenizer.mask_token_id)
            expected = reference(**alone).logits[0, place, words]
            torch.testing.assert_close(row, expected, rtol=1e-4, atol=1e-5)


def test_a_mask_that_the_text_spells_out_is_no_second_mask(masked_folder: Path, small: Options) -> None:
    task = prompting(**small(masked_folder))
    encoded = task.scoring.encode([LabelledExample(("a [MASK] film",), 0)])
    ids = encoded.batch(np.array([0]))["input_ids"]
    assert int((ids == task.tokenizer.mask_token_id).sum()) == 1


def test_a_long_prompt_loses_its_start_and_keeps_the_mask(masked_folder: Path, small: Options) -> None:
    task = prompting(**small(masked_folder, max_length=16))
    long = LabelledExample(("boring " * 30 + "great",), 1)
    ids = task.scoring.encode([long]).batch(np.array([0]))["input_ids"][0].tolist()
    kept = task.tokenizer.convert_ids_to_tokens(ids)
    assert len(kept) == 16
    assert kept[0] == "[CLS]"
    assert kept[-6:] == ["great", "it", "was", "[MASK]", ".", "[SEP]"]


def test_what_follows_the_mask_loses_its_end(
    masked_folder: Path, small: Options, prompt_file: Callable[[str], str]
) -> None:
    prompts = prompt_file('template = "{label} : {text}"\n[labels]\nnegative = "no"\npositive = "yes"\n')
    task = prompting(**small(masked_folder, max_length=8, prompts=prompts))
    ids = task.scoring.encode([LabelledExample(("great film " * 20,), 1)]).batch(np.array([0]))["input_ids"]
    kept = task.tokenizer.convert_ids_to_tokens(ids[0].tolist())
    assert kept == ["[CLS]", "[MASK]", ":", "great", "film", "great", "film", "[SEP]"]


def test_words_of_several_tokens_are_refused(
    masked_folder: Path, small: Options, prompt_file: Callable[[str], str]
) -> None:
    prompts = prompt_file(
        'template = "{text} {label}"\n[labels]\nnegative = "very dull"\npositive = "great"\n'
    )
    task = prompting(**small(masked_folder, prompts=prompts))
    with pytest.raises(GraftworkError, match="words of one token each, and 'very dull' are several"):
        task.scoring  # noqa: B018


def test_a_model_without_a_mask_is_refused(causal_folder: Path, small: Options) -> None:
    task = prompting(**small(causal_folder, scoring="masked-lm"))
    with pytest.raises(GraftworkError, match="needs a tokenizer with a mask token"):
        task.scoring  # noqa: B018


def test_weights_without_the_head_are_refused(sentence_folder: Path, small: Options) -> None:
    task = prompting(**small(sentence_folder, scoring="masked-lm"))
    with pytest.raises(GraftworkError, match=r"no weights for cls\.predictions.*they would be random"):
        task.build_model()

"""Scores by the likelihood of candidates, against one sequence at a time.

Reached from here: ``tasks/classification/scoring.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from graftwork import GraftworkError, choose
from graftwork_text.corpora import LabelledExample
from graftwork_text.tasks.classification import candidates
from graftwork_text.tasks.classification.candidates import CandidateScoring
from graftwork_text.tasks.classification.prompt_classification import PromptClassification
from graftwork_text.tasks.fine_tuning.encoding import TextEncoder
from graftwork_text.tasks.fine_tuning.prompts import Prompt

Options = Callable[..., dict[str, Any]]
# " great" and " terrible" are single tokens to the tiny tokenizer; " dull, xyz" is several.
LONG = 'template = "{text} It was {label}."\n[labels]\nnegative = "dull, xyz"\npositive = "great"\n'


def prompting(**options: Any) -> PromptClassification:
    """The task with options as a recipe gives them."""
    task: PromptClassification = choose("task", "prompt-classification", options)()
    return task


def log_probabilities(folder: Path, prompt: str, option: str) -> torch.Tensor:
    """Of an option's tokens after a prompt, one sequence without padding."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = tokenizer(prompt + option, return_tensors="pt").input_ids
    count = ids.shape[1] - len(tokenizer(prompt).input_ids)
    with torch.no_grad():
        predicted = torch.log_softmax(model(ids).logits[0, :-1], -1)
    return predicted.gather(1, ids[0, 1:, None])[-count:, 0]


def scored(task: PromptClassification, rows: int = 6) -> torch.Tensor:
    batch = task.scoring.encode(task.parts.train).batch(np.arange(rows))
    with torch.no_grad():
        return task.scoring.scores(task.build_model().eval(), batch)


@pytest.mark.parametrize("words", ["one token", "several"])
@pytest.mark.parametrize("calibrate", [False, True])
def test_scores_are_mean_log_probabilities_and_calibrated_ones_differences_of_sums(
    causal_folder: Path, small: Options, prompt_file: Callable[[str], str], words: str, calibrate: bool
) -> None:
    prompts = prompt_file(LONG) if words == "several" else "sentiment-was"
    options = ("dull, xyz", "great") if words == "several" else ("terrible", "great")
    task = prompting(**small(causal_folder, prompts=prompts, calibrate=calibrate))
    assert task.scoring_name == "causal-lm"
    batch = task.scoring.encode(task.parts.train).batch(np.arange(1))
    assert ("candidates" in batch) == (words == "one token")
    for row, example in zip(scored(task), task.parts.train, strict=False):
        for score, option in zip(row, options, strict=True):
            found = log_probabilities(causal_folder, f"{example.texts[0]} It was", f" {option}")
            expected = found.mean()
            if calibrate:
                expected = found.sum() - log_probabilities(causal_folder, "It was", f" {option}").sum()
            assert len(found) > 1 or option != "dull, xyz"
            assert score.item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-5)


def test_prompts_once_or_with_each_candidate_give_the_same_scores(
    causal_folder: Path, small: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = prompting(**small(causal_folder))
    rows = np.arange(8)
    model = task.build_model().eval()
    short = task.scoring.encode(task.parts.train).batch(rows)
    assert len(short["input_ids"]) == 8
    monkeypatch.setattr(candidates, "_one_token_each", lambda _: False)
    long = task.scoring.encode(task.parts.train).batch(rows)
    assert len(long["input_ids"]) == 16
    with torch.no_grad():
        torch.testing.assert_close(
            task.scoring.scores(model, short), task.scoring.scores(model, long), rtol=1e-4, atol=1e-5
        )


def test_padding_is_on_the_left_and_long_prompts_keep_what_begins_a_sequence(
    causal_folder: Path, small: Options
) -> None:
    task = prompting(**small(causal_folder, max_length=16))
    texts = ["great " * 40, "a"]
    batch = task.scoring.encode([LabelledExample((text,), 1) for text in texts]).batch(np.arange(2))
    assert batch["attention_mask"][1].tolist() == sorted(batch["attention_mask"][1].tolist())
    tokenizer = task.tokenizer
    for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True):
        kept = ids[mask.bool()].tolist()
        assert kept[0] == tokenizer.bos_token_id
        assert tokenizer.bos_token_id not in kept[1:]
        assert tokenizer.decode(kept).endswith(" It was")
    # One token short of the longest sequence: the candidate's comes after it.
    assert int(batch["attention_mask"][0].sum()) == 15


def test_candidates_of_one_example_stay_together(
    causal_folder: Path, small: Options, prompt_file: Callable[[str], str]
) -> None:
    task = prompting(**small(causal_folder, prompts=prompt_file(LONG), batch_size=3))
    batch = next(iter(task.batches("train", rank=0, world_size=1, seed=0)))
    assert len(batch["input_ids"]) == 2 * len(batch["labels"]) == 6
    assert task.count(batch) == 3
    assert (batch["option_mask"].sum(1) >= 1).all()
    texts = task.tokenizer.batch_decode(batch["input_ids"], skip_special_tokens=True)
    for negative, positive in zip(texts[::2], texts[1::2], strict=True):
        assert negative.removesuffix(" dull, xyz") == positive.removesuffix(" great")


class MergingTokenizer:
    """A stand-in whose tokens are whole words: a word glued to the prompt makes no token of its own."""

    prefix = ()
    padding = 0
    max_length = 32

    def encode(self, texts: list[str]) -> list[list[int]]:
        return [[len(word) for word in text.split()] for text in texts]


def merging_scoring(space: str, before: str = "{text} was") -> CandidateScoring:
    prompt = Prompt(before, space, "", ("bad", "good"), "", ("text",))
    encoder: Any = MergingTokenizer()
    return CandidateScoring(encoder, prompt, calibrate=False)


def test_label_words_without_a_token_of_their_own_are_refused() -> None:
    examples = [LabelledExample(("it",), 0)]
    assert len(merging_scoring(" ").encode(examples)) == 1
    with pytest.raises(GraftworkError, match="merges the label words 'bad' with the end of the prompt"):
        merging_scoring("").encode(examples)


def test_a_prompt_without_a_token_is_refused() -> None:
    with pytest.raises(
        GraftworkError, match="a prompt without any token stands before the label words 'bad'"
    ):
        merging_scoring(" ", before="{text}").encode([LabelledExample(("",), 0)])


def test_text_after_the_label_is_not_read_so_it_may_hold_no_field(causal_folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(causal_folder)
    tokenizer.pad_token = tokenizer.eos_token
    prompt = Prompt("{premise}?", " ", ", {hypothesis}", ("No", "Yes"), "", ("premise", "hypothesis"))
    with pytest.raises(GraftworkError, match=r"reads the prompt up to the label, .* ', {hypothesis}'"):
        CandidateScoring(TextEncoder(tokenizer, 48), prompt, calibrate=False)

"""The shipped models on real reviews: what they score before any training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from graftwork import GraftworkError, choose
from graftwork_text.models.pretrained import find_pretrained
from graftwork_text.tasks.classification.prompt_classification import PromptClassification
from graftwork_text.tasks.classification.similarity import mean_over_tokens

pytestmark = pytest.mark.realdata


def prompting(**options: Any) -> PromptClassification:
    """The task with options as a recipe gives them."""
    task: PromptClassification = choose("task", "prompt-classification", options)()
    return task


def built(task: PromptClassification) -> torch.nn.Module:
    try:
        task.facts()
        return task.build_model()
    except GraftworkError as error:
        if "could not fetch" in str(error) or "gguf" in str(error):
            pytest.skip(str(error))
        raise


def test_minilm_gives_the_published_cosines() -> None:
    task = prompting()
    built(task)
    model, _ = find_pretrained("minilm").load("AutoModel", dtype="float32")
    texts = ["is a happy person", "is a happy dog", "is a very happy person"]
    compared = [*(f"That {text}" for text in texts), "Today is a sunny day"]
    batch = task.tokenizer(compared, padding=True, return_tensors="pt")
    with torch.no_grad():
        outputs = model.eval()(**batch).last_hidden_state
    embeddings = torch.nn.functional.normalize(mean_over_tokens(outputs, batch["attention_mask"]))
    cosines = (embeddings[1:] @ embeddings[0]).tolist()
    assert cosines == pytest.approx([0.6946, 0.9429, 0.2569], abs=2e-4)


def test_minilm_tells_two_of_three_reviews_right_before_training() -> None:
    task = prompting(test_examples=512)
    measured = task.test_metrics(built(task))
    # 0.666 on all 2,551 test sentences; five standard errors of 512.
    assert measured["accuracy"] == pytest.approx(0.666, abs=0.105)
    assert measured["accuracy"] > 0.56


def test_smollm2_ranks_reviews_better_than_it_classifies_them() -> None:
    task = prompting(model="smollm2-135m", test_examples=100)
    model = built(task).eval()
    encoded: Any = task.scoring.encode(task.parts.test)
    # " great" and " terrible" are single tokens.
    batch = encoded.batch(np.arange(100))
    assert batch["candidates"][0].tolist() == [13321, 1109]
    with torch.no_grad():
        scores = task.scoring.scores(model, batch)
    margin, labels = (scores[:, 1] - scores[:, 0]), batch["labels"]
    better = margin[labels == 1][:, None] > margin[labels == 0][None]
    # 0.724 on all 2,551 test sentences; four standard errors of 100.
    assert better.float().mean().item() == pytest.approx(0.724, abs=0.21)
    assert (scores.argmax(1) == 1).float().mean() > 0.9

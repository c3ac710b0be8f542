"""Language models that do not begin afresh: from another run's weights, or from pretrained ones.

Reached from here: ``models/pretrained_lm.py``.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from graftwork import GraftworkError
from graftwork_text.models.pretrained_lm import pretrained_lm
from graftwork_text.sources import smallest
from graftwork_text.tasks.language_model.lm_pretrain import LanguageModelPretraining
from graftwork_text.tasks.language_model.tokenization import load_tokenizer
from graftwork_trainer.training import Trained, train_resolved

MakeTask = Callable[..., LanguageModelPretraining]
RECIPE = """
[task]
name = "lm-pretrain"
sequence_length = 16
batch_size = 4
vocabulary_size = 300
validation_fraction = 0.2
evaluation_tokens = 256
[model]
name = "llama-tiny"
hidden_size = 16
intermediate_size = 32
layers = 1
heads = 2
[optimizer]
name = "adamw"
[trainer]
name = "standard"
steps = 2
device = "cpu"
"""


@pytest.fixture
def train(resolve: Callable[..., Any], library: Path, tmp_path: Path) -> Callable[..., Trained]:
    """Train on the library in a folder of a name."""

    def run(name: str, *settings: str, resume: bool = False, data: Path = library) -> Trained:
        resolved = resolve(RECIPE, f"task.data={data}", f"task.cache={tmp_path / 'cache'}", *settings)
        return train_resolved(resolved, tmp_path / name, resume=resume, quiet=True)

    return run


@pytest.fixture
def own_texts(tmp_path: Path) -> Path:
    """Other texts than the library's, on which another tokenizer would be trained."""
    return Path(smallest.texts(tmp_path))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A folder as transformers writes it: a LLaMA of one layer and a tokenizer of bytes."""
    return Path(smallest.weights(tmp_path))


def environment(trained: Trained) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((trained.run / "environment.json").read_text("utf-8"))
    return content


def test_a_run_keeps_the_tokenizer_that_its_weights_are_of(train: Callable[..., Trained]) -> None:
    trained = train("run")
    kept, facts = load_tokenizer(trained.run / "model"), environment(trained)["data"]
    assert (kept.digest, kept.vocabulary) == (facts["tokenizer_sha256"], facts["vocabulary"])


def test_other_text_is_split_as_the_weights_have_learnt_it(
    train: Callable[..., Trained], own_texts: Path
) -> None:
    general, fresh = train("general"), train("fresh", data=own_texts)
    mine = train("mine", f"trainer.start_from={general.run}", data=own_texts)
    facts = [environment(one)["data"] for one in (general, fresh, mine)]
    digests = [one["tokenizer_sha256"] for one in facts]
    assert digests[0] == digests[2] != digests[1]
    assert facts[2]["corpus_sha256"] == facts[1]["corpus_sha256"] != facts[0]["corpus_sha256"]
    assert not environment(mine)["start"]["missing"]
    assert load_tokenizer(mine.run / "model").digest == digests[0]


def test_it_goes_on_with_that_tokenizer_when_where_it_came_from_is_gone(
    train: Callable[..., Trained], own_texts: Path
) -> None:
    general = train("general")
    settings = (f"trainer.start_from={general.run}", "trainer.schedule=constant")
    train("mine", *settings, data=own_texts)
    shutil.rmtree(general.run)
    resumed = train("mine", *settings, "trainer.steps=3", resume=True, data=own_texts)
    whole = environment(resumed)
    assert whole["data"]["tokenizer"] == "that of the weights"
    assert whole["start"]["step"] == 2


def test_another_tokenizer_than_that_of_the_weights_is_refused(
    train: Callable[..., Trained], weights: Path
) -> None:
    general = train("general")
    with pytest.raises(GraftworkError, match=r"its tokenizer_sha256 is \w{40} and the task's is \w{40}, so"):
        train("mine", f"trainer.start_from={general.run}", f"task.tokenizer={weights}")


def test_the_tokenizer_beside_weights_that_are_started_from_is_taken(
    train: Callable[..., Trained], weights: Path
) -> None:
    trained = train("run", f"trainer.start_from={weights}", "optimizer.lr=0.0")
    assert environment(trained)["data"]["vocabulary"] == 258
    kept = AutoModelForCausalLM.from_pretrained(weights).state_dict()
    assert trained.model is not None
    assert all(torch.equal(value, kept[name]) for name, value in trained.model.state_dict().items())


def test_pretrained_weights_have_the_perplexity_that_transformers_finds(
    make_task: MakeTask, weights: Path
) -> None:
    task = make_task(model=partial(pretrained_lm, weights=str(weights)))
    model = AutoModelForCausalLM.from_pretrained(weights).eval()
    tokens = torch.from_numpy(task.tokenized.validation.astype("int64"))
    windows = [tokens[start : start + 17] for start in range(0, len(tokens) - 16, 16)]
    with torch.no_grad():
        loss = torch.stack([model(one[None], labels=one[None]).loss.double() for one in windows]).mean()
    measured = task.evaluate(task.build_model())
    assert measured["loss"] == pytest.approx(float(loss), rel=1e-6)
    assert measured["perplexity"] == pytest.approx(math.exp(float(loss)), rel=1e-6)


def test_text_is_split_by_the_tokenizer_of_pretrained_weights(make_task: MakeTask, weights: Path) -> None:
    task, theirs = (
        make_task(model=partial(pretrained_lm, weights=str(weights))),
        AutoTokenizer.from_pretrained(weights),
    )
    assert task.tokenized.end_of_text == theirs.eos_token_id
    text = "The weight learns, naïve.\n"
    assert next(task.tokenized.tokenizer().encode([text])).tolist() == theirs.encode(
        text, add_special_tokens=False
    )
    assert task.facts()["model_weight_samples_sha256"]


def test_pretrained_weights_train_from_a_recipe_and_resume(
    train: Callable[..., Trained], resolve: Callable[..., Any], weights: Path, library: Path, tmp_path: Path
) -> None:
    recipe = RECIPE.partition("[model]")[0] + RECIPE[RECIPE.index("[optimizer]") :]
    resolved = resolve(
        recipe,
        "model.name=pretrained-lm",
        f"model.weights={weights}",
        f"task.data={library}",
        f"task.cache={tmp_path / 'cache'}",
    )
    trained = train_resolved(resolved, tmp_path / "run", resume=False, quiet=True)
    train_resolved(resolved, tmp_path / "run", resume=True, quiet=True)
    assert environment(trained)["data"]["tokenizer"] == "that of the model"
    assert load_tokenizer(trained.run / "model").vocabulary == 258


def padded(folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(320)
    model.save_pretrained(folder)


def short(folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(100)
    model.save_pretrained(folder)


def test_a_vocabulary_that_is_padded_is_fine_and_said(make_task: MakeTask, weights: Path) -> None:
    padded(weights)
    task = make_task(model=partial(pretrained_lm, weights=str(weights)))
    assert math.isfinite(task.evaluate(task.build_model())["loss"])
    assert (task.facts()["vocabulary"], task.facts()["model_vocabulary"]) == (258, 320)


def test_pretrained_weights_that_do_not_go_with_the_task_are_one_sentence(
    make_task: MakeTask, weights: Path
) -> None:
    model = partial(pretrained_lm, weights=str(weights))
    with pytest.raises(GraftworkError, match=r"task\.tokenizer must be left out with model .*weights'"):
        make_task(model=model, tokenizer=str(weights))
    with pytest.raises(GraftworkError, match=r"task\.sequence_length must be at most 64, .*; got 65"):
        make_task(model=model, sequence_length=65).build_model()
    with pytest.raises(GraftworkError, match=r"model\.weights must be a registered name or a folder"):
        make_task(model=partial(pretrained_lm, weights="nobody/nothing"))
    short(weights)
    with pytest.raises(GraftworkError, match="knows 100 tokens, and its tokenizer 258: they do not belong"):
        make_task(model=model).build_model()

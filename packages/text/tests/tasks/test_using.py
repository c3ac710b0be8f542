"""Trained models in use: loaded by transformers, predicting, evaluated again and on other data."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from graftwork import GraftworkError, build_recipe
from graftwork_text.sources import smallest
from graftwork_text.tasks.language_model.lm_pretrain import LanguageModelPretraining
from graftwork_trainer.training import Trained, train_resolved
from graftwork_trainer.usage.evaluating import evaluate_run
from graftwork_trainer.usage.exporting import export
from graftwork_trainer.usage.inputs import Input
from graftwork_trainer.usage.predicting import predict_run

Train = Callable[..., Trained]


@pytest.fixture
def train(toy: None, tmp_path: Path) -> Train:
    """Train a task for two steps."""

    def run(task: dict[str, Any], **sections: Any) -> Trained:
        recipe = {
            "task": task,
            "optimizer": {"name": "adamw", "lr": 1e-3},
            "trainer": {"steps": 2, "device": "cpu"},
            **sections,
        }
        resolved = build_recipe(recipe, name="used").resolve()
        return train_resolved(resolved, tmp_path / "run", resume=False, quiet=True)

    return run


@pytest.fixture
def language(train: Train, tmp_path: Path) -> Trained:
    options = LanguageModelPretraining.smallest(tmp_path)
    model = options.pop("model")
    return train({"name": "lm-pretrain", **options}, model=model)


@pytest.fixture
def classified(train: Train, tmp_path: Path) -> Trained:
    options = smallest.fine_tuning(tmp_path, smallest.labelled(tmp_path))
    return train({"name": "sequence-classification", **options})


def predicted(run: Path, inputs: str, **options: Any) -> list[tuple[Input, Any]]:
    return list(predict_run(str(run), inputs, **options))


def assert_evaluated_alike(trained: Trained) -> None:
    again = evaluate_run(str(trained.run)).metrics
    assert {f"validation/{name}": value for name, value in again.items()} == trained.metrics


def test_transformers_loads_a_language_model_and_writes_the_same(language: Trained, tmp_path: Path) -> None:
    export(str(language.run), tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out", local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out", local_files_only=True)
    tokens = tokenizer("Here stands", return_tensors="pt", return_token_type_ids=False)
    assert language.model is not None
    with torch.no_grad():
        there, here = model(**tokens).logits, language.model(**tokens).logits
    assert torch.allclose(there, here, atol=1e-5)
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id == 0
    (tmp_path / "in.txt").write_text("Here stands\nand\n")
    [(_, row), _] = predicted(language.run, str(tmp_path / "in.txt"))
    written = model.generate(**tokens, max_new_tokens=64)[0, tokens["input_ids"].shape[1] :]
    assert row["continuation"] == tokenizer.decode(written, skip_special_tokens=True)


def test_the_code_of_its_card_runs(language: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(language.run / "model")
    code = Path("README.md").read_text("utf-8").split("```python\n")[1].split("```")[0]
    with redirect_stdout(StringIO()) as printed:
        exec(code, {})
    assert printed.getvalue().startswith("Once upon a time")


def test_a_language_model_is_evaluated_as_in_training_and_on_other_text(language: Trained) -> None:
    assert_evaluated_alike(language)
    data = tomllib.loads((language.run / "recipe.toml").read_text())["task"]["data"]
    other = evaluate_run(str(language.run), data=data)
    assert other.split == "test"
    assert other.metrics["loss"] == pytest.approx(language.metrics["validation/loss"], rel=0.05)


def test_what_is_drawn_depends_on_the_seed_alone(language: Trained, tmp_path: Path) -> None:
    from graftwork import parse_set

    (tmp_path / "in.txt").write_text("Here stands\n")
    rows = [
        predicted(
            language.run,
            str(tmp_path / "in.txt"),
            overrides=[parse_set("predict.temperature=2.0"), parse_set(f"predict.seed={seed}")],
        )[0][1]
        for seed in (0, 0, 1)
    ]
    assert rows[0] == rows[1] != rows[2]


def test_a_classifier_says_how_probable_every_label_is(classified: Trained, tmp_path: Path) -> None:
    assert_evaluated_alike(classified)
    (tmp_path / "in.csv").write_text("text,other\nHere it is red.,1\nHere it is blue.,2\n")
    rows = [row for _, row in predicted(classified.run, str(tmp_path / "in.csv"))]
    model = AutoModelForSequenceClassification.from_pretrained(classified.run / "model")
    tokenizer = AutoTokenizer.from_pretrained(classified.run / "model")
    with torch.no_grad():
        expected = model(**tokenizer(["Here it is red."], return_tensors="pt")).logits.softmax(1)[0]
    assert model.config.id2label == {0: "0", 1: "1"}
    assert [rows[0][f"probability_{label}"] for label in "01"] == pytest.approx(expected.tolist(), abs=1e-5)
    assert rows[0]["predicted"] == str(int(expected.argmax()))


def test_a_classifier_is_evaluated_on_the_test_part_and_on_another_table(
    classified: Trained, tmp_path: Path
) -> None:
    facts = json.loads((classified.run / "environment.json").read_text())["data"]
    assert facts["test_examples"] > 0
    assert 0 <= evaluate_run(str(classified.run), split="test").metrics["accuracy"] <= 1
    other = tmp_path / "other.csv"
    other.write_text("text,label\n" + "".join(f"{row} is red.,1\n{row} is blue.,0\n" for row in range(9)))
    found = evaluate_run(str(classified.run), data=str(other))
    rows = [row["predicted"] for _, row in predicted(classified.run, str(other))]
    right = [guess == label for guess, label in zip(rows, "10" * 9, strict=True)]
    assert found.metrics["accuracy"] == pytest.approx(sum(right) / 18)


def test_another_table_may_be_of_one_class_and_have_empty_texts(classified: Trained, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text('text,label\n"",1\nOne is red.,1.0\n')
    found = evaluate_run(str(classified.run), data=str(other))
    rows = [row for _, row in predicted(classified.run, str(other))]
    right = [row["predicted"] == "1" for row in rows]
    assert found.metrics["accuracy"] == pytest.approx(sum(right) / 2)
    assert [0 < row["probability_1"] < 1 for row in rows] == [True, True]
    other.write_text('text\n""\n\n""\n')
    rows = [row for _, row in predicted(classified.run, str(other))]
    assert [0 < row["probability_1"] < 1 for row in rows] == [True, True]


def test_labels_that_a_classifier_has_not_learnt_are_refused(classified: Trained, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("text,label\nOne is blue.,2\n")
    with pytest.raises(GraftworkError, match=r"other\.csv: .*\(2\), and at least 2 .* has learnt '0', '1'$"):
        evaluate_run(str(classified.run), data=str(other))
    other.write_text("text,label\nOne is red.,1\nOne is blue.,2\n")
    with pytest.raises(
        GraftworkError, match=r"other\.csv: label '2' is none that the model has .* '0', '1'$"
    ):
        evaluate_run(str(classified.run), data=str(other))


def test_adapters_are_merged_into_what_transformers_loads(train: Train, tmp_path: Path) -> None:
    options = smallest.fine_tuning(tmp_path, smallest.labelled(tmp_path))
    trained = train(
        {"name": "sequence-classification", "lora_rank": 2, **options}, optimizer={"name": "adamw", "lr": 0.1}
    )
    assert_evaluated_alike(trained)
    model = AutoModelForSequenceClassification.from_pretrained(trained.run / "model")
    tokens = torch.tensor([[5, 6, 7, 8]])
    assert trained.model is not None
    with torch.no_grad():
        assert torch.allclose(model(tokens).logits, trained.model(tokens).logits, atol=1e-5)
    assert not any("lora" in name for name in model.state_dict())


@pytest.mark.parametrize("options", [["red", "blue", "green"], None])
def test_questions_are_answered(train: Train, tmp_path: Path, options: list[str] | None) -> None:
    settings = smallest.fine_tuning(tmp_path, smallest.questions(tmp_path))
    trained = train({"name": "prompt-answering", "max_new_tokens": 4, **settings})
    assert_evaluated_alike(trained)
    question = {"context": "Here stands a door, and it is red.", "question": "What colour?"}
    given = question if options is None else {**question, "options": options}
    (tmp_path / "in.jsonl").write_text(json.dumps(given) + "\n" + json.dumps({"context": "x"}))
    asked = predict_run(str(trained.run), str(tmp_path / "in.jsonl"))
    _, row = next(asked)
    assert set(row) == ({"answer"} if options is None else {"answer", "probability"})
    assert options is None or row["answer"] in options
    with pytest.raises(Exception, match="line 2: no column 'question'"):
        next(asked)

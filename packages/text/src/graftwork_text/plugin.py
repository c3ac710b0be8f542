"""What the text package registers; imports no torch."""

from __future__ import annotations

from collections.abc import Iterator

from graftwork import Component, Kind, hookimpl
from graftwork_text.sources.extras import GGUF, LORA

_PACKAGE = "graftwork_text"
_LLAMA_SIZES = ("tiny", "60m", "130m", "350m", "1b", "3b", "7b")


@hookimpl
def graftwork_components() -> Iterator[Component]:
    """Tasks, models, corpora, weights and recipes."""
    yield from _tasks()
    yield from _models()
    yield from _corpora()
    yield from _recipes()


def _tasks() -> Iterator[Component]:
    yield Component(
        Kind.TASK,
        "lm-pretrain",
        f"{_PACKAGE}.tasks.language_model.lm_pretrain:LanguageModelPretraining",
        "causal language-model pretraining on text, perplexity on held-out documents",
    )
    yield Component(
        Kind.TASK,
        "prompt-classification",
        f"{_PACKAGE}.tasks.classification.prompt_classification:PromptClassification",
        "classify text as the pretraining task: prompts with label words, no new parameters",
        extras=(GGUF, LORA),
    )
    yield Component(
        Kind.TASK,
        "sequence-classification",
        f"{_PACKAGE}.tasks.classification.sequence_classification:SequenceClassification",
        "classify text by a pretrained transformer with a fresh output layer",
        extras=(GGUF, LORA),
    )
    yield Component(
        Kind.TASK,
        "prompt-answering",
        f"{_PACKAGE}.tasks.answering.prompt_answering:PromptAnswering",
        "answer questions by a causal language model: options of their own, or generated answers",
        extras=(GGUF, LORA),
    )


def _models() -> Iterator[Component]:
    for size in _LLAMA_SIZES:
        yield Component(
            Kind.MODEL,
            f"llama-{size}",
            f"{_PACKAGE}.models.llama:llama_{size}",
            "LLaMA-shaped, random weights"
            + ("; for a laptop" if size == "tiny" else ", the published shape"),
            paper=None if size == "tiny" else "arXiv:2403.03507",
        )
    yield Component(
        Kind.MODEL,
        "pretrained-lm",
        f"{_PACKAGE}.models.pretrained_lm:pretrained_lm",
        "a causal language model with pretrained weights, to go on training",
        extras=(GGUF,),
    )
    yield Component(
        Kind.MODEL,
        "pretrained",
        f"{_PACKAGE}.models.pretrained_model:pretrained",
        "pretrained weights under the head that a fine-tuning task needs, or that shape from scratch",
        extras=(GGUF,),
    )
    yield Component(
        Kind.WEIGHTS,
        "minilm",
        f"{_PACKAGE}.models.packaged:minilm",
        "the sentence encoder all-MiniLM-L6-v2, 22.7 M parameters, Apache-2.0; fetched once",
    )
    yield Component(
        Kind.WEIGHTS,
        "smollm2-135m",
        f"{_PACKAGE}.models.packaged:smollm2_135m",
        "the causal model SmolLM2-135M-Instruct, 134.5 M parameters, dequantised Q4_1, Apache-2.0; fetched "
        "(93 MB) and unpacked once",
        extras=(GGUF,),
    )


def _corpora() -> Iterator[Component]:
    for name, target, summary in (
        ("installed-prose", "installed_prose", "docstrings of the installed torch and standard library"),
        ("bbc-news", "fetched", "2,127 news stories of 2004 and 2005; fetched once (3 MB)"),
        ("news-articles", "fetched", "3,781 articles of about ten outlets; fetched once (10.5 MB)"),
        ("wikipedia-excerpt", "fetched", "107 encyclopedia articles with markup; fetched once (28 MB)"),
        (
            "rotten-tomatoes",
            "labelled_fetched",
            "12,752 sentences of film reviews with the critics' verdicts; fetched once (9 MB)",
        ),
        ("bbc-topics", "labelled_fetched", "bbc-news labelled by section, five of them; fetched once (3 MB)"),
        (
            "installed-questions",
            "installed_questions",
            "which function of a standard module a docstring is of: choices among four",
        ),
    ):
        function = name.replace("-", "_")
        yield Component(Kind.CORPUS, name, f"{_PACKAGE}.corpora.{target}:{function}", summary)


def _recipes() -> Iterator[Component]:
    for name, summary, paper in (
        ("lm-pretrain", "pretrain a small LLaMA on English prose, in some three minutes on two cores", None),
        (
            "lm-continue",
            "go on training a small pretrained language model on text, in some minutes on two cores",
            None,
        ),
        (
            "zeroth-order-finetune",
            "fine-tune a sentence encoder on film reviews by forward passes alone",
            "arXiv:2410.07698",
        ),
        (
            "sequence-classification",
            "fine-tune a sentence encoder with a fresh head on film reviews",
            None,
        ),
        (
            "prompt-answering",
            "teach a small language model which function a docstring is of, in about two minutes",
            None,
        ),
    ):
        extras = (GGUF,) if name in ("prompt-answering", "lm-continue") else ()
        target = f"{_PACKAGE}:recipes/{name}.toml"
        yield Component(Kind.RECIPE, name, target, summary, paper, extras)

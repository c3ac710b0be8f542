"""What the text package registers; imports no torch."""

from __future__ import annotations

from collections.abc import Iterator

from graftwork import Component, Kind, hookimpl

_LLAMA_SIZES = ("tiny", "60m", "130m", "350m", "1b", "3b", "7b")


@hookimpl
def graftwork_components() -> Iterator[Component]:
    """Tasks, models and recipes."""
    yield Component(
        Kind.TASK,
        "lm-pretrain",
        "graftwork_text.tasks.language_model.lm_pretrain:LanguageModelPretraining",
        "causal language-model pretraining on text, perplexity on held-out documents",
    )
    yield Component(
        Kind.TASK,
        "prompt-classification",
        "graftwork_text.tasks.classification.prompt_classification:PromptClassification",
        "classify text as the pretraining task: prompts with label words, no new parameters",
    )
    yield Component(
        Kind.TASK,
        "sequence-classification",
        "graftwork_text.tasks.classification.sequence_classification:SequenceClassification",
        "classify text by a pretrained transformer with a fresh output layer",
    )
    yield Component(
        Kind.TASK,
        "prompt-answering",
        "graftwork_text.tasks.answering.prompt_answering:PromptAnswering",
        "answer questions by a causal language model: options of their own, or generated answers",
    )
    for size in _LLAMA_SIZES:
        yield Component(
            Kind.MODEL,
            f"llama-{size}",
            f"graftwork_text.models.llama:llama_{size}",
            "LLaMA-shaped, random weights"
            + ("; for a laptop" if size == "tiny" else ", the published shape"),
            paper=None if size == "tiny" else "arXiv:2403.03507",
        )
    yield Component(
        Kind.RECIPE,
        "lm-pretrain",
        "graftwork_text:recipes/lm-pretrain.toml",
        "pretrain a small LLaMA on English prose, in about a minute on two cores",
    )
    yield Component(
        Kind.RECIPE,
        "zeroth-order-finetune",
        "graftwork_text:recipes/zeroth-order-finetune.toml",
        "fine-tune a sentence encoder on film reviews by forward passes alone",
        paper="arXiv:2410.07698",
    )
    yield Component(
        Kind.RECIPE,
        "sequence-classification",
        "graftwork_text:recipes/sequence-classification.toml",
        "fine-tune a sentence encoder with a fresh head on film reviews",
    )

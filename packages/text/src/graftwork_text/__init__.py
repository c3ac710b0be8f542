"""Text for Graftwork: corpora, tokenization, tasks on language, and the models that they train."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graftwork.lazy import lazy_names

if TYPE_CHECKING:
    from graftwork_text.tasks.answering.prompt_answering import PromptAnswering
    from graftwork_text.tasks.classification.prompt_classification import PromptClassification
    from graftwork_text.tasks.classification.sequence_classification import SequenceClassification
    from graftwork_text.tasks.language_model.lm_pretrain import LanguageModelPretraining

__all__ = ["LanguageModelPretraining", "SequenceClassification", "PromptClassification", "PromptAnswering"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "LanguageModelPretraining": "tasks.language_model.lm_pretrain",
        "PromptAnswering": "tasks.answering.prompt_answering",
        "PromptClassification": "tasks.classification.prompt_classification",
        "SequenceClassification": "tasks.classification.sequence_classification",
    },
)

"""Classification phrased as what a model was pretrained for: prompts and label words, no new parameters.

A prompt file (:mod:`graftwork_text.tasks.fine_tuning.prompts`) says how. The scores of an example's
labels, [examples, labels], come from label words at a mask (``masked-lm``), from the likelihood of label
words as continuation (``causal-lm``), or from cosines between sentence embeddings (``similarity``); the loss
is their cross-entropy. Fine-tuning with forward passes alone works on such tasks (MeZO, arXiv:2305.17333;
LOZO, arXiv:2410.07698), because the pretrained model is already near.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal

from torch import nn

from graftwork.errors import GraftworkError
from graftwork_text.corpora import find_labelled_corpus
from graftwork_text.corpora.tables import LabelledFiles
from graftwork_text.models.pretrained_model import pretrained_of
from graftwork_text.tasks.classification.candidates import CandidateScoring
from graftwork_text.tasks.classification.label_words import MaskedWordScoring
from graftwork_text.tasks.classification.scoring import Scoring
from graftwork_text.tasks.classification.similarity import SimilarityScoring
from graftwork_text.tasks.classification.task import ClassificationTask
from graftwork_text.tasks.fine_tuning.adaptation import Adaptation
from graftwork_text.tasks.fine_tuning.compute import ComputeOptions
from graftwork_text.tasks.fine_tuning.objective import Objective
from graftwork_text.tasks.fine_tuning.prompts import PromptFile
from graftwork_text.tasks.fine_tuning.selection import ClassSelection
from graftwork_text.tasks.fine_tuning.task import AttentionOption, ModelOption

_PACKAGE = __name__.rpartition(".")[0]
ScoringName = Literal["auto", "masked-lm", "causal-lm", "similarity"]
_HEADS = {"masked-lm": "AutoModelForMaskedLM", "causal-lm": "AutoModelForCausalLM"}


class PromptClassification(ClassificationTask):
    """Classify text by prompting a pretrained model.

    Args:
        model: minilm or smollm2-135m (fetched), another registered name, a folder of weights in transformers'
            format, or a hub name; or the section [model].
        data: rotten-tomatoes or bbc-topics (fetched), another registered name, or the path of a .csv, .tsv or
            .jsonl file.
        prompts: a shipped file of prompts (sentiment-was, topic, entailment), or the path of a .toml file.
        scoring: label words at a mask, likelihood of label words as continuation, or cosine of sentence
            embeddings; auto takes what the model was trained for.
        calibrate: with causal-lm, subtract a candidate's log-probability under a prompt without content, and
            take sums over its tokens, not means.
        objective: accuracy and f1 (of each batch, negated) have no gradient, so they are for optimizers that
            only evaluate the loss.
        files: further files of data, and their columns.
        selection: which examples of the data.
        compute: precision, lengths and sizes of batches.
        adaptation: which parameters are trained.
        attention: what takes the place of an encoder's self-attention, from the section [attention]; none to
            leave that.

    Raises:
        ValueError: an option is out of its range.
        GraftworkError: data, prompts or model do not exist or do not go together.
    """

    def __init__(
        self,
        *,
        model: ModelOption = "minilm",
        data: str = "rotten-tomatoes",
        prompts: str = "sentiment-was",
        scoring: ScoringName = "auto",
        calibrate: bool = False,
        objective: Objective = "cross-entropy",
        files: LabelledFiles = LabelledFiles(),
        selection: ClassSelection = ClassSelection(),
        compute: ComputeOptions = ComputeOptions(),
        adaptation: Adaptation = Adaptation(),
        attention: AttentionOption = None,
    ) -> None:
        super().__init__(
            pretrained=pretrained_of(model),
            corpus=find_labelled_corpus(data, files),
            objective=objective,
            selection=selection,
            adaptation=adaptation,
            compute=compute,
            attention=attention,
        )
        self._prompts = PromptFile(prompts, package=_PACKAGE)
        self._scoring: ScoringName = scoring
        self._calibrate = calibrate
        if calibrate and scoring in ("masked-lm", "similarity"):
            raise ValueError(f"calibrate must be false with scoring = {scoring!r}: it is for 'causal-lm'")

    @cached_property
    def scoring_name(self) -> str:
        """The scoring, decided.

        Raises:
            GraftworkError: it is auto, and the model's configuration does not tell.
        """
        name = self._scoring if self._scoring != "auto" else self._scoring_of_model()
        if self._calibrate and name != "causal-lm":
            raise GraftworkError(
                f"task.calibrate must be false: it is for scoring 'causal-lm', and this model's is {name!r}"
            )
        return name

    @cached_property
    def scoring(self) -> Scoring:
        """How labels are scored."""
        fields, labels = self.corpus.fields, self.data.labels
        if self.scoring_name == "similarity":
            return SimilarityScoring(self.encoder, self._prompts.for_sentences(fields, labels))
        prompt = self._prompts.for_words(self.scoring_name, fields, labels)
        if self.scoring_name == "masked-lm":
            return MaskedWordScoring(self.encoder, prompt)
        return CandidateScoring(self.encoder, prompt, calibrate=self._calibrate)

    def build_model(self) -> nn.Module:
        """Return the pretrained model with the head that the scoring reads.

        Raises:
            GraftworkError: the weights lack that head, so that it would be random.
        """
        dtype, head = self._compute.dtype, _HEADS.get(self.scoring_name)
        model, missing = (
            self.pretrained.load(head, dtype=dtype) if head else self.pretrained.load_encoder(dtype=dtype)
        )
        if missing:
            raise GraftworkError(
                f"model {self.pretrained.name!r} has no weights for {', '.join(sorted(missing)[:3])}, which "
                f"scoring {self.scoring_name!r} needs: they would be random, and prompting rests on "
                "pretrained ones. Choose another scoring (a sentence encoder's is 'similarity') or the task "
                "sequence-classification"
            )
        return self.adapt(model, model, missing)

    def facts(self) -> dict[str, str | int | float]:
        """What data, model and prompts are: names, versions, digests and sizes, as plain data."""
        return {
            **super().facts(),
            "scoring": self.scoring_name,
            "prompts": self._prompts.name,
            "prompts_sha256": self._prompts.sha256,
        }

    def _scoring_of_model(self) -> str:
        if self.pretrained.is_sentence_encoder():
            return "similarity"
        config: Any = self.pretrained.config()
        architectures = list(config.architectures or [])
        for name in architectures:
            if name.endswith("ForMaskedLM"):
                return "masked-lm"
            if name.endswith(("ForCausalLM", "LMHeadModel")):
                return "causal-lm"
        raise GraftworkError(
            f"task.scoring = 'auto' cannot tell what model {self.pretrained.name!r} was trained for (its "
            f"architectures are {', '.join(architectures) or 'not named'}); give 'masked-lm', 'causal-lm' or "
            "'similarity'"
        )

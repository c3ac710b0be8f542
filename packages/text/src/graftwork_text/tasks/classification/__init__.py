"""Classification of text by pretrained transformers: as the pretraining task, or by a fresh head.

``prompt_classification`` phrases the classification as what the model was pretrained for;
``sequence_classification`` puts a new layer on top. Both are a
:class:`~graftwork_text.tasks.classification.task.ClassificationTask`, which owns data, batches, objective
and metrics.
"""

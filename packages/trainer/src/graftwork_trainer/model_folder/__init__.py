"""``RUN/model/``: what a trained model needs to be used, in the layout of the model's own library.

::

    RUN/model/
      model.safetensors      the weights that the run's result stands for, or, until it has one, the best ones
      config.json, ...       what transformers or timm wants beside them
      tokenizer.json, ...    the task's assets (see :class:`graftwork.Task`), from before the first step on
      README.md              the model card
      graftwork-recipe.toml  what it was trained by
      graftwork.json         the manifest: which weights these are, and the digest of every other file

It is built beside and put in place by renames. ``graftwork export`` is a copy of it.
"""

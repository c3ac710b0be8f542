"""Models that a recipe can name, with random weights."""

from graftwork_text.models.quiet import hush_torchao

hush_torchao()  # before whatever is here imports transformers

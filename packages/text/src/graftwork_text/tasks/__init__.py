"""Tasks that a recipe can name: a model, batches, a loss and metrics."""

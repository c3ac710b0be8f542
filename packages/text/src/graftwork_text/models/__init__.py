"""Models that a recipe can name, with random weights."""

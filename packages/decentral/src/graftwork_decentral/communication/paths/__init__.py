"""Ways to compute one mixing."""

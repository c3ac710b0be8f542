"""Optimizers whose state lives in a subspace: an update host and a gradient transform, brought together."""

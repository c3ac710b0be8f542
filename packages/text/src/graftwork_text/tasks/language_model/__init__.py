"""Causal language modelling from random weights: text to tokens, tokens to sequences, and the task."""

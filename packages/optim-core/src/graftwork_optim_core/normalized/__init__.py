"""Normalized stochastic gradient descent: every move has the same length, whatever the gradient's size."""

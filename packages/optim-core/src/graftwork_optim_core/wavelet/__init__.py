"""Wavelet transforms of gradients along their last axis."""

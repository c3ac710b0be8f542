"""Pretrained weights out of packages on the package index."""

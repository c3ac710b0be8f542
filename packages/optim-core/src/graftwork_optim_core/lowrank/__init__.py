"""Projections of gradients on a few orthonormal directions."""

"""Labelled images, as tasks of several packages classify them."""

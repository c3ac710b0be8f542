"""Moved to the package graftwork-text."""

raise ImportError("graftwork_trainer.models is now graftwork_text.models, of the package packages/text")

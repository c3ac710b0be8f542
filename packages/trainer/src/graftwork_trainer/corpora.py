"""Moved to the package graftwork-text."""

raise ImportError("graftwork_trainer.corpora is now graftwork_text.corpora, of the package packages/text")

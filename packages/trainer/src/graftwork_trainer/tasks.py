"""Moved to the package graftwork-text."""

raise ImportError("graftwork_trainer.tasks is now graftwork_text.tasks, of the package packages/text")

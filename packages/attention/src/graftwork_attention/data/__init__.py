"""Data of this package's tasks."""

"""Using what a run trained: ``graftwork export``, ``predict`` and ``evaluate``."""

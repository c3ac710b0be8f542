"""The subcommands that this package adds to ``graftwork``. Torch is imported when they run, not for their
help."""

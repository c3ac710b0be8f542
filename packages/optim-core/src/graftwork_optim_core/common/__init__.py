"""What every family of optimizers stands on: sharded weights, ranges of options, dtypes, loading."""

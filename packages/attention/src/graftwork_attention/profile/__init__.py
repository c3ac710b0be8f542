"""What mixers cost by length: time, bytes kept for the backward pass, peak memory, and where they cross."""

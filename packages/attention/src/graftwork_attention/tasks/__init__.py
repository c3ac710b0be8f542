"""What a trainer can train with a mixer in it."""

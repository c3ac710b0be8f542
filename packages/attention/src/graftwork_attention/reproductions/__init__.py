"""What is known of mixers in models, measured again."""

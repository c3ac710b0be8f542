"""Where text and weights come from: registered names, pinned packages, optional dependencies; no torch."""

"""Decentralized bilevel optimization: SPARKLE, methods to compare it with, and problems."""

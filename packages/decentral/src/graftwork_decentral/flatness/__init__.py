"""Which minima decentralized methods leave and find: exact theory, a simulator, and measures on real models.

Source: Cao, Wu, Yuan, Sayed, arXiv:2406.20006. ``theory`` holds exact excess risks near a minimum, ``lab``
simulates many runs at once in small landscapes, ``metrics`` measures the same quantities on any torch model.
"""

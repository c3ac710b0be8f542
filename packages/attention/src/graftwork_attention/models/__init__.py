"""Models made of mixers: encoder blocks, a classifier of sequences, one of images as sequences of pixels."""

"""The data of a training: in which order samples are met, how they become batches, and where a resumed run
goes on."""

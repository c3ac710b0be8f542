"""Update hosts: Adam, momentum SGD, 8-bit Adam, Adafactor, Muon and Adam-mini."""

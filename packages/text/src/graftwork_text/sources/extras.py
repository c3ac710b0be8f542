"""What some options need beyond this package's own requirements."""

from __future__ import annotations

from graftwork import Extra

LORA = Extra("graftwork-text[lora]", ("peft",), when="lora_rank")
GGUF = Extra("graftwork-text[gguf]", ("gguf",), when="model = 'smollm2-135m'")

"""What some components need beyond this package's own requirements; imports no torch."""

from __future__ import annotations

from graftwork import Extra

DIGITS = Extra("graftwork-attention[digits]", ("sklearn",), when="data = 'digits'")
TRANSFORMERS = Extra("graftwork-attention[transformers]", ("transformers",))
TIMM = Extra("graftwork-attention[timm]", ("timm",))
PICTURES = Extra("pillow", ("PIL",), when="data = 'folder'")

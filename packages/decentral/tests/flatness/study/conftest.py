"""The toy plugin, installed for as long as the session lasts, and small studies of its task."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch

from graftwork import get_registry
from graftwork.testing import write_plugin
from graftwork_decentral.flatness.study import FlatnessStudy
from graftwork_decentral.flatness.study.measures import Effort

MakeStudy = Callable[..., FlatnessStudy]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("plugins")
    write_plugin(folder, "toystudy", (Path(__file__).parent / "toy_plugin.py").read_text("utf-8"))
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    get_registry.cache_clear()
    try:
        yield importlib.import_module("graftwork_toystudy")
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("graftwork_toystudy", None)
        get_registry.cache_clear()


@pytest.fixture
def make_study(toy: Any) -> MakeStudy:
    """All samples in every batch, so that there is no noise, unless a test says otherwise."""

    def make(**options: Any) -> FlatnessStudy:
        chosen = {
            "task": toy.ToySoftmax,
            "optimizer": lambda model: torch.optim.SGD(model.parameters(), lr=0.2),
            "graphs": ({"name": "ring", "lazy": True},),
            "batch_sizes": (10,),
            "agents": 4,
            "steps": 60,
            "measure": (),
            "device": "cpu",
        }
        small = {"descent_steps": 60, "probes": 2, "noise_batches": 2, "most_products": 5, "directions": 2}
        for name in {field.name for field in fields(Effort)} & options.keys():
            small[name] = options.pop(name)
        return FlatnessStudy(**{**chosen, **options}, effort=Effort(**small))

    return make

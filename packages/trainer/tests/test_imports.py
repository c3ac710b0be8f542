"""Every module can be the first that is imported: which names a caller takes first is the caller's choice."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path

import torch  # noqa: F401, loaded before the processes are forked

import graftwork_trainer

ROOT = Path(graftwork_trainer.__file__).parent
MOVED = {"corpora", "models", "tasks"}  # to another package, and importing them says so


def modules():
    for file in sorted(ROOT.rglob("*.py")):
        parts = file.relative_to(ROOT).with_suffix("").parts
        if parts[0] not in MOVED:
            yield ".".join(["graftwork_trainer", *(part for part in parts if part != "__init__")])


def importable_first(name):
    process = os.fork()
    if process == 0:
        for loaded in [module for module in sys.modules if module.partition(".")[0] == "graftwork_trainer"]:
            del sys.modules[loaded]
        try:
            import_module(name)
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(process, 0)[1] == 0


def test_no_module_needs_another_to_be_imported_before_it():
    names = list(modules())
    for name in names:  # what they import of others is then there for all processes
        import_module(name)
    assert "graftwork_trainer.step_rule" in names
    assert [name for name in names if not importable_first(name)] == []

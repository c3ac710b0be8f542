"""The package as the registry sees it."""

from __future__ import annotations

import subprocess
import sys

import pytest

import graftwork_optim_core
from graftwork import Kind
from graftwork_optim_core.plugin import graftwork_components

COMPONENTS = {component.reference: component for component in graftwork_components()}


def test_what_is_registered() -> None:
    assert {reference: component.target for reference, component in COMPONENTS.items()} == {
        "optimizer/adamw": "torch.optim:AdamW",
        "optimizer/sgd": "torch.optim:SGD",
        "optimizer/gwt-adamw": "graftwork_optim_core.gwt:GWTAdamW",
        "reproduction/gwt": "graftwork_optim_core.reproductions.gwt:reproduce",
    }


def test_neither_the_package_nor_its_plugin_imports_torch() -> None:
    program = (
        "import sys, graftwork_optim_core, graftwork_optim_core.plugin as plugin; dir(graftwork_optim_core); "
        "assert list(plugin.graftwork_components()); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("name", graftwork_optim_core.__all__)
def test_public_names_resolve(name: str) -> None:
    assert getattr(graftwork_optim_core, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'GaLoreX'"):
        _ = graftwork_optim_core.GaLoreX


@pytest.mark.parametrize("reference", [r for r, c in COMPONENTS.items() if c.kind == Kind.OPTIMIZER])
def test_every_option_has_a_type_that_a_recipe_can_check(reference: str) -> None:
    from importlib import import_module

    from graftwork.component import SHIPPED_KINDS
    from graftwork.schema import options_of

    module, attribute = COMPONENTS[reference].target.split(":")
    kind = next(kind for kind in SHIPPED_KINDS if kind.name == Kind.OPTIMIZER)
    options = options_of(getattr(import_module(module), attribute), kind)
    assert "lr" in options
    assert "params" not in options
    if reference == "optimizer/gwt-adamw":
        assert {"match", "exclude", "level", "detail_guard"} <= options.keys()
        assert [name for name, option in options.items() if not option.meaning] == []
        assert [name for name, option in options.items() if option.type_text == "anything"] == []

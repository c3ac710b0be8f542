"""The package as the registry sees it."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib import import_module

import pytest

import graftwork_attention
from graftwork import Kind
from graftwork.component import SHIPPED_KINDS
from graftwork.registry import check_contract
from graftwork.schema import schema_of
from graftwork_attention.plugin import graftwork_components

COMPONENTS = {
    component.name: component for component in graftwork_components() if component.kind == Kind.ATTENTION
}
KIND = next(kind for kind in SHIPPED_KINDS if kind.name == Kind.ATTENTION)


def test_what_is_registered() -> None:
    assert list(COMPONENTS) == ["sdpa", "s3", "nystrom", "linformer", "performer", "fnet", "s4d"]
    conversions = [one for one in graftwork_components() if one.kind == Kind.ATTENTION_CONVERSION]
    assert [one.name for one in conversions] == ["transformers", "timm", "graftwork-attention"]
    for one in conversions:
        assert [extra.modules for extra in one.extras] == [(one.name,)][: one.name != "graftwork-attention"]


def test_neither_the_package_nor_its_plugin_imports_torch() -> None:
    program = (
        "import sys, graftwork_attention, graftwork_attention.plugin as plugin; dir(graftwork_attention); "
        "assert list(plugin.graftwork_components()); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("name", graftwork_attention.__all__)
def test_public_names_resolve(name: str) -> None:
    assert getattr(graftwork_attention, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'S4Attention'"):
        _ = graftwork_attention.S4Attention


@pytest.mark.parametrize("name", COMPONENTS)
def test_every_option_has_a_type_and_a_meaning_and_the_caller_gives_the_sizes(name: str) -> None:
    module, attribute = COMPONENTS[name].target.split(":")
    target = getattr(import_module(module), attribute)
    check_contract(KIND, COMPONENTS[name], target)
    parameters = inspect.signature(target).parameters
    assert list(parameters)[:4] == ["dim", "heads", "max_len", "layer_index"]
    assert all(parameter.kind == parameter.KEYWORD_ONLY for parameter in list(parameters.values())[3:])
    options = schema_of(target, KIND).options
    assert not set(options) & {"dim", "heads", "max_len", "layer_index"}
    assert [name for name, option in options.items() if not option.meaning] == []
    assert [name for name, option in options.items() if option.type_text == "anything"] == []

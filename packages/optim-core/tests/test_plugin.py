"""The package as the registry sees it."""

from __future__ import annotations

import subprocess
import sys

import pytest

import graftwork_optim_core
from graftwork import Kind
from graftwork_optim_core.plugin import graftwork_components

COMPONENTS = {component.reference: component for component in graftwork_components()}


OPTIMIZERS = [
    "adamw",
    "sgd",
    "subspace",
    "gwt-adamw",
    "two-rate-adamw",
    "gwt-muon",
    "galore-adamw",
    "galore-adamw8bit",
    "galore-adafactor",
    "golore-adamw",
    "golore-msgd",
    "lozo",
    "lozo-m",
    "mezo",
    "nsgdc",
    "nsgdc-vr",
    "a-nsgdc",
]
OF_SELECTED_WEIGHTS = OPTIMIZERS[2:11]
HOSTS = ["adamw", "msgd", "adam8bit", "adafactor", "muon", "adam-mini"]
TRANSFORMS = ["identity", "wavelet", "svd", "gram", "rsvd", "power", "random", "golore"]


def test_what_is_registered() -> None:
    assert list(COMPONENTS) == [
        *(f"optimizer/{name}" for name in OPTIMIZERS),
        *(f"optimizer-host/{name}" for name in HOSTS),
        *(f"gradient-transform/{name}" for name in TRANSFORMS),
        "reproduction/gwt",
        "reproduction/golore",
        "reproduction/lozo",
        "reproduction/nsgdc",
    ]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_every_host_meets_every_transform(host: str, transform: str) -> None:
    import torch

    options = {} if transform in ("identity", "wavelet") else {"rank": 3, "refresh_every": 2}
    if transform == "golore":
        options["total_steps"] = 4
    weight = torch.nn.Parameter(torch.randn(6, 16))
    before = weight.detach().clone()
    optimizer = graftwork_optim_core.SubspaceOptimizer(
        [weight], lr=1e-2, host=host, transform=transform, transform_options=options
    )
    for _ in range(4):
        weight.grad = torch.randn(6, 16)
        optimizer.step()
    assert torch.isfinite(weight).all()
    assert not torch.equal(weight, before)
    assert optimizer.state_bytes() == graftwork_optim_core.predicted_state_bytes(
        [weight],
        graftwork_optim_core.SubspaceOptimizer,
        host=host,
        transform=transform,
        transform_options=options,
    )


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
    from graftwork.schema import schema_of

    module, attribute = COMPONENTS[reference].target.split(":")
    kind = next(kind for kind in SHIPPED_KINDS if kind.name == Kind.OPTIMIZER)
    options = schema_of(getattr(import_module(module), attribute), kind).options
    assert "lr" in options
    assert "params" not in options
    if reference not in ("optimizer/adamw", "optimizer/sgd"):
        selects = {"match", "exclude", "convolutions"} <= options.keys()
        assert selects == (reference.removeprefix("optimizer/") in OF_SELECTED_WEIGHTS)
        assert [name for name, option in options.items() if not option.meaning] == []
        assert [name for name, option in options.items() if option.type_text == "anything"] == []


def test_reproductions_say_what_they_need_beyond_the_package() -> None:
    needs = {
        name: [extra.description.removesuffix(" (not installed)") for extra in component.extras]
        for name, component in COMPONENTS.items()
        if component.extras
    }
    picture = "needs matplotlib for its picture"
    assert needs == {
        "reproduction/gwt": [picture],
        "reproduction/golore": [picture],
        "reproduction/lozo": [
            "needs graftwork-text",
            "needs graftwork-text[lora] for the row of LoRA",
            picture,
        ],
        "reproduction/nsgdc": ["needs graftwork-text for language_model = true", picture],
    }

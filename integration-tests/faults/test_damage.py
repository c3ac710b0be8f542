"""Every file of a run, damaged in every way: each is a sentence or does no harm, and no byte of it is run."""

from __future__ import annotations

import itertools
import pickle
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Commands, left_by, saved_by, write_recipe

Damage = Callable[[Path, random.Random], None]


class Payload:
    """Touches a file where it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.marker,)


def flip(path: Path, draw: random.Random) -> None:
    data = bytearray(path.read_bytes())
    place = draw.randrange(len(data))
    data[place] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


def cut(path: Path, draw: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: draw.randrange(len(data))])


def empty(path: Path, draw: random.Random) -> None:
    path.write_bytes(b"")


def zeros(path: Path, draw: random.Random) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def other_text(path: Path, draw: random.Random) -> None:
    path.write_text(
        draw.choice(
            [
                "{}",
                "[]",
                "null",
                "[" * 50_000,
                '{"step": 1e999}',
                "a = 1\n",
                "\ud83d".encode("utf-8", "surrogatepass").decode("latin1"),
            ]
        )
    )


def removed(path: Path, draw: random.Random) -> None:
    path.unlink()


def a_folder(path: Path, draw: random.Random) -> None:
    path.unlink()
    path.mkdir()


def a_circle(path: Path, draw: random.Random) -> None:
    path.unlink()
    path.symlink_to(path.name)


def pickled(path: Path, draw: random.Random) -> None:
    path.write_bytes(pickle.dumps(Payload(path.parent / "owned")))


def uses(run: Path, folder: Path, name: str) -> tuple[tuple[str | Path, ...], ...]:
    """What is done with a run that is trained, one way a damage."""
    started = (
        "--out",
        folder / "started",
        "--no-report",
        "--quiet",
        "--set",
        "trainer.start_from=" + str(run),
    )
    one_step = ("--set", "trainer.steps=1", "--set", "trainer.warmup_steps=0")
    shutil.rmtree(folder / "started", ignore_errors=True)
    shutil.rmtree(folder / "exported", ignore_errors=True)
    return (
        ("evaluate", run),
        ("export", run, folder / "exported"),
        ("export", f"{run}:newest", folder / "exported"),
        ("train", write_recipe(name, folder), *started, *one_step),
    )


DAMAGES = (flip, flip, flip, cut, empty, zeros, other_text, removed, a_folder, a_circle, pickled)
NAMES = ("standard-adamw", "decentralized-compressed")


@pytest.mark.parametrize("count", [5, pytest.param(130, marks=pytest.mark.faults)])
@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_file_is_a_sentence_or_does_no_harm(
    name: str, count: int, commands: Commands, whole: Callable[[str], Path], tmp_path: Path
) -> None:
    origin = whole(name)
    wanted = left_by(origin)
    draw = random.Random(f"{name} {count}")
    files = [path.relative_to(origin) for path in origin.rglob("*") if path.is_file()]
    files = [file for file in files if "tensorboard" not in file.parts and file.name != "lock"]
    spoiled = list(itertools.product(files, DAMAGES))
    draw.shuffle(spoiled)
    for number, (file, damage) in enumerate(itertools.islice(itertools.cycle(spoiled), count)):
        run = tmp_path / str(number)
        shutil.copytree(origin, run)
        damage(run / file, draw)
        told = f"{damage.__name__} of {file}"
        for arguments in (
            ("verify", run),
            # Drawing takes seconds, and a report reads no checkpoint.
            *([("report", run, "--out", tmp_path / "report")] if "checkpoints" not in file.parts else []),
            uses(run, tmp_path, name)[number % 4],
            ("train", "--resume", run, "--no-report", "--quiet", "--set", "trainer.steps=26"),
        ):
            code, printed = commands.finish(*arguments)
            done = f"{told}, {' '.join(map(str, arguments))}: {printed}"
            assert code in (0, 1, 2), done
            assert "Traceback" not in printed, done
            assert "GRAFTWORK_DEBUG" not in printed, f"not a sentence of whoever reads the file: {done}"
            if code == 2:
                errors = [line for line in printed.splitlines() if line.startswith("graftwork: error")]
                assert len(errors) == 1, done
                assert str(run) in errors[0] or file.name in errors[0], done
                assert (
                    "--resume" not in arguments or "checkpoints" not in file.parts or file.name in printed
                ), done
            assert not list(run.rglob("owned")), told
        if code == 0:  # resumed: then to the very bits that an undamaged run has
            assert saved_by(run)["checkpoint"] == "step-000026", told
            if "checkpoints" not in file.parts:
                reference = tmp_path / "reference"
                if not reference.exists():
                    shutil.copytree(origin, reference)
                    assert (
                        commands.finish(*(reference if part == run else part for part in arguments))[0] == 0
                    )
                assert saved_by(run) == saved_by(reference), told
        shutil.rmtree(run)
    assert left_by(origin) == wanted

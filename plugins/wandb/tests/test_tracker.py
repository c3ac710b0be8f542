"""Trainings that are recorded by the real wandb, without its service: whole, resumed, and gone wrong."""

from __future__ import annotations

import doctest
import json
import os
import pty
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import wandb
from graftwork_wandb import WandbTracker
from small_runs import about, history, parts, trained, trained_elsewhere

from graftwork import GraftworkError, Kind, get_registry
from graftwork.schema import schema_of


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "doubling"


@pytest.fixture
def service() -> Iterator[tuple[str, list[str]]]:
    """An address that hangs up on whoever connects, and one entry for each that did."""
    came: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            while True:
                try:
                    connection, address = server.accept()
                except OSError:  # closed
                    return
                came.append(str(address))
                connection.close()

        threading.Thread(target=hang_up, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", came


def lines(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]


def test_a_training_is_one_run_with_its_metrics_by_step_and_its_recipe(
    run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    trained(run, project="numbers", group="small", tags=["baseline", "cpu"])
    assert capfd.readouterr() == ("", "")
    (records,) = parts(run)
    written = about(records)
    assert (written.project, written.display_name, written.run_group) == ("numbers", "doubling", "small")
    assert list(written.tags) == ["baseline", "cpu"]
    config = {item.key: json.loads(item.value_json) for item in written.config.update}
    assert config["optimizer"]["lr"] == 0.1
    assert (config["trainer"]["steps"], config["trainer"]["warmup_steps"]) == (4, 0)
    by_step: dict[int, dict[str, float]] = {}
    for line in lines(run):
        by_step.setdefault(int(line["step"]), {}).update(line)
    assert list(by_step) == [1, 2, 3, 4]
    for logged in history(records):
        recorded = by_step.pop(logged["_step"])
        assert {name: logged[name] for name in recorded if name != "step"} == {
            name: value for name, value in recorded.items() if name != "step"
        }
    assert not by_step


def test_a_resumed_run_goes_on_under_its_id_and_a_new_one_has_another(run: Path, tmp_path: Path) -> None:
    trained(run)
    trained(run, steps=6, resume=True, run_name="longer")
    first, second = parts(run)
    assert about(first).run_id == about(second).run_id == (run / "wandb" / "id").read_text("utf-8").strip()
    assert [line["_step"] for line in history(second)] == [5, 6]
    assert about(second).display_name == "longer"
    trained(tmp_path / "other")
    (other,) = parts(tmp_path / "other")
    assert about(other).run_id != about(first).run_id


def test_a_run_that_the_caller_has_open_stays_open_and_apart(run: Path, tmp_path: Path) -> None:
    with wandb.init(mode="offline", dir=tmp_path, settings=wandb.Settings(silent=True)) as mine:
        trained(run)
        assert wandb.run is mine
        mine.log({"after": 1.0})
    (records,) = parts(run)
    assert len(history(records)) == 4


def test_a_service_that_is_down_is_told_once_and_training_goes_on(
    run: Path, service: tuple[str, list[str]]
) -> None:
    address, came = service
    finished = trained_elsewhere(
        run, variables={"WANDB_BASE_URL": address, "WANDB_API_KEY": "0" * 40}, mode="online"
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr.count("graftwork: tracker wandb failed, which ends no training: ") == 1
    assert came
    assert lines(run)[-1]["step"] == 4


def test_online_without_a_key_nothing_is_asked_even_on_a_terminal(run: Path) -> None:
    ours, terminal = pty.openpty()
    finished = trained_elsewhere(run, terminal=terminal, mode="online")
    os.close(terminal)
    said = os.read(ours, 65536).decode()
    os.close(ours)
    assert finished.returncode == 0, said
    assert " ".join(said.split()) == (
        "graftwork: tracker wandb failed, which ends no training: RuntimeError: wandb knows no key: "
        "run `wandb login` or set WANDB_API_KEY"
    )
    assert lines(run)[-1]["step"] == 4


def test_a_folder_that_cannot_be_written_is_told_and_training_goes_on(
    run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run.mkdir()
    (run / "wandb").write_text("mine")
    assert trained(run)["status"] == "finished"
    told = capfd.readouterr().err
    assert told.count("graftwork: tracker wandb failed, which ends no training: ") == 1
    assert "File exists" in told


def test_two_processes_make_one_run_and_offline_nobody_is_connected_to(
    run: Path, service: tuple[str, list[str]]
) -> None:
    address, came = service
    everywhere = {"WANDB_BASE_URL": address, "HTTP_PROXY": address, "HTTPS_PROXY": address}
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    finished = trained_elsewhere(run, *torchrun, variables={**everywhere, "WANDB_API_KEY": "0" * 40})
    assert finished.returncode == 0, finished.stderr
    (records,) = parts(run)
    assert [line["_step"] for line in history(records)] == [1, 2, 3, 4]
    assert came == []


def test_a_wrong_option_is_refused_before_training(run: Path) -> None:
    with pytest.raises(GraftworkError, match=r"trackers.*\bmode\b.*offline"):
        trained(run, mode="sometimes")
    assert not run.exists()


def test_the_registry_finds_it_and_every_option_is_explained() -> None:
    registry = get_registry()
    entry = registry.find("tracker/wandb:wandb")
    assert registry.resolve(entry) is WandbTracker
    options = schema_of(WandbTracker, registry.kinds[Kind.TRACKER]).options
    assert list(options) == ["project", "mode", "run_name", "group", "tags"]
    assert all(option.meaning for option in options.values())


def test_choosing_it_imports_no_wandb() -> None:
    program = (
        "import sys; from graftwork import Kind, choose; choose(Kind.TRACKER, 'wandb')(); "
        "sys.exit('wandb' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_example_in_the_docstring_runs() -> None:
    result = doctest.testmod(import_module(WandbTracker.__module__))
    assert (result.failed, result.attempted) == (0, 1)

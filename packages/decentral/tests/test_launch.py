"""The launcher: variables, who is not ended with others, restarts, exit code and the last line."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from graftwork_decentral.launch import main

CHILD = """
import os, signal, sys, time
rank, folder = os.environ["RANK"], sys.argv[1]
seen = os.path.join(folder, rank)
first = not os.path.exists(seen)
open(seen, "a").write(os.environ["WORLD_SIZE"] + os.environ["TORCHELASTIC_USE_AGENT_STORE"] + " ")
if rank == "1" and first:
    os.kill(os.getpid(), signal.SIGKILL)
if rank == "2" and "fail" in sys.argv:
    sys.exit(3)
time.sleep(0.5)
"""


def launched(*options: str, child: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "graftwork_decentral.launch", *options, "--", *child],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_others_are_not_ended_when_one_dies(tmp_path: Path) -> None:
    result = launched("--processes", "3", child=("-c", CHILD, str(tmp_path), "fail"))
    assert result.stdout.splitlines()[-1] == (
        "launch: process 0: done; process 1: killed by SIGKILL; process 2: failed with code 3"
    )
    assert result.returncode == 0
    assert (tmp_path / "0").read_text() == "3True "


def test_with_restart_it_is_started_again(tmp_path: Path) -> None:
    result = launched("--processes", "2", "--restart", child=("-c", CHILD, str(tmp_path)))
    assert result.stdout.splitlines()[-1] == (
        "launch: process 0: done; process 1: killed by SIGKILL, done after 1 restart"
    )
    assert (tmp_path / "1").read_text() == "2True 2True "


def test_more_losses_than_are_tolerated_fail(tmp_path: Path) -> None:
    result = launched("--processes", "2", "--tolerate", "0", child=("-c", CHILD, str(tmp_path)))
    assert result.returncode == 1


SAVING = """
import os, signal, sys, time
from pathlib import Path
file = Path(sys.argv[1], os.environ["RANK"])

def save(number, frame):
    signal.signal(number, signal.SIG_DFL)
    time.sleep(0.3)
    file.write_text("saved")
    sys.exit(128 + number)

for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, save)
file.write_text("begun")
time.sleep(60)
"""


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM"])
def test_what_is_asked_to_stop_saves(tmp_path: Path, how: str) -> None:
    command = [sys.executable, "-m", "graftwork_decentral.launch", "--processes", "2", "--restart", "--"]
    with subprocess.Popen(
        [*command, "-c", SAVING, str(tmp_path)], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        while len([file for file in tmp_path.iterdir() if file.read_text()]) < 2:
            time.sleep(0.05)
        if how == "Ctrl-C":  # which a terminal sends to all of the foreground
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.terminate()
        said, _ = process.communicate(timeout=60)
    number = signal.SIGINT if how == "Ctrl-C" else signal.SIGTERM
    assert process.returncode == 128 + number
    assert said == f"launch: process 0: stopped by {number.name}; process 1: stopped by {number.name}\n"
    assert [(tmp_path / rank).read_text() for rank in "01"] == ["saved", "saved"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--processes 0 -- -c pass", "--processes must be at least 1, got 0"),
        ("--processes 2 --", "nothing to start"),
        ("--processes 2 --port -1 -- -c pass", "--port must be in 0..65535, got -1"),
        ("--processes 2 --port 65536 -- -c pass", "--port must be in 0..65535, got 65536"),
        ("--processes 2 --tolerate 2 -- -c pass", "--tolerate must be in 0..1"),
        ("--processes 2 --tolerate -1 -- -c pass", "--tolerate must be in 0..1"),
        ("--processes 2 --host no.such.host.invalid -- -c pass", "--host no.such.host.invalid: "),
        ("--processes 2 --port TAKEN -- -c pass", "no store can be kept at --host 127.0.0.1 --port "),
    ],
)
def test_mistakes_on_the_command_line_are_answered_at_once(
    options: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SystemExit) as refused:
        main(options.replace("TAKEN", str(taken.getsockname()[1])).split())
    assert refused.value.code == 2
    assert says in capsys.readouterr().err


def test_what_lies_in_the_current_folder_is_not_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("__future__", "typing", "argparse", "subprocess", "torch"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('executed')")
    monkeypatch.chdir(tmp_path)
    assert launched("--processes", "1", child=("-P", "-c", "")).returncode == 0

"""torchrun without its last words: exit codes, and the sentence for a process that said none."""

from __future__ import annotations

import logging
import signal

import pytest
from torch.distributed import run
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from graftwork_trainer import launch


@pytest.mark.parametrize(
    ("exit_code", "code", "said"),
    [(2, 2, ""), (1, 1, ""), (-9, 137, "rank 1 (process 4711) was ended by SIGKILL")],
)
def test_it_exits_as_the_process_that_failed(monkeypatch, capsys, exit_code, code, said):
    failure = ProcessFailure(local_rank=1, pid=4711, exitcode=exit_code, error_file="<N/A>")

    def torchrun(arguments):
        assert arguments == ["--nproc-per-node=2", "-m", "graftwork"]
        logging.getLogger("torch.distributed.elastic.multiprocessing.api").error("failed (exitcode: 2)")
        raise ChildFailedError("graftwork", {1: failure})

    monkeypatch.setattr(run, "main", torchrun)
    assert launch.main(["--nproc-per-node=2", "-m", "graftwork"]) == code
    told = capsys.readouterr().err
    assert told == (f"graftwork: error: {said}\n" if said else "")


def test_a_signal_that_it_has_passed_on_is_its_exit_code(monkeypatch, capsys):
    def torchrun(arguments):
        raise SignalException("a signal", signal.SIGTERM)

    monkeypatch.setattr(run, "main", torchrun)
    assert launch.main([]) == 143
    assert capsys.readouterr().err == ""


def test_it_ends_well_where_all_do(monkeypatch):
    monkeypatch.setattr(run, "main", lambda arguments: None)
    assert launch.main([]) == 0

"""Who answers a roll call; what happens to whole processes stands in test_no_hang.py."""

from __future__ import annotations

import threading
import time

import pytest
import torch.distributed as dist

from graftwork import GraftworkError
from graftwork_trainer.roll_call import RollCall, connected_store, lost_ranks_named


@pytest.fixture
def call():
    """The roll calls of ranks 0 and 1 of three, of which the third never comes."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    calls = [RollCall(store, rank, 3, 5.0) for rank in (0, 1)]
    yield calls
    for one in calls:
        one.close()


def test_who_is_silent_stays_named_when_others_have_given_up(call):
    assert call[0].silent() == [2]
    call[0].close()
    assert call[1].silent() == [2]


class Stuck:
    """A store whose host is stopped: what is asked of it never returns."""

    def check(self, keys):
        threading.Event().wait()


def test_a_store_that_answers_no_more_is_asked_once(call):
    call[1]._store = Stuck()
    started = time.monotonic()
    lost = call[1].lost("Timed out")
    call[1].close()
    assert lost.ranks == (0,)
    assert str(lost) == "rank 0 of 3 (which keeps the store) does not answer (Timed out)"
    assert time.monotonic() - started < 3.5  # of the 5 s that are kept of trainer.timeout_seconds


@pytest.mark.parametrize("wrapped", [False, True])
def test_an_error_of_the_transport_names_the_rank(call, wrapped):
    said = RuntimeError("[/gloo/transport/tcp/pair.cc:561] Connection closed by peer [127.0.0.1]:4. GLHF!")
    error = GraftworkError("the evaluation failed") if wrapped else said
    error.__cause__ = said if wrapped else None
    with (
        pytest.raises(
            GraftworkError, match=r"^rank 2 of 3 \(which never came\) does not answer \(Conn"
        ) as lost,
        lost_ranks_named(call[0], "; go on"),
    ):
        raise error
    assert lost.value.ranks == (2,)
    assert str(lost.value).endswith("(Connection closed by peer [127.0.0.1]:4); go on")


def test_one_that_names_its_process_by_itself_is_left_as_it_is(call):
    named = GraftworkError("process 1 is lost")
    named.processes = (1,)
    named.__cause__ = RuntimeError("Connection closed by peer")
    with pytest.raises(GraftworkError, match=r"^process 1 is lost$"), lost_ranks_named(call[0]):
        raise named


def test_other_errors_are_what_they_were(call):
    with pytest.raises(RuntimeError, match=r"^shapes differ$"), lost_ranks_named(call[0]):
        raise RuntimeError("shapes differ")


def test_an_environment_that_says_half_is_one_sentence(monkeypatch):
    for name in ("MASTER_ADDR", "MASTER_PORT", "RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(GraftworkError, match=r"WORLD_SIZE = 2 .*: MASTER_ADDR, MASTER_PORT, RANK;"):
        connected_store(1.0)

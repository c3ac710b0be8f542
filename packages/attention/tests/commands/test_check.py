"""``graftwork attention check``: registered mixers, and classes of any module.

Reached from here: ``commands/checked.py``.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from torch import Tensor, nn

from graftwork.cli import main
from graftwork_attention.contract import CHECKS
from graftwork_attention.mixers.sdpa import SoftmaxAttention

QUICK = tuple(check for check in CHECKS if check.name not in ("compile", "export", "meta"))


class Leaky(SoftmaxAttention):
    """Takes a mask and does not look at it."""

    def forward(self, x: Tensor, mask: Tensor | None = None, **refused: object) -> Tensor:
        return super().forward(x, None, **refused)


class Foreign(nn.Module):
    """Another library's: its own names of sizes, no capabilities."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(dim, num_heads, batch_first=True)

    def forward(self, x: Tensor, mask: None = None) -> Tensor:
        y: Tensor = self.attention(x, x, x, need_weights=False)[0]
        return y


def no_module(dim: int) -> int:
    return dim


def breaks(dim: int) -> nn.Module:
    raise RuntimeError("out of order")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return Path(__file__).stem


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    # Whole, they are run over every mixer elsewhere.
    monkeypatch.setattr("graftwork_attention.contract.CHECKS", QUICK)


def states(file: Path) -> dict[str, str]:
    return {entry["promise"]: entry["state"] for entry in json.loads(file.read_text())["promises"]}


def test_a_mixer_that_keeps_its_promises(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "found.json"
    assert main(["attention", "check", "sdpa", "--set", "qkv_bias=false", "--out", str(out)]) == 0
    assert set(states(out).values()) <= {"kept", "not claimed"}
    assert json.loads(out.read_text())["options"] == {"qkv_bias": False}
    told = capsys.readouterr().out
    assert "kept         padding-contents" in told
    assert f"sdpa: {len(QUICK)} promises: " in told


def test_one_that_leaks_padding_is_found_out(
    here: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "found.json"
    assert main(["attention", "check", f"{here}:Leaky", "--out", str(out)]) == 1
    found = states(out)
    assert found["padding-equals-none"] == found["padding-contents"] == "broken"
    assert found["shape"] == "kept"
    assert "at trailing padding changes the outputs" in " ".join(capsys.readouterr().out.split())


def test_another_librarys_class_is_built_by_its_own_names(here: str, tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    claims = ["--claims", "any_length,needs_positions"]
    main(["attention", "check", f"{here}:Foreign", "--set", "num_heads=2", *claims, "--out", str(out)])
    found = states(out)
    assert found["padding-equals-none"] == "not claimed"
    assert found["shape"] == found["samples-apart"] == "kept"
    assert found["lengths"] == "broken"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["sdpaa"], "sdpaa"),
        (["no_such_module_here:Class"], "no module 'no_such_module_here' is installed; a file of your own"),
        (["torch.nn:MultiheadAtention"], "did you mean 'MultiheadAttention'?"),
        (["{here}:Foreign"], "'num_heads'; give what it lacks by --set NAME=VALUE"),
        (["{here}:Foreign", "--set", "num_heads=3"], "embed_dim must be divisible by num_heads\n"),
        (["{here}:Foreign", "--set", "num_heads=2"], "has no capabilities: say what it claims by --claims"),
        (["{here}:Foreign", "--set", "num_heads=2", "--claims", "mask"], "got 'mask', did you mean 'masks'?"),
        (["{here}:no_module"], "must build a torch.nn.Module, built int"),
        (["{here}:breaks"], "out of order"),
        (["{here}:QUICK"], "must build a torch.nn.Module, got"),
        (["sdpa", "--claims", "masks"], "--claims is for a module:Class; sdpa says itself what it can do"),
        (["sdpa", "--set", "qkv_bais=false"], "qkv_bais"),
    ],
)
def test_mistakes_are_one_sentence(
    arguments: list[str], told: str, here: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["attention", "check", *(text.format(here=here) for text in arguments)]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert "Traceback" not in error


def test_the_published_package_of_nystrom_leaks_padding(tmp_path: Path) -> None:
    """nystrom-attention, where it is installed."""
    pytest.importorskip("nystrom_attention")
    out = tmp_path / "found.json"
    options = ["--set", "dim_head=8", "--set", "num_landmarks=4"]
    claims = ["--claims", "masks,any_length,needs_positions"]
    name = "nystrom_attention:NystromAttention"
    assert main(["attention", "check", name, *options, *claims, "--out", str(out)]) == 1
    assert states(out)["padding-contents"] == "broken"

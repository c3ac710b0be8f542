"""A report in a real browser: on a phone and on a desk, in the light and in the dark, without a network."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from graftwork_trainer.report import group_runs, read_run, write_report
from graftwork_trainer.report.table import build_table

sync_api = pytest.importorskip("playwright.sync_api")

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2}
DESK = {"viewport": {"width": 1280, "height": 900}, "device_scale_factor": 1}
PAPER = {"light": "rgb(253, 253, 252)", "dark": "rgb(20, 23, 26)"}

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


def write_run(folder: Path, optimizer: str, seed: int, perplexity: float, *, ended: bool = True) -> Path:
    folder.mkdir(parents=True)
    recipe = [
        '[task]\nname = "lm-pretrain"\n[model]\nname = "llama-tiny"\n[optimizer]\nlr = 0.01',
        f'name = "{optimizer}"\ndescription = "{optimizer}{"-without-any-break" * 9}"',
        f'[trainer]\nname = "standard"\nseed = {seed}\n',
    ]
    (folder / "recipe.toml").write_text("\n".join(recipe))
    (folder / "environment.json").write_text(json.dumps({"python": "3.11.7", "device": "cpu", "threads": 2}))
    with (folder / "metrics.jsonl").open("w") as file:
        for step in range(10, 610, 10):
            line = {
                "step": step,
                "seconds": step / 12,
                "train/loss": 4 + 40 / step + (step * 7 + seed) % 5 / 20,
            }
            file.write(json.dumps(line) + "\n")
            if step % 100 == 0:
                value = perplexity + 9000 / step - 15
                file.write(
                    json.dumps({"step": step, "seconds": step / 12, "validation/perplexity": value}) + "\n"
                )
    result = {
        "status": "finished",
        "steps": 600,
        "metrics": {"validation/perplexity": perplexity},
        "optimizer_state_bytes": 14_000_000 if optimizer == "adamw" else 6_000_000,
        "step_seconds": {"median": 0.08, "p10": 0.07, "p90": 0.1},
        "peak_memory_bytes": 400_000_000 + seed,
        "units_per_second": 9000.0,
        "unit": "tokens",
        "wall_seconds": 50.0,
    }
    if ended:
        (folder / "result.json").write_text(json.dumps(result))
    return folder


@pytest.fixture(scope="module")
def comparisons(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, list[Path]]]:
    """Pages by name, each with its runs: of two variants, and of eight."""
    root = tmp_path_factory.mktemp("comparisons")
    few = [
        write_run(root / f"{name}-{seed}", name, seed, base + seed / 10)
        for name, base in (("adamw", 40.0), ("gwt-adamw", 41.0))
        for seed in range(3)
    ]
    few.append(write_run(root / "killed", "golore-adamw", 0, 45.0, ended=False))
    names = ["adamw", *(f"optimizer-number-{index}" for index in range(7))]
    many = [write_run(root / f"many-{name}", name, 0, 40.0 + i) for i, name in enumerate(names)]
    return {
        name: (write_report(runs, root / f"report-{name}", title="Optimizers side by side").page, runs)
        for name, runs in (("few", few), ("many", many))
    }


@pytest.fixture(scope="module")
def playwright() -> Iterator[Any]:
    with sync_api.sync_playwright() as running:
        yield running


@pytest.mark.parametrize("comparison", ["few", "many"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", [PHONE, DESK], ids=["phone", "desk"])
def test_report_reads_well(
    comparison: str,
    scheme: str,
    screen: dict[str, Any],
    comparisons: dict[str, tuple[Path, list[Path]]],
    playwright: Any,
    tmp_path: Path,
) -> None:
    file, runs = comparisons[comparison]
    context = playwright.chromium.launch_persistent_context(
        tmp_path / "profile", executable_path=CHROMIUM, args=ARGUMENTS, color_scheme=scheme, **screen
    )
    try:
        page = context.new_page()
        requests: list[str] = []
        complaints: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(file.as_uri())
        page.screenshot(path=tmp_path / "first-view.png")
        page.screenshot(path=tmp_path / "whole.png", full_page=True)

        assert requests == [file.as_uri()]
        assert complaints == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        body = page.evaluate(
            "(({fontSize, backgroundColor}) => [fontSize, backgroundColor])(getComputedStyle(document.body))"
        )
        assert float(body[0].removesuffix("px")) >= 15
        assert body[1] == PAPER[scheme]

        for row in build_table(group_runs(map(read_run, runs))).rows:
            for text in (cell.text for cell in row.cells if cell.summary):
                assert page.locator(".numbers .value", has_text=text).first.is_visible()

        figures = page.locator("main > section > .figures svg:visible")
        assert figures.count() == 5
        for index in range(figures.count()):
            box = figures.nth(index).bounding_box()
            assert box["width"] > 300
            assert box["height"] > 150
            assert box["x"] + box["width"] <= screen["viewport"]["width"]

        smallest = page.evaluate(
            """() => Math.min(...[...document.querySelectorAll("svg text")]
                .filter(text => text.checkVisibility())
                .map(text => parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a))"""
        )
        assert smallest >= 10

        for summary in page.locator("summary").all():
            summary.click()
        assert page.locator("pre").first.is_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert requests == [file.as_uri()]
    finally:
        context.close()
    assert (tmp_path / "whole.png").stat().st_size > 20_000

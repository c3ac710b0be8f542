"""A report in a real browser: on a phone and on a desk, in the light and in the dark, without a network."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
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
ATTACK = "<script>window.attacked = 1</script><img src=x onerror='window.attacked = 1'>"
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
    environment = {
        "python": "3.11.7",
        "device": "cpu",
        "threads": 2,
        "metric_directions": {"validation/perplexity": "lower", "train/loss": "lower"},
    }
    (folder / "environment.json").write_text(json.dumps(environment))
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


def leave_artefacts(folder: Path) -> None:
    """A table, a text and pictures, some of which try to run a script."""
    folder.mkdir()
    rows = [("fox", 10, 0.5), ("hen-10", 9, ""), ("Hen-9", 100, 0.75), ("hen-9b", -2, 0.25)]
    lines = ["animal,count,recall", *(",".join(map(str, row)) for row in rows)]
    (folder / "per-class.csv").write_text("\n".join(lines))
    (folder / "samples.txt").write_text(f"{ATTACK}\n" + "a-text-without-any-break" * 40)
    (folder / "page.html").write_text(f"<title>a page of its own</title>{ATTACK}")
    svg = '<svg xmlns="http://www.w3.org/2000/svg" width="900" height="600" onload="parent.attacked = 1">'
    drawing = '<script>parent.attacked = 1; top.attacked = 1</script><rect width="900" height="600"/></svg>'
    (folder / "drawing.svg").write_text(svg + drawing)
    (folder / f"{ATTACK.replace('/', '')}.svg").write_text(svg + "</svg>")


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
    leave_artefacts(few[0] / "artefacts")
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


@pytest.mark.parametrize(  # every two of the three together
    ("comparison", "scheme", "screen"),
    [
        pytest.param("few", "light", PHONE, id="few-light-phone"),
        pytest.param("few", "dark", DESK, id="few-dark-desk"),
        pytest.param("many", "light", DESK, id="many-light-desk"),
        pytest.param("many", "dark", PHONE, id="many-dark-phone"),
    ],
)
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

        assert [one for one in requests if not one.startswith("data:")] == [file.as_uri()]
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
        assert figures.count() == 4
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

        closed = page.locator("details:not([open]) > summary")
        while closed.count():
            closed.first.click()
        assert page.locator("pre").first.is_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert [one for one in requests if not one.startswith("data:")] == [file.as_uri()]
        assert page.evaluate("window.attacked") is None
    finally:
        context.close()
    assert (tmp_path / "whole.png").stat().st_size > 20_000


@pytest.fixture
def open_page(playwright: Any, tmp_path: Path) -> Iterator[Callable[[Path], Any]]:
    """Open a file at a desk."""
    contexts = []

    def load(file: Path) -> Any:
        context = playwright.chromium.launch_persistent_context(
            tmp_path / "profile", executable_path=CHROMIUM, args=ARGUMENTS, **DESK
        )
        contexts.append(context)
        page = context.new_page()
        page.goto(file.as_uri())
        return page

    yield load
    for context in contexts:
        context.close()


def first_column(table: Any) -> list[str]:
    return list(table.locator("tbody th").all_inner_texts())


def test_tables_are_sorted_by_keyboard_and_pointer(
    comparisons: dict[str, tuple[Path, list[Path]]], open_page: Callable[[Path], Any]
) -> None:
    page = open_page(comparisons["few"][0])
    table = page.get_by_role("region", name="per class")
    assert first_column(table) == ["fox", "hen-10", "Hen-9", "hen-9b"]

    table.focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert first_column(table) == ["fox", "Hen-9", "hen-9b", "hen-10"]
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert first_column(table) == ["hen-9b", "hen-10", "fox", "Hen-9"]
    page.keyboard.press("Space")
    assert first_column(table) == ["Hen-9", "fox", "hen-10", "hen-9b"]
    sorts = [heading.get_attribute("aria-sort") for heading in table.get_by_role("columnheader").all()]
    assert sorts == [None, "descending", None]

    # What is missing stays at the end whichever way.
    recall = table.get_by_role("button", name="recall")
    recall.click()
    assert first_column(table) == ["hen-9b", "fox", "Hen-9", "hen-10"]
    recall.click()
    assert first_column(table) == ["Hen-9", "fox", "hen-9b", "hen-10"]

    page.get_by_text("Every run (7)").click()
    runs = page.get_by_role("region", name="Every run")
    runs.get_by_role("button", name="status").click()
    assert first_column(runs)[-1] == "golore-adamw"
    runs.get_by_role("button", name="status").click()
    assert first_column(runs)[0] == "golore-adamw"


def test_thumbnails_are_drawn_and_shown_at_their_own_size(
    comparisons: dict[str, tuple[Path, list[Path]]], open_page: Callable[[Path], Any]
) -> None:
    page = open_page(comparisons["few"][0])
    picture = page.get_by_alt_text("drawing")
    assert picture.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [900, 600]
    assert picture.bounding_box()["width"] < 400
    page.get_by_role("checkbox", name="enlarge drawing").focus()
    page.keyboard.press("Space")
    assert picture.bounding_box()["width"] > 850
    picture.click()
    assert picture.bounding_box()["width"] < 400


def test_no_artefact_runs_a_script_in_the_report(
    comparisons: dict[str, tuple[Path, list[Path]]], open_page: Callable[[Path], Any]
) -> None:
    page = open_page(comparisons["few"][0])
    assert page.get_by_text(ATTACK).first.is_visible()
    # Even where something got in as markup, the policy would stop it.
    page.evaluate(
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.attacked = 1\">')"
    )
    page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {text: 'attacked = 1'}))"
    )
    page.wait_for_timeout(200)
    assert page.evaluate("window.attacked") is None

    page.get_by_role("link", name="page").click()
    page.wait_for_url("**/artefacts/page.html")
    assert page.title() == "a page of its own"

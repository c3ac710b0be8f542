"""Run what README and the docs show, in the environment that README's first command makes.

README's own commands run as they stand, but for two steps of each training and what a reader brings along
(texts, a table, a recipe), which is made here. What others take to the end is ended once its work has begun:
a reproduction when it has made its folder, since its package's tests take it all the way, and the second
comparison when it has trained its first run, since the first comparison ends by itself.

Of the other pages the trainings are taken as far as a dry run and the reproductions as far as their options:
that is where something missing shows. Each of these is a fork of one process, see forked_commands.py.

    python .ci/readme.py            # all of that
    python .ci/readme.py --whole    # every reproduction and study from beginning to end
"""

from __future__ import annotations

import csv
import importlib
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import forked_commands

ROOT = Path(__file__).resolve().parents[1]
BRIEF = ["--set", "trainer.steps=2", "--set", "trainer.warmup_steps=0", "--no-report"]
BRIEF_COMPARISON = ["--set", "trainer.steps=2", "--set", "trainer.warmup_steps=0", "--seeds", "1"]
BRIEF_EVALUATION = {"lm-pretrain": ["--set", "task.evaluation_tokens=512"]}
# By the words of a command, what it has made in its folder once its work has begun.
BEGUN = {"reproduce": "reproductions/*", "--over": "runs/*/*/result.json"}
# Weights and runs that are not made here; docs/first-hour.md uses runs of its own.
OF_THE_READER = ("my-study", "task.model=/", "model.weights=", "task.folder=", "trainer.start_from=")
ON_A_RUN = ("evaluate", "export", "predict")
RECIPE = """[task]
name = "lm-pretrain"
data = "my-texts"
vocabulary_size = 300
evaluation_tokens = 512
[model]
name = "llama-tiny"
[optimizer]
name = "adamw"
"""


def shown_commands(page: Path) -> Iterator[str]:
    """The lines of a page's ``sh`` blocks that call graftwork, without their comments."""
    for block in re.findall(r"```sh\n(.*?)```", page.read_text("utf-8"), flags=re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            command = line.partition("  #")[0].strip().removeprefix("pip install uv && uv run ")
            if re.match(r"(graftwork|torchrun .*-m graftwork|python -m graftwork)\b", command):
                yield command


def bring_along(folder: Path) -> None:
    """Make what the pages call the reader's own."""
    sentences = ["The miller carries a lantern.", "A sailor repairs two ropes.", "Every clerk sells a clock."]
    for texts in ("my-texts", "my/texts"):
        (folder / texts).mkdir(parents=True)
        for number in range(24):
            (folder / texts / f"{number}.txt").write_text(" ".join(sentences * 40) + f" {number}.", "utf-8")
    with (folder / "reviews.csv").open("w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["text", "label"])
        rows.writerows([f"Number {n} was {'fine' if n % 2 else 'dull'}.", n % 2] for n in range(6000))
    (folder / "mine.py").write_text(
        "import graftwork\n@graftwork.register('metric')\ndef mine(): ...\n", "utf-8"
    )
    for name in ("recipe.toml", "RECIPE"):
        (folder / name).write_text(RECIPE, "utf-8")


def as_run(command: str, *, readme: bool, whole: bool) -> list[str] | None:
    """The words to run for a command; None where the reader must bring more than can be made here."""
    words = shlex.split(command)
    if any(word.startswith(OF_THE_READER) or word in ("...", "--resume") for word in words):
        return None
    if words[1] in ON_A_RUN:
        return None
    if words[0] == "torchrun":
        return ["torchrun", "--standalone", "--nproc-per-node", "2", *words[3:], *BRIEF] if readme else None
    if words[0] == "python":
        return None
    if words[1] in ("train", "--plugin"):
        brief = [*BRIEF, *BRIEF_EVALUATION.get(words[2], [])]
        return [*words, *brief] if readme else [*words, "--dry-run"]
    if words[1] == "compare":
        brief = [*BRIEF_COMPARISON, *BRIEF_EVALUATION.get(words[2], [])]
        return [*words, *brief] if readme else None
    if words[1] == "reproduce" and not (whole or readme):
        return ["graftwork", "info", f"reproduction/{words[2]}"]
    if words[1] == "flatness-study" and not whole:
        return None
    return words


def commands(whole: bool) -> list[tuple[Path, list[str]]]:
    """What is run, each with the page that shows it; what two pages show, of the first."""
    pages = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("packages/*/README.md"))]
    found: dict[tuple[str, ...], Path] = {}
    for page in pages:
        for command in shown_commands(page):
            words = as_run(command, readme=page.parent == ROOT, whole=whole)
            if words is not None:
                found.setdefault(tuple(words), page)
    return [(page, list(words)) for words, page in found.items()]


def environment() -> dict[str, str]:
    """The variables of a reader's shell."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GRAFTWORK_P")}
    # Other commands have the other cores.
    return {**kept, "OMP_NUM_THREADS": "1"}


def told(page: Path, words: list[str], code: int, started: float, printed: str, good: str = "ok") -> bool:
    """Say how a command went, and return whether it succeeded."""
    seconds = time.perf_counter() - started
    outcome = good if code == 0 else f"exit code {code}\n{printed}"
    print(f"{page.relative_to(ROOT)}: {shlex.join(words)}: {seconds:.0f} s, {outcome}", flush=True)
    return code == 0


def run(page: Path, words: list[str], folder: Path, *, whole: bool) -> bool:
    """Run a command in a reader's folder, say how it went, and return whether it succeeded."""
    begun = next((made for word, made in BEGUN.items() if word in words and not whole), None)
    started, output = time.perf_counter(), folder / "printed"
    with output.open("w") as printed:
        process = subprocess.Popen(
            words,
            cwd=folder,
            env=environment(),
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        while begun is not None and process.poll() is None:
            if any(folder.glob(begun)):
                # With the processes that it has started.
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return told(page, words, 0, started, "", "begun")
            time.sleep(0.1)
        return told(page, words, process.wait(), started, output.read_text("utf-8"))


def run_forked(shown: list[tuple[Path, list[str], Path]]) -> list[bool]:
    """Run commands of ``graftwork`` in their folders, each in a fork of this process of one thread."""
    readers = environment()
    for name in os.environ.keys() - readers.keys():
        del os.environ[name]
    os.environ.update(readers)
    for name in forked_commands.PRELOADED:
        importlib.import_module(name)
    succeeded: list[bool] = []
    running: dict[int, tuple[Path, list[str], Path, float]] = {}

    def wait() -> None:
        child, status = os.wait()
        page, words, output, started = running.pop(child)
        printed = output.read_text("utf-8")
        succeeded.append(told(page, words, os.waitstatus_to_exitcode(status), started, printed))

    for page, words, folder in shown:
        if len(running) == (os.cpu_count() or 1):
            wait()
        output, started = folder / "printed", time.perf_counter()
        child = os.fork()
        if child == 0:
            forked_commands.run(words[1:], str(folder), str(output), {})
        running[child] = (page, words, output, started)
    while running:
        wait()
    return succeeded


def main(whole: bool) -> int:
    """Run all, one command beside another, each in a folder of its own, and say how each went."""
    with tempfile.TemporaryDirectory() as root:
        shown = [(page, words, Path(root) / str(n)) for n, (page, words) in enumerate(commands(whole))]
        for _, _, folder in shown:
            bring_along(folder)
        of_readme = [one for one in shown if one[0].parent == ROOT]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            succeeded = list(pool.map(lambda one: run(*one, whole=whole), of_readme))
        trained = next(folder for _, words, folder in of_readme if words[1] == "train")
        for _, words, folder in shown:
            if words[1] == "report":
                (folder / "runs").symlink_to(trained / "runs")
        succeeded += run_forked(shown[len(of_readme) :])
    print(f"{succeeded.count(True)} passed, {succeeded.count(False)} failed")
    return int(not all(succeeded))


if __name__ == "__main__":
    sys.exit(main("--whole" in sys.argv[1:]))

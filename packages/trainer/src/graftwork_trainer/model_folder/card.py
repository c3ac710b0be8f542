"""``README.md`` of a model: what it is, what it was trained by and on, how good it is, how to load it.

Its first lines are those that the hubs read (https://huggingface.co/docs/hub/model-cards); no licence is
among them, since nobody but the author of data and weights can know it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from graftwork.readable import readable
from graftwork.resolution import Resolved
from graftwork_trainer.attention import record_of
from graftwork_trainer.model_folder.layouts import WEIGHTS, Layout


@dataclass(frozen=True)
class Card:
    """What there is to tell of a trained model.

    Args:
        name: of its run.
        recipe: that it was trained by.
        environment: of the run: versions, facts of the data.
        step: that its weights are of.
        metrics: of their evaluation.
        why: which weights these are, in words.
    """

    name: str
    recipe: Resolved
    environment: Mapping[str, Any]
    step: int
    metrics: Mapping[str, float]
    why: str

    def text(self, layout: Layout, model: nn.Module, folder: Path) -> str:
        """The card.

        Args:
            layout: that the model is written in.
            model: that it is of.
            folder: with its other files.
        """
        count = sum(parameter.numel() for parameter in model.parameters())
        kind = type(model).__name__.removeprefix("FSDP")
        environment = self.environment
        return "\n".join(
            [
                "---",
                *([f"library_name: {layout}"] if layout != "safetensors" else []),
                "tags: [graftwork]",
                "---",
                "",
                f"# {readable(self.name)}",
                "",
                f"`{kind}` with {count:,} parameters, trained by Graftwork's task `{self.recipe.task.name}` "
                f"with the trainer `{self.recipe.trainer.name}`; {self.why}.",
                "",
                "## Use",
                "",
                "```python",
                *_loading(layout, model, folder),
                "```",
                "",
                "## Figures",
                "",
                f"At step {self.step}, on held-out data:",
                "",
                *_table("metric", {name: f"{value:.6g}" for name, value in self.metrics.items()}),
                "",
                "## Data",
                "",
                *_table("fact", environment.get("data", {})),
                "",
                "## Training",
                "",
                "```toml",
                self.recipe.to_toml().strip(),
                "```",
                "",
                *_table("version", {"python": environment.get("python"), **environment.get("packages", {})}),
                "",
            ]
        )


def _table(what: str, rows: Mapping[str, Any]) -> list[str]:
    if not rows:
        return ["None is known."]
    cells = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows.items()]
    return [f"| {what} | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in cells)]


def _loading(layout: Layout, model: nn.Module, folder: Path) -> list[str]:
    """Lines of Python that load the model from the folder that they are run in."""
    if layout != "safetensors" and record_of(model) is not None:
        return [
            "from graftwork_attention.conversion import load_converted",
            "",
            'model = load_converted(".")',
        ]
    if layout == "timm":
        return ["import timm", "", 'model = timm.create_model("local-dir:.", pretrained=True)']
    if layout == "safetensors":
        return [
            "from safetensors.torch import load_file",
            "",
            f'tensors = load_file("{WEIGHTS}")  # for load_state_dict of a model built as the recipe says',
        ]
    kind = type(model).__name__.removeprefix("FSDP")
    has_tokenizer = (folder / "tokenizer_config.json").exists()
    names = ["AutoTokenizer", kind] if has_tokenizer else [kind]
    lines = [f"from transformers import {', '.join(names)}", "", f'model = {kind}.from_pretrained(".")']
    if has_tokenizer:
        lines.append('tokenizer = AutoTokenizer.from_pretrained(".")')
    if has_tokenizer and kind.endswith(("ForCausalLM", "LMHeadModel")):
        lines += [
            'inputs = tokenizer("Once upon a time", return_tensors="pt", return_token_type_ids=False)',
            "written = model.generate(**inputs, max_new_tokens=20)",
            "print(tokenizer.decode(written[0]))",
        ]
    return lines

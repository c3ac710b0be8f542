"""What transformers may not do when it loads a folder or a hub's files: unpickle weights, run code of theirs.

``use_safetensors=True`` leaves two ways to a pickle open, an index that names one and a configuration that
does (``transformers_weights``), and a folder without safetensors files deserves a better sentence. Code
beside the weights (``auto_map``) needs ``trust_remote_code``, which must be False, not left out: then
transformers asks at the terminal.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from graftwork import GraftworkError
from graftwork.realdata import digest
from graftwork_trainer.files import broken_link, not_readable

_SUFFIX = ".safetensors"
_INDEX = "model.safetensors.index.json"
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def refuse_pickled_weights(source: str) -> None:
    """Refuse weights that only unpickling could read.

    Args:
        source: a folder, or a name on the hub.

    Raises:
        ValueError: they are such ones; the message goes on after the model's name.
    """
    folder = Path(source)
    if folder.is_dir() and not any(folder.glob(f"*{_SUFFIX}")):
        pickled = sorted(file.name for pattern in _PICKLED for file in folder.glob(pattern))
        if pickled:
            raise ValueError(
                f"its weights are in {pickled[0]}, a pickle, which can run code when it is read; where you "
                "trust it, load it yourself and `save_pretrained` makes model.safetensors of it"
            )
    for name, files in (("config.json", _named_by_config(source)), (_INDEX, _named_by_index(source))):
        wrong = sorted(file for file in files if not file.endswith((_SUFFIX, f"{_SUFFIX}.index.json")))
        if wrong:
            raise ValueError(
                f"its {name} names {wrong[0]!r}, and weights are read from safetensors files alone"
            )


def refuse_what_is_no_file(folder: Path, what: str) -> None:
    """Refuse a folder with something to wait for in it: transformers opens whatever has a name that it knows.

    Args:
        folder: of a model or tokenizer.
        what: it is, with its name.

    Raises:
        GraftworkError: there is a pipe or a device, or a link that leads nowhere.
    """
    for path in sorted(folder.iterdir()):
        if not path.exists():
            raise GraftworkError(f"{what}: {broken_link(path)}")
        if not path.is_file() and not path.is_dir():
            raise GraftworkError(f"{what}: {path} is no file; remove it")


def digest_of(path: Path) -> str:
    """SHA-256 of a file or folder that lies beside weights.

    Raises:
        GraftworkError: it cannot be read.
    """
    try:
        return digest(path)
    except OSError as error:
        raise not_readable(path, error) from error


def commit_of(name: str) -> str:
    """The commit of a model on the hub that is loaded here, as its cache has it.

    Args:
        name: on the hub.
    """
    from transformers.utils.hub import cached_file, extract_commit_hash

    return str(extract_commit_hash(str(cached_file(name, "config.json")), None))


@contextmanager
def explained(what: str, remedy: str = "") -> Iterator[None]:
    """Make one sentence of what transformers says where it cannot load something.

    Args:
        what: is loaded, with its name.
        remedy: is added to the sentence.
    """
    try:
        yield
    except GraftworkError:
        raise
    except Exception as error:  # readers in Rust raise bare ones
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        if "trust_remote_code" in str(error):
            reason = "it brings code of its own, which is never run; give one that transformers has code for"
        raise GraftworkError(f"{what}: transformers cannot load it: {reason}{remedy}") from error


def _named_by_config(source: str) -> list[str]:
    named = _json(source, "config.json").get("transformers_weights")
    return [] if named is None else [str(named)]


def _named_by_index(source: str) -> list[str]:
    return [str(file) for file in _json(source, _INDEX).get("weight_map", {}).values()]


def _json(source: str, name: str) -> dict[str, Any]:
    """A file beside the weights; empty where there is none."""
    from transformers.utils.hub import cached_file

    found = cached_file(source, name, _raise_exceptions_for_missing_entries=False)
    content = json.loads(Path(found).read_text("utf-8")) if found else {}
    if not isinstance(content, dict):
        raise ValueError(f"its {name} must hold an object, got {type(content).__name__}")
    return content

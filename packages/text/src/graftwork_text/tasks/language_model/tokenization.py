"""Text to token numbers: a byte-level BPE trained on the training split, or a tokenizer of the user's."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graftwork.errors import GraftworkError
from graftwork.realdata import digest
from graftwork_text.models.loading import explained

if TYPE_CHECKING:
    from tokenizers import Tokenizer

END_OF_TEXT = "<|endoftext|>"
# The 256 bytes and the end-of-text token.
SMALLEST_VOCABULARY = 257
_KNOWN_ENDS = (END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>", "<|eot_id|>", "<|im_end|>", "[EOS]", "[SEP]")
# A model's folder holds weights too, which take long to read and do not matter here.
_TOKENIZER_SUFFIXES = (".json", ".txt", ".model", ".tiktoken")
_OF_THE_MODEL = ("config.json", "generation_config.json", "graftwork.json", "model.safetensors.index.json")
_DOCUMENTS_AT_ONCE = 256


class TextTokenizer:
    """A tokenizer and its end-of-text token.

    Args:
        backend: the tokenizer proper.
        end_of_text: number of the token that separates documents.
    """

    def __init__(self, backend: Tokenizer, end_of_text: int) -> None:
        backend.no_truncation()
        backend.no_padding()
        # A document that quotes the end-of-text token does not end there.
        backend.encode_special_tokens = True
        self.backend = backend
        self.end_of_text = end_of_text

    @property
    def vocabulary(self) -> int:
        """One more than the largest token number."""
        return max(self.backend.get_vocab(with_added_tokens=True).values()) + 1

    @property
    def digest(self) -> str:
        """SHA-256 over its tokens with their numbers, and the one that separates documents."""
        numbers = self.backend.get_vocab(with_added_tokens=True)
        content = json.dumps([self.end_of_text, sorted(numbers.items())])
        return hashlib.sha256(content.encode()).hexdigest()

    def encode(self, texts: Iterable[str]) -> Iterator[NDArray[np.int64]]:
        """Yield the tokens of each text, [tokens], without any special one."""
        for group in _grouped(texts):
            for encoding in self.backend.encode_batch_fast(group, add_special_tokens=False):
                yield np.asarray(encoding.ids, dtype=np.int64)

    def encode_with_bytes(
        self, texts: Iterable[str]
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Yield the tokens of each text and how many UTF-8 bytes each adds, both [tokens].

        The bytes of a text's tokens sum to its length in UTF-8 (where a text has a token at all), whatever
        the tokenizer skips or normalizes: what lies before a token counts as its own, what follows the last
        one too.
        """
        for group in _grouped(texts):
            for text, encoding in zip(
                group, self.backend.encode_batch(group, add_special_tokens=False), strict=True
            ):
                ids = np.asarray(encoding.ids, dtype=np.int64)
                yield ids, _bytes_added(text, encoding.offsets)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of some tokens; end-of-text tokens are left out."""
        return str(self.backend.decode([int(token) for token in tokens], skip_special_tokens=True))

    def save(self, file: Path) -> None:
        """Write the tokenizer as JSON."""
        self.backend.save(str(file))

    def save_folder(self, folder: Path) -> None:
        """Write the tokenizer as transformers' ``AutoTokenizer`` and :func:`load_tokenizer` read it."""
        self.save(folder / "tokenizer.json")
        settings = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": self.backend.id_to_token(self.end_of_text),
            "clean_up_tokenization_spaces": False,
        }
        (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1) + "\n", "utf-8")


def train_tokenizer(texts: Iterable[str], vocabulary_size: int) -> TextTokenizer:
    """Train a byte-level BPE: any text can be encoded, and decoding gives it back exactly.

    Args:
        texts: training text only.
        vocabulary_size: tokens at most, 257 or more; a small text yields fewer.

    >>> tokenizer = train_tokenizer(["to be or not to be"], 300)
    >>> tokenizer.decode(next(tokenizer.encode(["to be naïve"])).tolist())
    'to be naïve'
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return TextTokenizer(backend, backend.get_vocab(with_added_tokens=True)[END_OF_TEXT])


def load_tokenizer(path: Path) -> TextTokenizer:
    """Load a ``tokenizer.json``, or a folder that transformers' ``AutoTokenizer`` reads.

    Args:
        path: file or folder; nothing is downloaded.

    Raises:
        GraftworkError: there is no such tokenizer, or it has no end-of-text token.
    """
    if not path.exists():
        raise GraftworkError(
            f"tokenizer {str(path)!r} does not exist; give a tokenizer.json or a folder that transformers' "
            "AutoTokenizer loads, or leave it out to train one on the text"
        )
    if path.is_dir():
        return _load_folder(path)
    backend = _backend_from(path)
    vocabulary = backend.get_vocab(with_added_tokens=True)
    end = next((token for token in _KNOWN_ENDS if token in vocabulary), None)
    if end is None:
        raise GraftworkError(
            f"tokenizer {str(path)!r} has none of the end-of-text tokens {', '.join(_KNOWN_ENDS)}; "
            "add one, or give the folder with its tokenizer_config.json"
        )
    return TextTokenizer(backend, vocabulary[end])


def reload_tokenizer(file: Path, end_of_text: int) -> TextTokenizer:
    """Load what :meth:`TextTokenizer.save` wrote.

    Args:
        file: a ``tokenizer.json``.
        end_of_text: as it was.
    """
    return TextTokenizer(_backend_from(file), end_of_text)


def tokenizer_identity(tokenizer: Path | None, vocabulary_size: int) -> dict[str, str]:
    """Everything that determines what a tokenizer does, as plain text; nothing is loaded for it.

    Args:
        tokenizer: the user's file or folder, or None for one to be trained.
        vocabulary_size: of the one to be trained.

    Raises:
        GraftworkError: the file or folder does not exist.
    """
    identity = {"tokenizers": importlib.metadata.version("tokenizers")}
    if tokenizer is None:
        return identity | {"training": "byte-level BPE, 1", "vocabulary_size": str(vocabulary_size)}
    if not tokenizer.exists():
        load_tokenizer(tokenizer)
    if tokenizer.is_dir():
        identity["transformers"] = importlib.metadata.version("transformers")
        files = sorted(
            file
            for file in tokenizer.iterdir()
            if file.suffix in _TOKENIZER_SUFFIXES and file.name not in _OF_THE_MODEL
        )
        return identity | {file.name: digest(file) for file in files}
    return identity | {"sha256": digest(tokenizer)}


def copy_tokenizer(source: Path, folder: Path) -> None:
    """Write the tokenizer of a folder to another one, with its special tokens and templates."""
    _loaded(source).save_pretrained(folder)


def _loaded(path: Path) -> Any:
    from transformers import AutoTokenizer

    with explained(f"tokenizer {str(path)!r}"):
        return AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)


def _load_folder(path: Path) -> TextTokenizer:
    loaded = _loaded(path)
    backend = getattr(loaded, "backend_tokenizer", None)
    if backend is None:
        raise GraftworkError(f"tokenizer {str(path)!r} has no fast form (a tokenizer.json)")
    if loaded.eos_token_id is None:
        raise GraftworkError(f"tokenizer {str(path)!r} declares no eos_token in its tokenizer_config.json")
    return TextTokenizer(backend, int(loaded.eos_token_id))


def _backend_from(file: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the Rust side raises bare Exception
        raise GraftworkError(f"tokenizer {str(file)!r} is not a tokenizer.json: {error}") from error


def _grouped(texts: Iterable[str]) -> Iterator[list[str]]:
    iterator = iter(texts)
    while group := list(islice(iterator, _DOCUMENTS_AT_ONCE)):
        yield group


def _bytes_added(text: str, offsets: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """Differences of the byte positions where tokens end; [tokens], summing to the text's UTF-8 length."""
    ends = np.fromiter((end for _, end in offsets), dtype=np.int64, count=len(offsets))
    if not len(ends):
        return ends
    ends[-1] = len(text)
    ends = np.maximum.accumulate(ends)
    if not text.isascii():
        code_points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        widths = 1 + (code_points >= 0x80) + (code_points >= 0x800) + (code_points >= 0x10000)
        ends = np.concatenate([[0], np.cumsum(widths)])[ends]
    return np.diff(ends, prepend=0)

"""Text to token numbers: a byte-level BPE trained on the training split, or a tokenizer of the user's."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graftwork.errors import GraftworkError
from graftwork_text.models.loading import digest_of, explained, refuse_what_is_no_file
from graftwork_text.tasks.language_model.long_texts import Piece, grouped, pieces_of
from graftwork_trainer.files import check_given

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

END_OF_TEXT = "<|endoftext|>"
# The 256 bytes and the end-of-text token.
SMALLEST_VOCABULARY = 257
_KNOWN_ENDS = (END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>", "<|eot_id|>", "<|im_end|>", "[EOS]", "[SEP]")
# A model's folder holds weights too, which take long to read and do not matter here.
_TOKENIZER_SUFFIXES = (".json", ".txt", ".model", ".tiktoken")
_OF_THE_MODEL = ("config.json", "generation_config.json", "graftwork.json", "model.safetensors.index.json")


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
        gathered: list[NDArray[np.int64]] = []
        for ids, ends_text in self.encode_pieces(texts):
            gathered.append(ids)
            if ends_text:
                yield gathered[0] if len(gathered) == 1 else np.concatenate(gathered)
                gathered = []

    def encode_pieces(self, texts: Iterable[str]) -> Iterator[tuple[NDArray[np.int64], bool]]:
        """Yield the tokens of each text by pieces, [tokens], and whether the piece ends its text."""
        for group in grouped(pieces_of(texts)):
            encode = self.backend.encode_batch_fast
            if not all(piece.is_alone for piece in group):
                encode = self.backend.encode_batch
            encodings = encode([piece.window for piece in group], add_special_tokens=False)
            for piece, encoding in zip(group, encodings, strict=True):
                ids = np.asarray(encoding.ids, dtype=np.int64)
                yield ids if piece.is_alone else ids[_tokens_of(piece, encoding)], piece.ends_text

    def encode_pieces_with_bytes(
        self, texts: Iterable[str]
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], bool]]:
        """Yield the same with how many UTF-8 bytes each token adds, [tokens], between the two.

        The bytes of a text's tokens sum to its length in UTF-8 (where a text has a token at all), whatever
        the tokenizer skips or normalizes: what lies before a token counts as its own, what follows the last
        one too.
        """
        passed_over = 0
        for group in grouped(pieces_of(texts)):
            encodings = self.backend.encode_batch([piece.window for piece in group], add_special_tokens=False)
            for piece, encoding in zip(group, encodings, strict=True):
                chosen = _tokens_of(piece, encoding)
                ids = np.asarray(encoding.ids, dtype=np.int64)[chosen]
                ends = np.asarray(encoding.offsets, dtype=np.int64).reshape(-1, 2)[chosen, 1]
                added, passed_over = _bytes_added(piece, ends, passed_over)
                if piece.ends_text:
                    added[-1:] += passed_over
                    passed_over = 0
                yield ids, added, piece.ends_text

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
    backend.train_from_iterator((piece.text for piece in pieces_of(texts)), trainer)
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
        refuse_what_is_no_file(path, f"tokenizer {str(path)!r}")
        return _load_folder(path)
    check_given(path)
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
        refuse_what_is_no_file(tokenizer, f"tokenizer {str(tokenizer)!r}")
        identity["transformers"] = importlib.metadata.version("transformers")
        files = sorted(
            file
            for file in tokenizer.iterdir()
            if file.suffix in _TOKENIZER_SUFFIXES and file.name not in _OF_THE_MODEL
        )
        return identity | {file.name: digest_of(file) for file in files}
    check_given(tokenizer)
    return identity | {"sha256": digest_of(tokenizer)}


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


def _tokens_of(piece: Piece, encoding: Encoding) -> NDArray[np.bool_] | slice:
    """Which tokens of a window are those of its piece."""
    if piece.is_alone:
        return slice(None)
    starts = np.asarray(encoding.offsets, dtype=np.int64).reshape(-1, 2)[:, 0]
    return (piece.start <= starts) & (starts < piece.end)


def _bytes_added(piece: Piece, ends: NDArray[np.int64], passed_over: int) -> tuple[NDArray[np.int64], int]:
    """How many bytes each token of a piece adds, and how many of the piece are left when it ends.

    Args:
        piece: of a text.
        ends: [tokens], where each ends, in characters of the window.
        passed_over: bytes left of the piece before; below zero where its last token reaches into this one.
    """
    if piece.window.isascii():
        bytes_before = np.arange(len(piece.window) + 1)
    else:
        code_points = np.frombuffer(piece.window.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        widths = 1 + (code_points >= 0x80) + (code_points >= 0x800) + (code_points >= 0x10000)
        bytes_before = np.concatenate([[0], np.cumsum(widths)])
    start = bytes_before[piece.start] - passed_over
    reached = np.maximum.accumulate(np.maximum(bytes_before[ends], start))
    left = bytes_before[piece.end] - (reached[-1] if len(reached) else start)
    return np.diff(reached, prepend=start), int(left)

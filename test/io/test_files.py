from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from neumap.errors import DataError
from neumap.io.files import parse_lines, read_text, write_atomically


def test_lines_are_parsed_without_comments_and_errors_name_their_number(tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    file.write_bytes(b"\xef\xbb\xbf# comment\r\n\r\n  a b \r\nc\r\n")
    assert parse_lines(file, "the list", "letters", str.split) == [["a", "b"], ["c"]]
    with pytest.raises(DataError, match=r"list\.txt, line 3: invalid literal"):
        parse_lines(file, "the list", "numbers", int)
    file.write_text("# comment\n")
    with pytest.raises(DataError, match=r"the list .*list\.txt is empty: expected lines of 'letters'"):
        parse_lines(file, "the list", "letters", str.split)


def test_read_text_names_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the list .*none\.txt does not exist"):
        read_text(tmp_path / "none.txt", "the list")
    with pytest.raises(DataError, match="is a folder"):
        read_text(tmp_path, "the list")
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(DataError, match="not a text file"):
        read_text(binary, "the list")
    with pytest.raises(DataError, match="cannot be read"):
        read_text(tmp_path / ("x" * 300), "the list")


def test_write_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "out.txt"
    for content in (b"old", b"new"):
        write_atomically(file, content)
    assert file.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [file]


def test_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "out.txt"
    file.write_bytes(b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space") as caught:
        write_atomically(file, b"new")
    assert caught.value.filename == str(file)
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_write_goes_through_links_and_into_pipes(tmp_path: Path) -> None:
    file, link, pipe = tmp_path / "file", tmp_path / "link", tmp_path / "pipe"
    link.symlink_to(file)
    write_atomically(link, b"x")
    assert link.is_symlink()
    assert file.read_bytes() == b"x"
    os.mkfifo(pipe)
    writer = threading.Thread(target=write_atomically, args=(pipe, b"y"))
    writer.start()
    assert pipe.read_bytes() == b"y"
    writer.join()


def test_write_refuses_a_folder_and_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder"):
        write_atomically(tmp_path, b"")
    with pytest.raises(DataError, match="does not exist, create it"):
        write_atomically(tmp_path / "none" / "out.txt", b"")

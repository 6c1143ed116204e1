"""The owner's `.env`: one variable changed at a time, every other line and comment as it was, whole at any moment.

A new text is written beside the file, with mode 0600, and takes its place in one step: a reader, a crash or a Ctrl-C
meets the old file or the new one.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import Binding, parse_stream

from values.errors import Refused

_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./~-]+")


class DotenvFile:
    """`path` need not exist. Nothing here shows a value."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()

    def set(self, name: str, value: str | None) -> None:
        """Set `name`, in place where it is set already; None takes it out.

        Raises Refused `bad_value` for what the file can't keep, and `no_file` where it can't be read or written.
        """
        before = self._text()
        after = "".join(_changed(before, name, value))
        read_back = dotenv_values(stream=StringIO(after)).get(name)
        if read_back != value or not (value or "").isprintable():
            raise Refused(
                "bad_value",
                f"what was given for {name} can't be kept in .env: it would be read otherwise, or not be seen",
            )
        self._write(after)

    def _text(self) -> str:
        try:
            return self.path.read_bytes().decode("utf-8")
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
            raise Refused("no_file", f"{self.path} can't be read: {why}") from None

    def _write(self, text: str) -> None:
        temporary = None
        try:
            handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=".env.")  # mkstemp makes it 0600
            temporary = Path(name)
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.path)
        except OSError as error:
            raise Refused("no_file", f"{self.path} can't be written: {error.strerror}") from None
        finally:
            if temporary is not None:
                with contextlib.suppress(FileNotFoundError):
                    temporary.unlink()


def _changed(text: str, name: str, value: str | None) -> Iterator[str]:
    """The text's statements, that of `name` another: the last where there are several, which is the one that counts."""
    bindings = list(parse_stream(StringIO(text, newline="")))
    places = [at for at, each in enumerate(bindings) if each.key is not None and each.key.upper() == name]
    for at, each in enumerate(bindings):
        if at not in places:
            yield each.original.string
            continue
        blank, begin, comment = _around(each)
        is_kept = value is not None and at == places[-1]
        yield f"{blank}{begin}{name}={_quoted(value or '')}{comment}\n" if is_kept else blank
    if value is not None and not places:
        yield "" if not text or text.endswith("\n") else "\n"
        yield f"{name}={_quoted(value)}\n"


def _around(binding: Binding) -> tuple[str, str, str]:
    """What stands around a statement: blank lines and `export` before it, a comment after its value."""
    whole, key = binding.original.string, binding.key
    assert key is not None
    before, _, after = whole.partition(key)
    begin = before.lstrip()
    comment = re.search(r"[ \t]+#[^'\"\r\n]*$", after.rstrip("\r\n"))
    return before[: len(before) - len(begin)], begin, comment[0] if comment else ""


def _quoted(value: str) -> str:
    if _PLAIN.fullmatch(value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"

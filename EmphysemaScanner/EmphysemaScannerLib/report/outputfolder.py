"""A folder of results that is there whole or not at all.

Everything is written into a working folder first, and moved when it is complete. A folder that already holds results
of ours is replaced; one that holds anything else is refused, so that no file of the user's is ever overwritten or
removed. What is ours is known from a list, ``.emphysema-scanner-files``, that every output folder carries.
"""

from __future__ import annotations

import glob
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..base.errors import EmphysemaScannerError

FILE_LIST = ".emphysema-scanner-files"
WORKING_SUFFIX = ".part"
_LEFT_AFTER_S = 24 * 3600  # nobody writes results for so long


class OutputFolderError(EmphysemaScannerError):
    """Results cannot be written to the folder that the user named."""


def check_output_folder(folder: Path) -> None:
    """Refuse a folder that results may not go into; call it before the long work.

    Raises:
        OutputFolderError: it is a file, or holds files that are not ours.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise OutputFolderError(f"'{folder}' is a file; name a folder for the results.")
    strangers = sorted(_entries(folder) - _ours(folder))
    if strangers:
        raise OutputFolderError(
            f"The folder '{folder}' holds files that EmphysemaScanner did not write, such as '{strangers[0]}'; "
            "name a new or empty folder."
        )


@contextmanager
def whole_or_nothing(folder: Path) -> Iterator[Path]:
    """A working folder to write into; its contents become ``folder`` when the block ends without an error.

    Raises:
        OutputFolderError: as ``check_output_folder``, or nothing can be written there.
    """
    check_output_folder(folder)
    folder = folder.resolve()
    working = _working_folder(folder)
    before = working.with_name(f"{working.stem}-before{WORKING_SUFFIX}")
    try:
        yield working
        (working / FILE_LIST).write_text("".join(f"{name}\n" for name in sorted(_entries(working))), encoding="utf-8")
        if folder.is_dir() and not _set_aside(folder, before, working):
            _remove_ours(folder)
            for entry in sorted(working.iterdir(), key=lambda entry: entry.name != FILE_LIST):
                entry.rename(folder / entry.name)
        else:
            working.rename(folder)
    finally:
        if before.is_dir() and not folder.exists():
            before.rename(folder)
        for leftover in (working, before):
            shutil.rmtree(leftover, ignore_errors=True)


def _working_folder(folder: Path) -> Path:
    """A new one beside a folder, or in it where nothing can be written beside it, as with a mounted one."""
    refused = None
    for place in (folder.parent, folder) if folder.is_dir() else (folder.parent,):
        working = place / f".{folder.name}-{os.getpid()}{WORKING_SUFFIX}"
        try:
            for leftover in place.glob(f".{glob.escape(folder.name)}-*{WORKING_SUFFIX}"):  # of a killed run
                if time.time() - leftover.stat().st_mtime > _LEFT_AFTER_S:
                    shutil.rmtree(leftover, ignore_errors=True)
            working.mkdir(parents=True)
        except OSError as error:
            refused = error
        else:
            return working
    assert refused is not None
    raise OutputFolderError(
        f"Nothing can be written to '{folder.parent}' ({refused.strerror}); name another folder."
    ) from refused


def _set_aside(folder: Path, before: Path, working: Path) -> bool:
    """Move earlier results out of the way as a whole, if they can be: a kill then never leaves a part of them."""
    if before.is_relative_to(folder):
        return False
    try:
        shutil.copystat(folder, working)
        folder.rename(before)
    except OSError:  # a mounted folder, or on Windows one that a program looks into
        return False
    return True


def _entries(folder: Path) -> set[str]:
    """Files below a folder, relative, without working folders that a killed run left behind."""
    relative = (path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir())
    return {path.as_posix() for path in relative if not path.parts[0].endswith(WORKING_SUFFIX)}


def _ours(folder: Path) -> set[str]:
    file_list = folder / FILE_LIST
    if not file_list.is_file():
        return set()
    return {FILE_LIST, *file_list.read_text(encoding="utf-8", errors="replace").splitlines()}


def _remove_ours(folder: Path) -> None:
    for name in _ours(folder) & _entries(folder):
        (folder / name).unlink()
    below = [path for path in folder.rglob("*") if path.is_dir() and not path.name.endswith(WORKING_SUFFIX)]
    for path in sorted(below, reverse=True):
        if not any(path.iterdir()):
            path.rmdir()

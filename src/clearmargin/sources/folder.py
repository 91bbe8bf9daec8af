"""A folder on disk."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from clearmargin.records import Finding
from clearmargin.sources.container import Opened, counted, damaged, files_state, quoted, unreadable
from clearmargin.sources.names import is_hidden


@dataclass(frozen=True)
class Folder:
    """Files below a folder; see `Container`."""

    path: Path
    entries: tuple[str, ...]
    findings: tuple[Finding, ...] = ()
    kind: ClassVar[str] = "folder"

    def streams(self, names: Iterable[str]) -> Opened:
        """Each file opened in turn; see `Container.streams`."""
        for name in names:
            try:
                stream = (self.path / name).open("rb")
            except (OSError, ValueError) as error:
                yield name, unreadable(error)
                continue
            with stream:
                yield name, stream

    def fingerprint(self, names: Iterable[str]) -> str:
        """SHA-256 (hex) over each name and the SHA-256 of its bytes; a file that can't be read counts as such."""
        whole = hashlib.sha256()
        for name in names:
            try:
                with (self.path / name).open("rb") as file:
                    content = hashlib.file_digest(file, "sha256").digest()
            except (OSError, ValueError):
                content = bytes(32)
            whole.update(name.encode("utf-8", "surrogateescape") + b"\0" + content)
        return whole.hexdigest()

    def state(self, names: Iterable[str]) -> str:
        """Of the files themselves; see `Container.state`."""
        return files_state(self.path / name for name in names)


def list_folder(path: Path) -> Folder:
    """List all files below a folder that aren't hidden, sorted by name.

    Links to files and folders are followed. Each real folder is listed once, however many links lead to
    it, so that no link makes a loop.

    Raises
    ------
    SourceError
        When the folder itself can't be listed.
    """
    walk = _Walk(path)
    walk.below("")
    while walk.links:
        following, walk.links = sorted(walk.links), []
        for name in following:
            walk.below(name)
    return Folder(path, tuple(sorted(walk.files)), tuple(walk.findings()))


@dataclass
class _Walk:
    """What has been met; ``links`` holds links to folders, to be followed after all real folders."""

    root: Path
    files: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    special: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    seen: set[tuple[int, int]] = field(default_factory=set)

    def below(self, start: str) -> None:
        """List everything below a folder (``""`` is the root)."""
        waiting = [start]
        while waiting:
            folder = waiting.pop()
            try:
                status = (self.root / folder).stat()
                identity = (status.st_dev, status.st_ino)
                if identity in self.seen:
                    self.repeated.append(folder)
                    continue
                self.seen.add(identity)
                with os.scandir(self.root / folder) as entries:
                    waiting += self._folders_among(entries, f"{folder}/" if folder else "")
            except OSError as error:
                if not folder:
                    raise damaged(self.root, error) from error
                self.closed.append(folder)

    def _folders_among(self, entries: Iterator[os.DirEntry[str]], prefix: str) -> list[str]:
        folders = []
        for entry in entries:
            if is_hidden(entry.name):
                continue
            name = prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                folders.append(name)
            elif entry.is_file(follow_symlinks=False):
                self.files.append(name)
            else:
                self._add_unusual(name, entry)
        return folders

    def _add_unusual(self, name: str, entry: os.DirEntry[str]) -> None:
        try:
            mode = entry.stat().st_mode
        except OSError:  # a link that leads nowhere: listed, so that reading it says so and it is counted
            mode = stat.S_IFREG
        if stat.S_ISDIR(mode):
            self.links.append(name)
        elif stat.S_ISREG(mode):
            self.files.append(name)
        else:  # opening a pipe would wait for ever
            self.special.append(name)

    def findings(self) -> Iterator[Finding]:
        if self.closed:
            names = tuple(sorted(self.closed))
            yield Finding(
                "unreadable-folder",
                "serious",
                f"Can't be opened, nothing inside is counted: {counted(len(names), 'folder')} ({quoted(names)}).",
                "Get permission to read them, then start again.",
                names,
            )
        if self.repeated:
            names = tuple(sorted(self.repeated))
            yield Finding(
                "repeated-folder",
                "note",
                f"Leading to a folder that is listed already: {counted(len(names), 'link')} ({quoted(names)}).",
                samples=names,
            )
        if self.special:
            yield special_entries(sorted(self.special))


def special_entries(names: Iterable[str]) -> Finding:
    """Finding about names that are no ordinary files."""
    named = tuple(names)
    return Finding(
        "special-entries",
        "warning",
        f"Left out, links in an archive, pipes or devices: {counted(len(named), 'name')} ({quoted(named)}).",
        "If they stand for images, put the images themselves in their place.",
        named,
    )

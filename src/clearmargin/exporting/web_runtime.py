"""onnxruntime-web as npm packs it: one pinned version, known by its hash, of which three files go into a page."""

from __future__ import annotations

import base64
import hashlib
import tarfile
from dataclasses import dataclass
from pathlib import Path

from clearmargin.errors import UsageError

VERSION = "1.30.0"
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
PACKED = f"onnxruntime-web-{VERSION}.tgz"
LARGEST_BYTES = 100_000_000
_FILES = ("ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
FETCH = f"Fetch it with `npm pack onnxruntime-web@{VERSION}`, and name the file with --runtime {PACKED}."


@dataclass(frozen=True)
class WebRuntime:
    """Its files: the library, what loads the machine code, and the machine code."""

    library: bytes
    glue: bytes
    wasm: bytes


def read_web_runtime(path: Path | None) -> WebRuntime:
    """Read the files out of the package, whose hash is that which npm states.

    Parameters
    ----------
    path
        The package, or a folder it lies in.

    Raises
    ------
    UsageError
        When it is not named, not there, or another one.
    """
    if path is None:
        raise UsageError(
            f"--format html puts onnxruntime-web {VERSION} into the page, which is not part of this package. {FETCH}"
        )
    place = path / PACKED if path.is_dir() else path
    try:
        with place.open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{place} can't be read: {error.strerror or error}. {FETCH}") from error
    found = "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()
    if found != INTEGRITY:
        raise UsageError(f"{place} is not onnxruntime-web {VERSION} as npm has it: its SHA-512 differs. {FETCH}")
    with tarfile.open(place) as archive:
        members = [archive.extractfile(f"package/dist/{name}") for name in _FILES]
        return WebRuntime(*(member.read() for member in members if member is not None))

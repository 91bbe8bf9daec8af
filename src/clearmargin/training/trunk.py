"""The frozen trunk, computed once: activations at the cut in a memory-mapped file."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from os.path import samestat
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import nn

from clearmargin.cache import mark_used
from clearmargin.errors import DiskError
from clearmargin.files import write_bytes, write_json
from clearmargin.locks import sole_writer_of
from clearmargin.mapped_rows import MappedRows
from clearmargin.models.cache_blocking import forward_in_blocks
from clearmargin.models.inputs import to_input
from clearmargin.models.vgg16 import at_the_cut
from clearmargin.recipe import Augmentation
from clearmargin.records import Rows
from clearmargin.training.augmentation import augment
from clearmargin.unfinished import sweep_left

PLACES_AT_ONCE = 16 * 224 * 224  # of a batch of large images; each stage takes what suits it (`forward_in_blocks`)
MOST_AT_ONCE = 16  # images: each call fills up its last batch
SYNC_EVERY = 16  # batches: what a kill can lose
FORMAT = 3
NOT_COMPUTED = -1


class TrunkCache:
    """Activations at the cut for the images of one pixel store, filled row by row as they are asked for.

    The file has a place for every image; a list of checksums says which are computed. So each part is computed
    only when somebody who may see that part asks, another split of the same images finds everything there, a pass
    that was interrupted goes on where it was, and what was damaged since is computed again. The activations of an
    image do not depend on who was computed with it: batches are filled up, and all of one shape.

    Attributes
    ----------
    shape, dtype
        As `Rows`: (images, height, width, channels) of bfloat16 bits in int16.
    """

    def __init__(
        self,
        folder: Path,
        trunk: nn.Sequential,
        images: Rows,
        images_key: str,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        precision: torch.dtype,
        view: int = 0,
        augmentation: Augmentation | None = None,
    ) -> None:
        self._trunk, self._images, self._mean, self._std, self._precision = trunk, images, mean, std, precision
        self._view, self._augmentation = view, augmentation
        changes = _changes(augmentation) if view and augmentation is not None else None
        meaning = {
            "format": FORMAT,
            "images": images_key,
            "weights": state_digest(trunk),
            "layers": len(trunk),
            "mean": mean,
            "std": std,
            "precision": str(precision),
            "view": view,
            **({"augmentation": changes} if changes else {}),
        }
        key = hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()
        self._cache, self._folder = folder, folder / "trunk" / key[:32]
        self._path, self._checksum_path = self._folder / "activations.bin", self._folder / "checksums.bin"
        self.dtype = np.dtype(np.int16)
        self.shape: tuple[int, ...] = (images.shape[0], *self._output_shape())
        self._row_bytes = math.prod(self.shape[1:]) * self.dtype.itemsize
        self._prepare_files(meaning)
        self._mapped = MappedRows(self._path, self.shape, self.dtype)
        self._checked = np.zeros(self.shape[0], dtype=bool)  # computed, and known to be whole

    def compute(self, rows: np.ndarray, progress: Callable[[int, int, str], None] | None = None) -> int:
        """Compute those of the rows that aren't there yet; return how many that were.

        One process computes at a time: others wait, and find what it did.

        Raises
        ------
        DiskError
            When the activations can't be written.
        """
        self._check(rows)
        if self._checked[rows].all():
            return 0
        with self._alone():
            self._look_again()
            self._check(rows)
            missing = rows[~self._checked[rows]]
            if len(missing):
                self._compute(missing, progress)
        return len(missing)

    def _compute(self, missing: np.ndarray, progress: Callable[[int, int, str], None] | None) -> None:
        network, filling, size = self._prepared_trunk(), _Filling(), self.batch_size
        try:
            with self._path.open("r+b") as file:
                try:
                    for number, start in enumerate(range(0, len(missing), size), start=1):
                        self._add(filling, missing[start : start + size])
                        self._fill(file, network, filling, last=start + size >= len(missing))
                        if progress is not None:
                            progress(filling.written, len(missing), "")
                        if number % SYNC_EVERY == 0:
                            self._save_checksums(file)
                finally:  # also when the user stops it
                    self._save_checksums(file)
        except OSError as error:
            raise self._disk_error(error) from error
        self._checked[missing] = True

    @property
    def batch_size(self) -> int:
        """How many images are computed at once, a power of two: fewer of large ones."""
        fit = int(np.clip(PLACES_AT_ONCE // math.prod(self._images.shape[1:3]), 1, MOST_AT_ONCE))
        return 1 << (fit.bit_length() - 1)

    def _add(self, filling: _Filling, rows: np.ndarray) -> None:
        for row, image in zip(rows.tolist(), self._images.read(rows), strict=True):
            filling.add(row, image, self._distinguishing(row, image))

    def _fill(self, file: BinaryIO, network: nn.Sequential, filling: _Filling, *, last: bool) -> None:
        """Compute and write what fills a batch, everything with the ``last``; then copy what is equal to it."""
        while len(filling.waiting) >= self.batch_size or (last and filling.waiting):
            rows, images = filling.batch(self.batch_size)
            self._write(file, rows, self._pass(network, rows, images))
        for row, original in filling.copies():
            file.seek(original * self._row_bytes)
            copied = np.frombuffer(file.read(self._row_bytes), self.dtype)
            self._write(file, np.array([row]), copied[None])

    def _distinguishing(self, row: int, image: np.ndarray) -> bytes:
        """What the activations of an image depend on: its pixels, and where they are changed by lot, its row too."""
        changed = b"" if self._view == 0 else int(row).to_bytes(8, "little")
        return hashlib.blake2b(image.data, digest_size=16).digest() + changed

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Activations of computed rows, int16 (len(rows), …); rows nobody computed are an error."""
        if not self._checked[rows].all():
            raise ValueError(f"{int((~self._checked[rows]).sum())} rows of the trunk cache are not computed yet")
        return self._mapped.read(rows)

    def _check(self, rows: np.ndarray) -> None:
        """Find out which of the rows are there and whole, once."""
        claimed = rows[(self._checksums[rows] != NOT_COMPUTED) & ~self._checked[rows]]
        for row in claimed:
            self._checked[row] = zlib.crc32(self._mapped.read(np.array([row])).data) == self._checksums[row]

    def _write(self, file: BinaryIO, rows: np.ndarray, activations: np.ndarray) -> None:
        for row, values in zip(rows, activations, strict=True):
            file.seek(int(row) * self._row_bytes)
            file.write(values.data)
            self._checksums[row] = zlib.crc32(values.data)

    def _pass(self, network: nn.Sequential, rows: np.ndarray, images: np.ndarray) -> np.ndarray:
        inputs = to_input(images, self._mean, self._std)
        if self._view and self._augmentation is not None:
            # one generator an image: what a view shows does not depend on who was in the batch
            pairs = zip(inputs.split(1), rows, strict=True)
            inputs = torch.cat([augment(image, self._augmentation, self._generator(row)) for image, row in pairs])
        lacking = self.batch_size - len(inputs)
        if lacking:  # always the same shape: in float32, one image alone comes out with other last digits than among 16
            inputs = torch.cat([inputs, inputs[-1:].expand(lacking, -1, -1, -1)])
        with torch.inference_mode():
            inputs = inputs.to(dtype=self._precision, memory_format=torch.channels_last)
            activations = at_the_cut(forward_in_blocks(network, inputs)).permute(0, 2, 3, 1)
            return activations[: len(rows)].contiguous().view(torch.int16).numpy()

    def _generator(self, row: int) -> torch.Generator:
        state = np.random.SeedSequence([self._view, int(row)]).generate_state(1, np.uint64)
        return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))

    def _prepared_trunk(self) -> nn.Sequential:
        trunk = copy.deepcopy(self._trunk).to(self._precision).eval()
        return trunk.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _output_shape(self) -> tuple[int, int, int]:
        height, width, channels = self._images.shape[1:]
        inputs = torch.empty(1, channels, height, width, device="meta")
        outputs = copy.deepcopy(self._trunk).to("meta")(inputs)
        return int(outputs.shape[2]), int(outputs.shape[3]), int(outputs.shape[1])

    def _alone(self) -> AbstractContextManager[None]:
        return sole_writer_of(self._cache, f"trunk-{self._folder.name}", "computes the frozen layers of these images")

    def _prepare_files(self, meaning: dict[str, object]) -> None:
        """Open what is there, or lay out empty files."""
        mark_used(self._folder)
        try:
            if not self._is_whole():
                with self._alone():
                    if not self._is_whole():  # nor did another process lay them out by now
                        self._lay_out(meaning)
            self._identity = self._path.stat()
        except OSError as error:
            raise self._disk_error(error) from error

    def _is_whole(self) -> bool:
        """Whether the files are there, in their size; what they say is computed is taken over then."""
        rows = self.shape[0]
        stored = self._checksum_path.read_bytes() if self._checksum_path.is_file() else b""
        whole = self._path.is_file() and self._path.stat().st_size == rows * self._row_bytes
        if whole and len(stored) == 8 * rows:
            self._checksums = np.frombuffer(stored, dtype="<i8").copy()
            return True
        return False

    def _lay_out(self, meaning: dict[str, object]) -> None:
        rows = self.shape[0]
        self._checksums = np.full(rows, NOT_COMPUTED, dtype="<i8")
        write_json(self._folder / "meaning.json", meaning)
        write_bytes(self._checksum_path, self._checksums.tobytes())
        with self._path.open("ab") as file:
            file.truncate(rows * self._row_bytes)  # sparse: takes disk only as rows are filled

    def _look_again(self) -> None:
        """Take over what other processes computed since, and sweep what they left when they were killed."""
        try:
            sweep_left(self._folder)
            if not (self._is_whole() and samestat(self._path.stat(), self._identity)):
                raise FileNotFoundError
        except OSError as error:
            raise self._disk_error(error) from error

    def _save_checksums(self, file: BinaryIO) -> None:
        file.flush()
        os.fsync(file.fileno())  # the activations first: a row is marked only when it is on the disk
        write_bytes(self._checksum_path, self._checksums.tobytes())

    def _disk_error(self, error: OSError) -> DiskError:
        if isinstance(error, FileNotFoundError):
            return DiskError(
                f"The trunk's activations in {self._folder} were removed while in use: go on with --resume, and "
                "leave the cache alone meanwhile."
            )
        size = self._row_bytes * self.shape[0] / 1e9
        return DiskError(
            f"Could not write the trunk's activations ({error.strerror}): they need {size:.1f} GB in "
            f"{self._folder.parent}. Free some space, or set CLEARMARGIN_CACHE to another disk; most of what is "
            "computed so far is kept."
        )


class _Filling:
    """Images on their way into full batches, each once, with the rows of those that are equal to it."""

    def __init__(self) -> None:
        self._first: dict[bytes, int] = {}  # row by what the activations depend on
        self._equal: list[tuple[int, int]] = []  # row, and the row it is equal to
        self._added = 0
        self.waiting: list[tuple[int, np.ndarray]] = []

    @property
    def written(self) -> int:
        return self._added - len(self.waiting) - len(self._equal)

    def add(self, row: int, image: np.ndarray, key: bytes) -> None:
        self._added += 1
        original = self._first.setdefault(key, row)
        if original == row:
            self.waiting.append((row, image))
        else:
            self._equal.append((row, original))

    def batch(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Up to so many rows and their images, which are written next."""
        taken, self.waiting = self.waiting[:size], self.waiting[size:]
        return np.array([row for row, _ in taken]), np.stack([image for _, image in taken])

    def copies(self) -> list[tuple[int, int]]:
        """Rows whose equals are written, and these; they are to be copied."""
        waiting = {row for row, _ in self.waiting}
        ready = [(row, original) for row, original in self._equal if original not in waiting]
        self._equal = [(row, original) for row, original in self._equal if original in waiting]
        return ready


def _changes(augmentation: Augmentation) -> dict[str, object]:
    """What a view depends on; flips are by lot here, as a view is computed once for all epochs."""
    changes = augmentation.model_dump(exclude={"cached_views", "alternate_flips"})
    return {name: value for name, value in changes.items() if value or name not in ("shift_px", "cutout_fraction")}


def state_digest(module: nn.Module) -> str:
    """SHA-256 over names, shapes and values of a module's parameters and buffers."""
    digest = hashlib.sha256()
    for key, value in sorted(module.state_dict().items()):
        digest.update(f"{key}{tuple(value.shape)}{value.dtype}".encode())
        digest.update(value.detach().contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()

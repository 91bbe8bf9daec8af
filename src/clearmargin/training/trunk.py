"""The frozen trunk, computed once: activations at the cut in a memory-mapped file."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import nn

from clearmargin.cache import mark_used
from clearmargin.errors import DiskError
from clearmargin.files import write_bytes, write_json
from clearmargin.mapped_rows import MappedRows
from clearmargin.models.cache_blocking import forward_in_blocks
from clearmargin.models.inputs import to_input
from clearmargin.models.vgg16 import at_the_cut
from clearmargin.recipe import Augmentation
from clearmargin.records import Rows
from clearmargin.training.augmentation import augment

PLACES_AT_ONCE = 16 * 224 * 224  # of a batch; each stage takes what suits it (`forward_in_blocks`)
MOST_AT_ONCE = 64  # images
SYNC_EVERY = 16  # batches: what a kill can lose
FORMAT = 2
NOT_COMPUTED = -1


class TrunkCache:
    """Activations at the cut for the images of one pixel store, filled row by row as they are asked for.

    The file has a place for every image; a list of checksums says which are computed. So each part is computed
    only when somebody who may see that part asks, another split of the same images finds everything there, a pass
    that was interrupted goes on where it was, and what was damaged since is computed again.

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
        self._folder = folder / "trunk" / key[:32]
        self._path, self._checksum_path = self._folder / "activations.bin", self._folder / "checksums.bin"
        self.dtype = np.dtype(np.int16)
        self.shape: tuple[int, ...] = (images.shape[0], *self._output_shape())
        self._row_bytes = math.prod(self.shape[1:]) * self.dtype.itemsize
        self._prepare_files(meaning)
        self._mapped = MappedRows(self._path, self.shape, self.dtype)
        self._checked = np.zeros(self.shape[0], dtype=bool)  # computed, and known to be whole

    def compute(self, rows: np.ndarray, progress: Callable[[int, int, str], None] | None = None) -> int:
        """Compute those of the rows that aren't there yet; return how many that were.

        Raises
        ------
        DiskError
            When the activations can't be written.
        """
        self._check(rows)
        missing = rows[~self._checked[rows]]
        if len(missing) == 0:
            return 0
        network = self._prepared_trunk()
        first: dict[bytes, int] = {}
        size = self.batch_size
        try:
            with self._path.open("r+b") as file:
                try:
                    for number, start in enumerate(range(0, len(missing), size), start=1):
                        self._fill(file, network, missing[start : start + size], first)
                        if progress is not None:
                            progress(min(start + size, len(missing)), len(missing), "")
                        if number % SYNC_EVERY == 0:
                            self._save_checksums(file)
                finally:  # also when the user stops it
                    self._save_checksums(file)
        except OSError as error:
            raise self._disk_error(error) from error
        self._checked[missing] = True
        return len(missing)

    @property
    def batch_size(self) -> int:
        """How many images are computed at once: more of small ones."""
        return int(np.clip(PLACES_AT_ONCE // math.prod(self._images.shape[1:3]), 1, MOST_AT_ONCE))

    def _fill(self, file: BinaryIO, network: nn.Sequential, rows: np.ndarray, first: dict[bytes, int]) -> None:
        """Compute and write some rows; of images that are equal, ``first`` (row by digest) is computed and copied."""
        images = self._images.read(rows)
        keys = [self._distinguishing(row, image) for row, image in zip(rows, images, strict=True)]
        own = np.array([first.setdefault(key, int(row)) for key, row in zip(keys, rows, strict=True)])
        fresh = own == rows
        if fresh.any():
            self._write(file, rows[fresh], self._pass(network, rows[fresh], images[fresh]))
        for row, original in zip(rows[~fresh], own[~fresh], strict=True):
            file.seek(int(original) * self._row_bytes)
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
        with torch.inference_mode():
            inputs = inputs.to(dtype=self._precision, memory_format=torch.channels_last)
            activations = at_the_cut(forward_in_blocks(network, inputs)).permute(0, 2, 3, 1)
            return activations.contiguous().view(torch.int16).numpy()

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

    def _prepare_files(self, meaning: dict[str, object]) -> None:
        """Open what is there, or lay out empty files; nothing is wiped, since another process may be at work."""
        rows = self.shape[0]
        mark_used(self._folder)
        try:
            stored = self._checksum_path.read_bytes() if self._checksum_path.is_file() else b""
            whole = self._path.is_file() and self._path.stat().st_size == rows * self._row_bytes
            if whole and len(stored) == 8 * rows:
                self._checksums = np.frombuffer(stored, dtype="<i8").copy()
                return
            self._checksums = np.full(rows, NOT_COMPUTED, dtype="<i8")
            write_json(self._folder / "meaning.json", meaning)
            write_bytes(self._checksum_path, self._checksums.tobytes())
            with self._path.open("ab") as file:
                file.truncate(rows * self._row_bytes)  # sparse: takes disk only as rows are filled
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


def _changes(augmentation: Augmentation) -> dict[str, object]:
    """What a view depends on; flips are by lot here, as a view is computed once for all epochs."""
    changes = augmentation.model_dump(exclude={"cached_views", "alternate_flips"})
    return {name: value for name, value in changes.items() if value or name != "shift_px"}


def state_digest(module: nn.Module) -> str:
    """SHA-256 over names, shapes and values of a module's parameters and buffers."""
    digest = hashlib.sha256()
    for key, value in sorted(module.state_dict().items()):
        digest.update(f"{key}{tuple(value.shape)}{value.dtype}".encode())
        digest.update(value.detach().contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()

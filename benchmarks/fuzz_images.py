"""Real image files, mutated by the ten thousand: is each decoded or refused in words, and how long does the worst take?

Files are drawn by lot from zips of real images; half of them are saved anew in another accepted format first, so that
each format has its share. A mutation cuts the file, takes a piece out, repeats a piece, or changes 1 to 100 bytes, half
of the time near the beginning, where the headers are. Each goes through the decoding that a study uses. Anything but a
picture or an `ImageError` counts as a fault, as does a file that takes more than five seconds of processor time.

Then ``--folder`` of them lie in class folders and go through the pixel store: what is decoded and what is listed as
unreadable must add up to what is there.

    python benchmarks/fuzz_images.py brain-tumor-mri.zip cifar10-images.zip [--times 20000] [--folder 500] [--seed 0]
"""

from __future__ import annotations

import argparse
import io
import os
import random
import sys
import tempfile
import time
import zipfile
from collections import Counter
from pathlib import Path

from PIL import Image

from clearmargin.decoding import prepare
from clearmargin.errors import ImageError
from clearmargin.pixels import open_pixels
from clearmargin.records import Preprocessing
from clearmargin.sources import open_source

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")
SLOW_SECONDS = 5.0
FILES = 300


def main() -> int:
    """Mutate, decode, count and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zips", nargs="+", type=Path)
    parser.add_argument("--times", type=int, default=20_000)
    parser.add_argument("--folder", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    lots = random.Random(asked.seed)
    files = originals(asked.zips, lots)
    kinds = Counter(kind for kind, _ in files)
    print(f"{len(files)} files: {', '.join(f'{kind} {n}' for kind, n in sorted(kinds.items()))}; seed {asked.seed}")
    faults = decode_all(files, asked.times, lots)
    faults += count_folder(files, asked.folder, lots)
    return 1 if faults else 0


def originals(zips: list[Path], lots: random.Random) -> list[tuple[str, bytes]]:
    """Kind and content of some real files, half of them in a format by lot."""
    found = []
    for path in zips:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.lower().endswith((".jpg", ".jpeg", ".png"))]
            found += [archive.read(name) for name in lots.sample(names, min(len(names), FILES // len(zips)))]
    return [anew(content, lots) if number % 2 else ("as it is", content) for number, content in enumerate(found)]


def anew(content: bytes, lots: random.Random) -> tuple[str, bytes]:
    """The same picture in another format."""
    kind, buffer = lots.choice(FORMATS), io.BytesIO()
    with Image.open(io.BytesIO(content)) as image:
        image.convert(lots.choice(("L", "RGB"))).save(buffer, kind)
    return kind, buffer.getvalue()


def mutated(content: bytes, lots: random.Random) -> bytes:
    """Cut, shortened, lengthened, or with other bytes."""
    damaged, way = bytearray(content), lots.random()
    start = lots.randrange(len(damaged))
    if way < 0.2:
        return bytes(damaged[:start])
    if way < 0.3:
        del damaged[start : start + lots.randrange(1, 200)]
        return bytes(damaged)
    if way < 0.4:
        damaged[start:start] = damaged[start : start + lots.randrange(1, 200)]
        return bytes(damaged)
    for _ in range(lots.choice((1, 3, 10, 100))):
        place = int(len(damaged) * lots.random() ** lots.choice((1, 4)))
        damaged[place] = lots.randrange(256)
    return bytes(damaged)


def decode_all(files: list[tuple[str, bytes]], times: int, lots: random.Random) -> int:
    """Decode mutations one by one; how many faults there were."""
    counts: Counter[str] = Counter()
    slowest, faults = 0.0, []
    for number in range(times):
        kind, content = lots.choice(files)
        content = mutated(content, lots)
        how = Preprocessing(lots.choice((24, 64, 224)), lots.choice(("pad", "stretch", "crop")))
        started = time.process_time()
        try:
            prepare(content, how)
            counts["decoded"] += 1
        except ImageError:
            counts["refused"] += 1
        except Exception as error:  # what must not happen
            faults.append(f"mutation {number} ({kind}): {type(error).__name__}: {error}")
        seconds = time.process_time() - started
        slowest = max(slowest, seconds)
        if seconds > SLOW_SECONDS:
            faults.append(f"mutation {number} ({kind}): {seconds:.1f} s")
    print(
        f"{times:,} mutations: {counts['decoded']:,} decoded, {counts['refused']:,} refused as ImageError, "
        f"{len(faults)} faults; the slowest took {slowest:.2f} s of processor time"
    )
    print(*faults[:20], sep="\n", end="\n" if faults else "")
    return len(faults)


def count_folder(files: list[tuple[str, bytes]], many: int, lots: random.Random) -> int:
    """Put mutations into class folders and open them; 1 when one was silently dropped."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "images"
        for number in range(many):
            kind, content = lots.choice(files)
            suffix = ".jpg" if kind == "as it is" else f".{kind.lower()}"
            path = folder / f"class {number % 3}" / f"{number}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(mutated(content, lots))
        before = {path: path.read_bytes() for path in folder.rglob("*.*")}
        os.environ["CLEARMARGIN_CACHE"] = str(Path(place) / "cache")
        inputs = open_pixels(open_source(str(folder)), Preprocessing(64))
        unreadable = sum(len(one.samples) for one in inputs.findings if one.kind == "unreadable-images")
        untouched = before == {path: path.read_bytes() for path in folder.rglob("*.*")}
        sound = len(inputs.samples) + unreadable == many and untouched
    print(f"{many} in class folders: {len(inputs.samples)} decoded, {unreadable} listed as unreadable")
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())

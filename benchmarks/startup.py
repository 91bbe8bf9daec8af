"""How long `import clearmargin` and `clearmargin --help` take, beside an empty Python, taking turns.

    python benchmarks/startup.py [--rounds 15] [--run RUN --image FILE [--contender NAME]]

With a finished run also `clearmargin predict` of one image, and `import torch`, which is a part of it.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

from interleaved import busy_processors

COMMANDS = {
    "empty Python": ["-c", "pass"],
    "import clearmargin": ["-c", "import clearmargin"],
    "clearmargin --help": ["-m", "clearmargin", "--help"],
    "clearmargin run --help": ["-m", "clearmargin", "run", "--help"],
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--run", type=Path, help="a finished run of images")
    parser.add_argument("--image", type=Path)
    parser.add_argument("--contender")
    asked = parser.parse_args()
    if (asked.run is None) != (asked.image is None):
        parser.error("--run and --image go together")
    print(f"{busy_processors():.2f} processors busy with other work before the start")
    commands = COMMANDS if asked.run is None else COMMANDS | predicting(asked.run, asked.image, asked.contender)
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(asked.rounds):
        for name, words in commands.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, *words], check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - started)
    for name, values in seconds.items():
        print(f"{name:24} {statistics.median(values):.3f} s ({min(values):.3f} to {max(values):.3f})")


def predicting(run: Path, image: Path, contender: str | None) -> dict[str, list[str]]:
    """The commands that need a finished run."""
    chosen = [] if contender is None else ["--contender", contender]
    words = ["-m", "clearmargin", "predict", str(run), str(image), *chosen]
    return {"import torch": ["-c", "import torch"], "clearmargin predict": words}


if __name__ == "__main__":
    main()

"""Virtual environments for those that are compared with: made when missing, reused later, never the project's own."""

from __future__ import annotations

import os
import platform
import subprocess
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Peer:
    """An environment: its name, and what is installed into it."""

    name: str
    requirements: tuple[str, ...]


# tensorflow-cpu has wheels for x86-64 Linux and Windows; elsewhere tensorflow is the same without a GPU
TENSORFLOW = "tensorflow-cpu" if platform.machine() in ("x86_64", "AMD64") else "tensorflow"
KERAS = Peer("keras", (f"{TENSORFLOW}==2.21.0", "safetensors==0.8.0"))  # 1.7 GB
ENGINES = Peer("engines", ("openvino==2026.4.1", "onnxruntime==1.32.0", "onnx==1.23.2", "safetensors==0.8.0"))


def environment(peer: Peer, folder: Path | None = None) -> Path:
    """The Python of an environment, made when missing; in the temporary folder unless said otherwise."""
    place = folder or Path(tempfile.gettempdir()) / f"clearmargin-{peer.name}-env"
    python = place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        venv.create(place, with_pip=True)
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", *peer.requirements], check=True)
    return python

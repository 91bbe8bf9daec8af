"""What a result was made on: versions, processor, memory, seeds, and how long each step took."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from clearmargin.cores import available_cores

PACKAGES = ("clearmargin", "torch", "numpy", "scipy", "scikit-learn", "pandas", "pillow", "safetensors")
FEATURES = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "asimd", "bf16")


def describe_environment() -> dict[str, Any]:
    """Versions and hardware, without host, user or path names."""
    processor, features = _processor()
    return {
        "format": 1,
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": processor,
        "features": features,
        "cores": available_cores(),
        "memory_bytes": _memory_bytes(),
    }


def peak_memory_bytes() -> int | None:
    """The most memory this process has held at once; None where the system does not tell."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> tuple[str, list[str]]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine(), []
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    stripped = {key.strip(): value.strip() for key, value in fields.items()}
    flags = stripped.get("flags", stripped.get("Features", "")).split()
    return stripped.get("model name", platform.machine()), [flag for flag in FEATURES if flag in flags]


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None

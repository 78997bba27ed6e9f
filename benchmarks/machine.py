"""What the measured machine is, in words."""

from __future__ import annotations

import datetime
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

TELLING_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_tile", "asimd")
PACKAGES = ("torch", "numpy", "scipy", "SimpleITK", "keras", "jax", "onnxruntime", "openvino")


def describe(threads: int, load: float) -> dict[str, str]:
    """Processor, memory, versions, threads, and how busy the machine was before."""
    said = {"date": f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}", "system": platform.platform()}
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
        fields = {name.strip(): value.strip() for name, value in lines.items()}
        cores = int(fields.get("processor", 0)) + 1
        numbers = f"family {fields.get('cpu family')}, model {fields.get('model')}"
        said["processor"] = f"{cores} cores of {fields.get('model name', platform.machine())} ({numbers})"
        flags = fields.get("flags", fields.get("Features", "")).split()
        said["instructions"] = ", ".join(flag for flag in TELLING_FLAGS if flag in flags)
    memory = Path("/proc/meminfo")
    if memory.is_file():
        said["memory"] = f"{int(memory.read_text().split()[1]) / 2**20:.0f} GiB"
    said["threads"] = str(threads)
    said["load before"] = f"{load:.1f}"
    said["versions"] = ", ".join(f"{name} {_version(name)}" for name in ("Python", *PACKAGES) if _version(name))
    return said


def _version(name: str) -> str:
    try:
        return platform.python_version() if name == "Python" else version(name)
    except PackageNotFoundError:
        return ""

"""A process of its own in which one way is measured, so that no way has the memory or the settings of another.

It is told a spec as JSON; it prepares, works once, says what came out, and then works once for every line it is sent.
"""

from __future__ import annotations

import json
import os
import re
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ways


def main() -> None:
    """Answer on standard output, a line of JSON for every line on standard input."""
    spec = json.loads(sys.argv[1])
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    ways.find_packages()
    if spec["keep"]:
        from EmphysemaScannerLib.base.parallel import keep_freed_memory

        keep_freed_memory()
    import torch

    torch.set_num_threads(spec["threads"])
    spec["torch_mib"] = _status("VmRSS")
    try:
        work = {"read": _read, "learn": _learn, "scan": _scan}[spec["kind"]](spec)
    except ImportError as error:
        print(json.dumps({"missing": str(error)}), file=out, flush=True)
        return
    print(json.dumps(_measured(work, spec)), file=out, flush=True)
    for _ in sys.stdin:
        print(json.dumps(_measured(work, spec)), file=out, flush=True)


def _measured(work: Callable[[], dict[str, Any]], spec: dict[str, Any]) -> dict[str, Any]:
    """Seconds on the clock and of the processors, pages asked for, the most memory, and what the work says.

    The memory, MiB: above what was there once torch was imported, and above what was there before this work.
    """
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the highest so far is forgotten
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    wall, cpu = time.perf_counter(), time.process_time()
    said = work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    highest = _status("VmHWM")
    return {
        "wall": wall,
        "cpu": cpu,
        "faults": resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults,
        "over_torch_mib": highest - spec["torch_mib"],
        "over_before_mib": highest - before,
        "resident_mib": _status("VmRSS"),
        **said,
    }


def _status(name: str) -> float:
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def _read(spec: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    read = ways.READERS[spec["way"]](spec)
    return lambda: {"logits": [float(v) for v in read().ravel()]}


def _learn(spec: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    learn = ways.LEARNERS[spec["way"]](spec)
    return lambda: {"loss": learn()}


def _scan(spec: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """The whole scan of the CT at spec["ct"], in memory, or read from there every time with spec["reading"]."""
    import torch
    from EmphysemaScannerLib.ct.reading import read_ct
    from EmphysemaScannerLib.models.modelfile import load
    from EmphysemaScannerLib.models.modelfolder import default_model_path
    from EmphysemaScannerLib.scan.scan import scan

    path, model = Path(spec["ct"]), load(default_model_path())
    ct = None if spec["reading"] else read_ct(path).image
    mib = 0 if ct is None else ct.GetNumberOfPixels() * ct.GetSizeOfPixelComponent() / 2**20
    dtype = torch.bfloat16 if spec["half"] else torch.float32
    if spec["way"] == "peer":
        return _peer_scan(ct, model, mib, spec["half"])

    def work() -> dict[str, Any]:
        start = time.perf_counter()
        image = read_ct(path).image if ct is None else ct
        reading = time.perf_counter() - start
        result = scan(image, model, dtype=dtype)
        stages = {k: v for k, v in result.timings_s.items() if k != "total"}
        if ct is None:
            stages = {"reading": reading, **stages}
        return {"logit": result.logit, "probability": result.probability, "stages": stages, "ct_mib": mib}

    return work


def _peer_scan(ct: Any, model: Any, mib: float, half: bool) -> Callable[[], dict[str, Any]]:
    """The peer's; the first time it is compared with ours."""
    import peers
    import torch
    from EmphysemaScannerLib.scan.scan import scan
    from peer_scan import peer_scan

    ours = scan(ct, model)
    network = peers.best_for_reading(model.network)
    with torch.inference_mode():
        x = torch.from_numpy(model.card.preprocessing.apply(ct)[0])[None, :, None]
        on_our_input = float(network(x)[0]) / model.card.temperature
    compared: dict[str, float] = {"on_our_input": on_our_input, "ct_mib": mib}

    def work() -> dict[str, Any]:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            result = peer_scan(ct, network, model.card.preprocessing)
        if "dice" not in compared:
            a, b = ours.lung_mask.values > 0, result.labels > 0
            compared["dice"] = float(2 * (a & b).sum() / (a.sum() + b.sum()))
            compared["laa_950_apart"] = abs(
                result.densitometry["whole"]["laa_950_percent"] - ours.densitometry["whole"].laa_950_percent
            )
        return {"logit": result.logit / model.card.temperature, "stages": result.seconds, **compared}

    return work


if __name__ == "__main__":
    main()

"""Mutated model files, and a process that loads them with bounded memory and watches what they make it do.

``python hostilemodels.py COUNT SEED`` prints what became of COUNT files as JSON.
"""

from __future__ import annotations

import gzip
import io
import json
import pickle
import random
import resource
import struct
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from EmphysemaScannerLib.base.errors import ModelFileError
from EmphysemaScannerLib.models import modelfile, networks
from EmphysemaScannerLib.models.modelcard import ModelCard
from EmphysemaScannerLib.models.modelheader import read_card
from everymodel import NAMES, model_of
from safetensors.torch import load_file, save

MEMORY = 300 << 20
"""More than this much memory above what the libraries need, in bytes, is refused to the process."""

VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    1,
    2**31,
    2**63,
    10**18,
    -(10**400),
    10**400,
    0.5,
    -0.0,
    1e-308,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "a" * 240_000,
    "\ud800",
    "\x1b]0;x\x07",
    "\0",
    "<script>alert(1)</script>",
    "=cmd|' /C calc'!A0",
    "../../../etc/passwd",
    "http://example.org/x",
    [],
    [[]],
    [1] * 1000,
    [35, 2**40, 2**40],
    [2**24, 2, 2],
    [-1, 16, 16],
    [35, 32],
    {},
    {"a": {}},
    {"__class__": "os.system"},
]


class Evil:
    """Runs a command where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('a pickle was executed')",)


def parts(raw: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and weights of a safetensors file."""
    length = int.from_bytes(raw[:8], "little")
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def joined(header: Any, weights: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + weights


def signed(state: dict[str, torch.Tensor], card: str) -> bytes:
    """A file whose checksum belongs to its contents, as its author could write it."""
    try:
        sha256 = modelfile.checksum(state, card)
    except ValueError:  # text that has no bytes
        sha256 = ""
    metadata = {"format": "emphysema-scanner-1", "card": card, "sha256": sha256}
    header, weights = parts(save(state))
    return joined({**header, "__metadata__": metadata}, weights)


def flipped(raw: bytes, draw: random.Random) -> bytes:
    changed = bytearray(raw)
    for _ in range(draw.choice((1, 2, 8, 64))):
        changed[draw.choice((draw.randrange(len(raw)), draw.randrange(3000)))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def cut_or_longer(raw: bytes, draw: random.Random) -> bytes:
    return draw.choice((raw[: draw.randrange(len(raw))], raw + draw.randbytes(draw.randrange(1, 5000))))


def overwritten(raw: bytes, draw: random.Random) -> bytes:
    start, length = draw.choice((draw.randrange(len(raw)), draw.randrange(3000))), draw.randrange(1, 400)
    block = draw.choice((bytes(length), b"\xff" * length, draw.randbytes(length), raw[:length], b'"' * length))
    return raw[:start] + block + raw[start + length :]


def other_length(raw: bytes, draw: random.Random) -> bytes:
    true = int.from_bytes(raw[:8], "little")
    length = draw.choice(
        (0, 1, true - 1, true + 1, 2**31, 2**63, 2**64 - 1, len(raw), len(raw) - 8, draw.getrandbits(64))
    )
    return struct.pack("<Q", length) + raw[8:]


def other_header(raw: bytes, draw: random.Random) -> bytes:
    header, weights = parts(raw)
    name = draw.choice(list(header))
    text = json.dumps(header).encode()
    changes: list[Callable[[], Any]] = [
        lambda: header.update({name: draw.choice(VALUES)}),
        lambda: header.update({draw.choice(("../../x", "\0", "a" * 100_000, "dense.bias ")): header.pop(name)}),
        lambda: header.pop(name),
        lambda: header.update({"more": {"dtype": "F32", "shape": [2**31, 2**31, 4], "data_offsets": [0, 0]}}),
        lambda: header.update({"more": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}),
        lambda: header[name].update(
            {draw.choice(("shape", "dtype", "data_offsets", "card", "sha256")): draw.choice(VALUES)}
        ),
        lambda: b"[" * draw.choice((1000, 100_000, 1_900_000)),
        lambda: b"[" + b"[]," * 600_000 + b"[]]",
        lambda: b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
        lambda: b'{"a":' + b"9" * draw.choice((4000, 1_500_000)) + b"}",
        lambda: text[:-1] + b',"__metadata__":{}}',
        lambda: text[:-1] + b',"dense.bias":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        lambda: text.replace(b'"F32"', draw.choice((b'"I64"', b'"F8_E5M2"', b'"F64"', b'"BOOL"', b'"OBJECT"')), 1),
        lambda: text + b" " * draw.choice((1, 1_000_000, 60_000_000)),
        lambda: text.replace(b"{", b"{ NaN ", 1),
    ]
    changed = draw.choice(changes)()
    return joined(changed if isinstance(changed, bytes) else header, weights)


def other_card(raw: bytes, draw: random.Random) -> bytes:
    """A card with any field of any value, or JSON that is hostile, signed."""
    model = model_of(draw.choice(NAMES))
    state, card = modelfile._weights(model.network), model.card.to_dict()
    paths = [(name,) for name in (*card, "unknown" * 999)]
    paths += [(of, name) for of in ("preprocessing", "operating_point") for name in card[of]]
    for path in draw.sample(paths, draw.choice((1, 1, 2))):
        part = card if len(path) == 1 else card[path[0]]
        if isinstance(part, dict):
            part[path[-1]] = draw.choice(VALUES)
    if draw.random() < 0.2:
        card["metrics"] = [
            {"name": "x", "value": draw.choice(VALUES), "low": 0, "high": 1, "data": draw.choice(VALUES)}
        ]
    text = json.dumps(card, ensure_ascii=draw.random() < 0.5)
    text = draw.choice((text, text, text, text[:-1] + ', "width": 4}', "[" * 100_000, text * 2, "1" * 200_000))
    return signed(state, text)


def other_weights(raw: bytes, draw: random.Random) -> bytes:
    """Weights that are not numbers, of other shapes, types and architectures, signed."""
    model = model_of(draw.choice(NAMES))
    state = {name: tensor.clone() for name, tensor in modelfile._weights(model.network).items()}
    name = draw.choice(list(state))
    changes: list[Callable[[], Any]] = [
        lambda: state[name].flatten()[0].fill_(draw.choice((torch.nan, torch.inf, -torch.inf))),
        lambda: state.update({k: v * 1e38 for k, v in state.items()}),
        lambda: state.update(
            {name: state[name].to(draw.choice((torch.int64, torch.bool, torch.bfloat16, torch.float64)))}
        ),
        lambda: state.update({name: torch.zeros(draw.choice(((0,), (1, 1, 1), (2000, 2000), (1,) * 60)))}),
        lambda: state.pop(name),
        lambda: state.update({"unit.__class__": torch.zeros(1)}),
    ]
    draw.choice(changes)()
    card = draw.choice((model.card, model_of(draw.choice(NAMES)).card))
    return signed(state, card.to_json())


def other_format(raw: bytes, draw: random.Random) -> bytes:
    """What is no safetensors file: bombs, pickles, archives."""
    bomb, pickled = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../evil.py", bytes(20_000_000))
    torch.save({"a": Evil()}, pickled)
    return draw.choice(
        (
            bomb.getvalue(),
            gzip.compress(bytes(20_000_000)),
            pickled.getvalue(),
            pickle.dumps(Evil()),
            b"\x89HDF\r\n\x1a\n" + raw,
            b"\x7fELF" + raw,
            gzip.compress(raw),
            b"",
            raw[8:],
            b"import os\n",
            json.dumps(parts(raw)[0]).encode(),
        )
    )


MUTATIONS = (
    flipped,
    cut_or_longer,
    overwritten,
    other_length,
    other_header,
    other_card,
    other_card,
    other_weights,
    other_weights,
    other_format,
)


def outcome(path: Path) -> str:
    """What loading makes of a file: "loaded" or "refused"; all else is an AssertionError that says what."""
    try:
        model = modelfile.load(path)
    except ModelFileError as error:
        said = str(error)
        assert said.endswith("."), said
        assert said.isprintable(), said
        assert len(said) < 600, len(said)
        said.encode()
        return "refused"
    stated = parts(path.read_bytes())[0]["__metadata__"]
    assert stated["sha256"] == modelfile.checksum(load_file(path), stated["card"])
    assert all(bool(torch.isfinite(tensor).all()) for tensor in modelfile._weights(model.network).values())
    assert read_card(path) == model.card == ModelCard.from_json(model.card.to_json())
    model.card.to_json().encode()
    assert networks.keras_parameter_count(model.network) < 10**6
    return "loaded"


def run(count: int, seed: int) -> dict[str, Any]:
    """Load so many mutated files; raises what loading them raised."""
    draw = random.Random(seed)
    raw = signed(modelfile._weights((model := model_of("conv_lstm")).network), model.card.to_json())
    counted: Counter[str] = Counter()
    done: list[str] = []

    watched = ("exec", "import", "pickle.find_class", "subprocess.Popen", "os.system", "socket.connect")

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if watching and event in watched:
            done.append(f"{event} {str(arguments)[:200]}")

    watching = False
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        path.write_bytes(raw)
        assert outcome(path) == "loaded"  # and every import is done
        sys.addaudithook(watch)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        slowest = 0.0
        for k in range(count):
            mutation = MUTATIONS[k % len(MUTATIONS)]
            path.write_bytes(mutation(raw, draw))
            watching, begun = True, time.process_time()
            try:
                said = outcome(path)
            except BaseException as error:
                raise AssertionError(f"file {k}, {mutation.__name__}, seed {seed}") from error
            finally:
                watching = False
            slowest = max(slowest, time.process_time() - begun)
            counted[f"{mutation.__name__}: {said}"] += 1
        assert [entry.name for entry in Path(folder).iterdir()] == [path.name]
    assert not done, done
    return {"files": count, "slowest_s": round(slowest, 3), **dict(sorted(counted.items()))}


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(run(int(sys.argv[1]), int(sys.argv[2]))))

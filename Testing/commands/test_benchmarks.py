"""The benchmark against peers runs, checks what it compares, and writes its page; of times nothing is asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_a_quick_run_writes_a_page_with_the_machine_the_targets_and_a_plot(tmp_path: Path) -> None:
    options = ["--amount", "rehearsal", "--part", "training", "scan", "--out", str(tmp_path)]
    command = [sys.executable, str(ROOT / "benchmarks"), *options, "--results", str(tmp_path / "results.json")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    page = (tmp_path / "performance.md").read_text()
    for said in (
        "| processor |",
        "## Targets",
        "## What our own code brings",
        "| learning, 32 x 32, float32, memory not kept |",
        "| PyTorch at its best settings |",
        "| peer pipeline |",
        "Dice of the two lung masks",
    ):
        assert said in page
    kept = json.loads((tmp_path / "performance.json").read_text())["figures"]
    assert "scan, float32, memory not kept, ours" in kept
    assert (tmp_path / "performance.svg").read_text().startswith("<?xml")


LOADED = (
    "import sys; sys.path.insert(0, 'benchmarks'); import importlib.util as u;"
    "s = u.spec_from_file_location('whole', 'benchmarks/__main__.py'); m = u.module_from_spec(s);"
    "sys.modules['whole'] = m; s.loader.exec_module(m); from pathlib import Path;"
)


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Python code after the benchmark was loaded as m."""
    return subprocess.run([sys.executable, "-c", LOADED + code], cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_comparison_that_does_not_hold_fails_the_run() -> None:
    ran = run(
        "m.in_turn = lambda specs, rounds:"
        " {s['label']: [{'logits': [float(s['way'] == 'ours')]}] for s in specs};"
        "m.Benchmark(Path('.'), m.Amount.REHEARSAL, 1).network()"
    )
    assert ran.returncode == 1
    assert "The benchmark fails: ours: logits differ by 1.0." in ran.stderr


def test_a_table_compares_like_with_like_and_has_the_best_peer_and_ours() -> None:
    ran = run(
        """import json; tables = []
def in_turn(specs, rounds):
    tables.append(specs)
    return {s['label']: [{'logits': [0.0], 'loss': 0.0, 'logit': 0.0, 'on_our_input': 0.0, 'dice': 1.0}] for s in specs}
m.in_turn, m.write_ct = in_turn, lambda path, size: path
benchmark = m.Benchmark(Path('.'), m.Amount.WHOLE, 2)
benchmark.network(), benchmark.training(), benchmark.scan()
print(json.dumps(tables))"""
    )
    assert ran.returncode == 0, ran.stderr
    tables = json.loads(ran.stdout)
    assert {(table[0]["half"], table[0]["keep"]) for table in tables} == {(a, b) for a in (0, 1) for b in (0, 1)}
    for table in tables:
        for name in ("half", "keep", "threads"):
            assert len({spec[name] for spec in table}) == 1
        if table[0]["kind"] != "scan":
            assert len({(spec["batch"], spec["size"], spec["width"]) for spec in table}) == 1
        assert {"best", "ours"} <= {spec["way"] for spec in table}


def test_a_slower_network_is_marked_by_its_ratio_to_the_peer_and_a_slower_machine_is_not() -> None:
    ran = run(
        """import json; from pathlib import Path; import tempfile
def parts(best, ours, start):
    rounds = lambda s: [{'wall': 9.0}, {'wall': s}]
    tables = {'1': {'float32': {m.BEST: rounds(best), m.OURS: rounds(ours)}}}
    return {'network': tables, 'cold': {'torch': [best], 'all of a scan': [start]}}
folder = Path(tempfile.mkdtemp())
m.write_figures(parts(0.4, 0.2, 1.0), {'date': '2026-11-27'}, 'abc', folder)
for now in (parts(0.8, 0.4, 2.0), parts(0.4, 0.3, 2.0)):
    print(m.compared(now, folder / m.NAME))"""
    )
    assert ran.returncode == 0, ran.stderr
    lines = [line for line in ran.stdout.splitlines() if line.startswith(("network", "import"))]
    assert [line.endswith("slower") for line in lines] == [False] * 5 + [True, False, True]
    assert lines[1].split()[-2:] == ["2.00", "1.00"]
    assert lines[5].split()[-3:] == ["1.50", "1.50", "slower"]
    assert lines[7].split()[-3:] == ["2.00", "2.00", "slower"]

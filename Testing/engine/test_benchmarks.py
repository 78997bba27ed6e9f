"""The benchmark against peers runs, checks what it compares, and writes its page; of times nothing is asserted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_a_quick_run_writes_a_page_with_the_machine_the_targets_and_a_plot(tmp_path: Path) -> None:
    options = ["--quick", "--part", "training", "scan", "--out", str(tmp_path)]
    command = [sys.executable, str(ROOT / "benchmarks"), *options, "--results", str(tmp_path / "results.json")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    page = (tmp_path / "performance.md").read_text()
    for said in ("| processor |", "## Targets", "naive PyTorch", "peer pipeline", "Dice of the two lung masks"):
        assert said in page
    assert (tmp_path / "performance.svg").read_text().startswith("<?xml")


def test_a_comparison_that_does_not_hold_fails_the_run() -> None:
    code = (
        "import sys; sys.path.insert(0, 'benchmarks'); import importlib.util as u;"
        "s = u.spec_from_file_location('whole', 'benchmarks/__main__.py'); m = u.module_from_spec(s);"
        "s.loader.exec_module(m); m.in_turn = lambda specs, rounds:"
        " {s['label']: [{'logits': [float(s['way'] == 'ours')]}] for s in specs};"
        "from pathlib import Path; m.Benchmark(Path('.'), True, 1).network()"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "The benchmark fails: ours: logits differ by 1.0." in ran.stderr

"""The script for Slurm of the page on pairs, against commands that stand in for Slurm's and run the jobs here."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mantid_insgan.learn.pairs import make_pairs

pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is in an extra: pip install mantid-insgan[dask]")

ROOT = Path(__file__).resolve().parents[1]
SECTION = (ROOT / "docs" / "pairs.md").read_text().split("### Slurm\n")[1].split("\n## ")[0]
(SCRIPT,) = re.findall(r"```python\n(.*?)```", SECTION, flags=re.DOTALL)
(SHOWN,) = re.findall(r"```text\n(.*?)```", SECTION, flags=re.DOTALL)
OPTIONS = ("--dimensions", "1", "--count", "4", "--seed", "7", "--bins", "16", "--per-shard", "2")
FAMILIES = ("fm_chain", "rutile_afm")
SBATCH = """#!/bin/sh
(exec sh "$1") >> {folder}/worker.log 2>&1 &
echo $! >> {folder}/jobs
echo "Submitted batch job $!"
"""
SCANCEL = """#!/bin/sh
kill "$@"
"""


@pytest.fixture
def slurm(tmp_path):
    """Runs the page's script with a command and two workers, on a Slurm that starts jobs at once; gives its output."""
    assert "cluster.scale(64)" in SCRIPT
    (tmp_path / "on_slurm.py").write_text(SCRIPT.replace("scale(64)", "scale(2)"))
    for name, text in {"sbatch": SBATCH, "scancel": SCANCEL}.items():
        (tmp_path / name).write_text(text.format(folder=tmp_path))
        (tmp_path / name).chmod(0o755)
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    python_path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])

    def run(*command) -> str:
        ran = subprocess.run(
            [sys.executable, "on_slurm.py", sys.executable, "-m", "mantid_insgan", *map(str, command)],
            cwd=tmp_path,
            env=os.environ | {"PATH": path, "PYTHONPATH": python_path},
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr + (tmp_path / "worker.log").read_text()
        return ran.stdout

    return run


def neutral(job: str) -> str:
    """The text of a job without this machine's names."""
    return re.sub(r"tcp://\S+", "SCHEDULER", job.replace(sys.executable, "PYTHON")).strip()


def test_the_job_that_is_shown():
    from dask_jobqueue import SLURMCluster

    (call,) = re.findall(r"SLURMCluster\((.*?)\)", SCRIPT)
    options = ast.literal_eval("{" + re.sub(r"(\w+)=", r'"\1": ', call) + "}")
    with SLURMCluster(**options) as cluster:
        assert neutral(cluster.job_script()) == SHOWN.strip()


@pytest.mark.slow
def test_make_pairs_on_slurm(slurm, tmp_path):
    families = [word for name in FAMILIES for word in ("--family", name)]
    printed = slurm("make-pairs", *OPTIONS, *families, "--output", tmp_path / "pairs")
    assert len((tmp_path / "jobs").read_text().split()) == 2
    make_pairs(1, 4, 7, 1, tmp_path / "here", bins=16, per_shard=2, families=FAMILIES)
    for path in (tmp_path / "here").iterdir():
        assert (tmp_path / "pairs" / path.name).read_bytes() == path.read_bytes()
    assert neutral(printed[: printed.index("\n4 pairs")]) == SHOWN.strip()


@pytest.mark.slow
def test_apply_on_slurm(slurm, tmp_path):
    files = sorted((ROOT / "mantid_insgan" / "demo" / "data").glob("*.nxs"))
    words = ("--output-dir", tmp_path / "out", "--direction", "add-resolution")
    printed = slurm("apply", *files, *words)
    assert f"{len(files)} written, 0 kept, 0 failed" in printed
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [p.name for p in files]

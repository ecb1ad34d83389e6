"""The scripts for the facilities, run as each facility runs them: the post-processing agent of SNS, FIA and the
live-data services."""

import json
import re
import shutil
import string
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import CRYSTAL, magnon, write_crystal_run
from scripts import SCRIPTS, ended, environment, rewritten, script, started

from mantid_insgan.io import read_nexus

pytestmark = pytest.mark.mantid

#: Of a reduction that puts a run's file on the agent's command line.
RUN = "SEQ_4711.nxs.h5"
QUICK = {"binning": ["|Q|,20", "DeltaE,20"]}
GRID = ["[H,0,0],-0.5,1.5,20", "[0,K,0],-1.5,0.5,20", "[0,0,L],-0.6,0.6,3", "DeltaE,2,42,20"]


@pytest.fixture
def reduced_run(tmp_path) -> Path:
    """The output folder of a run of SEQUOIA with a raw file and two reduced ones."""
    folder = tmp_path / "IPTS-1" / "shared" / "autoreduce"
    folder.mkdir(parents=True)
    for part in "AB":
        write_crystal_run(folder / f"SEQ_4711_{part}.nxspe", 0.0, magnon, name="SEQUOIA")
    shutil.copy(folder / "SEQ_4711_A.nxspe", tmp_path / RUN)
    with open(tmp_path / RUN, "r+b") as raw:  # an HDF5 file that holds no cut
        assert raw.read(4) == b"\x89HDF"
    return folder


def by_the_agent(text: str, folder: Path, home: Path) -> tuple[int, str, str]:
    """Exit status, log and contents of the file for standard error, as job_handling.local_submission runs a script."""
    installed = home / "reduce_SEQ.py"
    installed.write_text(text, encoding="utf-8")
    log, errors = home / "run.log", home / "run.err"
    command = f"{sys.executable} {installed} {home / RUN} {folder}/"
    with open(log, "w") as out, open(errors, "w") as err:
        ran = subprocess.run(
            command, shell=True, stdout=out, stderr=err, cwd=folder, env=environment(home), timeout=300
        )
    return ran.returncode, log.read_text(), errors.read_text()


@pytest.mark.parametrize("mantid", [True, False])
def test_nothing_on_standard_error_where_a_run_succeeds(reduced_run, tmp_path, mantid):
    text = rewritten("reduce_sns", mantid=mantid, **QUICK)
    noise = "import warnings; warnings.simplefilter('always'); warnings.warn('shown')\n"
    noise += "import onnxruntime; onnxruntime.set_default_logger_severity(0)\n"
    text = text.replace("input_file, output_dir = ", noise + "input_file, output_dir = ")
    code, log, errors = by_the_agent(text, reduced_run, tmp_path)
    assert (code, errors) == (0, ""), log
    assert "UserWarning: shown" in log and "onnxruntime" in log, "what was said stands in the log"
    for part in "AB":
        result = reduced_run / f"SEQ_4711_{part}_sharpened.nxs"
        assert f"wrote {result}" in log and read_nexus(result).valid.any()


def test_one_reduced_file_that_fails_fails_the_run_after_the_others(reduced_run, tmp_path):
    (reduced_run / "SEQ_4711_A.nxspe").write_bytes(b"damaged")
    code, log, errors = by_the_agent(rewritten("reduce_sns", mantid=False), reduced_run, tmp_path)
    assert code == 1 and [p.name for p in reduced_run.glob("*.nxs")] == ["SEQ_4711_B_sharpened.nxs"]
    assert "SEQ_4711_A.nxspe failed: " in log and "Traceback" in log
    (line,) = errors.splitlines()
    assert re.search("Error: (.+)$", line)[1].startswith(str(reduced_run / "SEQ_4711_A.nxspe")), "as the agent shows it"


def test_several_failures_are_told_together(reduced_run, tmp_path):
    for part in "AB":
        (reduced_run / f"SEQ_4711_{part}.nxspe").write_bytes(b"damaged")
    code, _, errors = by_the_agent(rewritten("reduce_sns", mantid=False), reduced_run, tmp_path)
    assert code == 1 and re.match("InsganError: 2 of 2 failed: SEQ_4711_A.nxspe: .*; SEQ_4711_B.nxspe: ", errors)


def test_a_crash_does_not_look_like_a_success(reduced_run, tmp_path):
    text = rewritten("reduce_sns").replace(
        "input_file, output_dir = ", "import faulthandler; faulthandler._sigsegv()\n#"
    )
    code, _, errors = by_the_agent(text, reduced_run, tmp_path)
    assert code != 0 and "Segmentation fault" in errors


def test_the_script_that_reduces_is_run_first(reduced_run, tmp_path):
    reduction = tmp_path / "reduce_SEQ_own.py"
    reduction.write_text(
        "import sys, shutil; assert sys.argv[1].endswith('.h5') and sys.argv[2].endswith('/')\n"
        "shutil.copy(sys.argv[2] + 'SEQ_4711_A.nxspe', sys.argv[2] + 'made_4711.nxspe')\n"
    )
    text = rewritten("reduce_sns", reduction=str(reduction), reduced="made_{runno}.nxspe", mantid=False)
    code, log, errors = by_the_agent(text, reduced_run, tmp_path)
    assert (code, errors) == (0, ""), log
    assert [p.name for p in reduced_run.glob("*.nxs")] == ["made_4711_sharpened.nxs"]
    reduction.write_text("raise ValueError('no vanadium')")
    code, _, errors = by_the_agent(text, reduced_run, tmp_path)
    assert code == 1 and "ValueError: no vanadium" in errors


def test_a_scan_at_sns(crystal_scan, tmp_path):
    shutil.copy(crystal_scan[0], tmp_path / RUN)
    values = {"scan": "MER*.nxspe", "binning": GRID, "instrument": "MERLIN", "chopper": "G", "frequency": 400.0}
    values |= {name: CRYSTAL[name] for name in ("lattice", "u", "v")}
    code, log, errors = by_the_agent(rewritten("reduce_sns", **values), crystal_scan[0].parent, tmp_path)
    assert (code, errors) == (0, ""), log
    (result,) = crystal_scan[0].parent.glob("*.nxs")
    assert read_nexus(result).shape == (20, 20, 3, 20)


def test_one_environment_is_named():
    for name in ("reduce_sns.py", "reduce_sns.py.template"):
        text = (SCRIPTS / name).read_text(encoding="utf-8")
        assert len(re.findall(r"CONDA_ENV\s*=", text)) == 1 and re.search(r'^CONDA_ENV = ".+"$', text, re.MULTILINE)


def test_the_template_gives_the_script():
    """`string.Template` fills it in with what the form of the web monitor gives, as text."""
    script_text, template = ((SCRIPTS / f"reduce_sns.py{end}").read_text() for end in ("", ".template"))
    assert string.Template(script_text).substitute() == script_text, "it may be the template itself: no field, no $"
    values = dict(re.findall(r"^(\w+) = (.*)$", script_text[: script_text.index("import subprocess")], re.MULTILINE))
    fields = set(re.findall(r"\$\{(\w+)\}", template))
    assert fields == {name.lower() for name in values}
    given = {name.lower(): value.strip('"') for name, value in values.items()}
    assert string.Template(template).substitute(given) == script_text


# --- FIA ------------------------------------------------------------------------------------------------------------

#: FIA's transform for MARI: a line that starts with the first becomes `name = value`, whatever else it says.
REWRITES = {
    "runno": 40874,
    "sum_runs": False,
    "ei": "'auto'",
    "wbvan": 1,
    "monovan": 0,
    "sam_mass": 0.0,
    "sam_rmm": 0.0,
    "git_sha": "'abc'",
    "remove_bkg": True,
}
FIA = ("fia_powder", "fia_crystal", "fia_cut", "fia_without_mantid")


def by_fia(text: str) -> tuple[str, list[str]]:
    """A script after the transform, and the lines that were rewritten."""
    lines, hit = text.splitlines(), []
    for number, line in enumerate(lines):
        for name, value in REWRITES.items():
            if line.startswith(name):
                hit.append(line)
                lines[number] = f"{name} = {value}"
                break
    return "\n".join(lines), hit


@pytest.mark.parametrize("name", [*FIA, "live_data"])
def test_fia_rewrites_settings_alone(name):
    text = (SCRIPTS / f"{name}.py").read_text(encoding="utf-8")
    changed, hit = by_fia(text)
    wanted = [] if name == "live_data" else ["runno", "ei"]
    assert sorted(line.partition(" = ")[0] for line in hit) == sorted(wanted)
    assert "url_to_mask_file.xml" not in text
    assert len(changed.splitlines()) == len(text.splitlines())
    compile(changed, name, "exec")


def test_a_rewritten_script_works(excerpts, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(excerpts / "bi2fe4o9-merlin" / "MER40874_Ei62.00meV_Rings.nxspe", folder)
    values = {"output_folder": str(tmp_path), "input_files": f"{folder}/MER{{runno}}_Ei{{ei:.2f}}meV*.nxspe"}
    text, _ = by_fia(script("fia_without_mantid", **values))
    code, last, err = ended(started(text, tmp_path))
    assert code == 0 and json.loads(last)["output_files"] == ["MER40874_Ei62.00meV_Rings_sharpened.nxs"], err


@pytest.mark.parametrize("name", ["fia_powder", "fia_without_mantid"])
def test_an_energy_without_a_file_fails_the_run_after_the_others(excerpts, tmp_path, name):
    given = {"ei": [120.0, 62.0], "output_folder": str(tmp_path)}
    given["input_files"] = f"{excerpts}/bi2fe4o9-merlin/MER{{runno}}_Ei{{ei:.2f}}meV*.nxspe"
    code, _, last = ended(started(script(name, **given), tmp_path))
    assert code == 1 and re.search("InputError: there is no file .*MER40874_Ei120.00meV", last), last
    assert [p.name for p in tmp_path.glob("*.nxs")] == ["MER40874_Ei62.00meV_Rings_sharpened.nxs"]


# --- live data -------------------------------------------------------------------------------------------------------

#: Defines names and calls as a service does that gives a script its own two namespaces.
SERVICE = """
import sys
from pathlib import Path
from mantid.api import mtd
from mantid.simpleapi import LoadMD
from mantid_insgan.io.crystal import Setting, bin_crystal
from mantid_insgan.mantid_support.workspace import to_workspace

def cut(scan, grid, crystal):
    files = sorted(Path(scan).glob("*.nxspe"))
    ws = to_workspace(bin_crystal(files, Setting.parsed(**crystal), grid))
    mtd.addOrReplace("MERlives_60meV_1to1_mdhisto", ws)

def executed(text, **names):
    inside = dict(names)
    exec(compile(text, "live", "exec"), {}, inside)
    return inside
"""


@pytest.mark.parametrize("kept", ["in memory", "in a file"])
def test_live_data_at_isis(crystal_scan, tmp_path, mantid_script, kept):
    text = rewritten("live_data", integrate={"[0,0,L]": (-0.2, 0.2)}, output_folder=str(tmp_path))
    save = (
        "from mantid.simpleapi import SaveMD\n"
        f"SaveMD('MERlives_60meV_1to1_mdhisto', Filename={str(tmp_path / 'MERlives_60meV_1to1_mdhisto.nxs')!r})\n"
        "mtd.remove('MERlives_60meV_1to1_mdhisto')\n"
    ) * (kept == "in a file")
    said = mantid_script(
        f"{SERVICE}\ncut({str(crystal_scan[0].parent)!r}, {GRID!r}, {CRYSTAL!r})\n{save}"
        f"found = executed({text!r})\n"
        "for i in range(2):  # as often as the service likes\n"
        "    result = found['execute']()\n"
        "print(mtd.getObjectNames(), [result.getDimension(i).getNBins() for i in range(4)], result.name())\n"
    )
    result = "MERlives_60meV_1to1_mdhisto_sharpened"
    names = [result] if kept == "in a file" else ["MERlives_60meV_1to1_mdhisto", result]
    assert f"{names} [20, 20, 1, 20] {result}" in said
    written = read_nexus(tmp_path / f"{result}.nxs")
    assert written.valid.mean() > 0.05 and written.visual_normalization == 2
    lattice = written.run.value("lattice")
    assert (lattice.a, lattice.c) == pytest.approx((4.0, 6.0)) and str(written.run.value("resolution"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"cut": "MAR*"}, "InputError: no MDHistoWorkspace in memory and no file in .* is called 'MAR.*'"),
        ({"integrate": {"[0,0,M]": (0.0, 1.0)}}, r"InputError: the dimension '\[0,0,M\]' is not one of \[H,0,0\], "),
        ({"chopper": "Z"}, "InsganError: ChopperPackage: .*'Z' is not known for MERLIN"),
    ],
)
def test_live_data_that_cannot_be_corrected(crystal_scan, tmp_path, mantid_script, values, message):
    text = rewritten("live_data", **{"output_folder": str(tmp_path), **values})
    said = mantid_script(
        f"{SERVICE}\ncut({str(crystal_scan[0].parent)!r}, {GRID!r}, {CRYSTAL!r})\nexecuted({text!r})['execute']()",
        fails=True,
    )
    assert re.search(message, said) and not list(tmp_path.glob("*.nxs"))


SPECTRA = ["|Q|,1,5,20", "DeltaE,2,42,20"]


def test_live_data_at_sns(reduced_run, mantid_script):
    """Two chunks are binned and added, and the sum is corrected; both scripts are given `input` and `output`."""
    proc = rewritten("reduce_sns_live_proc", binning=SPECTRA)
    post = rewritten("reduce_sns_live_post_proc")
    said = mantid_script(
        f"{SERVICE}\nfrom mantid.simpleapi import LoadNXSPE, PlusMD\n"
        f"chunk = LoadNXSPE({str(reduced_run / 'SEQ_4711_A.nxspe')!r})\n"
        f"for name in ('one', 'two'):\n    executed({proc!r}, input=mtd['chunk'], output=name)\n"
        "total = PlusMD('one', 'two')\n"
        f"executed({post!r}, input=mtd['total'], output='corrected')\n"
        "import numpy as np\n"
        "print(np.nansum(mtd['total'].getNumEventsArray()) / np.nansum(mtd['one'].getNumEventsArray()))\n"
        "from mantid_insgan.mantid_support.workspace import read_workspace\n"
        "corrected = mtd['corrected']\n"
        "print(read_workspace(corrected).run.value('resolution'), int(corrected.displayNormalization()))\n"
    )
    resolution = "instrument=SEQUOIA,Ei=60,chopper=High-Flux,frequency=300,sharpness=3"
    assert said.splitlines()[-2:] == ["2.0", f"{resolution} 2"], said


def test_live_data_at_sns_goes_on_without_counts(reduced_run, mantid_script):
    post = rewritten("reduce_sns_live_post_proc", chopper="Z")
    proc = rewritten("reduce_sns_live_proc", binning=SPECTRA)
    said = mantid_script(
        f"{SERVICE}\nfrom mantid.simpleapi import LoadNXSPE\n"
        f"chunk = LoadNXSPE({str(reduced_run / 'SEQ_4711_A.nxspe')!r})\n"
        f"executed({proc!r}, input=mtd['chunk'], output='one')\n"
        f"executed({post!r}, input=mtd['one'], output='corrected')\n"
        "print(mtd['corrected'].getTitle())\n"
    )
    assert "not corrected: ChopperPackage: " in said.splitlines()[-1]


def test_chunks_need_limits(reduced_run, mantid_script):
    proc = rewritten("reduce_sns_live_proc", binning=["|Q|,20", "DeltaE,2,42,20"])
    said = mantid_script(
        f"{SERVICE}\nfrom mantid.simpleapi import LoadNXSPE\n"
        f"chunk = LoadNXSPE({str(reduced_run / 'SEQ_4711_A.nxspe')!r})\n"
        f"executed({proc!r}, input=mtd['chunk'], output='one')\n",
        fails=True,
    )
    assert "InputError: the dimension '|Q|,20' has no limits. Fix: give name, lower limit" in said

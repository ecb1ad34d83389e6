"""docs/command-line.md says what the command does."""

import re
import shlex
import shutil
import signal
import sys
from dataclasses import dataclass, field, fields
from importlib import util
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from mantid_insgan import report
from mantid_insgan.cli import main as cli
from mantid_insgan.cli.flags import takes
from mantid_insgan.core.options import ApplyOptions, BinOptions, ResolutionOptions, TrainOptions

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "command-line.md"


@pytest.fixture(scope="module")
def maker():
    """The script that makes the tables."""
    spec = util.spec_from_file_location("make_command_line", ROOT / "docs" / "make_command_line.py")
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_its_script_makes(maker):
    text = PAGE.read_text(encoding="utf-8")
    assert maker.renewed(text) == text, "run python docs/make_command_line.py"


def test_every_command_and_option_is_on_the_page(maker):
    sections = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    by_name = {s.split("\n", 1)[0]: s for s in sections}
    assert set(maker.commands()) == set(by_name) - {"Exit status"}
    for name, command in maker.commands().items():
        for parameter in command.params:
            flag = parameter.metavar if parameter.param_type_name == "argument" else ", ".join(parameter.opts)
            assert f"| `{flag}` | {parameter.help.replace('|', chr(92) + '|')} |" in by_name[name]
    for entry in ApplyOptions.__dataclass_fields__.values():
        assert f"| `{entry.metadata['flag']}` | {entry.metadata['help']} |" in by_name["apply"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [("apply", ApplyOptions), ("train", TrainOptions), ("resolution", ResolutionOptions), ("bin", BinOptions)],
)
def test_the_flags_of_a_command_are_the_fields_of_its_options(maker, name, kind):
    flags = {p.name: p for p in maker.commands()[name].params if p.name in kind.__dataclass_fields__}
    assert list(flags) == [f.name for f in kind.entries()]
    for entry in fields(kind):
        flag = flags[entry.name]
        assert (flag.opts, flag.help) == ([entry.metadata["flag"]], entry.metadata["help"])
        assert flag.default == (None if entry.default == () else entry.default)


def test_a_new_field_is_a_new_flag():
    @dataclass(frozen=True)
    class More(ResolutionOptions):
        detector: tuple[int, ...] = field(default=(), metadata={"help": "Number of a detector.", "flag": "--detector"})

    app, seen = typer.Typer(), []

    @app.command()
    @takes(More)
    def command(file: str, *, options: More, quiet: bool = False):
        seen.append((file, options, quiet))

    assert CliRunner().invoke(app, ["a.nxs", "--detector", "3", "--detector", "5", "--ei", "20"]).exit_code == 0
    assert CliRunner().invoke(app, ["b.nxs", "--quiet"]).exit_code == 0
    assert seen == [("a.nxs", More(ei=20.0, detector=(3, 5)), False), ("b.nxs", More(), True)]


def test_the_exit_table_has_the_status_of_every_class():
    page = PAGE.read_text(encoding="utf-8").split("## Exit status")[1]
    table = {int(s): text for s, text in re.findall(r"^\| (\d+) \| (.*) \|$", page, flags=re.MULTILINE)}
    assert list(table) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 130]
    written = {}
    for source in (ROOT / "mantid_insgan").rglob("*.py"):
        for name, body in re.findall(r"^class (\w+)\(.*?\):\n(.*?)(?=^\S|\Z)", source.read_text(), re.M | re.S):
            if status := re.search(r"^    exit_code = (\d+)$", body, re.MULTILINE):
                written[int(status[1])] = name
    assert set(written) == set(table) - {0, 2, cli.INTERRUPTED}
    for status, name in written.items():
        assert table[status].startswith(f"`{name}`: ")


def test_the_formats_of_figures():
    named = re.search(r"chooses the format: (.*?)\.\s", PAGE.read_text(encoding="utf-8").replace("\n", " "))[1]
    assert re.findall(r"\.(\w+)", named + ".") == list(report.FORMATS)


def test_the_examples_run(monkeypatch, capsys, tmp_path):
    pytest.importorskip("matplotlib")
    pytest.importorskip("pyspinw")
    blocks = re.findall(r"^```bash\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    assert len(lines) >= 10 and all(line.startswith("insgan ") for line in lines)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "docs" / "examples" / "models" / "la2nio4.yaml", tmp_path)
    for line in lines:
        monkeypatch.setattr(sys, "argv", shlex.split(line))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        assert (ended.value.code or 0) == 0 and not re.search(r"insgan:|Warning", err), line + err
        assert out
    for number, handler in before.items():
        signal.signal(number, handler)
    written = {p.name for p in tmp_path.iterdir()}
    assert written == {"demo", "corrected.nxs", "corrected.png", "broadened.nxs", "sharp.nxs", "measured.pdf", "many",
                           "removed.html", "removed.pdf", "again.nxs", "again.html",
                       "la2nio4.yaml", "dispersion.png"}  # fmt: skip

"""insgan install-plugins: one entry in Mantid's properties file, and the file of before back again."""

import sys
from pathlib import Path

import pytest

from mantid_insgan.bundled import plugin_folders, scripts_folder
from mantid_insgan.cli import main as cli
from mantid_insgan.errors import OutputError
from mantid_insgan.mantid_support.install import COMMENT, KEY, carry_out, plan, user_properties

OURS = [Path("/opt/insgan/plugins/algorithms"), Path("/opt/insgan/plugins/functions")]
ADDED = ";".join(map(str, OURS))

FILES = {
    "other keys and comments": b"# mine\nQ.convention = Crystallography\n! also mine\n\ndefault.facility=ISIS\n",
    "an entry": b"a=1\nuser.python.plugins.directories = /home/me/algorithms\nb=2\n",
    "two entries": b"user.python.plugins.directories=/home/me/algorithms;/home/me/more;\n",
    "an empty entry": b"user.python.plugins.directories =\nb = 2\n",
    "a colon": b"user.python.plugins.directories: /x\n",
    "commented out": b"#user.python.plugins.directories = /x\n",
    "a longer key": b"user.python.plugins.directories.extra = /x\n",
    "no end of line": b"default.facility = ISIS",
    "entry without end of line": b"user.python.plugins.directories = /x",
    "Windows ends of line": b"a = 1\r\nuser.python.plugins.directories = C:/x;D:/y \r\nb = 2\r\n",
    "Windows without the key": b"a = 1\r\nb = 2\r\n",
    "over two lines": b"user.python.plugins.directories = /x;\\\n  /y\nb = 2\n",
    "twice": b"user.python.plugins.directories = /x\nuser.python.plugins.directories = /y\n",
    "not UTF-8": b"name = \xe9t\xe9\nuser.python.plugins.directories = /\xfc\n",
    "blanks at the end": b"user.python.plugins.directories = /x  \t\n",
    "nothing": b"",
}


def install(path, **options):
    change = plan(path, folders=OURS, **options)
    carry_out(change)
    return change


def entries(path) -> list[str]:
    """Entries of the last line with the key, as Mantid reads it."""
    text = path.read_bytes().decode("latin-1").replace("\\\r\n", "").replace("\\\n", "")
    values = [
        line.split("=" if "=" in line else ":", 1)[1]
        for line in text.splitlines()
        if line.replace(":", "=").split("=")[0].strip() == KEY
    ]
    return [e.strip() for e in values[-1].split(";") if e.strip()] if values else []


@pytest.fixture(params=FILES, ids=str)
def properties(request, tmp_path) -> Path:
    path = tmp_path / "Mantid.user.properties"
    path.write_bytes(FILES[request.param])
    return path


def test_adds_its_folders_once_and_keeps_the_rest(properties):
    before, had = properties.read_bytes(), entries(properties)
    assert install(properties).needed
    after = properties.read_bytes()
    assert entries(properties) == had + [str(f) for f in OURS]
    assert not install(properties).needed
    assert properties.read_bytes() == after
    kept = [line for line in before.splitlines() if not line.strip().startswith(KEY.encode())]
    assert [line for line in kept if line not in after.splitlines() and b"/y" not in line] == []


def test_remove_restores_the_file_byte_for_byte(properties):
    before = properties.read_bytes()
    install(properties)
    assert properties.with_name("Mantid.user.properties.before-insgan").read_bytes() == before
    install(properties, remove=True)
    assert properties.read_bytes() == before
    assert [p.name for p in properties.parent.iterdir()] == ["Mantid.user.properties"]


def test_removing_what_is_not_there_changes_nothing(properties):
    before = properties.read_bytes()
    assert not install(properties, remove=True).needed
    assert properties.read_bytes() == before


def test_a_file_is_made_and_goes_again(tmp_path):
    path = tmp_path / ".mantid" / "Mantid.user.properties"
    install(path)
    assert path.read_text() == f"{COMMENT}\n{KEY} = {ADDED}\n"
    install(path, remove=True)
    assert not path.exists()
    assert not install(path, remove=True).needed
    assert not path.exists()


def test_changes_made_since_stay(tmp_path):
    path = tmp_path / "Mantid.user.properties"
    path.write_bytes(FILES["an entry"])
    install(path)
    path.write_bytes(path.read_bytes().replace(b"b=2", b"b=3").replace(b"/home/me/algorithms", b"/first;/second"))
    install(path, remove=True)
    assert path.read_bytes() == b"a=1\nuser.python.plugins.directories = /first;/second\nb=3\n"


def test_a_folder_that_is_new_joins_the_old(tmp_path):
    path = tmp_path / "Mantid.user.properties"
    carry_out(plan(path, folders=OURS[:1]))
    install(path)
    assert entries(path) == [str(f) for f in OURS]


def test_a_link_stays_a_link(tmp_path):
    real, link = tmp_path / "dotfiles", tmp_path / "Mantid.user.properties"
    real.write_bytes(FILES["an entry"])
    link.symlink_to(real)
    install(link)
    assert link.is_symlink() and entries(real)[-1] == str(OURS[1])


def test_a_failed_write_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "Mantid.user.properties"
    path.write_bytes(FILES["an entry"])

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OutputError, match=r"cannot be written \(No space left on device\)"):
        install(path)
    assert path.read_bytes() == FILES["an entry"]
    assert not list(tmp_path.glob(".*.part"))


def test_a_folder_that_mantid_cannot_be_told_of(tmp_path):
    with pytest.raises(OutputError, match="a character in its name that separates folders"):
        plan(tmp_path / "x", folders=[Path("/opt/a;b")])


def test_where_the_file_lies(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    for platform in ("linux", "darwin"):
        assert user_properties(platform=platform) == tmp_path / ".mantid" / "Mantid.user.properties"
    installed = tmp_path / "env" / "bin"
    installed.mkdir(parents=True)
    (installed / "Mantid.properties").touch()
    assert user_properties(tmp_path / "env", "linux") == installed / "Mantid.properties"
    assert user_properties(tmp_path / "env", "win32") == installed / "Mantid.user.properties"
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "env"))
    assert user_properties(platform="win32") == installed / "Mantid.user.properties"
    with pytest.raises(OutputError, match="there is no Mantid.properties in .* under .*other"):
        user_properties(tmp_path / "other")


def test_only_folders_that_mantid_may_execute():
    folders = plugin_folders()
    assert folders and {f.name for f in folders} <= {"algorithms", "functions"}
    for file in (p for f in folders for p in f.rglob("*.py")):
        assert file.parent in folders and "subscribe" in file.read_text(encoding="utf-8")


@pytest.fixture
def insgan(monkeypatch, capsys, tmp_path):
    """Runs the command with an empty home and gives its status and what it said."""
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr(sys, "platform", "linux")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["insgan", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0, *capsys.readouterr()

    return run


def test_the_command(insgan, tmp_path):
    path = tmp_path / ".mantid" / "Mantid.user.properties"
    line = f"  +{KEY} = {';'.join(map(str, plugin_folders()))}"
    code, out, err = insgan("install-plugins", "--dry-run")
    assert (code, err) == (0, "") and f"{path} would change" in out and line in out and not path.exists()
    code, out, _ = insgan("install-plugins")
    assert code == 0 and f"{path} changed" in out and line in out
    assert entries(path) == [str(f) for f in plugin_folders()]
    assert insgan("install-plugins", "--user")[1] == f"{path} needs no change\n"
    code, out, _ = insgan("install-plugins", "--remove")
    assert code == 0 and line.replace("+", "-") in out and not path.exists()


def test_the_command_refuses_what_it_cannot_do(insgan, tmp_path):
    code, _, err = insgan("install-plugins", "--user", "--prefix", tmp_path)
    assert code == 2 and "--user and --prefix are two different files" in err
    code, _, err = insgan("install-plugins", "--prefix", tmp_path)
    assert code == 6 and "there is no Mantid.properties" in err


def test_the_scripts_are_copied_for_a_site_to_change(insgan, tmp_path):
    names = {f.name for f in scripts_folder().iterdir() if f.is_file()}
    assert {"reduce_sns.py", "reduce_sns.py.template", "live_data.py", "fia_powder.py"} <= names
    code, out, _ = insgan("install-plugins", "--scripts", tmp_path, "--dry-run")
    assert code == 0 and out.count("would be written") == len(names) and not list(tmp_path.iterdir())
    code, out, _ = insgan("install-plugins", "--scripts", tmp_path)
    assert code == 0 and {f.name for f in tmp_path.iterdir()} == names
    (tmp_path / "fia_powder.py").write_text("changed")
    (tmp_path / "reduce.py").unlink()
    code, _, err = insgan("install-plugins", "--scripts", tmp_path)
    assert code == OutputError.exit_code and "fia_powder.py already exists" in err and "--overwrite" in err
    assert not (tmp_path / "reduce.py").exists(), "all or none"
    code, out, _ = insgan("install-plugins", "--scripts", tmp_path, "--overwrite")
    assert code == 0 and out.count(" written") == 2 and out.count("is there") == len(names) - 2
    assert (tmp_path / "fia_powder.py").read_bytes() == (scripts_folder() / "fia_powder.py").read_bytes()
    code, _, err = insgan("install-plugins", "--scripts", tmp_path, "--remove")
    assert code == 2 and "copies the scripts alone" in err

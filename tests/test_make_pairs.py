"""Pairs on disk: the same whatever the workers, taken up after a kill, split by family and setting, and verified."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mantid_insgan.errors import DeviceError, InputError, OutputError
from mantid_insgan.learn.pairs import SPLITS, Recipe, make_pairs, read_pairs
from mantid_insgan.learn.pairs.draw import draw_pair
from mantid_insgan.learn.pairs.recipe import families_of, settings_of
from mantid_insgan.learn.pairs.run import _AHEAD, _in_order
from mantid_insgan.learn.pairs.shards import shard_name, write_shard

ROOT = Path(__file__).resolve().parents[1]
#: Small and quick: one-dimensional cuts of two families, three in a file.
SMALL = {"bins": 16, "per_shard": 3, "families": ("fm_chain", "rutile_afm"), "method": "interpolated"}


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Eight pairs of one worker."""
    folder = tmp_path_factory.mktemp("pairs") / "one"
    result = make_pairs(1, 8, 7, 1, folder, **SMALL)
    assert (result.pairs, result.kept, result.shards) == (8, 0, 3)
    return folder


def test_folder_holds_shards_index_and_card(made):
    assert sorted(contents(made)) == sorted(
        [shard_name(0, 3), shard_name(3, 3), shard_name(6, 2), "index.json", "data_card.json", "data_card.md"]
    )


def test_pairs_are_what_they_say(made):
    pairs = list(read_pairs(made))
    assert [p.facts["index"] for p in pairs] == list(range(8))
    for pair in pairs:
        assert pair.ideal.shape == pair.convolved.shape == pair.valid.shape == (16,)
        assert pair.width.shape == (1, 16) and (pair.width > 0).all()
        assert np.isfinite(pair.convolved[pair.valid]).all()
        assert pair.facts["split"] in ("train", "test-family", "test-setting")
        experiment = pair.spectrum("experiment")
        assert experiment.run.value("instrument") == pair.facts["resolution"]["instrument"]
        np.testing.assert_array_equal(experiment.valid.ravel(), pair.valid)
        np.testing.assert_array_equal(experiment.num_events.ravel()[~pair.valid], 0)
        again, other = pair.spectrum("experiment"), pair.spectrum("experiment", seed=1)
        np.testing.assert_array_equal(again.num_events, experiment.num_events)
        assert (other.num_events != experiment.num_events).any()
        assert len(experiment.squeeze().axes) == 1
        assert experiment.axes[-1].is_energy


def test_two_workers_make_the_same_bytes(made, tmp_path):
    make_pairs(1, 8, 7, 2, tmp_path / "two", **SMALL)
    assert contents(tmp_path / "two") == contents(made)


def test_an_item_depends_on_its_number_alone(made):
    recipe = Recipe(1, 7, SMALL["method"], SMALL["bins"], SMALL["per_shard"], SMALL["families"])
    item, stored = draw_pair(recipe, 4), list(read_pairs(made))[4]
    assert item.facts == stored.facts
    np.testing.assert_allclose(item.convolved, stored.convolved, rtol=1e-6)


@pytest.mark.slow
def test_going_further_keeps_what_is_there(made, tmp_path):
    first = make_pairs(1, 5, 7, 1, tmp_path / "more", **SMALL)
    assert first.pairs == 5
    steps = []
    again = make_pairs(1, 8, 7, 1, tmp_path / "more", **SMALL, progress=lambda done, total: steps.append((done, total)))
    assert (again.kept, again.pairs) == (3, 8)
    assert steps == [(n, 8) for n in range(4, 9)]
    assert contents(tmp_path / "more") == contents(made)


def test_complete_folder_is_left_as_it_is(made):
    before = {p.name: p.stat().st_mtime_ns for p in made.glob("*.h5")}
    assert make_pairs(1, 8, 7, 1, made, **SMALL).kept == 8
    assert {p.name: p.stat().st_mtime_ns for p in made.glob("*.h5")} == before


def test_damage_is_seen_by_the_reader_and_mended_by_the_maker(made, tmp_path):
    folder = tmp_path / "damaged"
    folder.mkdir()
    for name, content in contents(made).items():
        (folder / name).write_bytes(content)
    shard = folder / shard_name(3, 3)
    changed = bytearray(shard.read_bytes())
    changed[len(changed) // 2] ^= 1
    shard.write_bytes(changed)
    with pytest.raises(InputError, match=r"pairs-0000003-0000005.h5 differs from the checksum"):
        list(read_pairs(folder))
    assert make_pairs(1, 8, 7, 1, folder, **SMALL).kept == 5
    assert contents(folder) == contents(made)


def test_missing_shard_is_named(made, tmp_path):
    (tmp_path / "index.json").write_bytes((made / "index.json").read_bytes())
    with pytest.raises(InputError, match=r"pairs-0000000-0000002.h5 does not exist"):
        list(read_pairs(tmp_path))


def test_card_counts_what_is_there(made):
    card = json.loads((made / "data_card.json").read_text())
    pairs = list(read_pairs(made))
    assert card["pairs"] == 8 and card["recipe"]["seed"] == 7
    for what in ("split", "family", "setting", "kind"):
        assert sum(card["counts"][what].values()) == 8
        for name, number in card["counts"][what].items():
            assert number == sum(p.facts[what] == name for p in pairs)
    assert card["counts"]["draws"]["unstable"] == sum(p.facts["unstable_draws"] for p in pairs)
    assert {"numpy", "pyspinw", "mantid-insgan"} <= set(card["versions"])
    assert card["units"]["energies"] == "meV"
    assert "| train |" in (made / "data_card.md").read_text()


def test_reader_picks_a_split(made):
    everything = list(read_pairs(made))
    picked = {name: list(read_pairs(made, name)) for name in SPLITS}
    assert sum(map(len, picked.values())) == 8
    for name, pairs in picked.items():
        assert [p.facts["index"] for p in pairs] == [p.facts["index"] for p in everything if p.facts["split"] == name]
    with pytest.raises(InputError, match="no split 'training'"):
        list(read_pairs(made, "training"))


def test_splits_share_neither_family_nor_setting():
    families = {name: {f.name for f in families_of(name)} for name in SPLITS}
    settings = {name: {s[:2] for s in settings_of(name)} for name in SPLITS}
    assert all(families.values()) and all(settings.values())
    assert families["train"].isdisjoint(families["validation"] | families["test-family"])
    assert families["validation"].isdisjoint(families["test-family"])
    assert settings["train"].isdisjoint(settings["validation"] | settings["test-setting"])
    assert settings["validation"].isdisjoint(settings["test-setting"])
    assert families["test-setting"] == families["train"] and settings["test-family"] == settings["train"]


def test_items_come_from_their_split(made):
    for pair in read_pairs(made):
        assert pair.facts["family"] in {f.name for f in families_of(pair.facts["split"])}
        assert pair.facts["setting"] in {f"{s[0]} {s[1]}" for s in settings_of(pair.facts["split"])}


def test_volumes_of_fewer_energies(tmp_path):
    options = {"bins": 12, "families": ("fm_chain",), "per_shard": 1}
    make_pairs(3, 1, 7, 1, tmp_path, energy_bins=8, **options)
    (pair,) = read_pairs(tmp_path)
    assert pair.ideal.shape == (12, 12, 8) and pair.spectrum("ideal").squeeze().axes[-1].is_energy
    assert "12 bins along each open axis, 8 along the energy" in (tmp_path / "data_card.md").read_text()
    with pytest.raises(OutputError, match="made with energy_bins 8; asked for were energy_bins null"):
        make_pairs(3, 1, 7, 1, tmp_path, **options)


@pytest.mark.parametrize(
    ("dimensions", "method"),
    [(1, "interpolated"), (2, "covariance"), pytest.param(3, "covariance", marks=pytest.mark.slow)],
)
def test_every_dimension(dimensions, method):
    recipe = Recipe(dimensions, 3, method, 10, 2, ("fm_chain",))
    kinds = set()
    for index in range(2):
        item = draw_pair(recipe, index)
        kinds.add(item.facts["kind"])
        assert item.ideal.shape == (10,) * dimensions and item.width.shape == (dimensions, *item.ideal.shape)
        assert item.correlation.shape == (dimensions * (dimensions - 1) // 2, *item.ideal.shape)
        assert (np.abs(item.correlation) <= 1).all()
        inside = item.valid & np.isfinite(item.ideal)
        assert np.isfinite(item.convolved[item.valid]).all() and inside.any()
        # The resolution moves intensity and makes little of its own.
        assert item.convolved[inside].sum() < 5 * item.ideal[inside].sum()
    assert kinds <= set({1: ("energy-cut", "momentum-cut", "powder-cut"), 2: ("path", "plane", "powder")}.get(
        dimensions, ("volume",)
    ))  # fmt: skip


KILLED = """
import os, signal, sys
from mantid_insgan.learn.pairs import make_pairs
if __name__ == "__main__":
    def stop(done, total):
        if done == 5:
            os.kill(os.getpid(), getattr(signal, sys.argv[2]))
    make_pairs(1, 8, 7, 1, sys.argv[1], bins=16, per_shard=3, families=("fm_chain", "rutile_afm"),
               method="interpolated", progress=stop)
"""


def stopped_run(folder: Path, tmp_path: Path, how: str) -> int:
    script = tmp_path / "stopped.py"
    script.write_text(KILLED)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "INSGAN_TEST": str(tmp_path)}  # workers inherit it
    return subprocess.run(
        [sys.executable, str(script), str(folder), how], env=environment, capture_output=True, timeout=120
    ).returncode


@pytest.mark.slow
@pytest.mark.parametrize("how", ["SIGKILL", "SIGINT"])
def test_stopped_half_way_and_resumed(made, tmp_path, how):
    folder = tmp_path / "stopped"
    status = stopped_run(folder, tmp_path, how)
    assert status != 0
    if how == "SIGKILL":
        assert status == -signal.SIGKILL
    left = contents(folder)
    assert left[shard_name(0, 3)] == (made / shard_name(0, 3)).read_bytes()
    assert set(left) == {"index.json", shard_name(0, 3)}
    assert make_pairs(1, 8, 7, 1, folder, **SMALL).kept == 3
    assert contents(folder) == contents(made)


@pytest.mark.slow
def test_workers_end_with_a_killed_parent(tmp_path):
    psutil = pytest.importorskip("psutil")
    before = {p.pid for p in psutil.process_iter()}
    stopped_run(tmp_path / "x", tmp_path, "SIGKILL")
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        new = [p for p in psutil.process_iter(["cmdline"]) if p.pid not in before]
        left = [
            p for p in new if "spawn_main" in " ".join(p.info["cmdline"] or []) and str(tmp_path) in _environment(p)
        ]
        if not left:
            break
        time.sleep(0.2)
    assert not left


def _environment(process) -> list[str]:
    """Values of a process' environment; none when it has gone."""
    import psutil

    try:
        return list(process.environ().values())
    except psutil.Error:
        return []


def test_items_follow_the_workers_that_come():
    class Future:
        def __init__(self, index):
            self.index = index

        def result(self):
            return self.index

        def cancel(self):
            pass

    submitted, workers = [], [1]

    def submit(task, recipe, index):
        submitted.append(index)
        return Future(index)

    items = _in_order(submit, Recipe(1, 7), list(range(40)), lambda: workers[0])
    assert next(items) == 0 and len(submitted) == _AHEAD
    workers[0] = 5
    assert next(items) == 1 and len(submitted) == _AHEAD * 5 + 1
    assert list(items) == list(range(2, 40))


@pytest.mark.slow
def test_dask_makes_the_same_bytes(made, tmp_path):
    pytest.importorskip("distributed")
    make_pairs(1, 8, 7, 2, tmp_path / "dask", **SMALL, dask="local")
    assert contents(tmp_path / "dask") == contents(made)


def test_dask_scheduler_that_is_not_there(tmp_path):
    pytest.importorskip("distributed")
    with pytest.raises(DeviceError, match="scheduler 'nonsense://x' cannot be reached"):
        make_pairs(1, 2, 7, 1, tmp_path, **SMALL, dask="nonsense://x")


@pytest.mark.parametrize(
    ("change", "message", "fix"),
    [
        ({"dimensions": 4}, "cuts of 4 dimensions", "--dimensions"),
        ({"count": 0}, "the count is 0", "--count"),
        ({"workers": 0}, "the workers is 0", "--workers"),
        ({"seed": -1}, "the seed is -1", "--seed"),
        ({"method": "magic"}, "method 'magic' is not known", "--method"),
        ({"bins": 4}, "4 bins along an axis", "--bins"),
        ({"dimensions": 3, "energy_bins": 4}, "4 bins along an axis", "--energy-bins"),
        ({"energy_bins": 16}, "16 bins along the energy of cuts of 1 dimensions", "--dimensions 3"),
        ({"per_shard": -2}, "-2 pairs in a file", "--per-shard"),
        ({"families": ("fm_chian",)}, "no family 'fm_chian'", "--family"),
    ],
)
def test_bad_options(tmp_path, change, message, fix):
    options = {"dimensions": 1, "count": 2, "seed": 7, "workers": 1, "output": tmp_path / "x"} | change
    with pytest.raises(InputError) as caught:
        make_pairs(**options)
    assert message in caught.value.reason and fix in caught.value.fix
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 8}, "holds pairs made with seed 7; asked for were seed 8"),
        ({"bins": 32}, "holds pairs made with bins 16; asked for were bins 32"),
        ({"count": 4}, "holds 8 pairs, more than the 4 asked for"),
    ],
)
def test_other_pairs_in_the_folder(made, change, message):
    options = {"dimensions": 1, "count": 8, "seed": 7, "workers": 1, "output": made} | SMALL | change
    before = contents(made)
    with pytest.raises(OutputError) as caught:
        make_pairs(**options)
    assert message in caught.value.reason
    assert contents(made) == before


def test_other_versions_are_not_mixed(made, tmp_path):
    index = json.loads((made / "index.json").read_text())
    index["versions"]["numpy"] = "1.0"
    (tmp_path / "index.json").write_text(json.dumps(index))
    with pytest.raises(OutputError, match='holds pairs made with numpy "1.0"'):
        make_pairs(1, 8, 7, 1, tmp_path, **SMALL)


def test_folder_with_other_things(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(OutputError, match=r"holds 'thesis.tex' and no pairs"):
        make_pairs(1, 2, 7, 1, tmp_path, **SMALL)


def test_output_that_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be made or read"):
        make_pairs(1, 2, 7, 1, tmp_path / "file", **SMALL)


def test_index_of_another_kind(tmp_path):
    (tmp_path / "index.json").write_text('{"format": "other"}')
    with pytest.raises(InputError, match="has the format 'other'"):
        list(read_pairs(tmp_path))
    (tmp_path / "index.json").write_text("{")
    with pytest.raises(OutputError, match="cannot be read"):
        make_pairs(1, 2, 7, 1, tmp_path, **SMALL)


def test_folder_without_index(tmp_path):
    with pytest.raises(InputError, match=r"holds no index.json"):
        list(read_pairs(tmp_path))


FULL = """
import resource, sys
from mantid_insgan.errors import OutputError
from mantid_insgan.learn.pairs import read_pairs
from mantid_insgan.learn.pairs.shards import write_shard
from pathlib import Path
items = list(read_pairs(sys.argv[1])) * 40
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    write_shard(Path(sys.argv[2]), 0, items)
except OutputError as problem:
    print(problem)
"""


def test_full_disk_is_one_error_and_leaves_nothing(made, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    shown = subprocess.run(
        [sys.executable, "-c", FULL, str(made), str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert f"writing {tmp_path / shard_name(0, 320)} failed" in shown.stdout, shown.stderr
    assert "disk is full" in shown.stdout and "run the same command again" in shown.stdout
    assert list(tmp_path.iterdir()) == []


def test_shard_bytes_do_not_depend_on_the_moment(made, tmp_path):
    items = list(read_pairs(made))[:3]
    entries = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        entries.append(write_shard(tmp_path / name, 0, items))
        time.sleep(1.1)  # HDF5 counts times in seconds
    assert entries[0]["sha256"] == entries[1]["sha256"]
    index = json.loads((made / "index.json").read_text())
    assert entries[0]["sha256"] == index["shards"][0]["sha256"]

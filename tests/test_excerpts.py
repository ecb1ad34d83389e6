"""The excerpts of tests/data: what the script cuts, small, and with the notices of their sources."""

import importlib.util

import pytest


@pytest.fixture
def script(excerpts):
    spec = importlib.util.spec_from_file_location("make_excerpts", excerpts / "make_excerpts.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def files(folder) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.glob("*/*") if p.parent.name != "__pycache__")


def test_they_are_what_the_script_cuts(script, shared, excerpts, tmp_path):
    pytest.importorskip("scipy")
    script.main(["--from", str(shared / "data"), "--to", str(tmp_path)])
    assert files(tmp_path) == files(excerpts)
    for name in files(tmp_path):
        if name.endswith((".nxspe", ".npz", ".gz")):  # compressed: the libraries that compress have versions
            assert contents(tmp_path / name) == contents(excerpts / name), name
        else:
            assert (tmp_path / name).read_bytes() == (excerpts / name).read_bytes(), name


def contents(path) -> dict[str, bytes]:
    """The values in a compressed file, by name."""
    import gzip

    import h5py
    import numpy as np

    if path.suffix == ".gz":
        return {"": gzip.decompress(path.read_bytes())}
    if path.suffix == ".npz":
        with np.load(path) as stored:
            return {name: stored[name].tobytes() for name in stored.files}
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda n, o: found.update({n: o[()].tobytes() if isinstance(o, h5py.Dataset) else b"group"}))
        file.visititems(lambda n, o: found.update({f"{n}@{k}": np.asarray(v).tobytes() for k, v in o.attrs.items()}))
    assert len(found) > 20
    return found


def test_they_are_small_and_each_has_its_licence(excerpts):
    assert len(files(excerpts)) == 10
    assert sum((excerpts / name).stat().st_size for name in files(excerpts)) < 300e3
    assert "Attribution 4.0 International" in (excerpts / "bi2fe4o9-merlin" / "LICENSE").read_text()
    assert "Copyright (c) 2022, Keith Butler" in (excerpts / "pcsmo-maps" / "LICENSE").read_text()
    page = (excerpts / "README.md").read_text()
    for part in ("mducle/cairo-data", "CC-BY-4.0", "mdi-group/interpretable-ml-neutron-spectroscopy", "BSD 3-Clause"):
        assert part in page
    assert page.count("**Changed**: excerpt.") == page.count("\n## ") == 2

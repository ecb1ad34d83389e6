"""Reports: what stands in them, where it comes from, what they say against a result, and that a browser shows them."""

import base64
import importlib.util
import json
import math
import re
import shutil
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import h5py
import numpy as np
import pytest
import stand_in_card

from mantid_insgan import __version__
from mantid_insgan.core.options import ApplyOptions
from mantid_insgan.core.run import Lattice, Run
from mantid_insgan.core.spectrum import Axis
from mantid_insgan.demo import DATA
from mantid_insgan.errors import DeviceError, InputError, ModelError, OutputError
from mantid_insgan.io import read_nexus, write_nexus
from mantid_insgan.io.writer import last_record
from mantid_insgan.translate.again import made_again, recorded_options
from mantid_insgan.translate.cards import find_model, models_folder
from mantid_insgan.translate.job import apply_to_file

pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'mantid-insgan[report]'")
pytest.importorskip("jinja2", reason="Jinja2 is not installed: pip install 'mantid-insgan[report]'")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed: pip install 'mantid-insgan[cpu]'")

from matplotlib import colormaps
from test_report import magnon
from trusting import with_far_blocks, with_near_blocks, without_blocks

from mantid_insgan.report import evidence, panels, style
from mantid_insgan.report.evidence import evidence_in_memory, evidence_of_files, sha256, verdict
from mantid_insgan.report.page import check_report, page_text, write_report

FACTS = {"instrument": "MERLIN", "ei": 60.0, "chopper": "G", "frequency": 400.0, "lattice": Lattice(4, 4, 6)}
RUN = Run().updated("log of the test", **FACTS)
E = Axis("DeltaE", np.linspace(-5, 35, 41), "DeltaE")


def momentum(name: str, bins: int) -> Axis:
    return Axis(name, np.linspace(-1, 1, bins + 1), "r.l.u.", "HKL")


def job(folder: Path, spectrum, **options) -> tuple[Path, Path]:
    """Input and output of `insgan apply` for a spectrum."""
    source, target = folder / "in.nxs", folder / "out.nxs"
    write_nexus(spectrum, source)
    apply_to_file(source, target, ApplyOptions(**options))
    return source, target


class Page(HTMLParser):
    """Texts, attributes that may cause a request, and pictures of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.texts, self.places, self.pictures, self.open = [], [], [], [], []
        self.feed(text)
        assert not self.open, "elements that are not closed"

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag not in ("meta", "img"):
            self.open.append(tag)
        about = dict(attributes)
        if tag == "img":
            head, _, body = about["src"].partition(",")
            assert head == "data:image/svg+xml;base64" and about["alt"]
            self.pictures.append(base64.b64decode(body).decode("utf-8"))
        else:
            self.places += [v for k, v in attributes if k in ("src", "href", "srcset", "data", "action", "poster")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    """Folder with the demo's measurement and its result."""
    folder = tmp_path_factory.mktemp("demo")
    shutil.copy(DATA / "measured.nxs", folder)
    apply_to_file(folder / "measured.nxs", folder / "removed.nxs", ApplyOptions())
    return folder


@pytest.fixture(scope="module")
def found(demo):
    return evidence_of_files(demo / "measured.nxs", demo / "removed.nxs")


@pytest.fixture(scope="module")
def page(found) -> str:
    return page_text(found)


@pytest.fixture
def undrawn(monkeypatch):
    """An empty picture in place of the figures, where only texts matter."""
    monkeypatch.setattr("mantid_insgan.report.page.figures", lambda evidence: {"none": style.new_figure(1, 1)})


# ------------------------------------------------------------------------------------------------ what stands in it


def test_the_page_needs_nothing_else(page):
    seen = Page(page)
    assert not seen.places
    assert not {"script", "link", "iframe", "object", "embed", "form", "base"} & set(seen.tags)
    assert "default-src 'none'; img-src data:" in page
    assert not re.search(r"url\(|@import|https?://|\bon\w+=", re.sub(r"base64,[\w+/=]+", "", page))
    for picture in seen.pictures:
        root = ElementTree.fromstring(picture)
        links = [v for e in root.iter() for k, v in e.attrib.items() if k.endswith(("href", "src"))]
        assert links and all(link.startswith(("#", "data:image/png;base64,")) for link in links)
    assert len(seen.pictures) == 3


def test_the_verdict_stands_above_all(page):
    text = Page(page).text
    first, picture = text.index("Nothing was found that speaks against this result."), text.index("Figure 1.")
    assert (
        first < text.index("the same job, done again, gives the same result") < picture < text.index("Facts of the run")
    )


def test_facts_stand_with_their_sources_and_numbers_with_theirs(page, demo):
    text = Page(page).text
    for line in (
        "incident energy 200 meV log Ei of experiment0",
        "chopper package S log chopper_package of experiment0",
        "result has a resolution 3 times finer than that of instrument=MAPS,Ei=200,chopper=S,frequency=400",
        f"mantid-insgan {__version__}",
        f"numpy {np.__version__}",
        f"h5py {h5py.__version__}",
    ):
        assert line in text
    card = find_model("remove-resolution-2d").card
    for digest in (sha256(demo / "measured.nxs"), sha256(demo / "removed.nxs"), card.sha256):
        assert digest in text
    for table in card.metrics:
        assert table.title in text and table.conditions in text
        for values in table.rows.values():
            assert all(f"{value:.3f}" in text for value in values)


def test_the_numbers_are_those_of_the_job(found, demo, tmp_path):
    report = apply_to_file(demo / "measured.nxs", tmp_path / "again.nxs", ApplyOptions())
    there, here = report.summary(), found.again.report.summary()
    numbers = {name for name, value in there.items() if isinstance(value, float)}
    assert {n: here[n] for n in numbers} == pytest.approx({n: there[n] for n in numbers})
    assert all(here[n] == there[n] for n in there.keys() - numbers)
    assert found.flux_ratio == pytest.approx(there["flux_ratio"], rel=1e-6)


def test_the_deviations_are_those_of_chi_squared(found):
    values = found.again.deviation[np.isfinite(found.again.deviation)]
    quality = found.again.report.quality
    assert values.size == quality.compared
    assert np.square(values).sum() == pytest.approx(quality.chi_squared, rel=1e-5)


def test_what_the_model_adds_to_the_calculation(tmp_path):
    shutil.copy(DATA / "calculated.nxs", tmp_path / "in.nxs")
    apply_to_file(tmp_path / "in.nxs", tmp_path / "out.nxs", ApplyOptions(direction="add-resolution"))
    added = evidence_of_files(tmp_path / "in.nxs", tmp_path / "out.nxs")
    assert added.again.direction == "add-resolution" and np.isfinite(added.again.deviation).all()
    assert panels.deviation_label(added) == "(result − calculated convolution) / error"
    assert added.again.report.quality.compared == 0


@pytest.mark.parametrize(
    ("axes", "pictures"),
    [
        ([E], 2),
        ([momentum("[H,0,0]", 20), momentum("[0,K,0]", 16), E], 3),
        ([momentum("[H,0,0]", 12), momentum("[0,K,0]", 8), momentum("[0,0,L]", 2), E], 3),
    ],
    ids=["one axis", "three", "four"],
)
def test_any_number_of_axes(tmp_path, axes, pictures):
    if len(axes) == 1:
        axes = [Axis("[H,0,0]", [0.2, 0.3], "r.l.u.", "HKL"), *axes]
    spectrum = magnon(*axes, elastic=100.0).replace(run=RUN)
    known = evidence_of_files(*job(tmp_path, spectrum))
    seen = Page(page_text(known))
    assert len(seen.pictures) == pictures
    if pictures == 3:
        at = panels.strongest_bin(known.result.squeeze(), known.given.squeeze())
        assert abs(E.centers[at[-1]]) > 3, "the elastic line was taken for the strongest mode"
        assert "in planes through the strongest point" in seen.text
    assert "the elastic line (FWHM" in seen.text


def test_the_strongest_point_is_that_of_the_brightest_mode():
    spectrum = magnon(momentum("[H,0,0]", 20), momentum("[0,K,0]", 16), E, elastic=200.0)
    signal = spectrum.signal.copy()
    signal[4:7, 9:12, 29:32] += 60.0
    spectrum = spectrum.replace(signal=signal)
    assert panels.strongest_bin(spectrum, spectrum) == (5, 10, 30)


def test_maps_can_be_told_apart_in_grey():
    for name in (style.COLOUR_MAP, panels._ERRORS):
        colours = colormaps[name](np.linspace(0, 1, 64))[:, :3]
        grey = colours @ [0.299, 0.587, 0.114]
        assert (np.diff(grey) > 0).all()


def test_maps_of_intensity_have_one_scale_and_axes_their_units(found):
    figure = panels.figures(found)["Input, result, standard error and deviation"]
    maps = [a for a in figure.axes if a.images]
    images = [a.images[0] for a in maps]
    assert images[0].norm is images[1].norm and images[2].norm is not images[0].norm
    assert (images[3].norm.vmin, images[3].norm.vmax) == (-panels.FAR, panels.FAR)
    for axes in maps:
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("[H,H,0] (r.l.u.)", "Energy transfer (meV)")
    labels = [a.get_ylabel() for a in figure.axes if not a.images]
    assert labels == ["Intensity", "Standard error", panels.deviation_label(found)]
    np.testing.assert_allclose(
        images[2].get_array().T.compressed() ** 2, found.result.squeeze().variance[found.result.squeeze().valid]
    )


def job_of_demo(folder: Path):
    """The evidence of the demo's measurement and its result, made here and now."""
    apply_to_file(DATA / "measured.nxs", folder / "removed.nxs", ApplyOptions())
    return evidence_of_files(DATA / "measured.nxs", folder / "removed.nxs")


def test_where_neighbouring_bins_deviate_together_is_a_map(tmp_path, monkeypatch):
    """With the p-value above it, on the scale of the deviations."""
    with_near_blocks(monkeypatch)
    known = job_of_demo(tmp_path)
    deviation = known.again.deviation.squeeze().copy()
    deviation[30:36, 40:46] += 3.0
    known = replace(known, again=replace(known.again, deviation=deviation.reshape(known.again.deviation.shape)))
    figure = panels.figures(known)["Distribution of the deviations, and where neighbouring bins deviate together"]
    (drawn,) = [a for a in figure.axes if a.images]
    image = drawn.images[0]
    shown = image.get_array()
    assert (shown.mask.T == ~np.isfinite(deviation)).all() and np.abs(shown).argmax() == shown.argmax()
    up, across = np.unravel_index(shown.argmax(), shown.shape)
    assert 30 <= across < 36 and 40 <= up < 46 and shown.max() > 8 and 0.8 < shown.std() < 2
    assert (image.norm.vmin, image.norm.vmax) == (-panels.FAR, panels.FAR)
    assert drawn.get_title() == f"p-value of the data 1 ({len(known.again.report.quality.p_values)} blocks)"
    assert "Deviation of neighbours / by chance" in [a.get_ylabel() for a in figure.axes]
    assert panels.deviation_label(known) == "(data − result convolved again) / expected"


def test_a_cut_has_its_neighbours_as_a_curve(tmp_path, monkeypatch):
    with_near_blocks(monkeypatch)
    cut = magnon(Axis("[H,0,0]", [0.2, 0.3], "r.l.u.", "HKL"), E).replace(run=RUN)
    figure = panels.figures(evidence_of_files(*job(tmp_path, cut)))[
        "Distribution of the deviations, and where neighbouring bins deviate together"
    ]
    right = figure.axes[1]
    assert right.get_ylabel() == "Deviation of neighbours / by chance" and right.get_title().startswith(
        "p-value of the data 1 (1 block)"
    )
    assert right.get_xlabel() == "Energy transfer (meV)"


def test_a_volume_shows_the_plane_where_most_deviates(tmp_path, monkeypatch):
    with_near_blocks(monkeypatch)
    volume = magnon(momentum("[H,0,0]", 20), momentum("[0,K,0]", 16), E).replace(run=RUN)
    known = evidence_of_files(*job(tmp_path, volume))
    deviation = known.again.deviation.copy()
    deviation[:, 4:6] -= 5.0
    known = replace(known, again=replace(known.again, deviation=deviation))
    (figure,) = (f for caption, f in panels.figures(known).items() if caption.startswith("Distribution"))
    title = figure.axes[1].get_title()
    assert re.search(r"\n\[0,K,0\] = −0\.(312|438), where most deviates$", title), title


def test_without_p_values_the_distances_are_drawn(tmp_path, monkeypatch):
    without_blocks(monkeypatch)
    known = job_of_demo(tmp_path)
    figure = panels.figures(known)["Distribution of the deviations, and distance from the training data"]
    assert not [a for a in figure.axes if a.images]
    assert " ".join(figure.axes[1].get_ylabel().split()) == "Distance from the training data / threshold"
    assert panels.deviation_label(known) == "(data − result convolved again) / error"


def test_wider_bands_are_drawn_behind_narrow_ones(found, monkeypatch):
    """Bands of any number come from `bands` alone."""
    (one,) = evidence.bands(found.result.squeeze().replace(deviations=None))
    twice = evidence.Band("95 %", 2 * one.low - one.high, 2 * one.high - one.low)
    monkeypatch.setattr(panels, "bands", lambda result: (one, twice))
    figure = panels.figures(found)["Cuts through the strongest modes"]
    assert [c.get_label() for c in figure.axes[0].collections if c.get_label()[0] != "_"][:2] == ["95 %", one.label]


def test_the_intervals_of_a_card_are_drawn_as_bands(tmp_path):
    model = stand_in_card.copied(tmp_path / "known")
    spectrum = magnon(momentum("[H,0,0]", 30), E).replace(run=RUN)
    files = job(tmp_path, spectrum, model=model, device="cpu")
    shown = evidence_of_files(*files, model=model)
    narrow, wide = evidence.bands(shown.result)
    assert [narrow.label, wide.label] == ["68 % interval", "95 % interval"]
    here = shown.result.valid
    signal = shown.result.signal[here]
    for band in (narrow, wide):
        assert (band.low[here] < signal).all() and (signal < band.high[here]).all()
    assert (wide.low[here] < narrow.low[here]).all() and (narrow.high[here] < wide.high[here]).all()
    figure = panels.figures(shown)["Cuts through the strongest modes"]
    assert [c.get_label() for c in figure.axes[0].collections if c.get_label()[0] != "_"][:2] == [
        wide.label,
        narrow.label,
    ]
    other = evidence_of_files(files[0], wrong(files[1]), model=model)
    assert [b.label for b in evidence.bands(other.result)] == ["one standard error"], (
        "the job does not give this result"
    )


def wrong(result: Path) -> Path:
    """A result with another signal."""
    with h5py.File(result, "r+") as file:
        file["MDHistoWorkspace/data/signal"][...] *= 1.5
    return result


# ------------------------------------------------------------------------------------------------ text from files


def test_texts_from_files_are_escaped(tmp_path, found, undrawn):
    evil = '<script>alert("1")</script><img src=x onerror=alert(1)> & $x$'
    source = replace(found.run.instrument, source=evil)
    hostile = replace(
        found,
        title=evil,
        run=replace(found.run, instrument=replace(source, value=evil)),
        options=found.options | {"input": evil, evil: 1.0},
        files=found.files | {"input": (evil, evil)},
        missing=((evil, evil),),
    )
    text = page_text(hostile)
    assert "<script" not in text and "<img src=x" not in text
    seen = Page(text)
    assert seen.text.count('<script>alert("1")</script>') >= 8 and "script" not in seen.tags
    write_report(hostile, tmp_path / "evil.pdf")


def test_names_of_axes_from_files_are_no_formulas(tmp_path):
    axes = [Axis("<b>$\\frac{$", [0.2, 0.3], "A^-1", "QSample"), E]
    spectrum = magnon(*axes).replace(run=RUN)
    known = evidence_in_memory(spectrum, spectrum, ApplyOptions(), ("<i>in</i>", "out"))
    seen = Page(page_text(known))
    assert "<b>$\\frac{$" in seen.text and "b" not in seen.tags and "i" not in seen.tags


# ------------------------------------------------------------------------------------------------ what speaks against


def test_a_result_of_another_input_is_found(demo, tmp_path):
    data = read_nexus(demo / "measured.nxs")
    write_nexus(data.replace(signal=data.signal * 1.01), tmp_path / "other.nxs", template=demo / "measured.nxs")
    said = verdict(evidence_of_files(tmp_path / "other.nxs", demo / "removed.nxs"))
    assert said.words == "Do not use this result."
    expected = "the same job, done again with the input given here, does not give it: the two differ by up to "
    assert re.fullmatch(re.escape(expected) + r"[\d.]+ errors of a bin", said.reasons[0])


def test_a_result_with_other_bins_is_found(demo, tmp_path):
    data = read_nexus(demo / "measured.nxs")
    valid = data.valid.copy()
    valid[10] = False
    write_nexus(data.replace(valid=valid), tmp_path / "other.nxs", template=demo / "measured.nxs")
    said = verdict(evidence_of_files(tmp_path / "other.nxs", demo / "removed.nxs"))
    assert said.words == "Do not use this result." and said.reasons[0].endswith("it has other valid bins")


def with_quality(found, **changes):
    """The evidence with other numbers of the quality."""
    report = replace(found.again.report, quality=replace(found.again.report.quality, **changes))
    return replace(found, again=replace(found.again, report=report))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"distances": [0.2, 1.5], "p_values": [], "unusual": []},
            "50% of the slices are unlike the training data of the model (median distance 0.85 of the threshold, ",
        ),
        (
            {"distances": [0.2, 1.5], "p_values": [0.5, 0.01], "unusual": [("the data are odd", "at E 18 meV")]},
            "the data are unlike the training data of the model (p-value 0.02); the data are odd, at E 18 meV",
        ),
        (
            {"chi_squared": 3.5e4, "compared": 10_000},
            "convolved again, it differs from the data by chi-squared 3.5 per bin",
        ),
        ({"too_wide": 70, "bins": 7000}, "in 1.0% of its bins the resolution is wider than the model can apply"),
    ],
)
def test_each_doubt_has_its_reason(found, changes, reason):
    said = verdict(with_quality(found, **changes))
    assert said.words == "Look at this result closely before you use it."
    assert len(said.reasons) == 1 and said.reasons[0].startswith(reason)


@pytest.mark.parametrize(
    ("trust", "expected"),
    [
        (
            without_blocks,
            [
                "the distance from the training data / threshold is ",
                "up to 3 is no reason to doubt",
                "Chi-squared grows with the counts. The distance from the training data does not tell nonsense from ",
                "it is no test of the result: it grows with the counts, and spectra like the training data also exceed",
            ],
        ),
        (
            with_near_blocks,
            [
                "the p-value of the data is 1: the share of held-out spectra like the training data, with errors as "
                "large, that are at least as unusual",
                "about 1 is usual",
                "Chi-squared per bin is about 1 for spectra like the training data on average, at any counts. "
                "The p-value does not notice flat noise",
                "spectra like the training data have about 1 on average, at every number of counts",
            ],
        ),
    ],
)
def test_what_is_said_of_trust_is_by_the_card(trust, expected, tmp_path, monkeypatch, undrawn):
    trust(monkeypatch)
    known = job_of_demo(tmp_path)
    in_favour, usual, general, doubt = expected
    said = verdict(known)
    assert said.words == "Nothing was found that speaks against this result."
    assert any(reason.startswith(in_favour) for reason in said.reasons)
    assert any(reason.endswith(usual) for reason in said.reasons)
    assert general in evidence.caveat(known) and evidence.caveat(known) in Page(page_text(known)).text
    assert ("per bin is about 1" in evidence.caveat(known)) is (trust is with_near_blocks)
    (reason,) = verdict(with_quality(known, chi_squared=3.5e4, compared=10_000)).reasons
    assert doubt in reason


def test_data_unlike_the_training_are_doubted_in_words(tmp_path, monkeypatch, undrawn):
    with_far_blocks(monkeypatch)
    known = job_of_demo(tmp_path)
    said = verdict(known)
    assert said.words == "Look at this result closely before you use it."
    words, where = known.again.report.quality.reasons[0]
    assert said.reasons[0].startswith("the data are unlike the training data of the model (p-value 0.0098); ")
    assert f"; {words}, {where}" in said.reasons[0] and re.match(r"(at|in) \[H,H,0\] [\d.]+.*, E [\d.]+", where)


def test_a_total_that_changed_and_errors_without_calibration_are_doubts(found):
    louder = replace(found.result, signal=found.result.signal * 1.3, variance=found.result.variance * 1.69)
    (model,) = found.models
    rough = replace(model, card=model.card.model_copy(update={"errors": "not calibrated"}))
    again = replace(found.again, result=louder, models=(rough,))
    said = verdict(replace(found, result=louder, again=again))
    assert said.reasons == (
        "the errors of remove-resolution-2d are not calibrated",
        f"its total is {1.3 * found.flux_ratio:.3g} of that of the input",
    )


def test_a_total_near_zero_means_nothing(found):
    mean = float(found.given.signal[found.given.valid].mean())
    noise = replace(found, given=found.given.replace(signal=found.given.signal - mean))
    assert noise.flux_ratio is None and found.flux_ratio is not None


def test_nothing_valid_is_no_result(found):
    nothing = found.result.replace(valid=np.zeros(found.result.shape, bool))
    assert verdict(replace(found, result=nothing)).reasons == ("it has no valid bin",)


def test_notes_are_not_lost_where_nothing_speaks_against_it(found, undrawn):
    report = replace(found.again.report, notes=("a note",))
    noted = replace(found, again=replace(found.again, report=report))
    assert verdict(noted).words == "Nothing was found that speaks against this result; read the notes below."
    assert "Notes a note" in Page(page_text(noted)).text


# ------------------------------------------------------------------------------------------------ what cannot be known


def test_a_file_without_a_history_leaves_out_by_name(demo, tmp_path):
    write_nexus(read_nexus(demo / "removed.nxs"), tmp_path / "plain.nxs")
    known = evidence_of_files(demo / "measured.nxs", tmp_path / "plain.nxs")
    assert [what for what, _ in known.missing] == [
        "the result convolved again",
        "distance from the training data",
        "model card",
    ]
    assert known.missing[0][1] == (
        "the last record of insgan in its history is None, expected 'insgan apply'; take the result of insgan apply, "
        "as it was written"
    )
    assert verdict(known).reasons[0] == "the job could not be done again, so that only the two files were compared"
    seen = Page(page_text(known))
    assert "Left out" in seen.text and len(seen.pictures) == 3


def rewritten_history(path: Path, target: Path, **changes) -> Path:
    """A copy of a result whose history says something else."""
    shutil.copy(path, target)
    with h5py.File(target, "r+") as file:
        notes = file["MDHistoWorkspace/process"]
        note = notes[sorted(notes)[-1]]
        record = json.loads(note["json"][0])
        record["parameters"] |= changes
        del note["json"]
        note["json"] = np.array([np.bytes_(json.dumps(record).encode())])
    return target


def test_a_model_that_is_not_bundled_has_to_be_given(demo, tmp_path):
    result = rewritten_history(demo / "removed.nxs", tmp_path / "mine.nxs", model="mine", model_sha256="f" * 64)
    known = evidence_of_files(demo / "measured.nxs", result)
    assert known.missing[0][1] == (
        "the model mine of the history is not bundled here; give the model that made the result (--model PATH)"
    )
    with pytest.raises(ModelError, match=r"the model remove-resolution-2d has the SHA-256 \w{12}\.\.\., that of the "
                                         r"history ffffffffffff\. Fix: give the model that made"):  # fmt: skip
        evidence_of_files(demo / "measured.nxs", result, model="remove-resolution-2d")
    shutil.copytree(models_folder() / "remove-resolution-2d", tmp_path / "mine")
    digest = find_model("remove-resolution-2d").card.sha256
    result = rewritten_history(demo / "removed.nxs", tmp_path / "own.nxs", model="mine", model_sha256=digest)
    known = evidence_of_files(demo / "measured.nxs", result, model=str(tmp_path / "mine" / "model.onnx"))
    assert not known.missing and known.models[0].path == tmp_path / "mine" / "model.onnx"


@pytest.mark.parametrize("wrong", [{"sharpen": "much"}, {"direction": 3}, {"width_factor": True}, {"ei": [1]}])
def test_a_history_with_values_of_other_kinds_is_named(demo, wrong):
    record = last_record(demo / "removed.nxs")
    record["parameters"] |= wrong
    (name,) = wrong
    with pytest.raises(
        ModelError, match=f"the history of the result says {name} = .*, which is no value of that option"
    ):
        recorded_options(record, Run())


def test_options_of_the_history_are_those_of_the_job(tmp_path, undrawn):
    spectrum = magnon(momentum("[H,0,0]", 20), E).replace(run=RUN)
    source, target = job(tmp_path, spectrum, sharpen=2.0, width_factor=1.1, ei=61.0)
    options = recorded_options(last_record(target), read_nexus(source).run)
    assert options == ApplyOptions(sharpen=2.0, width_factor=1.1, ei=61.0, model="remove-resolution-2d")
    known = evidence_of_files(source, target)
    text = Page(page_text(known)).text
    assert "Ei=61" in text and "replaces 60 from log Ei" in text and known.run.value("ei") == 61.0
    assert math.isclose(known.again.differs(known.result), 0.0, abs_tol=1e-6)


def test_a_job_in_other_bins_is_done_again_in_them(tmp_path, undrawn):
    spectrum = magnon(momentum("[H,0,0]", 40), E).replace(run=RUN)
    source, target = job(tmp_path, spectrum, energy_range="0,30", energy_bins=15)
    found = evidence_of_files(source, target)
    assert found.given.shape == found.result.shape == (40, 15)
    assert found.again.differs(found.result) < 0.01


def test_data_brought_to_another_setting(tmp_path, undrawn):
    spectrum = magnon(momentum("[H,0,0]", 20), E).replace(run=RUN)
    known = evidence_of_files(*job(tmp_path, spectrum, to="frequency=300"))
    assert not known.missing and not verdict(known).words.startswith("Do not")
    assert "brought to another setting from in.nxs" in Page(page_text(known)).text


def test_more_bins_than_are_held_in_memory(found, monkeypatch):
    monkeypatch.setattr("mantid_insgan.translate.again.VOLUME_BINS", 100)
    with pytest.raises(ModelError, match="the data have 9,600 bins, and a job is done again in memory for up to 100"):
        made_again(found.given, ApplyOptions())


def test_files_that_do_not_belong_together(demo, tmp_path):
    write_nexus(magnon(momentum("[H,0,0]", 20), E).replace(run=RUN), tmp_path / "other.nxs")
    said = (
        r"removed.nxs has 96 bins from 0.8 to 2.8 x .*, and .*other.nxs has 20 bins from -1 to 1 x 40 bins from -5 to "
        "35, expected the same bins. Fix: give a result"
    )
    with pytest.raises(InputError, match=said):
        evidence_of_files(tmp_path / "other.nxs", demo / "removed.nxs")


def test_a_file_that_is_too_large_is_named(demo, monkeypatch):
    monkeypatch.setattr(evidence, "LARGEST", 1000)
    with pytest.raises(
        InputError, match="removed.nxs has 9,600 bins, and a report reads up to 1,000. Fix: report on a cut"
    ):
        evidence_of_files(demo / "measured.nxs", demo / "removed.nxs")


# ------------------------------------------------------------------------------------------------ files and commands


def test_a_pdf_has_all_its_pages(found, tmp_path):
    write_report(found, tmp_path / "report.pdf")
    data = (tmp_path / "report.pdf").read_bytes()
    assert data.startswith(b"%PDF") and data.rstrip().endswith(b"%%EOF")
    assert len(re.findall(rb"/Type /Page\b", data)) >= 4
    assert [p.name for p in tmp_path.iterdir()] == ["report.pdf"]


def test_names_that_will_not_do(found, tmp_path):
    with pytest.raises(OutputError, match="has the suffix '.doc', expected .html or .pdf. Fix: name it report.html"):
        write_report(found, tmp_path / "report.doc")
    with pytest.raises(OutputError, match="report has no suffix, expected"):
        check_report(tmp_path / "report")
    (tmp_path / "report.html").write_text("mine")
    with pytest.raises(OutputError, match="already exists"):
        write_report(found, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == "mine"


@pytest.mark.parametrize("library", ["matplotlib", "jinja2"])
def test_a_library_that_is_missing_is_named_before_the_job(library, monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, library, None)
    with pytest.raises(DeviceError, match=f"a report was asked for, but {library} is not installed. Fix: pip install"):
        check_report(tmp_path / "report.html")


def test_nothing_is_left_where_writing_fails(found, tmp_path, monkeypatch):
    monkeypatch.setattr("mantid_insgan.report.page.page_text", lambda e: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OutputError, match="writing the report .* failed: disk full"):
        write_report(found, tmp_path / "report.html")
    assert not list(tmp_path.iterdir())


def test_the_command(insgan, demo, tmp_path, undrawn):
    output = tmp_path / "page.html"
    code, out, err = insgan("report", demo / "measured.nxs", demo / "removed.nxs", "-o", output)
    assert code == 0 and out.splitlines()[:2] == [
        f"wrote {output}",
        "Nothing was found that speaks against this result.",
    ]
    code, out, err = insgan("report", demo / "measured.nxs", demo / "removed.nxs", "-o", output)
    assert code == 6 and "already exists" in err
    code, out, err = insgan(
        "report", demo / "measured.nxs", demo / "removed.nxs", "-o", output, "--overwrite", "--json"
    )
    said = json.loads(out)
    assert (code, said["report"], said["left_out"]) == (0, str(output), []) and len(said["reasons"]) == 4


def test_apply_reports_as_well(insgan, demo, tmp_path, undrawn):
    output, page = tmp_path / "out.nxs", tmp_path / "page.html"
    code, out, _ = insgan("apply", demo / "measured.nxs", output, "--report", page)
    assert code == 0 and f"  report: {page}" in out.splitlines() and page.is_file()
    code, _, err = insgan("apply", demo / "measured.nxs", tmp_path / "two.nxs", "--report", page)
    assert code == 6 and "already exists" in err and not (tmp_path / "two.nxs").exists()
    code, _, err = insgan("apply", demo / "measured.nxs", "--output-dir", tmp_path, "--report", page)
    assert code == 2 and "--report is for one INPUT and OUTPUT" in err
    code, _, err = insgan("apply", demo / "measured.nxs", tmp_path / "x.html", "--report", tmp_path / "x.html")
    assert code == 2 and "is also the INPUT or OUTPUT" in err


# ------------------------------------------------------------------------------------------------ a browser


@pytest.fixture(scope="module")
def browsed(tmp_path_factory):
    """Opens a page: what the browser shows, what its console says, and the addresses that the page asks for."""
    place = Path(__file__).parents[1] / "docs" / "make_report_image.py"
    spec = importlib.util.spec_from_file_location("make_report_image", place)
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    program = maker.browser()
    if program is None:
        pytest.skip(f"none of {', '.join(maker.BROWSERS)} is installed: apt install chromium")

    def opened(text: str) -> tuple[str, list[str], set[str]]:
        folder = tmp_path_factory.mktemp("browser")
        (folder / "page.html").write_text(text, encoding="utf-8")
        log = folder / "net.json"
        words = ("--enable-logging=stderr", f"--log-net-log={log}", "--dump-dom")
        ran = maker.browse(program, folder / "page.html", *words)
        assert ran.returncode == 0, ran.stderr
        asked = set(re.findall(r'"url":"((?:https?|wss?)://[^"]+)"', log.read_text("utf-8", errors="replace")))
        # the browser itself asks its maker for updates and the time
        own = re.compile(r"\w+://([\w.-]+\.)?(google\.com|googleapis\.com|gvt1\.com)[/:]")
        console = [line for line in ran.stderr.splitlines() if ":CONSOLE" in line]
        return ran.stdout, console, {url for url in asked if not own.match(url)}

    return opened


def test_a_browser_shows_it_without_an_error_or_a_request(page, browsed):
    shown, console, asked = browsed(page)
    seen = Page(shown)
    assert "Nothing was found that speaks against this result." in seen.text and len(seen.pictures) == 3
    assert not console and not asked


def test_a_browser_would_say_what_is_wrong_with_a_page(browsed):
    bad = '<script>console.error("wrong")</script><img src="https://example.invalid/picture.png">'
    _, console, asked = browsed(f"<!DOCTYPE html><title>bad</title>{bad}")
    assert any("wrong" in line for line in console)
    assert asked == {"https://example.invalid/picture.png"}

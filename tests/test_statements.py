"""What README and pages say of models, families and libraries is what cards, code and metadata hold."""

import ast
import json
import re
from pathlib import Path

import numpy as np
import pytest
from test_translate import magnon, translated
from trusting import near_blocks, open_with, told

from mantid_insgan.core.options import ApplyOptions
from mantid_insgan.demo import DATA
from mantid_insgan.io import read_spectrum
from mantid_insgan.translate import job
from mantid_insgan.translate.cards import bundled_models, choose_model
from mantid_insgan.translate.translator import Translator
from mantid_insgan.translate.trust import ALARM, BLOCK, STATISTICS

ROOT = Path(__file__).resolve().parents[1]
ALL_CARDS = {m.card.name: m.card for m in bundled_models()}
#: Of the models that add or remove the resolution alone.
CARDS = {name: card for name, card in ALL_CARDS.items() if card.purpose == "resolution"}

#: Modules of a distribution that has another name than its module.
MODULES = {
    "dask[distributed]": "distributed",
    "lightning-fabric": "lightning_fabric",
    "scikit-image": "skimage",
    "PyYAML": "yaml",
}
#: Distributions of the extras that no module of the package imports, and why they are there.
NOT_IMPORTED = {
    "onnxscript": "torch.onnx exports with it",
    "dask-jobqueue": "the user's script of docs/pairs.md starts workers with it",
}
#: What docs/design.md calls the libraries that are not written here, and their modules.
CREDITS = {
    "h5py": "h5py",
    "ResINS": "resins",
    "pySpinW": "pyspinw",
    "Euphonic": "euphonic",
    "spglib": "spglib",
    "periodictable": "periodictable",
    "ASE": "ase",
    "PyYAML": "yaml",
    "asteval": "asteval",
    "SciPy": "scipy",
    "PyTorch": "torch",
    "Lightning Fabric": "lightning_fabric",
    "safetensors": "safetensors",
    "torch.onnx": "torch",
    "ONNX Runtime": "onnxruntime",
    "scikit-image": "skimage",
    "Dask": "distributed",
    "bumps": "bumps",
    "iminuit": "iminuit",
    "dynesty": "dynesty",
    "typer": "typer",
    "rich": "rich",
    "pydantic": "pydantic",
    "matplotlib": "matplotlib",
    "Jinja2": "jinja2",
    "onnx": "onnx",
    "hypothesis": "hypothesis",
}


def words(path: str) -> str:
    """A file of text with every run of white space as one blank."""
    return " ".join((ROOT / path).read_text(encoding="utf-8").split())


def imported(folder: str) -> set[str]:
    """Top-level modules that the Python files below a folder import, also inside functions."""
    found = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {name.name.partition(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(node.module.partition(".")[0])
    return found


def extras() -> dict[str, list[str]]:
    """Distributions of each extra of setup.py, without versions."""
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    (value,) = (n.value for n in ast.walk(tree) if isinstance(n, ast.keyword) and n.arg == "extras_require")
    return {extra: [re.split("[<>=]", d)[0] for d in given] for extra, given in ast.literal_eval(value).items()}


@pytest.mark.parametrize("extra", ["cpu", "train", "spinw", "phonons", "fit", "posterior", "report", "dask"])
def test_what_an_extra_installs_is_imported(extra):
    wanted = [d for d in extras()[extra] if d not in NOT_IMPORTED]
    assert wanted and {MODULES.get(d, d) for d in wanted} <= imported("mantid_insgan")


def test_what_is_said_not_to_be_imported_is_not():
    assert NOT_IMPORTED.keys() <= {d for given in extras().values() for d in given}
    assert imported("mantid_insgan").isdisjoint({"onnxscript", "dask_jobqueue"})


def test_every_library_that_is_credited_is_imported():
    section = words("docs/design.md").split("## Parts that are not written here ")[1]
    credited = re.split(", | with ", re.sub(r" \([^)]*\)", "", section).rstrip("."))
    assert set(credited) == set(CREDITS)
    assert set(CREDITS.values()) <= imported("mantid_insgan") | imported("tests")


@pytest.mark.parametrize("page", ["README.md", "docs/accuracy.md", "docs/algorithms/ApplyResolutionGAN.md"])
def test_the_coverage_of_standard_errors_is_that_of_the_cards(page):
    both = np.array([card.coverage for card in CARDS.values()])
    assert both.shape == (6, 2)
    one, two = (f"{low:.2f} to {high:.2f}" for low, high in zip(both.min(0), both.max(0), strict=True))
    assert two in words(page) and "0.954" in words(page)
    if page == "README.md":
        assert f"one standard error covers the truth in {one} of the bins" in words(page)


def test_the_report_has_the_coverage_of_the_card():
    _, report = job.apply(read_spectrum(DATA / "measured.nxs"), ApplyOptions(device="cpu"))
    summary = report.summary()
    found = [summary[f"held_out_truth_within_{n}_standard_error{'s' * (n > 1)}"] for n in (1, 2)]
    (table,) = (t for t in CARDS[report.model].metrics if t.title.startswith("coverage"))
    assert found == table.rows["this model"]
    unscored = CARDS[report.model].model_copy(update={"metrics": []})
    assert unscored.coverage is None


def test_richardson_lucy_is_as_good_where_it_is_said_to_be():
    results = json.loads((ROOT / "benchmarks" / "results" / "accuracy.json").read_text(encoding="utf-8"))
    (table,) = (t for t in results["tables"] if t["name"] == "remove-resolution, 1D, where a simpler method is better")
    (row,) = (r for r in table["rows"] if r[:3] == ["held-out families", "NRMSE", "3000"])
    lucy, model, low, high = row[4:]
    assert row[3].startswith("Richardson-Lucy") and lucy < model and low < 0 < high
    said = words("README.md")
    assert "1D cuts of the held-out families with 3000 counts in the peaks, or from slices of these families" in said
    (slices,) = (t for t in results["tables"] if t["name"] == "remove-resolution, 2D, where a simpler method is better")
    places = [row[:3] for row in slices["rows"] if row[1] == "NRMSE"]
    assert {counts for _, _, counts in places} == {"no noise"}
    assert all(where.startswith("held-out families") for where, _, _ in places)
    page = (ROOT / "docs" / "accuracy.md").read_text(encoding="utf-8")
    large = page.split("\n## remove-resolution, 3D\n")[1].split("### held-out families, larger volumes\n")[1]
    assert "pairs of 64x64x32 bins" in large
    rows = [re.search(rf"^\| {re.escape(n)} \|(.*)\|$", large, re.MULTILINE)[1].split("|") for n in
            ("Richardson-Lucy, exact operator", "**this model**")]  # fmt: skip
    assert all(float(lucy) > float(model) for lucy, model in zip(*rows, strict=True))


@pytest.mark.parametrize("direction", ["add-resolution", "remove-resolution"])
@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_no_simpler_method_is_surely_nearer_to_the_truth(direction, dimensions):
    results = json.loads((ROOT / "benchmarks" / "results" / "accuracy.json").read_text(encoding="utf-8"))
    name = f"{direction}, {dimensions}D, where a simpler method is better"
    (table,) = (t for t in results["tables"] if t["name"] == name)
    rows = [row[4:] for row in table["rows"] if row[1] == "NRMSE"]
    assert bool(rows) == (dimensions == 1 or (direction, dimensions) == ("remove-resolution", 2))
    assert all(method < model and low < 0 < high for method, model, low, high in rows)


def rows_of(results: str, table: str) -> dict[str, dict]:
    """Rows of a table of benchmarks/results by name, each by column."""
    found = json.loads((ROOT / "benchmarks" / "results" / f"{results}.json").read_text(encoding="utf-8"))
    (chosen,) = (t for t in found["tables"] if t["name"] == table)
    names = [c["name"] for c in chosen["columns"]]
    return {row[0]: dict(zip(names, row, strict=True)) for row in chosen["rows"]}


def test_what_a_discriminator_gains():
    pairs = rows_of("paired_gan", "remove-resolution, 2D, 300 peak counts")
    # Mean and range over seeds; a gain would be larger than the scatter of the seeds.
    (mean, low, high), *others = (pairs[name]["NRMSE"] for name in pairs if name.startswith("pairs"))
    assert len(others) == 2 and all(mean - other[0] < high - low for other in others)
    unpaired = rows_of("pcsmo_unpaired", "held out")
    nearer = [unpaired[f"unpaired, seed {seed}"]["nearer than convolved (%)"] for seed in (1, 2, 3)]
    assert sorted(round(x) for x in nearer) == [1, 14, 14]
    said = words("README.md")
    assert "In short trainings with pairs a discriminator gained nothing" in said
    assert "14 % nearer to the measurement in two of three trainings" in said


def test_the_numbers_of_families():
    from mantid_insgan.learn.pairs.recipe import families_of
    from mantid_insgan.models import levels
    from mantid_insgan.models.spinw.zoo import families

    trained, tuned, held_out = (len(families_of(s)) for s in ("train", "validation", "test-family"))
    assert (
        f"from {len(families())} families of SpinW Hamiltonians and {len(levels.families())} of levels that hardly "
        f"disperse, trains on {trained} of them, tunes the simpler methods on {tuned} others, scores all on the "
        f"{held_out} that are left"
    ) in words("README.md")
    for card in CARDS.values():
        assert (len(card.training.families), len(card.training.held_out_families)) == (trained, held_out)


def test_bundled_models_say_that_no_discriminator_trained_them():
    assert len(CARDS) == 6
    for card in CARDS.values():
        assert "Trained on pairs, with no discriminator" in card.description
        assert card.training.command.startswith("python -m mantid_insgan.learn.build_models ")
    assert "trained on pairs, a calculated spectrum and the same with its resolution, with no discriminator" in words(
        "README.md"
    )
    for page in ("ApplyResolutionGAN", "TrainResolutionGAN"):
        assert "no discriminator" in words(f"docs/algorithms/{page}.md")
    # The trainer of pairs, which builds them, holds a generator and nothing that judges it.
    assert "Discriminator" not in (ROOT / "mantid_insgan" / "learn" / "paired.py").read_text(encoding="utf-8")
    assert "Discriminator" not in (ROOT / "mantid_insgan" / "learn" / "build_models.py").read_text(encoding="utf-8")


def test_two_models_are_trained_against_discriminators_without_pairs():
    others = {name: card for name, card in ALL_CARDS.items() if card.purpose == "experiment"}
    assert set(others) == {"experiment-to-simulation-2d", "simulation-to-experiment-2d"}
    for card in others.values():
        assert "Trained without pairs, against discriminators" in card.description and card.training.pairs == 0
        assert card.training.command.startswith("python -m mantid_insgan.learn.build_unpaired ")
        assert choose_model(card.direction).card.name == f"{card.direction}-2d"  # never by default
    said = words("README.md")
    assert "were trained against discriminators without pairs" in said and "They are never the default" in said


def test_what_the_models_without_pairs_are_worth():
    families, settings = (
        f"simulated experiments, held-out {what}" for what in ("families of Hamiltonians", "instrument settings")
    )
    for direction, split, low, high in (
        ("simulation-to-experiment", families, -0.025, -0.015),
        ("simulation-to-experiment", settings, 0.075, 0.085),
        ("experiment-to-simulation", families, 0.035, 0.075),
        ("experiment-to-simulation", settings, 0.035, 0.075),
    ):
        rows = rows_of("experiment_models", f"{direction}-2d, {split}")
        own = rows.pop("this model")
        for counts in [name for name in own if name]:  # beside that of the names
            best = min(row[counts] for row in rows.values())
            assert low < 1 - own[counts] / best < high
    seen = rows_of("experiment_models", "manganite, simulations translated")["simulation-to-experiment-2d"]
    assert round(seen["nearer than convolved (%)"], 1) == 2.4
    assert round(seen["nearer than convolved (%), constants"], 1) == -2.4
    back = rows_of("experiment_models", "manganite, measurement translated")
    alike = [round(row["goodenough"], 3) for row in back.values()]
    assert alike == [0.673, 0.688, 0.648]
    said = words("docs/training.md")
    assert "4 to 7 % smaller than that of the best other. The one that adds is 8 % nearer at held-out settings" in said
    assert "(0.648 with Goodenough) than as they are (0.673) or with the resolution removed (0.688)" in said
    card = ALL_CARDS["experiment-to-simulation-2d"]
    (intervals,) = (t for t in card.metrics if t.title.startswith("coverage of the intervals"))
    assert [round(x, 2) for x in intervals.rows["this model"]] == [0.67, 0.93]
    assert round(card.coverage[0], 2) == 0.46 and "but 0.46 removing" in said


def test_the_grid_above_which_widths_are_interpolated():
    from mantid_insgan.instruments import grid

    assert f"Grids of more than {grid._DENSE:,} bins are".replace(",", " ") in words("docs/resolution.md")


def test_no_score_of_the_energy_alone_where_it_is_the_covariance_kernel():
    for card in CARDS.values():
        rows = {name for table in card.metrics for name in table.rows}
        assert "FWHM(E) kernel" not in rows
        if card.dimensions == 1:
            assert not any(name.startswith("FWHM") for name in rows)


@pytest.fixture(scope="module")
def broad():
    """A mode with the resolution, without noise."""
    found, _ = translated(Translator(choose_model("add-resolution"), "cpu", 1), magnon(gaps=False, counts=1e7))
    return found


def counted(spectrum, peak: float):
    """The spectrum with so many counts in its peak."""
    expected = np.clip(spectrum.signal, 0, None) * peak / spectrum.signal.max()
    counts = np.random.default_rng(0).poisson(expected).astype(float)
    return spectrum.replace(signal=counts, variance=np.maximum(counts, 1.0))


def nonsense(spectrum) -> dict:
    """What is no spectrum, by name, on the grid of one."""
    rng, shape = np.random.default_rng(0), spectrum.shape
    made = {
        "chequerboard": np.indices(shape).sum(0) % 2 * 100.0,
        "spikes": 100.0 * (rng.random(shape) < 0.02),
        "flat noise": rng.poisson(50.0, shape).astype(float),
        "smooth": rng.poisson(100 * np.exp(-np.add.outer(*(np.linspace(0, 1, n) for n in shape)))).astype(float),
    }
    return {n: spectrum.replace(signal=x, variance=np.maximum(x, 1.0)) for n, x in made.items()}


PAGES = ("README.md", "docs/accuracy.md", "docs/command-line.md", "docs/algorithms/ApplyResolutionGAN.md")


def test_what_a_card_without_blocks_and_expectations_does_not_tell(broad):
    """Chi-squared of good results grows with the counts, and nonsense is within the threshold of the distance."""
    remove = Translator(told(choose_model("remove-resolution"), None), "cpu", 1)
    found = [translated(remove, counted(broad, peak))[1] for peak in (30.0, 300000.0)]
    assert found[0].chi_squared < found[0].compared and found[1].chi_squared > 10 * found[1].compared
    for quality in (*found, *(translated(remove, data)[1] for data in nonsense(broad).values())):
        assert quality.outside == 0 and quality.p_value is None
    for page in (*PAGES, "docs/reports.md", "docs/glossary.md"):
        assert "does not tell nonsense from spectra" in words(page)
        assert "about 1 is expected" not in words(page)
    for page in PAGES:
        assert re.search(r"[Oo]therwise it grows with the counts|chi-squared grows with the counts|far above 1 at high",
                         words(page)), page  # fmt: skip


def test_what_a_bundled_card_with_blocks_tells(broad):
    """Nonsense is flagged; a mode, flat noise and a smooth spectrum are not, as the pages say. Chi-squared does not
    grow with the counts."""
    model = choose_model("remove-resolution")
    remove = Translator(model, "cpu", 1)
    if model.card.blocks is None:
        _, quality = translated(remove, counted(broad, 300.0))
        assert quality.summary()["p_value_of_domain"] is None
        return
    modes = {peak: translated(remove, counted(broad, peak))[1] for peak in (30.0, 300.0, 3000.0, 3e5)}
    assert all(quality.chi_squared < 1.5 * quality.compared for quality in modes.values())
    assert modes[30.0].chi_squared > 0.5 * modes[30.0].compared
    assert all(modes[peak].p_value > ALARM for peak in (30.0, 300.0))
    judged = {name: translated(remove, data)[1] for name, data in nonsense(broad).items()}
    for name in ("chequerboard", "spikes"):
        assert judged[name].outside == 1 and job.is_unlike(judged[name]) and judged[name].reasons, name
    for name in ("flat noise", "smooth"):
        assert judged[name].outside == 0 and not job.is_unlike(judged[name]), name


def test_what_is_not_flagged_stands_where_the_p_value_does():
    for page in (*PAGES, "docs/reports.md", "docs/glossary.md"):
        assert re.search("[Ff]lat noise and smooth spectra", words(page)), page
    for page in ("docs/command-line.md", "docs/algorithms/ApplyResolutionGAN.md"):
        assert "held-out spectra like the training data, with errors as large, that are at least as unusual" in words(
            page
        )


def test_the_statistics_that_are_looked_at_are_those_of_the_page():
    section = (ROOT / "docs" / "accuracy.md").read_text(encoding="utf-8").split("## Data unlike the training\n")[1]
    assert re.findall(r"^\| (\w+) \|", section.split("**What is not noticed.**")[0], re.MULTILINE) == list(STATISTICS)
    assert f"up to {BLOCK[2]} bins along each axis ({BLOCK[3]} in volumes)" in " ".join(section.split())
    assert BLOCK[1] == BLOCK[2] and f"is below {ALARM:g}" in " ".join(section.split())


@pytest.mark.parametrize(
    ("known", "said"),
    [
        (
            None,
            "it is no test of the result: it grows with the counts, and spectra like the training data also exceed 1",
        ),
        (near_blocks(), "spectra like the training data have about 1 on average, at every number of counts"),
    ],
    ids=["errors alone", "as expected"],
)
def test_the_note_on_chi_squared_is_by_the_card(known, said, monkeypatch):
    open_with(monkeypatch, known)
    measured = read_spectrum(DATA / "measured.nxs")
    board = np.indices(measured.shape).sum(0) % 2 * 100.0
    options = ApplyOptions(direction="remove-resolution", device="cpu")
    _, report = job.apply(measured.replace(signal=board, variance=np.maximum(board, 1.0)), options)
    (note,) = (n for n in report.notes if "chi-squared" in n)
    assert note.endswith(said)
    assert json.dumps(report.summary())


def test_another_setting_has_one_note_on_chi_squared(monkeypatch):
    """The second of its two models removes nothing, and its card expects nothing."""
    open_with(monkeypatch, near_blocks())
    measured = read_spectrum(DATA / "measured.nxs")
    board = np.indices(measured.shape).sum(0) % 2 * 100.0
    data = measured.replace(signal=board, variance=np.maximum(board, 1.0))
    _, report = job.apply(data, ApplyOptions(to="frequency=600", device="cpu"))
    (note,) = (n for n in report.notes if "chi-squared" in n)
    assert "have about 1 on average" in note

"""The bundled models between simulation and experiment: their scores, also on a manganite they were not trained on.

    python -m mantid_insgan.learn.build_unpaired --pairs build/training/pairs-2d-1 --manganite MAPS
    OMP_NUM_THREADS=1 python benchmarks/experiment_models.py --images MAPS

The first command trains both models and scores them on simulated experiments. The second takes these scores from the
cards and scores both models on the maps of 50 and 100 meV of the manganite, which no training has seen: simulations are
both rivals at the published couplings without resolution, translated map by map. The scores are written into the cards
too. Of the other direction the correlation with the rivals without resolution is given: a measured truth there is not.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from pages import table_text
from pcsmo_unpaired import COLUMNS, Measurement, places_of, published, scored, whole_rows
from pcsmo_verdict import RIVALS
from results import add_option, column, table, write_results
from tobyfit_images import IMAGES, correlations

from mantid_insgan.core.files import replacing
from mantid_insgan.core.slices import intensity_scale
from mantid_insgan.learn.build_unpaired import NAMES
from mantid_insgan.learn.evaluate import of_generator
from mantid_insgan.learn.examples import stack
from mantid_insgan.learn.mosaic import HELD_OUT, SLICES, example_of, measured
from mantid_insgan.learn.unpaired import ADD, REMOVE
from mantid_insgan.learn.warm_start import generator_of
from mantid_insgan.translate.cards import Table, find_model, write_card

COMMAND = "OMP_NUM_THREADS=1 python benchmarks/experiment_models.py"
CONDITIONS = (
    "Simulated experiments: median NRMSE, one scale for each method, from the cards. Manganite: the measured mosaic of "
    "Pr(Ca0.9Sr0.1)2Mn2O7, 50 and 100 meV, both models at the published couplings; one scale for all maps; errors from "
    "the scatter of neighbouring pixels."
)
MANGANITE = "measured manganite, held-out incident energies of 50 and 100 meV"
#: Columns of the table in the card, and which of `COLUMNS` they are.
OF_CARD = {"Goodenough": 2, "dimer": 4, "Goodenough, constants": 6, "dimer, constants": 8}


def calculated(file: Path | None) -> dict[str, dict[str, np.ndarray]]:
    """Maps (6, 10, 40, 40) of both rivals by how they are seen; kept in a file, if one is given."""
    if file is not None and file.exists():
        with np.load(file) as kept:
            return {how: {n: kept[f"{how} {n}"] for n in RIVALS} for how in ("sharp", "convolved")}
    found = {how: {n: whole_rows(q) for n, q in each.items()} for how, each in published().items()}
    if file is not None:
        with replacing(file, ".part.npz") as temporary:
            np.savez(temporary, **{f"{how} {n}": maps for how, each in found.items() for n, maps in each.items()})
    return found


@torch.no_grad()
def translated(method, data: Measurement, maps: np.ndarray, errors: np.ndarray | None = None) -> np.ndarray:
    """Maps (6, 10, 40, 40) of the rows held out as a method makes them, one by one, in their unit; others are 0."""
    found = np.zeros(maps.shape)
    for row in HELD_OUT:
        for n in range(SLICES):
            valid = data.counted[row, n]
            if valid.sum() < 16:
                continue
            one = example_of(row, n, maps[row, n], valid, 0.0 if errors is None else errors[row, n])
            found[row, n] = method(stack([one]))[0, 0].double().numpy() * intensity_scale(maps[row, n], valid)
    return found


def methods_of(direction: str) -> dict:
    """The bundled model that was trained with pairs and the one that was trained without."""
    models = [find_model(name) for name in (f"{direction}-2d", NAMES[direction])]
    return {m.card.name: of_generator(generator_of(m).eval()) for m in models}


def simulations_scored(data: Measurement, models: dict) -> list[list]:
    """Rows of `COLUMNS` for both rivals as they are, convolved, and translated from what has no resolution."""
    rows = {how: (models[seen], None) for how, seen in {"ideal": "sharp", "convolved": "convolved"}.items()}
    for name, method in methods_of(ADD).items():
        rows[name] = {n: translated(method, data, m) for n, m in models["sharp"].items()}, None
    return scored(rows, data, places_of(HELD_OUT))


def measurements_scored(data: Measurement, models: dict) -> list[list]:
    """Mean correlation of the measured maps, as they are and translated, with both rivals without resolution."""
    found = {"as measured": data.values}
    for name, method in methods_of(REMOVE).items():
        found[name] = translated(method, data, data.values, data.error)
    places, hidden = places_of(HELD_OUT), np.where(data.counted, 0.0, np.nan)
    return [
        [name, *(float(np.nanmean(correlations(v + hidden, models["sharp"][n] + hidden)[places])) for n in RIVALS)]
        for name, v in found.items()
    ]


def cards_scores(direction: str) -> list[dict]:
    """Tables of results of the scores in the card of a direction's model."""
    found = []
    for each in find_model(NAMES[direction]).card.metrics:
        if each.title.startswith("simulated experiments"):
            columns = [column(""), *(column(name, "{:.3f}") for name in each.columns)]
            found.append(table(f"{NAMES[direction]}, {each.title}", columns, [[n, *v] for n, v in each.rows.items()]))
    return found


def into_cards(simulations: list[list], measurements: list[list]) -> None:
    """Write the scores of the manganite into both cards, in place of earlier ones."""
    forth = Table(
        title=MANGANITE,
        conditions="chi-squared a pixel of both models of the literature, without and with a constant for each map; "
        f"{CONDITIONS}",
        columns=list(OF_CARD),
        rows={row[0]: [round(row[i], 3) for i in OF_CARD.values()] for row in simulations},
    )
    back = Table(
        title=MANGANITE,
        conditions=f"mean correlation of the maps with both models without resolution; {CONDITIONS}",
        columns=["Goodenough", "dimer"],
        rows={row[0]: [round(x, 3) for x in row[1:]] for row in measurements},
    )
    for direction, found in ((ADD, forth), (REMOVE, back)):
        model = find_model(NAMES[direction])
        others = [t for t in model.card.metrics if t.title != MANGANITE]
        rows = {"this model" if name == model.card.name else name: values for name, values in found.rows.items()}
        metrics = [*others, found.model_copy(update={"rows": rows})]
        write_card(model.card.model_copy(update={"metrics": metrics}), model.path)


def main() -> None:
    """Score the manganite, write the results and the cards."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, default=IMAGES, help="folder of the mosaic")
    parser.add_argument("--calculated", type=Path, help="where both models' maps are kept (.npz); made if not there")
    parser.add_argument("--calculate", action="store_true", help="make these maps and nothing else")
    add_option(parser, "experiment_models")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = Measurement.of(measured(options.images))
    models = calculated(options.calculated)
    if options.calculate:
        return
    forth, back = simulations_scored(data, models), measurements_scored(data, models)
    tables = [
        *(each for direction in NAMES for each in cards_scores(direction)),
        table("manganite, simulations translated", list(COLUMNS[:-1]), [row[:-1] for row in forth]),
        table("manganite, measurement translated", [column(""), *(column(n, "{:.3f}") for n in RIVALS)], back),
    ]
    for each in tables:
        print(f"\n{each['name']}\n\n{table_text(each)}", flush=True)
    write_results(options.results, COMMAND, CONDITIONS, tables)
    into_cards(forth, back)


if __name__ == "__main__":
    main()

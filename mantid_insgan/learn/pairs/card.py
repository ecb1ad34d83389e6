"""The data card: what a folder of pairs holds and how it was made, for programs and for people."""

from __future__ import annotations

import json
from pathlib import Path

from .recipe import Recipe, settings_of
from .shards import write_text

UNITS = {
    "ideal, finer, convolved": "mbarn/sr/meV per unit cell: d2sigma/dOmega/dE x ki/kf",
    "sharpness": "how many times finer than the resolution each member of finer is, in momentum and in energy",
    "valid": "true where an experiment has a measurement; ideal and convolved are NaN where no neutron can be",
    "width": "FWHM along each open axis in bins of it",
    "correlation": "correlation coefficients of the resolution between the open axes (0, 1), (0, 2), (1, 2)",
    "position": "energy transfer as a share of Ei, |Q| in 1/Angstrom, FWHM in momenta outside the cut in bins",
    "energies": "meV",
    "momenta": "r.l.u. or 1/Angstrom, see the axes of each pair",
}
_TRUTH = {
    "interpolated": "Monte Carlo of 1000 points a bin with the shapes of pulses, pixels and sample, modes interpolated "
    "between grid points",
    "covariance": "Gaussian of full covariance in (Q, E) that changes from place to place",
    "montecarlo": "Monte Carlo of 200 points a bin with the shapes of pulses, pixels and sample, the model asked at "
    "every point",
}


def write_card(folder: Path, index: dict) -> None:
    """Write data_card.json and data_card.md."""
    card = make_card(index)
    write_text(folder / "data_card.json", json.dumps(card, indent=1, sort_keys=True) + "\n")
    write_text(folder / "data_card.md", card_text(card))


def make_card(index: dict) -> dict:
    """The card for an index, for JSON."""
    counts: dict[str, dict[str, int]] = {}
    for entry in index["shards"]:
        for what, group in entry["summary"].items():
            for name, times in group.items():
                counts.setdefault(what, {})
                counts[what][name] = counts[what].get(name, 0) + times
    recipe = Recipe(**index["recipe"])
    return {
        "format": index["format"],
        "recipe": index["recipe"],
        "truth": _TRUTH[recipe.method],
        "pairs": sum(entry["count"] for entry in index["shards"]),
        "splits": {
            name: {
                "share": share,
                "families": [f.name for f in recipe.families(name)],
                "settings": [f"{s[0]} {s[1]}" for s in settings_of(name)],
            }
            for name, share in recipe.splits.items()
        },
        "counts": counts,
        "units": UNITS,
        "versions": index["versions"],
        "shards": [{k: entry[k] for k in ("name", "count", "sha256")} for entry in index["shards"]],
    }


def card_text(card: dict) -> str:
    """The card as Markdown."""
    recipe = card["recipe"]
    energy = f", {recipe['energy_bins']} along the energy" if "energy_bins" in recipe else ""
    lines = [
        f"# {card['pairs']} pairs of {recipe['dimensions']}D cuts",
        "",
        f"Seed {recipe['seed']}, {recipe['bins']} bins along each open axis{energy}.",
        f"Truth: `{recipe['method']}`, {card['truth']}.",
        "Split by Hamiltonian family and by instrument setting, never by image.",
        "",
        "| split | pairs | families | settings |",
        "|---|---|---|---|",
    ]
    for name, split in card["splits"].items():
        number = card["counts"].get("split", {}).get(name, 0)
        lines.append(f"| {name} | {number} | {', '.join(split['families'])} | {', '.join(split['settings'])} |")
    for what, group in sorted(card["counts"].items()):
        if " by " not in what and what != "split":
            lines += ["", f"| {what} | number |", "|---|---|"]
            lines += [f"| {name} | {number} |" for name, number in sorted(group.items())]
    lines += ["", "| array | unit |", "|---|---|", *(f"| {n} | {u} |" for n, u in card["units"].items())]
    lines += ["", "Made with " + ", ".join(f"{n} {v}" for n, v in sorted(card["versions"].items())) + ".", ""]
    return "\n".join(lines)

"""The chopper packages of an instrument as a table: the output of ``insgan inspect INSTRUMENT``."""

from __future__ import annotations

from dataclasses import dataclass

from ..instruments.catalogue import catalogue, instrument_name
from ..instruments.choppers import STRAIGHT, Package, packages
from .text import columns


@dataclass(frozen=True)
class InstrumentSheet:
    """An instrument and its chopper packages."""

    name: str
    packages: tuple[Package, ...]

    @classmethod
    def of(cls, name: str) -> InstrumentSheet:
        """The sheet of an instrument by any of its names.

        Raises
        ------
        RunFactError
            If there is no such instrument.
        """
        found = instrument_name(name)
        return cls(found, packages(found))

    def as_dict(self) -> dict:
        """Plain values; lengths in mm (curvature in m), energies in meV, frequencies in Hz."""
        entry = catalogue()[self.name]
        about = {"facility": entry.facility, "period": entry.period, "aliases": list(entry.aliases)}
        return {"instrument": self.name, **about, "choppers": [_as_dict(p) for p in self.packages]}

    def as_text(self) -> str:
        """The sheet as text: a line for each package, with its other names."""
        entry = catalogue()[self.name]
        rows = [_row(self.name, package) for package in self.packages]
        titles = ["chopper", "slits (mm)", "radius (mm)", "curvature (m)", "Ei (meV)", "frequency (Hz)", "what it is"]
        last = [column for column, cells in enumerate(zip(*rows, strict=True)) if any(cells)]
        kept = [[row[c] for c in last] for row in rows]
        table = columns(kept, [titles[c] for c in last])
        names = f" (also {', '.join(entry.aliases)})" if entry.aliases else ""
        head = f"{self.name}{names}, {entry.facility}, {entry.period}: chopper packages as ResINS has them"
        return "\n".join([head, *(f"  {line}".rstrip() for line in table.splitlines())])


def _as_dict(package: Package) -> dict:
    curvature, limits = package.slits.curvature, package.limits
    return {
        "name": package.name,
        "default": package.default,
        "slit_width_mm": 1e3 * package.slits.width,
        "radius_mm": 1e3 * package.slits.radius,
        "curvature_m": None if curvature is None or curvature >= STRAIGHT else curvature,
        "best_ei_at_highest_frequency_mev": package.best_ei,
        "ei_mev": list(limits.ei),
        "frequency_hz": dict(zip(limits.frequency_names, map(list, limits.frequency), strict=True)),
        "words": package.words,
    }


def _row(instrument: str, package: Package) -> list[str]:
    slits, limits = package.slits, package.limits
    curvature = "" if slits.curvature is None else f"{slits.curvature:.4g}"
    words = [package.words] if package.words else []
    if package.best_ei is not None:
        words.append(f"curved for {package.best_ei:.3g} meV at {limits.frequency[0][1]:g} Hz")
    aliases = catalogue()[instrument].chopper_aliases or {}
    others = [alias for alias, name in aliases.items() if name == package.name]
    words += [f"also {', '.join(others)}"] * bool(others)
    return [
        package.name,
        f"{1e3 * slits.width:.4g}",
        f"{1e3 * slits.radius:.4g}",
        "straight" if slits.curvature is not None and slits.curvature >= STRAIGHT else curvature,
        f"{limits.ei[0]:g} to {limits.ei[1]:g}",
        f"{limits.frequency[0][0]:g} to {limits.frequency[0][1]:g}",
        "; ".join(words),
    ]

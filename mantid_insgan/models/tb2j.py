"""The text file ``exchange.out`` of TB2J (He et al., Comput. Phys. Commun. 264, 107938 (2021)).

TB2J writes E = - sum over i and j of J_ij e_i . e_j, with unit vectors and with both i, j and j, i in the sum. Here a
bond is counted once and spins have the length S, so J = -2 J_ij / (S_i S_j).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError

_NUMBER = r"[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?"
_PAIR = re.compile(
    rf"^\s*(\w+)\s+(\w+)\s+\(\s*(-?\d+)\s*,\s*(-?\d+)\s*,\s*(-?\d+)\s*\)\s+({_NUMBER})\s+"
    rf"\(\s*({_NUMBER})\s*,\s*({_NUMBER})\s*,\s*({_NUMBER})\s*\)\s+({_NUMBER})",
    re.MULTILINE,
)
_ISOTROPIC = re.compile(rf"J_iso:\s*({_NUMBER})")
_FIX = "give the exchange.out that TB2J wrote"


@dataclass(frozen=True, eq=False)
class Exchanges:
    """What the file holds.

    Parameters
    ----------
    cell : ndarray, shape (3, 3)
        Vectors as rows, Angstrom.
    names : tuple of str
        Of the magnetic atoms ('Fe1').
    fractions : ndarray, shape (n, 3)
        Their positions in the cell.
    moments : ndarray, shape (n, 3)
        Bohr magnetons; along z in a collinear calculation.
    pairs : list of (int, int, tuple, float, float)
        First atom, second atom, cell offset of the second, J_ij in meV, distance in Angstrom; each bond once.
    """

    cell: np.ndarray
    names: tuple[str, ...]
    fractions: np.ndarray
    moments: np.ndarray
    pairs: list[tuple[int, int, tuple[int, int, int], float, float]]


def read_exchange_out(path: Path) -> Exchanges:
    """Read isotropic exchanges; Dzyaloshinskii-Moriya and anisotropic parts are left out.

    Raises
    ------
    InputError
        If the file is not there or not in TB2J's format; a pickle is refused.
    """
    if path.suffix in (".pickle", ".pkl"):
        raise InputError(
            f"{path} is a pickle, which runs code when it is read",
            "give the text file exchange.out, which TB2J writes beside it",
        )
    if not path.is_file():
        raise InputError(f"there is no file {path}", _FIX)
    text = path.read_text(encoding="utf-8", errors="replace")
    parts = re.split(r"^(Cell \(Angstrom\):|Atoms:|Exchange:)[ \t]*$", text, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    missing = [name for name in ("Cell (Angstrom):", "Atoms:", "Exchange:") if name not in sections]
    if missing:
        raise InputError(f"{path} has no section {missing[0]!r}", _FIX)
    cell = np.array(re.findall(_NUMBER, sections["Cell (Angstrom):"])[:9], dtype=float)
    if cell.size != 9:
        raise InputError(f"{path} has {cell.size} numbers under Cell (Angstrom), expected 9", _FIX)
    return _assembled(path, cell.reshape(3, 3), _atoms(sections["Atoms:"]), sections["Exchange:"])


def _atoms(section: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Position (Angstrom) and moment of each atom: columns name, x, y, z, charge, and one or three of the moment."""
    atoms = {}
    for line in section.splitlines():
        words = line.split()
        if words[:1] == ["Total"]:
            break
        if len(words) >= 6 and all(re.fullmatch(_NUMBER, word) for word in words[1:6]):
            numbers = np.array(words[1:], dtype=float)
            moment = numbers[4:7] if len(numbers) >= 7 else np.array([0, 0, numbers[4]])
            atoms[words[0]] = numbers[:3], moment
    return atoms


def _assembled(path: Path, cell, atoms, section: str) -> Exchanges:
    found = [(*match.groups(), match.end()) for match in _PAIR.finditer(section)]
    used = dict.fromkeys(name for words in found for name in words[:2])
    strange = [name for name in used if name not in atoms]
    if strange or not found:
        what = f"an exchange of {strange[0]!r}, which is no atom" if strange else "no exchange"
        raise InputError(f"{path} holds {what}", _FIX)
    names = tuple(name for name in atoms if name in used)
    index = {name: i for i, name in enumerate(names)}
    fractions = np.array([atoms[name][0] for name in names]) @ np.linalg.inv(cell)
    pairs: dict[tuple, tuple] = {}
    for first, second, *numbers, end in found:
        i, j = index[first], index[second]
        offset = tuple(int(n) for n in numbers[:3])
        rest = section[end:].split("----", 1)[0]
        precise = _ISOTROPIC.search(rest)
        value = float(precise[1] if precise else numbers[3])
        key, back = (i, j, offset), (j, i, tuple(-n for n in offset))
        if back not in pairs:
            pairs[key] = (i, j, offset, value, float(numbers[7]))
    moments = np.array([atoms[name][1] for name in names])
    return Exchanges(cell, names, fractions, moments, list(pairs.values()))

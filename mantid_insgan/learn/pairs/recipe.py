"""What a set of pairs is made of: the recipe, and the splits by Hamiltonian family and instrument setting."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from ...errors import InputError
from ...models import levels
from ...models.phonons import zoo as phonon_zoo
from ...models.spinw.zoo import Family, families, split
from ...models.zoo import without_held_out

#: Methods of convolution, and the default for cuts of 1, 2 and 3 dimensions.
METHODS = ("interpolated", "covariance", "montecarlo")
DEFAULT_METHOD = {1: "interpolated", 2: "covariance", 3: "covariance"}
#: Bins along each open axis.
DEFAULT_BINS = {1: 64, 2: 64, 3: 32}
#: Pairs in one file.
PER_SHARD = {1: 256, 2: 32, 3: 4}
#: Kinds of cut and how often each is drawn.
KINDS = {
    1: {"energy-cut": 0.5, "momentum-cut": 0.3, "powder-cut": 0.2},
    2: {"path": 0.77, "plane": 0.08, "powder": 0.15},
    3: {"volume": 1.0},
}
#: Share of pairs that are drawn for each split. In 'validation' family and setting are both new; in 'test-family' and
#: 'test-setting' one of them is, and the other is one of those trained on.
SPLITS = {"train": 0.7, "validation": 0.1, "test-family": 0.1, "test-setting": 0.1}
#: Families and settings (instrument, chopper) of the validation split, taken out of those for training.
VALIDATION_FAMILIES = ("triangular_120", "cubic_fm", "bilayer_afm", "phonon_bcc")
VALIDATION_SETTINGS = (("MARI", "S"), ("LET", "Intermediate"))

#: Instrument settings: (instrument, chopper package, frequency Hz, lowest and highest Ei meV).
TRAINING_SETTINGS = (
    ("MAPS", "A", 400, 60, 500),
    ("MAPS", "S", 300, 25, 300),
    ("MARI", "A", 300, 40, 300),
    ("MARI", "S", 400, 40, 400),
    ("LET", "High Flux", 240, 2, 20),
    ("LET", "Intermediate", 240, 3, 20),
    ("SEQUOIA", "ARCS-100-1.5-AST", 480, 40, 200),
    ("SEQUOIA", "SEQ-700-3.5-AST", 420, 100, 700),
    ("ARCS", "ARCS-100-1.5-AST", 600, 40, 300),
    ("CNCS", "High Flux", 180, 2, 25),
)
#: Settings that no training pair has seen.
HELD_OUT_SETTINGS = (
    ("MERLIN", "G", 300, 20, 150),
    ("MERLIN", "S", 400, 30, 180),
    ("HYSPEC", "OnlyOne", 300, 8, 40),
)

Setting = tuple[str, str, float, float, float]


#: Families that are drawn only where they are named: they need Euphonic.
NAMED_ONLY = tuple(f.name for f in phonon_zoo.families())


AnyFamily = Family | levels.LevelsFamily | phonon_zoo.PhononFamily


def families_of(split_name: str, *, named: bool = False) -> tuple[AnyFamily, ...]:
    """Families from which pairs of a split are drawn; with `named`, those of `NAMED_ONLY` in it."""
    train, held_out = phonon_zoo.split() if named else split()
    if not named:
        more = without_held_out(levels.families(), levels.HELD_OUT)
        train, held_out = (*train, *more[0]), (*held_out, *more[1])
    if split_name == "test-family":
        return held_out
    wanted = split_name == "validation"
    return tuple(f for f in train if (f.name in VALIDATION_FAMILIES) == wanted)


def settings_of(split_name: str) -> tuple[Setting, ...]:
    """Settings (instrument, chopper, frequency in Hz, lowest and highest Ei in meV) from which pairs are drawn."""
    if split_name == "test-setting":
        return HELD_OUT_SETTINGS
    wanted = split_name == "validation"
    return tuple(s for s in TRAINING_SETTINGS if (s[:2] in VALIDATION_SETTINGS) == wanted)


@dataclass(frozen=True)
class Recipe:
    """Everything that determines the pairs; two sets of one recipe agree in all pairs that both contain.

    Parameters
    ----------
    dimensions : int
        Open axes of the cuts: 1, 2 or 3.
    seed : int
        Pair number i is drawn from the stream [seed, i].
    method : str, optional
        How the truth is convolved, one of `METHODS`; `DEFAULT_METHOD` if not given.
    bins : int, optional
        Along each open axis; `DEFAULT_BINS` if not given.
    per_shard : int, optional
        Items in one file; `PER_SHARD` if not given.
    only : tuple of str
        Names of the families that may be drawn; all but those of `NAMED_ONLY` if empty.
    energy_bins : int, optional
        Along the energy axis of volumes, whose other axes have `bins`; as many as `bins` if not given.

    Raises
    ------
    InputError
        If a value is out of range.
    """

    dimensions: int
    seed: int
    method: str = ""
    bins: int = 0
    per_shard: int = 0
    only: tuple[str, ...] = ()
    energy_bins: int = 0

    def __post_init__(self):
        if self.dimensions not in KINDS:
            raise InputError(f"cuts of {self.dimensions} dimensions", "ask for --dimensions 1, 2 or 3")
        for name, default in (("method", DEFAULT_METHOD), ("bins", DEFAULT_BINS), ("per_shard", PER_SHARD)):
            object.__setattr__(self, name, getattr(self, name) or default[self.dimensions])
        object.__setattr__(self, "only", tuple(self.only))
        if self.method not in METHODS:
            raise InputError(f"the truth method {self.method!r} is not known", f"use --method {' or '.join(METHODS)}")
        for option, bins in (("--bins", self.bins), ("--energy-bins", self.energy_bins or self.bins)):
            if not 8 <= bins <= 512:
                raise InputError(f"{bins} bins along an axis", f"ask for 8 to 512 ({option})")
        if self.energy_bins and self.dimensions != 3:
            raise InputError(
                f"{self.energy_bins} bins along the energy of cuts of {self.dimensions} dimensions, some of which "
                "have no open energy axis",
                "ask for volumes (--dimensions 3), or leave --energy-bins out",
            )
        if self.seed < 0:
            raise InputError(f"the seed is {self.seed}", "give a number that is not negative (--seed)")
        if self.per_shard < 1:
            raise InputError(f"{self.per_shard} pairs in a file", "ask for 1 or more (--per-shard)")
        known = {f.name for f in (*families(), *levels.families())} | set(NAMED_ONLY)
        for name in self.only:
            if name not in known:
                raise InputError(
                    f"there is no family {name!r}; the families are {', '.join(sorted(known))}",
                    "use one of those names (--family)",
                )
        for name in self.splits:
            if not self.families(name):
                raise InputError(f"no family is left for the split {name!r}", "name more families (--family)")

    @property
    def splits(self) -> dict[str, float]:
        """Splits and their shares; with `only`, those that have a family left."""
        if not self.only:
            return SPLITS
        return {name: share for name, share in SPLITS.items() if self.families(name)}

    @property
    def shape(self) -> tuple[int, ...]:
        """Bins of one pair."""
        return (*(self.bins,) * (self.dimensions - 1), self.energy_bins or self.bins)

    @property
    def has_phonons(self) -> bool:
        """Whether Euphonic is needed."""
        return any(name in NAMED_ONLY for name in self.only)

    def families(self, split_name: str) -> tuple[AnyFamily, ...]:
        """Families of a split that may be drawn."""
        if not self.only:
            return families_of(split_name)
        return tuple(f for named in (False, True) for f in families_of(split_name, named=named) if f.name in self.only)

    def as_dict(self) -> dict:
        """For JSON; `energy_bins` only where it is given, as folders from before it have none."""
        known = asdict(self) | {"only": list(self.only)}
        return known if self.energy_bins else {k: v for k, v in known.items() if k != "energy_bins"}

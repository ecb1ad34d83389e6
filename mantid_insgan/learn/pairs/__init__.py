"""Training pairs on disk: cuts of spin-wave models as they are, convolved, and as an experiment would show them."""

from .pair import Pair
from .recipe import METHODS, SPLITS, Recipe
from .run import Made, make_pairs
from .shards import read_pairs

__all__ = ["METHODS", "SPLITS", "Made", "Pair", "Recipe", "make_pairs", "read_pairs"]

"""Pairs of fitted parameters: draws of the posterior where there are, else what the covariance says of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ..fit.likelihood import misfit_divisor
from ..fit.result import FitResult
from .style import COLOUR_MAP, FAINT, LINE, check_figure, new_figure, plain_text, put_texts, save_figure

#: Parameters in one figure.
MOST = 8
#: Shares of the draws inside the lines of a pair, and the growth of chi-squared that has them in a Gaussian of two
#: parameters (-2 ln(1 - share)).
SHARES = (0.68, 0.95)
_GROWTH = tuple(-2 * np.log(1 - share) for share in SHARES)
#: Evaluations of a log that are drawn: with chi-squared up to this many steps of the outer line above the lowest.
_NEAR = 2.0
#: Inches of a panel, at the fewest and the most parameters; the most points drawn; bins of a histogram; and points of
#: the density along each axis, and the most draws that it is made of.
_LARGE, _SMALL, _POINTS, _BARS, _BINS, _KERNELS = 2.6, 1.25, 3000, 30, 45, 1000
#: How far the axes of a figure without draws reach, in standard errors.
_REACH = 3.2


def beside(figure: str | Path) -> Path:
    """The file of the pairs for the figure of a fit: residual.png -> residual-corner.png."""
    figure = Path(figure)
    return figure.with_name(f"{figure.stem}-corner{figure.suffix}")


def drawable(result: FitResult) -> list[str]:
    """Names of the parameters of which the figure can be drawn: free and determined, the first `MOST` of them."""
    drawn = result.posterior is not None
    names = [n for n in result.errors.names if drawn or n not in result.errors.undetermined]
    return names[:MOST]


def plot_corner(
    result: FitResult, output: str | Path, *, log: str | Path | None = None, overwrite: bool = False
) -> None:
    """Draw every pair of the free parameters, and each of them alone.

    With draws of the posterior: their density with lines around 68 and 95 % of them, and dashed the ellipses of the
    covariance. Without: the ellipses, and what the search evaluated near them.

    Parameters
    ----------
    result : FitResult
        With two or more parameters in `drawable`.
    output : path
        Its suffix chooses the format.
    log : path, optional
        Log of the fit, for the points of a figure without draws.
    overwrite : bool

    Raises
    ------
    OutputError
        If the suffix is unknown, the file exists and may not be replaced, or it cannot be written.
    DeviceError
        If matplotlib is not installed.
    """
    check_figure(output, overwrite)
    names = drawable(result)
    count, columns = len(names), [result.errors.names.index(name) for name in names]
    best = np.array([result.values[name] for name in names])
    covariance = _covariance(result)[np.ix_(columns, columns)]
    draws = None if result.posterior is None else result.posterior.draws[:, columns]
    draws = draws if draws is not None and len(draws) else None
    points = draws if draws is not None else _evaluated(result, names, log)
    ranges = _ranges(best, covariance, draws)
    size = _LARGE + (_SMALL - _LARGE) * (count - 2) / (MOST - 2)
    figure = new_figure(max(size * count + 0.8, 6.0), max(size * count + 1.1, 5.6))
    panels = figure.subplots(count, count, squeeze=False)
    for row in range(count):
        for column in range(count):
            axes = panels[row, column]
            if column > row:
                axes.set_axis_off()
                continue
            if column == row:
                interval = _interval(result, names[row], draws is not None)
                _draw_one(axes, best[row], covariance[row, row], None if draws is None else draws[:, row], interval)
            else:
                pair = [column, row]
                _draw_pair(
                    axes, best[pair], covariance[np.ix_(pair, pair)], points[:, pair], draws is not None, ranges[pair]
                )
            _dress(axes, names, row, column, ranges, count)
    figure.align_labels()
    put_texts(figure, f"{result.problem.definition.name}: pairs of parameters", _notes(result, draws, points, names))
    save_figure(figure, Path(output))


def _covariance(result: FitResult) -> np.ndarray:
    """Of the free parameters, scaled as the column 'error', shape (P, P)."""
    return result.errors.correlation * np.outer(result.errors.scaled, result.errors.scaled)


def _interval(result: FitResult, name: str, drawn: bool) -> tuple[float, float]:
    """The 68 % interval that is shown of one parameter: of the draws, of its profile, or its error."""
    if drawn:
        return result.posterior.intervals()[name]
    error = float(result.errors.scaled[result.errors.names.index(name)])
    given = result.intervals.get(name)
    return (
        given
        if given is not None and np.isfinite(given).all()
        else (
            result.values[name] - error,
            result.values[name] + error,
        )
    )


def _evaluated(result: FitResult, names: list[str], log: str | Path | None) -> np.ndarray:
    """Points (N, P) of a log near the minimum; those of smoothed data and of models that are not stable left out."""
    if log is None or not Path(log).exists():
        return np.empty((0, len(names)))
    divisor = misfit_divisor(result.reduced_chi_squared)
    highest = result.chi_squared + _NEAR * _GROWTH[-1] * divisor
    found = []
    for line in Path(log).read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue  # the last line of a search that was cut short
        if entry.get("stable") and not entry.get("smoothed") and entry["chi_squared"] <= highest:
            found.append([entry["values"][name] for name in names])
    return np.array(found).reshape(-1, len(names))


def _ranges(best: np.ndarray, covariance: np.ndarray, draws: np.ndarray | None) -> np.ndarray:
    """Of each axis, shape (P, 2)."""
    if draws is None:
        reach = _REACH * np.sqrt(np.diag(covariance))
        return np.stack([best - reach, best + reach], axis=1)
    low, high = np.quantile(draws, [0.001, 0.999], axis=0)
    low, high = np.minimum(low, best), np.maximum(high, best)
    edge = 0.08 * np.maximum(high - low, 1e-12 * np.maximum(np.abs(best), 1.0))
    return np.stack([low - edge, high + edge], axis=1)


def _draw_one(axes, best: float, variance: float, draws: np.ndarray | None, interval: tuple[float, float]) -> None:
    """One parameter alone: its draws, or the Gaussian of its error; its 68 % interval is shaded."""
    axes.axvspan(*interval, color=LINE, alpha=0.18, linewidth=0)
    error = np.sqrt(variance)
    if draws is not None:
        axes.hist(draws, bins=_BARS, density=True, histtype="step", color=LINE, linewidth=1.2)
    if np.isfinite(error) and error > 0:
        x = best + error * np.linspace(-4, 4, 201)
        curve = np.exp(-0.5 * ((x - best) / error) ** 2) / (error * np.sqrt(2 * np.pi))
        dashed = draws is not None
        axes.plot(x, curve, "--" if dashed else "-", color=FAINT if dashed else LINE, linewidth=1.0)
    axes.axvline(best, color=FAINT, linewidth=0.8)
    axes.set_ylim(bottom=0)
    axes.set_yticks([])


def _draw_pair(axes, best, covariance, points: np.ndarray, drawn: bool, ranges: np.ndarray) -> None:
    """Two parameters: points, lines around the draws, ellipses of the covariance, and the best values."""
    if len(points):
        some = points[:: max(len(points) // _POINTS, 1)]
        axes.plot(*some.T, ".", color=FAINT, markersize=1.5 if drawn else 3, alpha=0.25 if drawn else 0.7, zorder=1)
    if drawn:
        _draw_density(axes, points, ranges)
    if np.isfinite(covariance).all():
        turn = np.linspace(0, 2 * np.pi, 181)
        sizes, directions = np.linalg.eigh(covariance)
        circle = directions @ (np.sqrt(np.maximum(sizes, 0))[:, None] * np.stack([np.cos(turn), np.sin(turn)]))
        for growth in _GROWTH:
            ellipse = best[:, None] + np.sqrt(growth) * circle
            axes.plot(*ellipse, "--" if drawn else "-", color=FAINT if drawn else LINE, linewidth=0.9, zorder=4)
    axes.plot(*best, "+", color="k", markersize=7, zorder=5)


def _draw_density(axes, draws: np.ndarray, ranges: np.ndarray) -> None:
    """Lines around the densest 68 and 95 % of the draws, by Gaussians that are shaped as all draws together are."""
    from matplotlib import colormaps
    from scipy.stats import gaussian_kde

    some = draws[:: max(len(draws) // _KERNELS, 1)].T
    if np.linalg.matrix_rank(np.corrcoef(some), tol=1e-9) < 2:
        return  # all on one line: there is no density in the plane
    density = gaussian_kde(some)
    levels = sorted(float(x) for x in np.quantile(density(some), [1 - share for share in SHARES]))
    x, y = (np.linspace(*limits, _BINS) for limits in ranges)
    height = density(np.stack(np.meshgrid(x, y)).reshape(2, -1)).reshape(_BINS, _BINS)
    colours = colormaps[COLOUR_MAP]([0.75, 0.45])
    axes.contourf(x, y, height, [*levels, max(height.max(), 1.001 * levels[-1])], colors=colours, alpha=0.55, zorder=2)
    axes.contour(x, y, height, levels, colors=LINE, linewidths=1.0, zorder=3)


def _dress(axes, names: list[str], row: int, column: int, ranges: np.ndarray, count: int) -> None:
    """Limits, ticks and labels: names only at the left and at the bottom."""
    axes.set_xlim(*ranges[column])
    axes.locator_params(axis="x", nbins=4)
    axes.tick_params(labelsize=8 if count < 6 else 7)
    axes.ticklabel_format(useOffset=False)
    axes.tick_params(axis="x", labelrotation=45, labelbottom=row == count - 1)
    if row == count - 1:
        axes.set_xlabel(plain_text(names[column]))
    if column < row:
        axes.set_ylim(*ranges[row])
        axes.locator_params(axis="y", nbins=4)
        axes.tick_params(labelleft=column == 0)
        if column == 0:
            axes.set_ylabel(plain_text(names[row]))
    else:
        axes.spines[["top", "right", "left"]].set_visible(False)


def _notes(result: FitResult, draws: np.ndarray | None, points: np.ndarray, names: list[str]) -> list[str]:
    if draws is not None:
        notes = [
            "Filled: 68 and 95 % of the draws of the posterior. Dashed: the same of the covariance (column error). "
            "+ and grey line: best values. Shaded: 68 % interval of the draws."
        ]
        notes += result.posterior.notes
    else:
        notes = [
            "Ellipses: 68 and 95 % by the covariance (column error). + and grey line: best values. Shaded: 68 % "
            "interval, of the profile where it was searched."
        ]
        notes += ["Points: evaluations of the search."] if len(points) else []
    left = [name for name in result.errors.names if name not in names]
    return [*notes, *([f"Not drawn: {', '.join(left)}."] if left else [])]

"""Terms of the training loss; each is a scalar, smaller is better. Shapes (N, 1, *grid)."""

from __future__ import annotations

import torch

#: Smallest mean square of a target, in units of the input's (which is near 1), that relative terms are divided by: a
#: weaker target is nearly empty.
LEAST = 0.02

#: Squared scale of the Student's t with 3 degrees of freedom that fits a normal distribution of variance 1 best:
#: s^2 with <4 r^2 / (3 s^2 + r^2)> = 1.
SCALE_OF_NORMAL = 0.6297
#: Scales of that Student's t within which 68.3 % lie.
STANDARD = 1.198


def _sums(values: torch.Tensor) -> torch.Tensor:
    return values.flatten(1).sum(1)


def _size(target, valid, power: int) -> torch.Tensor:
    """Sum of |target|^power over the valid bins, at least `LEAST` per bin: (N,)."""
    return torch.maximum(_sums(target.abs() ** power * valid), LEAST * _sums(valid))


def nrmse(signal, target, valid) -> torch.Tensor:
    """||signal - target|| / ||target|| over the valid bins, for each member: (N,)."""
    return (_sums((signal - target) ** 2 * valid) / _size(target, valid, 2) + 1e-8).sqrt()


def relative_l1(signal, target, valid) -> torch.Tensor:
    """Sum of |signal - target| over sum of |target|, for each member: (N,)."""
    return _sums((signal - target).abs() * valid) / _size(target, valid, 1)


def flux(signal, target, valid) -> torch.Tensor:
    """|sum signal - sum target| over sum |target|, for each member: (N,)."""
    return _sums((signal - target) * valid).abs() / _size(target, valid, 1)


def likelihood(signal, log_variance, target, valid, known=None) -> torch.Tensor:
    """-log of Student's t with 3 degrees of freedom and squared scale exp(log_variance), per valid bin: (N,).

    Its gradient is bounded, where a normal distribution's is not: bins that are far off at the start would drown all
    else. The signal is detached: the errors learn from the signal, never the other way round.

    Parameters
    ----------
    signal, log_variance, target, valid : Tensor, (N, 1, *grid)
    known : Tensor, (N, 1, *grid), optional
        Variance of the target's own noise, independent of the signal. It is added to the squared scale times
        `SCALE_OF_NORMAL`, so that nothing is left to be learned where noise explains all of the difference.
    """
    if known is not None:
        log_variance = torch.logaddexp(log_variance, torch.log((SCALE_OF_NORMAL * known).clamp(min=1e-12)))
    square = (target - signal.detach()) ** 2
    each = 0.5 * log_variance + 2.0 * torch.log1p(square * torch.exp(-log_variance) / 3.0)
    return _sums(each * valid) / _sums(valid).clamp(min=1.0)


def baseline(level, smooth, valid, asymmetry: float) -> torch.Tensor:
    """Mean of w (y - z)^2 with w = p where y > z and 1 - p elsewhere, for each member: (N,).

    Asymmetric least squares (Eilers, Anal. Chem. 75, 3631 (2003), eq. 3): z becomes what lies below the peaks of y.

    Parameters
    ----------
    level, smooth : Tensor
        z, and y without most of its counting noise.
    asymmetry : float
        p; small, so that peaks count little.
    """
    above = smooth - level
    weight = torch.where(above > 0, asymmetry, 1.0 - asymmetry) * valid
    return _sums(weight * above**2) / _sums(valid).clamp(min=1.0)


def adversarial_generator(score_of_translated) -> torch.Tensor:
    """Least squares: mean (D(G(x)) - 1)^2 (Mao et al., ICCV 2017, eq. 9); its gradient does not vanish where the
    discriminator is sure, as that of the logarithmic form does."""
    return ((score_of_translated - 1.0) ** 2).mean()


def adversarial_discriminator(score_of_real, score_of_translated) -> torch.Tensor:
    """Least squares: mean (D(y) - 1)^2 / 2 + mean D(G(x))^2 / 2 (Mao et al., ICCV 2017, eq. 9)."""
    return 0.5 * ((score_of_real - 1.0) ** 2).mean() + 0.5 * (score_of_translated**2).mean()


def patch_nce(queries: list[torch.Tensor], keys: list[torch.Tensor], temperature: float = 0.07) -> torch.Tensor:
    """PatchNCE: a patch of the translation should resemble the input at its place more than at other places.

    l(v, v+, v-) = -log [exp(v.v+ / tau) / (exp(v.v+ / tau) + sum exp(v.v- / tau))], summed over levels and averaged
    over places (Park et al., ECCV 2020, eqs. 2 and 3); the other places of the same spectrum are the negatives.

    Parameters
    ----------
    queries, keys : list of Tensor, (N, patches, length)
        Unit vectors of the translation and of the input, one for each level.
    temperature : float
        tau.
    """
    total = queries[0].new_zeros(())
    for v, positive in zip(queries, keys, strict=True):
        similarity = v @ positive.detach().transpose(1, 2) / temperature  # (N, patches, patches)
        own = torch.arange(v.shape[1], device=v.device).expand(v.shape[0], -1)
        total = total + torch.nn.functional.cross_entropy(similarity.flatten(0, 1), own.flatten())
    return total / len(queries)

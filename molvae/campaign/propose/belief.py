"""What the surrogate believes of molecules, each asked once."""

from collections.abc import Sequence

import torch
from torch import Tensor

from molvae.bo.discrete_posterior import moments
from molvae.bo.layout import FeatureLayout
from molvae.bo.observations import Observations
from molvae.bo.surrogates import Surrogate, fit_subset
from molvae.campaign.propose.method import Context
from molvae.campaign.record.merit import Matrix, given_reference
from molvae.campaign.space import Space
from molvae.chem.molecule import Molecule, parse_or_none


class CachedPosterior:
    """The posterior of a surrogate that was fitted to what is observed.

    Args:
        surrogate: the recipe's.
        context: what is asked for, and the maker of features.
        space: the model.
        observed: SMILES, best first.
        Y: their utilities, ``(n, objectives)``.
        seed: of the surrogate.
        ood_sd_factor: share of the standard deviation that counts out of the model's distribution.

    Attributes:
        layout: what the columns of a row of features are.
        seen: what the surrogate was fitted to.
        model: the fitted surrogate.
    """

    def __init__(
        self,
        surrogate: Surrogate,
        context: Context,
        space: Space,
        observed: Sequence[str],
        Y: Matrix,
        seed: int,
        ood_sd_factor: float,
    ) -> None:
        self._space, self._featurizer, self._ood_sd_factor = space, context.featurizer, ood_sd_factor
        self.layout = FeatureLayout((*self._featurizer.blocks, ("latent", space.latent)))
        rows = fit_subset(len(observed), surrogate.most, seed)
        X = self.features([Molecule.trusted(observed[k]) for k in rows.tolist()])
        given = given_reference(context.problem)
        reference = None if given is None else torch.from_numpy(given)
        self.seen = Observations(X, torch.from_numpy(Y)[rows], reference, tuple(context.problem.constraints))
        self.model = surrogate(X, self.seen.Y, self.layout, seed)
        self._cached: dict[str, tuple[Tensor, Tensor, Tensor]] = {}

    def features(self, molecules: Sequence[Molecule]) -> Tensor:
        """Rows of the layout, (n, width) float64."""
        points = self._space.encode([molecule.smiles for molecule in molecules])
        return torch.cat([*map(torch.from_numpy, (*self._featurizer(molecules), points))], 1)

    def __call__(self, molecules: Sequence[Molecule]) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and sd of each utility, (n, objectives) each, and the share of each sd that counts, (n,)."""
        fresh = list({one.smiles: one for one in molecules if one.smiles not in self._cached}.values())
        if fresh:
            found = *moments(self.model, self.features(fresh)), self._sd_factors(fresh)
            self._cached.update(zip((one.smiles for one in fresh), zip(*found, strict=True), strict=True))
        mean, sd, factor = (
            torch.stack(part) for part in zip(*(self._cached[one.smiles] for one in molecules), strict=True)
        )
        return mean, sd, factor

    def _sd_factors(self, molecules: Sequence[Molecule]) -> Tensor:
        """1 for molecules that survive the round trip through their latent points, less for the others, (n,)."""
        factors = torch.ones(len(molecules), dtype=torch.float64)
        if self._ood_sd_factor < 1:
            texts = self._space.decode(self._space.encode([one.smiles for one in molecules]))
            for k, (one, text) in enumerate(zip(molecules, texts, strict=True)):
                if text != one.smiles and parse_or_none(text) != one:
                    factors[k] = self._ood_sd_factor
        return factors

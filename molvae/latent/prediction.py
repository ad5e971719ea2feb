"""What a model's property heads predict for molecules."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from molvae.arguments import checked
from molvae.chem.molecule import Molecule, listed
from molvae.vae.model import SmilesVAE

if TYPE_CHECKING:
    import pandas as pd


@checked
def predict(vae: SmilesVAE, smiles: str | Sequence[str]) -> "pd.DataFrame":
    """What the model's heads predict from the latent mean of each molecule, without a look at its structure.

    Returns:
        ``SMILES``, canonical, then a column a property in its own unit; a row a molecule, in order.

    Raises:
        UsageError: the model has no heads.
        InvalidSmiles, UnknownCharacter, SmilesError: as `SmilesVAE.encode`.
    """
    import pandas as pd

    canonical = [Molecule.parse(text).smiles for text in listed(smiles)]
    values = vae.predict(vae.encode_texts(canonical).mean).cpu().numpy()
    table = pd.DataFrame(values, columns=list(vae.properties))
    table.insert(0, "SMILES", canonical)
    return table

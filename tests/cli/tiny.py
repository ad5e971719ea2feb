"""A model of 160 short molecules, trained in a few seconds: most of its samples are valid, most molecules come back."""

from pathlib import Path
from typing import Any

from filelock import FileLock

RECIPE: dict[str, Any] = {
    "name": "tiny",
    "net": {
        "latent": 8,
        "embedding": 16,
        "encoder": {"kind": "gru", "hidden": 32},
        "decoder": {"kind": "gru", "hidden": 64},
    },
    "train": {"epochs": 60, "batch": 16, "optimizer": {"learning_rate": 8e-3}, "loss": {"beta": {"end": 0.05}}},
    "evaluate": {"every": 10_000, "molecules": 20},
    "hardware": {"device": "cpu", "precision": "32-true"},
}


def molecules(n: int) -> list[str]:
    """Short molecules of the NCI set inside RDKit's package, made of C, N and O."""
    from molvae.chem.molecule import parse_or_none
    from molvae.data.tables import rdkit_file

    found: dict[str, None] = {}
    for line in rdkit_file("NCI/first_5K.smi").read_text().splitlines():
        molecule = parse_or_none(line.split()[0])
        if molecule is not None and 5 <= len(molecule.smiles) <= 14 and set(molecule.smiles) <= set("CNOc1n()=o2"):
            found[molecule.smiles] = None
        if len(found) == n:
            break
    return list(found)


def make(root: Path) -> Path:
    """The folder with ``molecules.smi``, ``corpus`` and ``training/model``; processes that want it make it once."""
    from molvae.config import parse_recipe
    from molvae.data.prepare import PrepareSettings, prepare
    from molvae.vae.training.loop import train
    from molvae.vae.training.recipe import TrainRecipe

    folder = root / "tiny"
    with FileLock(root / "tiny.lock"):
        if not (folder / "done").exists():
            folder.mkdir(exist_ok=True)
            (folder / "molecules.smi").write_text("".join(f"{smiles}\n" for smiles in molecules(160)))
            prepare(folder / "molecules.smi", folder / "corpus", PrepareSettings(valid=20, test=0))
            train(parse_recipe({**RECIPE, "corpus": str(folder / "corpus")}, TrainRecipe), folder / "training")
            (folder / "done").touch()
    return folder

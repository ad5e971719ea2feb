"""Molecule design by Bayesian optimisation in the latent space of a SMILES variational autoencoder.

The names below are the public interface; each loads what it needs (PyTorch, RDKit) when it is first used.
"""

import importlib

TYPE_CHECKING = False  # not that of typing: until `molvae.__main__` runs, a typing.py of the user's would be imported
if TYPE_CHECKING:
    from typing import Any

    from molvae.campaign.campaign import Campaign
    from molvae.campaign.recipe import CampaignRecipe
    from molvae.campaign.report.table import export
    from molvae.chem.molecule import Molecule
    from molvae.chem.objectives import Objective
    from molvae.chem.pictures import write_picture
    from molvae.config import Component, read_recipe
    from molvae.data.datasets import fetch
    from molvae.data.prepare import PrepareSettings, prepare
    from molvae.errors import MolvaeError
    from molvae.latent.interpolation import interpolate
    from molvae.latent.map_page import write_map
    from molvae.latent.neighbors import neighbors
    from molvae.latent.prediction import predict
    from molvae.latent.projection import latent_map
    from molvae.vae.evaluation.metrics import evaluate
    from molvae.vae.folder import load_model as load
    from molvae.vae.model import Posterior, SmilesVAE
    from molvae.vae.training.loop import train
    from molvae.vae.training.recipe import TrainRecipe

_HOMES = {
    "Campaign": "campaign.campaign",
    "CampaignRecipe": "campaign.recipe",
    "Component": "config",
    "Molecule": "chem.molecule",
    "MolvaeError": "errors",
    "Objective": "chem.objectives",
    "Posterior": "vae.model",
    "PrepareSettings": "data.prepare",
    "SmilesVAE": "vae.model",
    "TrainRecipe": "vae.training.recipe",
    "evaluate": "vae.evaluation.metrics",
    "export": "campaign.report.table",
    "fetch": "data.datasets",
    "interpolate": "latent.interpolation",
    "latent_map": "latent.projection",
    "load": "vae.folder",
    "neighbors": "latent.neighbors",
    "predict": "latent.prediction",
    "prepare": "data.prepare",
    "read_recipe": "config",
    "train": "vae.training.loop",
    "write_map": "latent.map_page",
    "write_picture": "chem.pictures",
}

__all__ = [
    "Campaign",
    "CampaignRecipe",
    "Component",
    "Molecule",
    "MolvaeError",
    "Objective",
    "Posterior",
    "PrepareSettings",
    "SmilesVAE",
    "TrainRecipe",
    "evaluate",
    "export",
    "fetch",
    "interpolate",
    "latent_map",
    "load",
    "neighbors",
    "predict",
    "prepare",
    "read_recipe",
    "train",
    "write_map",
    "write_picture",
]


def __getattr__(name: str) -> "Any":
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("molvae")
    if name not in _HOMES:
        raise AttributeError(f"molvae has no {name!r}; it has {', '.join(__all__)}")
    module = importlib.import_module(f"molvae.{_HOMES[name]}")
    return getattr(module, "load_model" if name == "load" else name)


def __dir__() -> list[str]:
    return sorted(__all__)

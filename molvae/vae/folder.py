"""A model is a folder: JSON, safetensors and a card, sealed by a manifest; nothing in it is ever unpickled."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from molvae.arguments import checked
from molvae.config import as_table, nearest, parse_recipe, with_new_keys
from molvae.data.training_index import KnownMolecules
from molvae.data.vocab import Vocab
from molvae.errors import DataError, FolderError, ModelError, RecipeError
from molvae.folders import MANIFEST, seal, unseal, write_atomic, write_json
from molvae.registry import only_installed
from molvae.vae.card import card_text
from molvae.vae.model import SmilesVAE
from molvae.vae.nets.nets import Net, NetSettings
from molvae.vae.prior import prior_settings, prior_table

FORMAT = 3
"""Of folders that name the kinds of encoder and decoder; those of format 2 have GRUs, and those of format 1 no prior:
theirs is N(0, I)."""
MODELS = Path(__file__).resolve().parent.parent / "models"
FILES = ["model.json", "vocab.json", "weights.safetensors", "known.safetensors", "prior.safetensors", "card.md"]
FILES_BEFORE = [name for name in FILES if name != "prior.safetensors"]
"""Of format 1."""


@dataclass(frozen=True)
class InstalledModel:
    """A model that comes with the package: its name, folder and the facts on its card."""

    name: str
    folder: Path
    facts: dict[str, Any]


def save_model(folder: str | Path, vae: SmilesVAE, facts: Mapping[str, Any]) -> None:
    """Write a model folder; its manifest goes first and comes back last, so half a folder never loads.

    Args:
        folder: made if it does not exist, replaced if it is a model folder.
        vae: weights, vocabulary, known molecules, prior.
        facts: what the card says: ``name, data, recipe, commit, hardware, versions, seconds, step, metrics``.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    parts = {"net": as_table(vae.net.settings), "prior": prior_table(vae.prior.settings), "longest": vae.longest}
    write_json(folder / "model.json", {"kind": "smiles-vae", "format": FORMAT, **parts, "facts": dict(facts)})
    write_json(folder / "vocab.json", {"characters": vae.vocab.characters})
    known = torch.from_numpy(vae.known.hashes) if vae.known is not None else torch.zeros(0, dtype=torch.int64)
    tables = {"weights": vae.net.state_dict(), "known": {"hashes": known}, "prior": vae.prior.tensors()}
    for name, tensors in tables.items():
        content = save({key: value.cpu().contiguous() for key, value in tensors.items()})
        write_atomic(folder / f"{name}.safetensors", content)
    write_atomic(folder / "card.md", card_text(facts))
    seal(folder, FILES, kind="smiles-vae", format=FORMAT)


@checked
def load_model(model: str | Path, device: str = "cpu") -> SmilesVAE:
    """A model from its folder, or by the name of an installed one, such as ``"zinc250k"``.

    Raises:
        ModelError: there is none, it is damaged, or it is not one of ours.
    """
    folder = find_model(model)
    description, manifest = _checked(folder)
    try:
        settings = _net_settings(description["net"], f"{folder / 'model.json'}")
        vocab = Vocab(json.loads((folder / "vocab.json").read_text(encoding="utf-8"))["characters"])
        net = Net(settings, len(vocab))
        net.load_state_dict(load_file(folder / "weights.safetensors"))
        hashes = load_file(folder / "known.safetensors")["hashes"].numpy().copy()
        longest = int(description["longest"])
        prior = None
        if manifest["format"] > 1:
            with only_installed():
                settings_of_prior = prior_settings(description["prior"], f"{folder / 'model.json'}")
            prior = settings_of_prior.restore(load_file(folder / "prior.safetensors"))
    except (KeyError, ValueError, TypeError, RuntimeError, SafetensorError, DataError, RecipeError) as error:
        raise ModelError(f"{folder} does not fit together: {error}") from error
    known = KnownMolecules(hashes) if len(hashes) else None
    fingerprint = str(manifest["files"]["weights.safetensors"]["sha256"])[:16]
    return SmilesVAE(net.to(device), vocab, longest, fingerprint, known, prior)


def _net_settings(table: Mapping[str, Any], source: str) -> NetSettings:
    """Also of a folder of an earlier format."""
    table, _ = with_new_keys(table, NetSettings.ALIASES)
    with only_installed():
        return parse_recipe(table, NetSettings, source)


def model_facts(model: str | Path) -> dict[str, Any]:
    """What the model's card says, as values; loads no weights."""
    facts: dict[str, Any] = _checked(find_model(model))[0]["facts"]
    return facts


def installed_models() -> tuple[InstalledModel, ...]:
    """The models that come with the package."""
    return tuple(InstalledModel(name, folder, model_facts(folder)) for name, folder in _installed().items())


def find_model(model: str | Path) -> Path:
    """The folder that a folder or a name stands for.

    Raises:
        ModelError: neither; says which names there are.
    """
    if Path(model).is_dir():
        return Path(model)
    installed = _installed()
    if str(model) in installed:
        return installed[str(model)]
    hint = nearest(str(model), installed)
    raise ModelError(f"there is no model folder {model}, and no installed model of that name{hint}")


def _installed() -> dict[str, Path]:
    return {path.parent.name: path.parent for path in sorted(MODELS.glob(f"*/{MANIFEST}"))}


def _checked(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        manifest = unseal(folder)
    except FolderError as error:
        raise ModelError(f"{error}; a model folder holds {', '.join([*FILES, MANIFEST])}") from error
    needed = FILES_BEFORE if manifest.get("format") == 1 else FILES
    if manifest.get("kind") != "smiles-vae" or not set(needed) <= set(manifest["files"]):
        raise ModelError(f"{folder} is not a model folder; one holds {', '.join([*FILES, MANIFEST])}")
    if manifest.get("format") not in range(1, FORMAT + 1):
        raise ModelError(f"{folder} has format {manifest.get('format')}; this molvae reads formats 1 to {FORMAT}")
    try:
        description: dict[str, Any] = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{folder / 'model.json'} cannot be read: {error}") from error
    return description, manifest

"""The facts of a training, and the card that tells them."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


def hardware(device: torch.device, precision: str) -> dict[str, Any]:
    """What the training ran on."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = f"{_processor()}, {torch.get_num_threads()} threads of {os.cpu_count()} cores"
    return {"device": name, "precision": precision, "platform": platform.platform(terse=True)}


def versions() -> dict[str, str]:
    """Versions of what the figures may depend on."""
    names = ("molvae", "torch", "rdkit", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def commit() -> str:
    """The commit of the source tree, ``-dirty`` where it was changed; "unknown" outside a checkout."""
    if not (Path(__file__).parents[2] / ".git").exists():  # installed; the repository around it would be another
        return "unknown"
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() or "unknown"


def card_text(facts: Mapping[str, Any]) -> str:
    """The model card in Markdown, every figure from ``facts``."""
    return "\n".join(
        [
            f"# {facts.get('name', 'model')}",
            "",
            f"A character-level SMILES variational autoencoder ({_kinds(facts)}).",
            "",
            *_origin(facts),
            "",
            *_evaluation(facts.get("evaluation", {})),
            "## Figures of the training",
            "",
            "On the validation part, which the weights were not fitted to, at the last step, by the decoder alone.",
            "",
            "| figure | value |",
            "|---|--:|",
            *(f"| {name} | {value:.4g} |" for name, value in facts.get("metrics", {}).items()),
            "",
            "nll and kl in nats per molecule; reconstruction: greedy decodes of the posterior mean that are the same",
            "molecule; validity: strings that RDKit makes a molecule of, without any correction or filter.",
            "",
            "## Recipe",
            "",
            *_recipe(facts),
            *_before(facts.get("start")),
        ]
    )


def _kinds(facts: Mapping[str, Any]) -> str:
    """Of encoder and decoder; a fine-tuning has those of the training before."""
    while "net" not in facts.get("recipe", {}) and "start" in facts:
        facts = facts["start"]
    net = facts.get("recipe", {}).get("net", {})
    kinds = {part: net.get(part, {}).get("kind", "gru") for part in ("encoder", "decoder")}
    if set(kinds.values()) == {"gru"}:
        return "bidirectional GRU encoder, GRU decoder"
    return ", ".join(f"{part} `{kind}`" for part, kind in kinds.items())


def _recipe(facts: Mapping[str, Any]) -> list[str]:
    return ["```json", json.dumps(facts.get("recipe", {}), indent=2), "```", ""]


def _before(facts: Mapping[str, Any] | None) -> list[str]:
    """The training that this one went on from, and the one before that."""
    if facts is None:
        return []
    where = f"On {facts['hardware']['device']}, commit `{facts['commit']}`; its weights: `{facts['weights']}`."
    data = [f"Training molecules: {_molecules(facts['data'])}.", ""] if "data" in facts else []
    head = f"## The training before: {facts['step']} steps, {facts['seconds'] / 60:.1f} minutes"
    return [head, "", where, "", *data, *_recipe(facts), *_before(facts.get("start"))]


def _origin(facts: Mapping[str, Any]) -> list[str]:
    data, machine = facts.get("data", {}), facts.get("hardware", {})
    counts = data.get("counts") or {}
    return [
        "| | |",
        "|---|---|",
        f"| training molecules | {_molecules(data)} |",
        f"| validation molecules | {counts.get('valid', 'unknown')} |",
        f"| prepared corpus (SHA-256 of its manifest) | `{data.get('digest', 'unknown')}` |",
        *(f"| source `{name}` (SHA-256) | `{digest}` |" for name, digest in (data.get("source") or {}).items()),
        *_refitted(facts.get("prior")),
        f"| commit | `{facts.get('commit', 'unknown')}` |",
        f"| device | {machine.get('device', 'unknown')}, {machine.get('precision', 'unknown')} |",
        f"| platform | {machine.get('platform', 'unknown')} |",
        f"| versions | {', '.join(f'{k} {v}' for k, v in facts.get('versions', {}).items())} |",
        f"| training time | {facts.get('seconds', 0) / 60:.1f} minutes, {facts.get('step', 0)} steps |",
    ]


def _molecules(data: Mapping[str, Any]) -> str:
    """How many were trained on."""
    corpus, added = (data.get("counts") or {}).get("train", "unknown"), data.get("synthetic")
    return f"{corpus} and {added['molecules']} synthetic (corpus `{added['digest']}`)" if added else f"{corpus}"


def _refitted(prior: Mapping[str, Any] | None) -> list[str]:
    """The prior that `molvae fit-prior` put in the place of the recipe's, where it did."""
    if prior is None:
        return []
    settings = ", ".join(f"{key} {value}" for key, value in prior.get("settings", {}).items())
    fitted = f"{prior['molecules']} molecules of `{prior['name']}` (SHA-256 `{prior['sha256']}`), seed {prior['seed']}"
    return [f"| prior, fitted afterwards | {settings}; {fitted} |"]


def _evaluation(facts: Mapping[str, Any]) -> list[str]:
    """The tables that `molvae evaluate --to-card` left; nothing where it was never run."""
    lines: list[str] = []
    for group, rows in facts.get("tables", {}).items():
        lines += [f"### {group}", "", "| figure | value | with grammar | unit |", "|---|--:|--:|---|"]
        lines += [f"| {r['figure']} | {r['value']} | {r['with grammar']} | {r['unit']} |" for r in rows]
        lines.append("")
    if not lines:
        return []
    source = facts["molecules"]
    given = f"on `{source['name']}` (SHA-256 `{source['sha256']}`)" if source else "without molecules"
    head = f"By `molvae evaluate … -n {facts['n']} --seed {facts['seed']}`, {given}; value: by the decoder alone."
    return ["## Evaluation", "", head, "", *lines]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()

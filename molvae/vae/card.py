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
    data, machine = facts.get("data", {}), facts.get("hardware", {})
    counts = data.get("counts") or {}
    lines = [
        f"# {facts.get('name', 'model')}",
        "",
        "A character-level SMILES variational autoencoder (bidirectional GRU encoder, GRU decoder).",
        "",
        "| | |",
        "|---|---|",
        f"| training molecules | {counts.get('train', 'unknown')} |",
        f"| validation molecules | {counts.get('valid', 'unknown')} |",
        f"| prepared corpus (SHA-256 of its manifest) | `{data.get('digest', 'unknown')}` |",
        *(f"| source `{name}` (SHA-256) | `{digest}` |" for name, digest in (data.get("source") or {}).items()),
        f"| commit | `{facts.get('commit', 'unknown')}` |",
        f"| device | {machine.get('device', 'unknown')}, {machine.get('precision', 'unknown')} |",
        f"| platform | {machine.get('platform', 'unknown')} |",
        f"| versions | {', '.join(f'{k} {v}' for k, v in facts.get('versions', {}).items())} |",
        f"| training time | {facts.get('seconds', 0) / 60:.1f} minutes, {facts.get('step', 0)} steps |",
        "",
        "## Figures",
        "",
        "On the validation part, which the weights were not fitted to; `molvae evaluate` computes them again.",
        "",
        "| figure | value |",
        "|---|--:|",
        *(f"| {name} | {value:.4g} |" for name, value in facts.get("metrics", {}).items()),
        "",
        "nll and kl in nats per molecule; reconstruction: greedy decodes of the posterior mean that equal the input",
        "string exactly; validity: strings that RDKit makes a molecule of, without any correction or filter.",
        "",
        "## Recipe",
        "",
        "```json",
        json.dumps(facts.get("recipe", {}), indent=2),
        "```",
        "",
    ]
    return "\n".join(lines)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()

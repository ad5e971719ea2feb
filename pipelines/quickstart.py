"""Train a small model, search with it, export the candidates: the whole of molvae in thirty lines.

python pipelines/quickstart.py [FOLDER] [KEY=VALUE over the training recipe ...]
"""

import sys
from pathlib import Path

import molvae


def quickstart(folder: Path, overrides: list[str]) -> Path:
    raw = molvae.fetch("nci5k", folder / "raw")  # 5,000 molecules from inside RDKit's package
    scores = ("logp", "qed", "sas")  # labels for the model's heads
    molvae.prepare(raw, folder / "corpus", molvae.PrepareSettings(valid=200, test=0, scores=scores))

    settings = [f"corpus={folder / 'corpus'}", *overrides]
    recipe = molvae.read_recipe("pipelines/train_nci5k.toml", molvae.TrainRecipe, settings)
    model = molvae.train(recipe, folder / "training")  # stopped? the same call goes on

    vae = molvae.load(model)
    aspirin = vae.encode(["CC(=O)Oc1ccccc1C(=O)O"])
    print("aspirin decodes to", vae.decode(aspirin.mean)[0])

    search = [f"model={model}", "start.n=20", "budget.evaluations=50", "executor.kind=inline"]
    start = ["start.kind=training", f"start.path={folder / 'corpus'}"]
    campaign = molvae.Campaign.open("pipelines/campaign.toml", folder / "campaign", [*search, *start])
    campaign.run()
    print(campaign.table().head(10))
    campaign.export(folder / "candidates.csv")
    return folder / "candidates.csv"


if __name__ == "__main__":
    quickstart(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/quickstart"), sys.argv[2:])

"""Draw the best molecules of a campaign, for the README.

python scripts/picture.py runs/demo docs/demo.png
"""

import sys

import molvae


def main(run: str, path: str, n: int = 10) -> None:
    campaign = molvae.Campaign.read(run)
    labels = [objective.label for objective in campaign.recipe.objectives]
    best = campaign.table().head(n)
    captions = [
        f"#{row['rank']}  " + "  ".join(f"{label} {row[label]:.2f}" for label in labels) for _, row in best.iterrows()
    ]
    molvae.write_picture(path, [molvae.Molecule.parse(smiles) for smiles in best["SMILES"]], captions)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])

"""Draw the best molecules of a campaign, for the README.

python scripts/picture.py runs/demo docs/demo.png
"""

import sys

from rdkit import Chem
from rdkit.Chem.Draw import rdMolDraw2D

import molvae


def main(run: str, path: str, n: int = 10) -> None:
    campaign = molvae.Campaign.read(run)
    labels = [objective.label for objective in campaign.recipe.objectives]
    best = campaign.table().head(n)
    molecules = [Chem.MolFromSmiles(smiles) for smiles in best["SMILES"]]
    legends = [
        f"#{row['rank']}  " + "  ".join(f"{label} {row[label]:.2f}" for label in labels) for _, row in best.iterrows()
    ]
    columns, width, height = 5, 260, 200
    drawing = rdMolDraw2D.MolDraw2DCairo(columns * width, -(-n // columns) * height, width, height)
    drawing.drawOptions().legendFontSize = 18
    drawing.DrawMolecules(molecules, legends=legends)
    drawing.FinishDrawing()
    with open(path, "wb") as file:
        file.write(drawing.GetDrawingText())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])

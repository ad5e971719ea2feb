"""Which characters may follow each other in a SMILES."""

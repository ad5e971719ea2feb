"""Molecules and numbers: parsing, objectives, fingerprints, structural alerts, tables of molecules.

The only folder that imports RDKit. Importing it silences RDKit's own log once for the process: what RDKit
has to say about a text comes back inside `molvae.errors.InvalidSmiles` instead.
"""

from rdkit import RDLogger

RDLogger.DisableLog("rdApp.*")

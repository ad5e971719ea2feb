"""The tasks of the PMO benchmark that need RDKit alone, as scorers.

GuacaMol defined them (Brown et al. 2019, J. Chem. Inf. Model. 59, 1096); PMO took these twenty, and three that
need trained classifiers, to compare how few evaluations an optimiser gets by with (Gao et al. 2022,
arXiv:2206.12411). Where GuacaMol's paper and its code differ, the code is followed.

A task is a mean of terms. A term takes one number of the molecule and bends it to 0..1. In a recipe::

    [[objectives]]
    score = {kind = "guacamol", name = "zaleplon_mpo"}
"""

import functools
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

from pydantic import field_validator
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator
from rdkit.Chem.Pharm2D import Generate, Gobbi_Pharm2D
from rdkit.Chem.rdMolDescriptors import CalcMolFormula

from molvae.chem.molecule import Molecule
from molvae.chem.scorers import DESCRIPTORS, BaseScorer, Natural
from molvae.config import nearest

# --- how a number is bent to 0..1 ---------------------------------------------------------------------


@dataclass(frozen=True)
class _Near:
    """exp(−½ ((x − best) / width)²): 1 at ``best``, less on both sides."""

    best: float
    width: float

    def __call__(self, x: float) -> float:
        return math.exp(-0.5 * ((x - self.best) / self.width) ** 2)


@dataclass(frozen=True)
class _AtMost:
    """1 up to ``limit``, beyond it the falling half of a Gaussian."""

    limit: float
    width: float

    def __call__(self, x: float) -> float:
        return _Near(self.limit, self.width)(max(x, self.limit))


@dataclass(frozen=True)
class _AtLeast:
    """The rising half of a Gaussian up to ``limit``, beyond it 1."""

    limit: float
    width: float

    def __call__(self, x: float) -> float:
        return _Near(self.limit, self.width)(min(x, self.limit))


@dataclass(frozen=True)
class _Enough:
    """x / enough, and 1 from ``enough`` on; for similarities, which are not negative."""

    enough: float = 1.0

    def __call__(self, x: float) -> float:
        return min(x / self.enough, 1.0)


_Bend = _Near | _AtMost | _AtLeast | _Enough

# --- what is asked of a molecule ----------------------------------------------------------------------


@dataclass(frozen=True)
class _Similar:
    """Tanimoto similarity to a target, by one of `_fingerprint`."""

    target: str
    fingerprint: str
    bend: _Bend = _Enough()

    def __call__(self, mol: Any) -> float:
        found = _fingerprint(self.fingerprint)(mol)
        return self.bend(DataStructs.TanimotoSimilarity(found, _target_fingerprint(self.target, self.fingerprint)))


@dataclass(frozen=True)
class _Property:
    """One of RDKit's descriptors."""

    name: str
    bend: _Bend | None = None

    def __call__(self, mol: Any) -> float:
        value = float(DESCRIPTORS[self.name](mol))
        return value if self.bend is None else self.bend(value)


@dataclass(frozen=True)
class _PropertyOf:
    """How near one of RDKit's descriptors is to that of a target."""

    target: str
    name: str
    width: float

    def __call__(self, mol: Any) -> float:
        return _Near(_target_property(self.target, self.name), self.width)(DESCRIPTORS[self.name](mol))


@dataclass(frozen=True)
class _Atoms:
    """How many atoms there are of an element."""

    element: str
    bend: _Bend

    def __call__(self, mol: Any) -> float:
        return self.bend(_atoms(CalcMolFormula(mol)).get(self.element, 0))


@dataclass(frozen=True)
class _Formula:
    """How near the molecular formula is: geometric mean over the target's elements and the count of all atoms."""

    target: str

    def __call__(self, mol: Any) -> float:
        target, found = _atoms(self.target), _atoms(CalcMolFormula(mol))
        total = _Near(sum(target.values()), 2.0)(sum(found.values()))
        values = [_Near(count, 1.0)(found.get(element, 0)) for element, count in target.items()]
        return math.prod([total, *values]) ** (1 / (1 + len(values)))


@dataclass(frozen=True)
class _Has:
    """1 where a SMARTS pattern occurs, otherwise 0; the other way round where it must be ``absent``."""

    smarts: str
    absent: bool = False

    def __call__(self, mol: Any) -> float:
        return float(mol.HasSubstructMatch(_pattern(self.smarts)) != self.absent)


_Term = _Similar | _Property | _PropertyOf | _Atoms | _Formula | _Has


@functools.cache
def _fingerprint(name: str) -> Callable[[Any], Any]:
    """From an RDKit molecule to a fingerprint: counts of all environments, not hashed into few places.

    ECFP4 and ECFP6 are Morgan of radius 2 and 3, FCFP4 the same of pharmacophore features, AP atom pairs up to
    10 bonds apart, PHCO pairs and triples of pharmacophore features (Gobbi and Poppinger 1998, Biotechnol.
    Bioeng. 61, 47), the only one without counts.
    """
    if name == "PHCO":
        return functools.partial(Generate.Gen2DFingerprint, sigFactory=Gobbi_Pharm2D.factory)
    morgan, features = rdFingerprintGenerator.GetMorganGenerator, rdFingerprintGenerator.GetMorganFeatureAtomInvGen
    generators = {
        "ECFP4": lambda: morgan(radius=2),
        "ECFP6": lambda: morgan(radius=3),
        "FCFP4": lambda: morgan(radius=2, atomInvariantsGenerator=features()),
        "AP": lambda: rdFingerprintGenerator.GetAtomPairGenerator(maxDistance=10),
    }
    function: Callable[[Any], Any] = generators[name]().GetSparseCountFingerprint
    return function


@functools.cache
def _target_fingerprint(target: str, name: str) -> Any:
    return _fingerprint(name)(Chem.MolFromSmiles(target))


@functools.cache
def _target_property(target: str, name: str) -> float:
    return float(DESCRIPTORS[name](Chem.MolFromSmiles(target)))


@functools.cache
def _pattern(smarts: str) -> Any:
    return Chem.MolFromSmarts(smarts)


@functools.lru_cache(maxsize=4096)
def _atoms(formula: str) -> Mapping[str, int]:
    """Atoms of each element, hydrogen too; a charge at the end of the formula is passed over."""
    return {element: int(count or 1) for element, count in re.findall(r"([A-Z][a-z]?)(\d*)", formula)}


# --- the tasks ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Task:
    """The mean of terms, geometric or arithmetic."""

    terms: tuple[_Term, ...]
    arithmetic: bool = False

    def __call__(self, mol: Any) -> float:
        if self.arithmetic:
            return sum(term(mol) for term in self.terms) / len(self.terms)
        product = 1.0
        for term in self.terms:
            product *= term(mol)
            if product == 0:  # what is left is often the slow part
                return 0.0
        return float(product ** (1 / len(self.terms)))


def _geometric(*terms: _Term) -> _Task:
    return _Task(terms)


def _arithmetic(*terms: _Term) -> _Task:
    return _Task(terms, arithmetic=True)


_AMLODIPINE: Final = r"Clc1ccccc1C2C(=C(/N/C(=C2/C(=O)OCC)COCCN)C)\C(=O)OC"
_CAMPHOR: Final = "CC1(C)C2CCC1(C)C(=O)C2"
_FEXOFENADINE: Final = "CC(C)(C(=O)O)c1ccc(cc1)C(O)CCCN2CCC(CC2)C(O)(c3ccccc3)c4ccccc4"
_MENTHOL: Final = "CC(C)C1CCC(C)CC1O"
_OSIMERTINIB: Final = "COc1cc(N(C)CCN(C)C)c(NC(=O)C=C)cc1Nc2nccc(n2)c3cn(C)c4ccccc34"
_PERINDOPRIL: Final = "O=C(OCC)C(NC(C(=O)N1C(C(=O)O)CC2CCCCC12)C)CCC"
_QUINAZOLINE: Final = "CCCOc1cc2ncnc(Nc3ccc4ncsc4c3)c2cc1S(=O)(=O)C(C)(C)C"
_RANOLAZINE: Final = "COc1ccccc1OCC(O)CN2CCN(CC(=O)Nc3c(C)cccc3C)CC2"
_SILDENAFIL: Final = "CCCC1=NN(C2=C1N=C(NC2=O)C3=C(C=CC(=C3)S(=O)(=O)N4CCN(CC4)C)OCC)C"
_SITAGLIPTIN: Final = "Fc1cc(c(F)cc1F)CC(N)CC(=O)N3Cc2nnc(n2CC3)C(F)(F)F"
_TADALAFIL: Final = "O=C1N(CC(N2C1CC3=C(C2C4=CC5=C(OCO5)C=C4)NC6=C3C=CC=C6)=O)C"
_ZALEPLON: Final = "O=C(C)N(CC)C1=CC=CC(C2=CC=NC3=C(C=NN23)C#N)=C1"
_SCAFFOLD: Final = "[#7]-c1n[c;h1]nc2[c;h1]c(-[#8])[c;h0][c;h1]c12"

_TASKS: Final[dict[str, _Task]] = {
    "albuterol_similarity": _geometric(_Similar("CC(C)(C)NCC(O)c1ccc(O)c(CO)c1", "FCFP4", _Enough(0.75))),
    "amlodipine_mpo": _geometric(_Similar(_AMLODIPINE, "ECFP4"), _Property("RingCount", _Near(3, 0.5))),
    "celecoxib_rediscovery": _geometric(_Similar("CC1=CC=C(C=C1)C1=CC(=NN1C1=CC=C(C=C1)S(N)(=O)=O)C(F)(F)F", "ECFP4")),
    "deco_hop": _arithmetic(
        _Similar(_QUINAZOLINE, "PHCO", _Enough(0.85)),
        _Has("CS([#6])(=O)=O", absent=True),
        _Has("[#7]-c1ccc2ncsc2c1", absent=True),
        _Has(_SCAFFOLD),
    ),
    "fexofenadine_mpo": _geometric(
        _Similar(_FEXOFENADINE, "AP", _Enough(0.8)),
        _Property("TPSA", _AtLeast(90, 10)),
        _Property("MolLogP", _AtMost(4, 1)),
    ),
    "isomers_c7h8n2o2": _geometric(_Formula("C7H8N2O2")),
    "isomers_c9h10n2o2pf2cl": _geometric(_Formula("C9H10N2O2PF2Cl")),
    "median1": _geometric(_Similar(_MENTHOL, "ECFP4"), _Similar(_CAMPHOR, "ECFP4")),
    "median2": _geometric(_Similar(_TADALAFIL, "ECFP6"), _Similar(_SILDENAFIL, "ECFP6")),
    "mestranol_similarity": _geometric(
        _Similar("COc1ccc2[C@H]3CC[C@@]4(C)[C@@H](CC[C@@]4(O)C#C)[C@@H]3CCc2c1", "AP", _Enough(0.75))
    ),
    "osimertinib_mpo": _geometric(
        _Similar(_OSIMERTINIB, "FCFP4", _Enough(0.8)),
        _Similar(_OSIMERTINIB, "ECFP6", _AtMost(0.85, 0.1)),
        _Property("TPSA", _AtLeast(100, 10)),
        _Property("MolLogP", _AtMost(1, 1)),
    ),
    "perindopril_mpo": _geometric(_Similar(_PERINDOPRIL, "ECFP4"), _Property("NumAromaticRings", _Near(2, 0.5))),
    "qed": _geometric(_Property("qed")),
    "ranolazine_mpo": _geometric(
        _Similar(_RANOLAZINE, "AP", _Enough(0.7)),
        _Property("MolLogP", _AtLeast(7, 1)),
        _Atoms("F", _Near(1, 1)),
        _Property("TPSA", _AtLeast(95, 20)),
    ),
    "scaffold_hop": _arithmetic(
        _Similar(_QUINAZOLINE, "PHCO", _Enough(0.75)),
        _Has("[#6]-[#6]-[#6]-[#8]-[#6]~[#6]~[#6]~[#6]~[#6]-[#7]-c1ccc2ncsc2c1"),
        _Has(_SCAFFOLD, absent=True),
    ),
    "sitagliptin_mpo": _geometric(
        _Formula("C16H15F6N5O"),
        _Similar(_SITAGLIPTIN, "ECFP4", _Near(0, 0.1)),
        _PropertyOf(_SITAGLIPTIN, "MolLogP", 0.2),
        _PropertyOf(_SITAGLIPTIN, "TPSA", 5),
    ),
    "thiothixene_rediscovery": _geometric(_Similar("CN(C)S(=O)(=O)c1ccc2Sc3ccccc3C(=CCCN4CCN(C)CC4)c2c1", "ECFP4")),
    "troglitazone_rediscovery": _geometric(_Similar("Cc1c(C)c2OC(C)(COc3ccc(CC4SC(=O)NC4=O)cc3)CCc2c(C)c1O", "ECFP4")),
    "valsartan_smarts": _geometric(
        _Has("CN(C=O)Cc1ccc(c2ccccc2)cc1"),
        _PropertyOf(_SITAGLIPTIN, "MolLogP", 0.2),
        _PropertyOf(_SITAGLIPTIN, "TPSA", 5),
        _PropertyOf(_SITAGLIPTIN, "BertzCT", 30),
    ),
    "zaleplon_mpo": _geometric(_Similar(_ZALEPLON, "ECFP4"), _Formula("C19H17N3O2")),
}

GUACAMOL: Final[tuple[str, ...]] = tuple(_TASKS)
"""The names of the tasks."""


class GuacaMol(BaseScorer):
    """A task of the GuacaMol and PMO benchmarks by its name, such as ``zaleplon_mpo``.

    Values are those of the ``guacamol`` package, version 0.5.5.

    Attributes:
        name: one of `GUACAMOL`.
    """

    kind: Literal["guacamol"] = "guacamol"
    name: str
    unit: ClassVar[str] = "0 to 1"
    natural: ClassVar[Natural] = "maximize"
    meaning: ClassVar[str] = "a task of the GuacaMol and PMO benchmarks"

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in _TASKS:
            hint = nearest(name.lower(), GUACAMOL)
            known = f" known are {', '.join(GUACAMOL)}" if "did you mean" in hint else ""
            raise ValueError(f"there is no task {name!r}{hint}{known}")
        return name

    @property
    def label(self) -> str:
        """The task's name."""
        return self.name

    def __call__(self, molecule: Molecule) -> float:
        """The score, 0 to 1."""
        return _TASKS[self.name](molecule.mol)

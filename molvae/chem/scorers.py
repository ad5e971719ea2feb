"""Scorers: molecule to number, as frozen settings that a recipe can name. Combinations are in `combine`.

A new scorer is one class here and its name in `molvae.chem.combine.SCORERS`; recipes, the command line and the
contract tests read that registry. A scorer of one's own is named by its path, ``{kind = "package.module:Class"}``; a
function of one's own needs no class, ``{kind = "callable", call = "package.module:name"}``.
"""

import functools
import importlib
import importlib.util
import os
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, Protocol

from pydantic import Field, field_validator
from rdkit import DataStructs, RDConfig
from rdkit.Chem import Crippen, Descriptors
from rdkit.Chem.QED import qed

from molvae.chem.fingerprints import morgan
from molvae.chem.molecule import Molecule
from molvae.config import Component, nearest
from molvae.errors import ForeignError, InvalidSmiles, ObjectiveError
from molvae.foreign import attempt, number
from molvae.registry import import_last

Natural = Literal["maximize", "minimize"]


class Scorer(Protocol):
    """Settings of a score, and a call that computes it. One of your own may have settings, too."""

    unit: ClassVar[str]
    natural: ClassVar[Natural]
    meaning: ClassVar[str]

    @property
    def label(self) -> str:
        """The name of its column."""

    def __call__(self, molecule: Molecule) -> float:
        """The raw value, a number; what is raised becomes the reason why the molecule has none."""


class BaseScorer(Component):
    """What every scorer declares: its unit, which way is better if nobody says otherwise, and what it is."""

    unit: ClassVar[str]
    natural: ClassVar[Natural]
    meaning: ClassVar[str]

    @property
    @abstractmethod
    def label(self) -> str:
        """The name of its column."""

    @abstractmethod
    def __call__(self, molecule: Molecule) -> float:
        """The raw value; not checked here, see `value_of`."""


def value_of(scorer: Scorer, molecule: Molecule) -> float:
    """The scorer's value as a finite float. What the scorer raises goes through as it is.

    Raises:
        ObjectiveError: the scorer returned what `molvae.foreign.number` takes for none, such as NaN.
    """
    value: Any = scorer(molecule)
    try:
        return number(value)
    except ValueError as error:
        raise ObjectiveError(f"{scorer.label} has no finite value for {molecule}: it returned {error}") from error


class LogP(BaseScorer):
    """Octanol-water partition coefficient, estimated from atom contributions.

    Wildman and Crippen 1999, J. Chem. Inf. Comput. Sci. 39, 868, as RDKit has it.
    """

    kind: Literal["logp"] = "logp"
    unit: ClassVar[str] = "log10 ratio"
    natural: ClassVar[Natural] = "maximize"
    meaning: ClassVar[str] = "octanol-water partition coefficient (Wildman-Crippen)"

    @property
    def label(self) -> str:
        """``logP``."""
        return "logP"

    def __call__(self, molecule: Molecule) -> float:
        """Crippen logP."""
        return float(Crippen.MolLogP(molecule.mol))


class QED(BaseScorer):
    """Quantitative estimate of drug-likeness, 0 to 1, with average weights.

    Bickerton et al. 2012, Nature Chemistry 4, 90, as RDKit has it.
    """

    kind: Literal["qed"] = "qed"
    unit: ClassVar[str] = "0 to 1"
    natural: ClassVar[Natural] = "maximize"
    meaning: ClassVar[str] = "quantitative estimate of drug-likeness"

    @property
    def label(self) -> str:
        """``QED``."""
        return "QED"

    def __call__(self, molecule: Molecule) -> float:
        """QED."""
        return float(qed(molecule.mol))


class SAS(BaseScorer):
    """Synthetic accessibility score, 1 (easy to make) to 10 (hard).

    Ertl and Schuffenhauer 2009, J. Cheminform. 1, 8, by the scorer in RDKit's own Contrib folder.
    """

    kind: Literal["sas"] = "sas"
    unit: ClassVar[str] = "1 to 10"
    natural: ClassVar[Natural] = "minimize"
    meaning: ClassVar[str] = "synthetic accessibility score, 1 is easy"

    @property
    def label(self) -> str:
        """``SAS``."""
        return "SAS"

    def __call__(self, molecule: Molecule) -> float:
        """SAS.

        Raises:
            ObjectiveError: this RDKit came without its Contrib folder.
        """
        return float(_sascorer().calculateScore(molecule.mol))


@functools.cache
def _sascorer() -> Any:
    path = Path(RDConfig.RDContribDir) / "SA_Score" / "sascorer.py"
    if not path.is_file():
        raise ObjectiveError(
            f"SAS needs RDKit's Contrib folder, and {path} is not there; "
            "install RDKit with pip (`pip install rdkit`) or from conda-forge, which bring it"
        )
    spec = importlib.util.spec_from_file_location("molvae_sascorer", path)
    if spec is None or spec.loader is None:
        raise ObjectiveError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class PenalizedLogP(BaseScorer):
    """logP − SAS − max(0, size of the largest ring − 6).

    Gómez-Bombarelli et al. 2018, ACS Cent. Sci. 4, 268, and Kusner et al. 2017, arXiv:1703.01925. With
    ``normalised`` each of the three terms, logP, −SAS and −ring, is standardised by its mean and standard
    deviation over ZINC-250k before they are summed, with the constants published in the code of You et al.
    2018 (GCPN, arXiv:1806.02473), which standardises as Jin et al. 2018 (JT-VAE, arXiv:1802.04364) do.

    That code takes ring sizes from ``networkx.cycle_basis``, whose cycles depend on the order of the atoms
    and may run around several fused rings. Here they are RDKit's smallest set of smallest rings, which is
    what is meant; the two differ for 4 in 1000 molecules of ZINC-250k, fused and bridged ones.
    """

    kind: Literal["penalized_logp"] = "penalized_logp"
    normalised: bool = Field(default=False, description="each term standardised over ZINC-250k")
    unit: ClassVar[str] = "score"
    natural: ClassVar[Natural] = "maximize"
    meaning: ClassVar[str] = "logP less synthetic accessibility less the penalty of rings above six atoms"

    zinc_logp: ClassVar[tuple[float, float]] = (2.4570953396190123, 1.434324401111988)
    zinc_minus_sas: ClassVar[tuple[float, float]] = (-3.0525811293166134, 0.8335207024513095)
    zinc_minus_ring: ClassVar[tuple[float, float]] = (-0.0485696876403053, 0.2860212110245455)

    @property
    def label(self) -> str:
        """``penalized_logP``, or ``penalized_logP_normalised``."""
        return "penalized_logP_normalised" if self.normalised else "penalized_logP"

    def __call__(self, molecule: Molecule) -> float:
        """Penalised logP."""
        rings = molecule.mol.GetRingInfo().AtomRings()
        ring = max(0, max((len(atoms) for atoms in rings), default=0) - 6)
        terms = LogP()(molecule), -SAS()(molecule), -float(ring)
        if not self.normalised:
            return sum(terms)
        over_zinc = self.zinc_logp, self.zinc_minus_sas, self.zinc_minus_ring
        return sum((term - mean) / sd for term, (mean, sd) in zip(terms, over_zinc, strict=True))


class QEDSAS(BaseScorer):
    """5·QED − SAS, the objective of Gómez-Bombarelli et al. 2018, ACS Cent. Sci. 4, 268."""

    kind: Literal["qed_sas"] = "qed_sas"
    unit: ClassVar[str] = "score"
    natural: ClassVar[Natural] = "maximize"
    meaning: ClassVar[str] = "five times drug-likeness less synthetic accessibility"

    @property
    def label(self) -> str:
        """``5QED-SAS``."""
        return "5QED-SAS"

    def __call__(self, molecule: Molecule) -> float:
        """5·QED − SAS."""
        return 5 * QED()(molecule) - SAS()(molecule)


DESCRIPTORS: Final[dict[str, Callable[[Any], float]]] = dict(Descriptors.descList)
"""RDKit's descriptors by name: MolWt, TPSA, NumHDonors, ..."""

_DESCRIPTOR_UNITS: Final = {
    "MolWt": "g/mol",
    "HeavyAtomMolWt": "g/mol",
    "ExactMolWt": "Da",
    "TPSA": "Å²",
    "LabuteASA": "Å²",
}


class Descriptor(BaseScorer):
    """Any descriptor of RDKit by its name, such as ``MolWt``, ``TPSA`` or ``NumHDonors``."""

    kind: Literal["descriptor"] = "descriptor"
    name: str = Field(description="as `rdkit.Chem.Descriptors.descList` has it")
    unit: ClassVar[str] = "of the descriptor"
    natural: ClassVar[Natural] = "maximize"
    meaning: ClassVar[str] = "an RDKit descriptor by name"

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in DESCRIPTORS:
            raise ValueError(f"RDKit has no descriptor {name!r}{_nearest_descriptor(name)}")
        return name

    @property
    def label(self) -> str:
        """The descriptor's name."""
        return self.name

    @property
    def named_unit(self) -> str:
        """The unit of this descriptor where it has one: g/mol, Da, Å²; otherwise empty."""
        return _DESCRIPTOR_UNITS.get(self.name, "")

    def __call__(self, molecule: Molecule) -> float:
        """The descriptor's value."""
        return float(DESCRIPTORS[self.name](molecule.mol))


def _nearest_descriptor(name: str) -> str:
    same = [known for known in DESCRIPTORS if known.lower() == name.lower()]
    hint = nearest(name, same or DESCRIPTORS)
    return hint if "did you mean" in hint else "; rdkit.Chem.Descriptors.descList has them all"


class Similarity(BaseScorer):
    """Tanimoto similarity of Morgan fingerprints to given molecules; to the nearest, where there are several.

    Attributes:
        to: one SMILES, or several.
        radius: bonds around each atom; 2 is ECFP4.
        bits: places of the fingerprint.
        counts: compare how often an environment occurs, not only whether.
    """

    kind: Literal["similarity"] = "similarity"
    to: tuple[str, ...] = Field(min_length=1)
    radius: int = Field(default=2, ge=0, le=10)
    bits: int = Field(default=2048, ge=16)
    counts: bool = False
    unit: ClassVar[str] = "0 to 1"
    natural: ClassVar[Natural] = "maximize"
    meaning: ClassVar[str] = "Tanimoto similarity of Morgan fingerprints to the nearest given molecule"

    @field_validator("to", mode="before")
    @classmethod
    def _one_or_several(cls, to: Any) -> Any:
        return (to,) if isinstance(to, str) else tuple(to) if isinstance(to, list) else to

    @field_validator("to")
    @classmethod
    def _molecules(cls, to: tuple[str, ...]) -> tuple[str, ...]:
        for text in to:
            try:
                Molecule.parse(text)
            except InvalidSmiles as error:
                where = "" if error.position is None else f" at character {error.position + 1}"
                raise ValueError(f"{text!r}: {error.reason}{where}") from error
        return to

    @property
    def label(self) -> str:
        """``similarity``."""
        return "similarity"

    def __call__(self, molecule: Molecule) -> float:
        """Highest similarity to one of ``to``, 0 to 1."""
        fingerprint = morgan(self.radius, self.bits, self.counts)
        known = _fingerprints(self.to, self.radius, self.bits, self.counts)
        return float(max(DataStructs.BulkTanimotoSimilarity(fingerprint(molecule.mol), known)))


@functools.cache
def _fingerprints(to: tuple[str, ...], radius: int, bits: int, counts: bool) -> list[Any]:
    return [morgan(radius, bits, counts)(Molecule.parse(text).mol) for text in to]


class External(BaseScorer):
    """A Python function of one's own, such as a docking program's wrapper: ``call = "package.module:name"``.

    The function is given the canonical SMILES, a string, and returns a number; what it raises is not caught
    here. Its module is imported once a process, from the installed packages or else from the working directory.

    So a recipe is code: it runs the module that it names, and what that imports, from the working directory too.
    """

    kind: Literal["callable"] = "callable"
    call: str = Field(description="the function: its module, a colon, its name")
    unit: ClassVar[str] = "of the function"
    natural: ClassVar[Natural] = "maximize"
    meaning: ClassVar[str] = "a Python function of the SMILES"

    @field_validator("call")
    @classmethod
    def _module_and_name(cls, call: str) -> str:
        module, colon, name = call.partition(":")
        if not (colon and name.isidentifier() and all(part.isidentifier() for part in module.split("."))):
            raise ValueError("a function is written 'package.module:name'")
        return call

    @property
    def label(self) -> str:
        """The function's name."""
        return self.call.partition(":")[2]

    def load(self) -> Callable[[str], Any]:
        """The function.

        Raises:
            ObjectiveError: the module cannot be imported, or lacks the name, or the name is not a function.
        """
        return _imported(self.call)

    def __call__(self, molecule: Molecule) -> float:
        """What the function returns for the SMILES, as it is."""
        value: float = self.load()(molecule.smiles)
        return value


@functools.cache
def _imported(call: str) -> Callable[[str], Any]:
    module_name, _, name = call.partition(":")
    try:
        module = attempt(functools.partial(import_last, module_name))
    except ForeignError as error:
        raise ObjectiveError(
            f"the objective {call!r} needs the module {module_name!r}, which cannot be imported ({error}); "
            f"install it, or run from the directory that holds it (this is {os.getcwd()})"
        ) from error
    function = getattr(module, name, None)
    if function is None:
        public = [known for known in vars(module) if not known.startswith("_")]
        home = getattr(module, "__file__", None)  # which may be another than the user's own of that name
        place = f" (it is {home})" if home else ""
        raise ObjectiveError(f"the module {module_name!r} has no {name!r}{nearest(name, public)}{place}")
    if not callable(function):
        raise ObjectiveError(f"{call!r} is a {type(function).__name__}, not a function of a SMILES")
    loaded: Callable[[str], Any] = function
    return loaded

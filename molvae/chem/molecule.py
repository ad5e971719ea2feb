"""Molecule: valid by construction, one object for one canonical SMILES."""

import logging
import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, final

from rdkit import Chem, RDLogger, rdBase
from rdkit.Chem.Scaffolds import MurckoScaffold

from molvae.errors import InvalidSmiles, UsageError, shorten

MAX_LENGTH: Final = 1000
"""Characters of the longest text that is parsed; far above any drug, far below what stalls RDKit."""

_NOT_STRUCTURE: Final = {"*": "a wildcard atom", "~": "a bond of any kind"}
"""Marks that belong to queries: what they stand for has neither an InChI nor a molecular weight."""
_ATOM: Final = re.compile(r"\[[^\]]*\]|Br|Cl|[BCNOPSFIbcnops*]")
_RING_CLOSURE: Final = re.compile(r"\[[^\]]*\]|%\(\d+\)|%\d\d|\d")
_AT_CHARACTER: Final = re.compile(r"around position (\d+)")
_AT_ATOM: Final = re.compile(r"atoms?:? #? ?(\d+)")

# RDKit has one log for the process; only one thread at a time may listen to it.
_listening = threading.Lock()


@final
@dataclass(frozen=True, order=True, init=False)
class Molecule:
    """A molecule that RDKit understands, known by its canonical isomeric SMILES.

    Made only by `Molecule.parse`. Two molecules are equal, and hash alike, when their SMILES are. It pickles
    as its string, and is taken on trust when unpickled. It keeps the RDKit molecule behind it, some
    kilobytes, so millions are better kept as strings.

    Attributes:
        smiles: canonical isomeric SMILES; parsing it again gives an equal molecule.

    Example:
        >>> Molecule.parse("C(C)O")
        Molecule('CCO')
    """

    smiles: str

    def __init__(self) -> None:
        raise TypeError("a Molecule is made by Molecule.parse(text)")

    @classmethod
    def parse(cls, text: str) -> "Molecule":
        """The molecule that a SMILES text describes; white space around the text is ignored.

        Raises:
            InvalidSmiles: an empty text, one of more than 1000 characters, white space or a non-ASCII
                character inside, syntax or chemistry that RDKit refuses, a wildcard, or a molecule whose
                canonical SMILES RDKit cannot read back. It points at the character where that is known.
            UsageError: something else than a string.
        """
        if not isinstance(text, str):
            raise UsageError(f"a SMILES is a string; this is {_shown(text)}")
        text = text.strip()
        found = _canonical(text) if _plausible(text) else None
        if found is None:
            raise _explain(text)
        return _make(*found)

    @classmethod
    def trusted(cls, smiles: str) -> "Molecule":
        """The molecule of a SMILES that `parse` once gave; it is taken on trust, and read when it is first needed."""
        return _make(smiles)

    @cached_property
    def mol(self) -> Any:
        """The RDKit molecule, atoms in the order of `smiles`. Shared: do not change it, copy it."""
        return Chem.MolFromSmiles(self.smiles)

    @property
    def inchikey(self) -> str:
        """The 27-character InChIKey; empty for the rare molecule that the InChI software refuses."""
        return str(Chem.MolToInchiKey(self.mol))

    @property
    def scaffold(self) -> str:
        """SMILES of the Bemis-Murcko scaffold, without stereochemistry; empty where there is no ring."""
        return str(MurckoScaffold.MurckoScaffoldSmiles(mol=self.mol, includeChirality=False))

    def largest_fragment(self) -> "Molecule":
        """The part with most heavy atoms of a salt or mixture; itself where there is one part only.

        Among parts of the same size the one whose SMILES sorts first.
        """
        if "." not in self.smiles:
            return self
        parts = sorted(Molecule.parse(part) for part in set(self.smiles.split(".")))
        return max(parts, key=lambda part: int(part.mol.GetNumHeavyAtoms()))

    def __str__(self) -> str:
        return self.smiles

    def __repr__(self) -> str:
        return f"Molecule({self.smiles!r})"

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return _make, (self.smiles,)


def listed(smiles: str | Iterable[str]) -> list[str]:
    """The strings; a single string is one molecule, not as many as it has characters.

    Raises:
        UsageError: something else than strings.
    """
    if isinstance(smiles, str):
        return [smiles]
    try:
        texts = list(smiles)
    except TypeError:
        raise UsageError(f"molecules come as SMILES, a string or several; this is {_shown(smiles)}") from None
    for text in texts:
        if not isinstance(text, str):
            raise UsageError(f"a SMILES is a string; one of these is {_shown(text)}")
    return texts


def _shown(value: object) -> str:
    return f"{shorten(repr(value))}, of the type {type(value).__name__}"


def parse_or_none(text: str) -> Molecule | None:
    """The molecule, or None where `Molecule.parse` would raise; cheaper, since nothing is explained."""
    text = text.strip()
    found = _canonical(text) if _plausible(text) else None
    return None if found is None else _make(*found)


def _make(smiles: str, mol: Any = None) -> Molecule:
    molecule = object.__new__(Molecule)
    object.__setattr__(molecule, "smiles", smiles)
    if mol is not None:
        molecule.__dict__["mol"] = mol
    return molecule


def _plausible(text: str) -> bool:
    return 0 < len(text) <= MAX_LENGTH and text.isascii() and text.isprintable() and " " not in text


def _canonical(text: str) -> tuple[str, Any] | None:
    """Canonical SMILES and the RDKit molecule parsed from it; None where there is none.

    RDKit does not promise that its canonical SMILES, read back, is written the same way again. So text
    becomes SMILES until nothing changes; where that goes in circles, the smallest string of the circle stands
    for all. A text that is canonical already needs one parse, any other needs two.
    """
    seen: list[str] = []
    while True:
        read = _read(text)
        if read is None:
            return None
        smiles, mol = read
        if smiles == text:
            return smiles, mol
        if smiles in seen:
            smallest = min(seen[seen.index(smiles) :])
            return smallest, Chem.MolFromSmiles(smallest)
        seen.append(smiles)
        text = smiles


def _read(text: str) -> tuple[str, Any] | None:
    mol = Chem.MolFromSmiles(text)
    if mol is None or mol.GetNumAtoms() == 0:
        return None
    smiles = str(Chem.MolToSmiles(mol))
    return None if any(mark in smiles for mark in _NOT_STRUCTURE) else (smiles, mol)


def _explain(text: str) -> InvalidSmiles:
    """Why `_canonical` has nothing for the text, and where."""
    if not text:
        return InvalidSmiles(text, "an empty text is not a SMILES")
    if len(text) > MAX_LENGTH:
        return InvalidSmiles(text, f"a SMILES of {len(text)} characters is too long, at most {MAX_LENGTH} are read")
    for position, character in enumerate(text):
        if not character.isascii() or not character.isprintable() or character == " ":
            return InvalidSmiles(text, f"the character {character!r} does not belong in a SMILES", position)
    reason, at = _complaint(text) or _wrong_kind(text)
    return InvalidSmiles(text, f"RDKit cannot make a molecule of this SMILES: {reason}", at)


def _complaint(text: str) -> tuple[str, int | None] | None:
    """What RDKit says of a text that it cannot parse, and the place it means."""
    lines = _log_of_parsing(text)
    if not lines:
        return None
    reason = re.split(r" while parsing| for input", lines[0].removeprefix("SMILES Parse Error: "))[0]
    if reason == "unclosed ring":
        return reason, _open_ring(text)
    log = "\n".join(lines)
    if found := _AT_CHARACTER.search(log):
        return reason, min(int(found[1]), len(text)) - 1
    if found := _AT_ATOM.search(log):
        places = [match.start() for match in _ATOM.finditer(text)]
        return reason, places[int(found[1])] if int(found[1]) < len(places) else None
    return reason, None


def _open_ring(text: str) -> int | None:
    """Position of the first ring-closure label that has no partner."""
    opened: dict[str, int] = {}
    for match in _RING_CLOSURE.finditer(text):
        label = match[0].strip("%()").lstrip("0") or "0"
        if not label.startswith("[") and opened.pop(label, None) is None:
            opened[label] = match.start()
    return min(opened.values(), default=None)


def _wrong_kind(text: str) -> tuple[str, int | None]:
    """Why a text that RDKit does parse is still no molecule."""
    mol = Chem.MolFromSmiles(text)
    if mol is None:
        return "it is refused without a reason", None
    smiles = str(Chem.MolToSmiles(mol))
    for mark, what in _NOT_STRUCTURE.items():
        if mark in smiles:
            return f"{what} ({mark}) has no place in a molecule", text.index(mark) if mark in text else None
    return f"it cannot read its own canonical SMILES {smiles} back", None


def _log_of_parsing(text: str) -> list[str]:
    """The lines that RDKit logs while it parses the text, without their times."""
    listener = _Listener()
    logger = logging.getLogger("rdkit")
    with _listening:
        handlers, logger.handlers = logger.handlers, [listener]
        rdBase.LogToPythonLogger()
        try:
            Chem.MolFromSmiles(text)
        finally:
            rdBase.LogToCppStreams()
            RDLogger.DisableLog("rdApp.*")
            logger.handlers = handlers
    return [re.sub(r"^\[[\d:]+\] ", "", line) for line in listener.lines]


class _Listener(logging.Handler):
    """Keeps what its own thread logs; others may parse meanwhile without listening."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self.lines.append(" ".join(record.getMessage().split()))

"""Text to ids and back. Characters are the tokens, so the round trip is exact."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from molvae.errors import DataError, UnknownCharacter

END: Final = 0
"""Id that ends every string; also what fills the places after the end."""
START: Final = 1
"""Id that the decoder reads before the first character; never written."""
RESERVED: Final = 2


@dataclass(frozen=True)
class Vocab:
    """The characters a model knows, sorted; character ``k`` has the id ``k + 2``.

    Example:
        >>> vocab = Vocab.of(["CCO", "c1ccccc1"])
        >>> vocab.characters
        '1COc'
        >>> vocab.decode(vocab.encode("CCO"))
        'CCO'
    """

    characters: str

    def __post_init__(self) -> None:
        if not self.characters or list(self.characters) != sorted(set(self.characters)):
            raise DataError(f"a vocabulary is sorted characters, each once and at least one; got {self.characters!r}")

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Vocab":
        """The characters that occur in the texts."""
        found: set[str] = set()
        for text in texts:
            found.update(text)
        return cls("".join(sorted(found)))

    def __len__(self) -> int:
        return len(self.characters) + RESERVED

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {character: k + RESERVED for k, character in enumerate(self.characters)}

    def encode(self, text: str) -> list[int]:
        """Ids of the characters, without start or end.

        Raises:
            UnknownCharacter: at its position.
        """
        ids = self._ids
        try:
            return [ids[character] for character in text]
        except KeyError:
            position = next(k for k, character in enumerate(text) if character not in ids)
            reason = f"the model does not know the character {text[position]!r}"
            raise UnknownCharacter(text, reason, position) from None

    def decode(self, ids: Iterable[int]) -> str:
        """The text up to the first end, or up to the last id."""
        out = []
        for k in ids:
            if k == END:
                break
            if k >= RESERVED:
                out.append(self.characters[k - RESERVED])
        return "".join(out)

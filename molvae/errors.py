"""Every error that molvae raises on purpose: one small tree.

An error's text says what came, what may come, and what to do. The command line prints that text alone, and the
traceback only with ``-v``.
"""


class MolvaeError(Exception):
    """Root of the tree. ``exit_code`` is what the command line leaves with."""

    exit_code = 1


class UsageError(MolvaeError):
    """The request itself is wrong: an option, a recipe, a column name."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe that cannot be read, or one that differs from the one its run folder was made with."""


class DataError(MolvaeError):
    """A file of molecules that is missing, empty, damaged or lacks a column."""


class SmilesError(MolvaeError):
    """A text that is not usable as a molecule; points at the offending character where that is known."""

    def __init__(self, text: str, reason: str, position: int | None = None) -> None:
        self.text, self.reason, self.position = text, reason, position
        super().__init__(self._message())

    def _message(self) -> str:
        if self.position is None:
            return f"{self.reason}: {shorten(self.text)!r}"
        start = max(0, self.position - 30)
        shown = self.text[start : self.position + 30]
        caret = " " * (self.position - start) + "^"
        return f"{self.reason} at character {self.position + 1}\n  {shown}\n  {caret}"

    def __reduce__(self) -> tuple[type["SmilesError"], tuple[str, str, int | None]]:
        return type(self), (self.text, self.reason, self.position)


class InvalidSmiles(SmilesError):
    """RDKit cannot make a molecule of this text."""


class UnknownCharacter(SmilesError):
    """A character that the model's vocabulary does not have."""


class ObjectiveError(MolvaeError):
    """An objective that cannot be built, or has no value for a molecule."""


class ModelError(MolvaeError):
    """A model folder that is missing, damaged or not one of ours."""


class TrainingError(MolvaeError):
    """A training that collapsed or diverged, or whose data do not fit it."""


class CampaignError(MolvaeError):
    """A campaign that cannot go on."""


class WorkerError(MolvaeError):
    """Worker processes that do not start, or end before their work."""


class ForeignError(MolvaeError):
    """What code of others raised: its class and message, as text."""


class FolderBusy(MolvaeError):
    """Another process is writing to this folder."""


class FolderError(MolvaeError):
    """A folder or file that cannot be written, or does not match its manifest."""


def shorten(text: str, width: int = 60) -> str:
    """The text, or its beginning and its length where it is longer than ``width`` characters."""
    return text if len(text) <= width else f"{text[:width]}… ({len(text)} characters)"


def printable(text: str) -> str:
    """The text as it can be stored and printed, with lone surrogates escaped."""
    return str.encode(text, "utf-8", "backslashreplace").decode()


def describe(error: BaseException) -> str:
    """Class and message of an error, which may be anybody's: the message may be missing, unreadable or very long."""
    name = type(error).__name__
    try:
        text = str(error)
    except BaseException as another:  # of a class of others, which may do anything
        return f"{name} (its message cannot be read: {type(another).__name__})"
    return shorten(printable(f"{name}: {text}" if text else name), 10_000)

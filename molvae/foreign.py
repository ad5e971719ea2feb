"""Code of others: an objective, a part named by its path. It may raise or return anything, exit, and fork."""

import math
import os
from collections.abc import Callable
from typing import Any, SupportsFloat, TypeVar

from molvae.errors import ForeignError, describe, shorten
from molvae.signals import signal_errors

T = TypeVar("T")


def attempt(call: Callable[[], T]) -> T:
    """What a call of others' code returns.

    Raises:
        ForeignError: what it raised, be it `SystemExit`, `KeyboardInterrupt` or any other; the text is class and
            message, such as "SystemExit: 0".
        BaseException: what the handler of a signal raised meanwhile, as for Ctrl-C, even if the code caught that.
    """
    process, reason, code = os.getpid(), None, 0
    with signal_errors() as raised:
        known = len(raised)
        try:
            value = call()
        except BaseException as error:
            reason, code = describe(error), _exit_code(error)
        if os.getpid() != process:  # it forked, and left the end of the copy to us, who must not go on twice
            os._exit(code)
        if len(raised) > known:
            raise raised[-1]
    if reason is not None:
        raise ForeignError(reason)
    return value


def _exit_code(error: BaseException) -> int:
    """What Python would leave with."""
    code = error.code if isinstance(error, SystemExit) else 1
    return code & 0xFF if isinstance(code, int) else int(code is not None)


def number(value: Any) -> float:
    """A value of others as a finite float: any real number, of NumPy and others too, or an array or list of just one.

    Raises:
        ValueError: it is something else, or not finite; says what.
    """
    plain = value
    if type(value) is float and math.isfinite(value):
        return value
    for _ in range(8):  # an array in a list in a list; a list may hold itself
        plain = plain.tolist() if hasattr(plain, "tolist") else plain
        if not (isinstance(plain, list | tuple) and len(plain) == 1):
            break
        plain = plain[0]
    if isinstance(plain, bool | str | bytes) or not isinstance(plain, SupportsFloat):
        what = "a truth value; float(…) would make a number of it" if isinstance(plain, bool) else "not one number"
        raise ValueError(f"{shown(value)}, which is {what}")
    try:
        found = float(plain)
    except Exception as error:
        raise ValueError(f"{shown(value)}, which is not one finite number ({describe(error)})") from error
    if not math.isfinite(found):
        raise ValueError(f"{shown(value)}, which is not finite")
    return found


def shown(value: object) -> str:
    """The value in a message: its ``repr``, which may fail, shortened."""
    try:
        return shorten(repr(value))
    except Exception:
        return f"a {type(value).__name__}"

import sys
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def reference(module_at) -> ModuleType:
    """The automaton in plain Python, `reference.py`, which imports the file beside it by name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(HERE), *sys.path])
        return module_at(HERE / "reference.py")

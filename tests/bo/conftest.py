import pytest
from botorch.acquisition.multi_objective import logei


@pytest.fixture(autouse=True)
def no_compiler(monkeypatch):
    """BoTorch compiles a faster kernel when hypervolume improvement is first used, which takes minutes."""
    monkeypatch.setattr(logei, "_try_load_fused_kernel", lambda: None)

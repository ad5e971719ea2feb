import pytest
from botorch.acquisition.multi_objective import logei

from molvae.bo.layout import FeatureLayout


@pytest.fixture(autouse=True)
def no_compiler(monkeypatch):
    """BoTorch compiles a faster kernel when hypervolume improvement is first used, which takes minutes."""
    monkeypatch.setattr(logei, "_try_load_fused_kernel", lambda: None)


@pytest.fixture(scope="session")
def layout():
    """A layout of so many columns of each block: ``layout(counts=8)``."""

    def make(counts=0, descriptors=0, latent=0):
        return FeatureLayout((("counts", counts), ("descriptors", descriptors), ("latent", latent)))

    return make

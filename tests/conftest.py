"""What all tests share: programs that XLA has compiled once."""

import pytest


@pytest.fixture(scope="session")
def compiled_programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variable by which rehearsals share compiled programs; each process of tests has its own folder of them."""
    return {"JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("compiled-programs"))}

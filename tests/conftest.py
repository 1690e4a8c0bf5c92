"""Shared real parts: the simulated sample, its vectors, and the folder of real records if it is there."""

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from avengers_pro.demo import sample_path
from avengers_pro.embedding import Vectors
from avengers_pro.embedding.static import StaticEmbedder
from avengers_pro.records import Records, read_records

# Tests do not time things: a busy machine is no failure. The same commit passes or fails always; to look for new
# counterexamples, run with --hypothesis-profile searching.
hypothesis.settings.register_profile("searching", deadline=None)
hypothesis.settings.register_profile("fixed", deadline=None, derandomize=True)
hypothesis.settings.load_profile("fixed")

LONGEST = ("scale", "docs", "cli")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory) -> Iterator[None]:
    """The user's folder of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AVENGERS_PRO_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="session")
def sample() -> Records:
    """The simulated sample pool: 2,000 queries x 13 models, one of them with a gap."""
    return read_records(sample_path()).records


@pytest.fixture(scope="session")
def sample_vectors(sample: Records) -> Vectors:
    return StaticEmbedder().embed(sample.queries)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real evaluation records and goldens beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED.name}/ with real evaluation records is not beside this checkout")
    return SHARED


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the folders that take longest, so that all cores end together."""
    items.sort(key=lambda item: item.path.parent.name not in LONGEST)

from __future__ import annotations

import pytest

from unit.engine import fakes


@pytest.fixture
def engine(tmp_path):
    engine = fakes.make_engine(tmp_path)
    fakes.add_image(engine)
    return engine

"""What all tests share; fixtures live with the tests that use them."""

import pytest
from hypothesis import settings

# No deadline for an example: on a busy machine a slow one is no failure.
settings.register_profile("patient", settings(), deadline=None)
settings.load_profile("patient")

# It asserts what scenarios expect, so it has to say what came instead.
pytest.register_assert_rewrite("tests.scenario")

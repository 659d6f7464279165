"""What all tests share; fixtures live with the tests that use them."""

from hypothesis import settings

# No deadline for an example: on a busy machine a slow one is no failure.
settings.register_profile("patient", settings(), deadline=None)
settings.load_profile("patient")

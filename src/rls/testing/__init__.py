"""Tests that authors of plug-ins run. The extra `testing` installs what they need; no server imports them."""

import pytest

pytest.register_assert_rewrite("rls.testing.store_conformance")

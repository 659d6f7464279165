"""Tests that authors of plug-ins run. Needs pytest, pytest-asyncio and hypothesis; nothing of a server imports it."""

import pytest

pytest.register_assert_rewrite("rls.testing.store_conformance")

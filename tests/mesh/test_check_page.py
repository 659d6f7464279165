"""docs/mesh-check.md has all kinds of findings."""

from tests.mesh.check_page import shown, table


def test_the_page_lists_all_findings():
    """`python -m tests.mesh.check_page` writes the table."""
    assert shown() == table()

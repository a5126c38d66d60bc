"""What a person reads of a record."""

from services.cli.cards import version_lines
from tests.services.control_plane.records import MANIFEST, a_version


def test_a_version_names_the_modules_that_terms_on_features_may_name():
    lines = list(version_lines(a_version()))
    assert "    member 0 has the modules stages.0 (16)" in lines
    assert sum("has the modules" in line for line in lines) == 3


def test_of_many_modules_the_outermost_are_shown():
    taps = {f"blocks.{place}": (4, 8) for place in range(20)} | {"blocks.0.attention.query": (4, 8)}
    member = MANIFEST.members[0].model_copy(update={"taps": taps})
    (line,) = [
        line
        for line in version_lines(a_version(manifest=MANIFEST.model_copy(update={"members": (member,)})))
        if "modules" in line
    ]
    assert "blocks.0 (4, 8), blocks.1 (4, 8)" in line
    assert "query" not in line
    assert line.endswith("and 9 more (--json tells them all)")

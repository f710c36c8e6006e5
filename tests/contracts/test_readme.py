import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_readmes_tree_names_every_file():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rendered = runpy.run_path(str(ROOT / "docs" / "tree.py"))["rendered"]
    assert readme == rendered(readme), "run `python docs/tree.py`"


def test_every_page_the_readme_links_to_exists():
    import re

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)]+)\)", readme) if not link.startswith("http")]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_configuration_page_is_that_of_the_code():
    page = runpy.run_path(str(ROOT / "docs" / "configuration_reference.py"))["page"]
    assert (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8") == page(), (
        "run `python docs/configuration_reference.py`"
    )

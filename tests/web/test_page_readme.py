"""web/README.md tells the truth: its figures are the measured ones, packages come from the public registry."""

import json
import pathlib
import re

ROOT = pathlib.Path(__file__).parents[2]


def test_the_tables_are_those_of_the_measured_results():
    readme = (ROOT / "web" / "README.md").read_text(encoding="utf-8")
    measured = json.loads((ROOT / "docs" / "results" / "web.json").read_text(encoding="utf-8"))
    table = re.search(r"<!-- web table -->\n.*?\n.*?\n(.*?)<!-- end of web table -->", readme, re.DOTALL)[1]
    assert table.splitlines() == [
        f"| {row['precision']} | {row['tokens']} | {row['tokenizer_ms']['p50']:.2f} ms "
        f"| {row['model_ms']['least']:.1f} ms | {row['model_ms']['p50']:.1f} ms |"
        for row in measured["results"]
    ]
    for size in measured["download_kilobytes"].values():
        assert f"| {size['plain']:,} | {size['gzip']:,} |" in readme


def test_every_package_comes_from_the_public_registry_with_a_checksum():
    lock = json.loads((ROOT / "web" / "package-lock.json").read_text(encoding="utf-8"))
    packages = [package for path, package in lock["packages"].items() if path]
    assert packages
    assert all(package["resolved"].startswith("https://registry.npmjs.org/") for package in packages)
    assert all(package["integrity"].startswith("sha512-") for package in packages)

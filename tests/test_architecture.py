"""The pages that a stranger reads first are checked against the project: the tree, the settings, what a file names.

ARCHITECTURE.md has under `## The tree` a fenced block with one line for each module: its name, spaces, a phrase. A
line that ends in `/` is a folder, and its phrase stands for its `__init__.py`; what is indented under it is in it.
"""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from values.settings import settings_table

PROJECT = Path(__file__).resolve().parent.parent

TREE_LINE = re.compile(r"(?P<indent> *)(?P<name>[\w.-]+/?)(?: +(?P<phrase>\S.*))?")
SETTING = re.compile(r"[A-Z][A-Z0-9_]+")

# Joined from parts, so that this file does not hold what it looks for.
MACHINE_NAMES = tuple(
    "".join(parts)
    for parts in (
        ("pypi", ".org"),
        ("python", "hosted"),
        ("registry.", "npmjs"),
        ("proxy.", "golang"),
        ("conda", ".anaconda"),
        ("/ro", "ot/"),
        ("/tmp/", "spike"),
        ("/tmp/", "uvboot"),
        ("/work/", "main"),
        ("/work/", "shared"),
    )
)


def project_files() -> list[str]:
    """Paths, with slashes, of every file that git tracks, or would track if it were added."""
    command = ["git", "ls-files", "-coz", "--exclude-standard"]
    listed = subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True).stdout.split("\0")
    return sorted(path for path in set(listed) if path and (PROJECT / path).is_file())


def page(name: str) -> str:
    path = PROJECT / name
    assert path.is_file(), f"{name} is missing"
    return path.read_text(encoding="utf-8")


def tree_block(text: str) -> list[str]:
    """The lines of the first fenced block after the heading `## The tree`, none where there is no such block."""
    match = re.search(r"^## The tree$.*?^```[^\n]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return match[1].splitlines() if match else []


def tree_problems(lines: list[str], files: list[str]) -> list[str]:
    """A sentence for each module of `files` that the tree lacks, and for each line that is wrong about them."""
    problems: list[str] = []
    listed: list[str] = []
    folders: list[tuple[int, str]] = []
    folders_with_files = {f"{parent.as_posix()}/" for path in files for parent in Path(path).parents}
    for line in filter(str.strip, lines):
        match = TREE_LINE.fullmatch(line.rstrip())
        if match is None or not ("." in match["name"] or match["name"].endswith("/")):
            problems.append(f"{line.strip()!r} does not read as a file or a folder/ with its phrase")
            continue
        indent = len(match["indent"])
        folders = [(depth, folder) for depth, folder in folders if depth < indent]
        if indent and not folders:
            problems.append(f"{line.strip()!r} is indented under no folder")
        path = (folders[-1][1] if folders else "") + match["name"]
        if match["phrase"] is None:
            problems.append(f"{path} has no phrase")
        if path.endswith("/"):
            folders.append((indent, path))
            if path not in folders_with_files:
                problems.append(f"{path} is in the tree and not in the project")
            elif path + "__init__.py" in files:
                listed.append(path + "__init__.py")
        else:
            listed.append(path)
            if path not in files:
                problems.append(f"{path} is in the tree and not in the project")
    problems += [f"{path} is in the tree {times} times" for path, times in Counter(listed).items() if times > 1]
    modules = [path for path in files if is_module(path)]
    return problems + [f"{path} is not in the tree" for path in modules if path not in listed]


def is_module(path: str) -> bool:
    return path.endswith(".py") and not path.startswith("tests/") and "migrations/versions/" not in path


def settings_block(text: str) -> str | None:
    """What stands between the two settings marks of a page, None where they are missing."""
    match = re.search(r"<!-- settings -->\n(.*?)\n<!-- /settings -->", text, re.DOTALL)
    return match[1].strip() if match else None


def table_variables(table: str) -> list[str]:
    """The environment variables in the first column of a settings table, without its two heading lines."""
    cells = [line.split("|")[1] for line in table.strip().splitlines()[2:]]
    return [name for cell in cells for name in SETTING.findall(cell)]


def unnamed_variables(table: str, example: str) -> list[str]:
    """The variables of the table that no line of an example file sets, be it commented out."""
    return [name for name in table_variables(table) if not re.search(rf"^(?:# ?)?{name}=", example, re.MULTILINE)]


def machine_names(path: str, text: str) -> list[str]:
    """A sentence for each line that names a download host or a path of one machine."""
    return [
        f"{path}:{number} names {needle}"
        for number, line in enumerate(text.splitlines(), start=1)
        for needle in MACHINE_NAMES
        if needle in line
    ]


def test_the_tree_lists_every_module_once_with_a_phrase_and_nothing_else() -> None:
    lines = tree_block(page("ARCHITECTURE.md"))
    assert lines, "ARCHITECTURE.md has no fenced block after the heading '## The tree'"
    found = tree_problems(lines, project_files())
    assert not found, "\n".join(found)


def test_the_readme_shows_the_settings_as_they_are() -> None:
    block = settings_block(page("README.md"))
    assert block is not None, "README.md has no table between <!-- settings --> and <!-- /settings -->"
    assert block == settings_table().strip()


def test_the_example_environment_names_every_setting() -> None:
    assert table_variables(settings_table()), "the settings table names no variable"
    assert unnamed_variables(settings_table(), page(".env.example")) == []


def test_no_file_names_a_download_host_or_a_path_of_one_machine() -> None:
    found: list[str] = []
    for path in project_files():
        content = (PROJECT / path).read_bytes()
        if b"\0" not in content:
            found += machine_names(path, content.decode("utf-8", errors="replace"))
    assert not found, "\n".join(found)


FILES = [
    "README.md", "accounts.py", "ledger/__init__.py", "ledger/orders.py", "personas/ray.toml", "store/__init__.py",
    "store/migrations/env.py", "store/migrations/versions/0001.py", "tests/test_accounts.py",
]  # fmt: skip
TREE = [
    "accounts.py   the account: orders and fills",
    "ledger/       its inner rooms",
    "  orders.py   one order, checked and booked",
    "",
    "personas/     one TOML file per trader",
    "store/        tables and migrations",
    "  migrations/ numbered steps",
    "    env.py    where a step finds its store",
]


def test_a_tree_that_fits_has_no_problems() -> None:
    assert tree_problems(TREE, FILES) == []


@pytest.mark.parametrize(
    ("at", "lines", "problem"),
    [
        (2, [], "ledger/orders.py is not in the tree"),
        (0, [], "accounts.py is not in the tree"),
        (1, [TREE[1], "  fills.py   one fill"], "ledger/fills.py is in the tree and not in the project"),
        (4, ["desks/     who decides"], "desks/ is in the tree and not in the project"),
        (0, [TREE[0], TREE[0]], "accounts.py is in the tree 2 times"),
        (1, [TREE[1], "  __init__.py   again"], "ledger/__init__.py is in the tree 2 times"),
        (2, ["  orders.py"], "ledger/orders.py has no phrase"),
        (1, ["ledger/"], "ledger/ has no phrase"),
        (0, ["  accounts.py   the account"], "'accounts.py   the account' is indented under no folder"),
        (0, [TREE[0], "              in one transaction"], "'in one transaction' does not read"),
        (0, ["├── accounts.py   the account"], "'├── accounts.py   the account' does not read"),
    ],
)  # fmt: skip
def test_a_tree_that_is_wrong_is_told_where(at: int, lines: list[str], problem: str) -> None:
    found = tree_problems([*TREE[:at], *lines, *TREE[at + 1 :]], FILES)
    assert any(sentence.startswith(problem) for sentence in found), found


def test_the_tree_is_the_first_fenced_block_after_its_heading() -> None:
    text = "```\nother.py  no\n```\n## The tree\nwords\n\n```text\na.py  one\n  b.py  two\n```\n\n```\nc.py  no\n```\n"
    assert tree_block(text) == ["a.py  one", "  b.py  two"]
    assert tree_block("# A page\n```\na.py  one\n```\n") == []


def test_the_settings_of_a_page_stand_between_its_marks() -> None:
    assert settings_block("a\n<!-- settings -->\n\n| x |\n\n<!-- /settings -->\nb") == "| x |"
    assert settings_block("a\n<!-- settings -->\n| x |") is None


def test_a_setting_that_the_example_does_not_name_is_told() -> None:
    table = "| variable | default |\n|---|---|\n| `MODEL` | `house` |\n| `POLYGON_API_KEY`, `MASSIVE_API_KEY` | unset |"
    assert table_variables(table) == ["MODEL", "POLYGON_API_KEY", "MASSIVE_API_KEY"]
    assert unnamed_variables(table, "# MODEL=house\nPOLYGON_API_KEY=\nOLD_MASSIVE_API_KEY=\n") == ["MASSIVE_API_KEY"]


@pytest.mark.parametrize("needle", MACHINE_NAMES)
def test_a_line_that_names_one_machine_is_told(needle: str) -> None:
    assert machine_names("a.md", f"fine\nsee {needle}x\n") == [f"a.md:2 names {needle}"]

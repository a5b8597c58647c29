"""Programs under the GNU General Public License stay processes of their own: nothing of ours imports or holds one."""

from __future__ import annotations

from tests.house.tree import CODE, ROOT, imports, project_files, pyproject, python_files, shown

UNDER_GPL = {"gurux_dlms", "gurux_common", "gurux_net", "gurux_serial", "pydlms"}
"""Modules of packages that are in the peers' environment alone."""

THEIRS = {"tests/peers/gurux_client.py": "GPL-2.0-only"}
"""Programs that do import one, with the licence that they are under therefore."""


def test_only_a_program_of_its_own_imports_what_is_under_the_gpl():
    importing = {
        shown(path)
        for path in python_files(*CODE, "tests")
        if any(name.partition(".")[0] in UNDER_GPL for _, name in imports(path))
    }
    assert importing == THEIRS.keys()


def test_such_a_program_says_its_licence_and_knows_nothing_of_ours():
    for name, licence in THEIRS.items():
        path = ROOT / name
        assert path.read_text("utf-8").splitlines()[0] == f"# SPDX-License-Identifier: {licence}"
        known = {module.partition(".")[0] for _, module in imports(path)}
        assert not known & {*CODE, "tests"}, f"{name} is under another licence than what it imports"


def test_nothing_of_ours_imports_such_a_program():
    modules = {name.removesuffix(".py").replace("/", ".") for name in THEIRS}
    found = [
        f"{shown(path)}:{line}"
        for path in project_files()
        if path.suffix == ".py"
        for line, name in imports(path)
        if any(name == module or name.startswith(f"{module}.") for module in modules)
    ]
    assert not found


def test_no_package_under_the_gpl_is_asked_for_by_the_project():
    wanted = str(pyproject()).lower().replace("-", "_")
    assert not [name for name in UNDER_GPL if name in wanted]
    for lock in ("requirements.lock", "requirements-test.lock"):
        text = (ROOT / lock).read_text("utf-8").lower().replace("-", "_")
        assert not [name for name in UNDER_GPL if f"\n{name}" in text], f"{lock} would install it beside ours"

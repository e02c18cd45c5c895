"""Finding a user's objects by module or by file."""

import sys

import pytest

from firstlight.data import locate
from firstlight.errors import LoadError


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "my_project").mkdir()
    (tmp_path / "my_project" / "__init__.py").touch()
    (tmp_path / "my_project" / "models.py").write_text("class Box:\n    inner = 7\n")
    (tmp_path / "my_project" / "broken.py").write_text("import not_there_at_all\n")
    (tmp_path / "script.py").write_text("from beside import value\n")
    (tmp_path / "beside.py").write_text("value = 3\n")
    (tmp_path / "syntax.py").write_text("def (:\n")
    (tmp_path / "leaves.py").write_text("raise SystemExit('bye')\n")
    (tmp_path / "my_project" / "relative.py").write_text("from .models import Box\nvalue = Box.inner\n")
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "__init__.py").touch()
    (tmp_path / "json" / "mine.py").write_text("value = 5\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith(("my_project", "beside"))]:
        del sys.modules[name]


def test_by_module_from_the_current_directory(project):
    assert locate("my_project.models:Box.inner") == 7


def test_by_file_with_imports_from_beside_it(project):
    assert locate("script.py:value") == 3
    assert locate(f"{project}/script.py:value") == 3


def test_a_file_in_a_package_may_import_relatively(project):
    assert locate("my_project/relative.py:value") == 7
    assert locate("my_project/models.py:Box") is locate("my_project.models:Box")


def test_a_file_in_a_package_whose_name_is_taken_is_read_alone(project):
    assert locate("json/mine.py:value") == 5


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("my_project.models", "no colon"),
        ("my_project.models:", "no name after the colon"),
        (":Box", "expected `package.module:name`"),
        ("my_project.models:Bax", "got no such name; it has Box"),
        ("my_project.absent:x", "none named 'my_project.absent'"),
        ("absent_project.models:x", "none named 'absent_project'"),
        ("my_project.broken:x", "ModuleNotFoundError: No module named 'not_there_at_all'"),
        ("absent.py:x", "got no such file"),
        ("syntax.py:x", "SyntaxError"),
        ("leaves.py:x", "SystemExit: bye"),
    ],
)
def test_what_cannot_be_found_is_a_load_error(project, spec, message):
    with pytest.raises(LoadError, match=message):
        locate(spec, what="model")

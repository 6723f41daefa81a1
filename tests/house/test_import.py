"""`import smalti` and `smalti --help` wait for nothing slow."""

import subprocess
import sys

import smalti

SLOW = {"torch", "numpy", "PIL", "pydantic", "einops"}


def modules_after(code: str) -> set[str]:
    script = f"{code}\nimport sys\nprint(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_is_light():
    assert not SLOW & modules_after("import smalti")


def test_help_is_light():
    code = (
        "from click.testing import CliRunner\n"
        "from smalti.cli.main import group\n"
        "assert 'sample' in CliRunner().invoke(group, ['--help']).output"
    )
    assert not SLOW & modules_after(code)


def test_public_names():
    assert smalti.__all__ == [
        "Pipeline",
        "Tokenizer",
        "UserError",
        "grid",
        "load",
        "save",
        "save_all",
        "train",
    ]
    for name in smalti.__all__:
        assert getattr(smalti, name).__name__ == name

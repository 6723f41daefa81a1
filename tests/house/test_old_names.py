"""Names of before the first release still load, with a one-line note."""

import importlib

import pytest

import smalti


def test_a_generator_is_called_a_pipeline():
    with pytest.warns(FutureWarning, match=r"^smalti\.Generator is called smalti\.Pipeline$"):
        found = smalti.Generator
    assert found is smalti.Pipeline
    assert "Generator" not in dir(smalti)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("smalti.generator")

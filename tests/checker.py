"""Shapes and types of every call into smalti, checked while tests run; an int is a good float."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))

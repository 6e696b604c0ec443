"""The type checker that conftest.py puts behind jaxtyping's annotations."""

from beartype import BeartypeConf, beartype

# An int where a float is asked for is no mistake (PEP 484).
check = beartype(conf=BeartypeConf(is_pep484_tower=True))

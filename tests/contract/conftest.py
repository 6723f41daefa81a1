"""What several contracts of the studio need."""

import pytest


@pytest.fixture
def client(studio):
    """Ask the studio of a file of tests as its page does, without a port."""
    from studios import client_of  # others wait for no web server

    with client_of(studio) as found:
        yield found

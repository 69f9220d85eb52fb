"""The contract that every model of the zoo holds to; each failure says what to change."""

from zoo.testing import PluginContract


class TestAcme(PluginContract):
    model = "acme_net"

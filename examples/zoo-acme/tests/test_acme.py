from zoo.testing import PluginContract


class TestAcmeNet(PluginContract):
    model = "acme_net"
    epochs = 5

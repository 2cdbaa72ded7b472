"""A real plugin leaves while servers run, and comes back: the guests notice nothing, nothing is left or missing."""

from __future__ import annotations

from qrmd.testing.datacentre import DataCentre


def test_dnsmasq_is_withdrawn_under_a_running_server_and_reconciled(centre: DataCentre) -> None:
    daemon = centre.daemon
    appliance = centre.start_appliance()
    assert "reservations" in centre.leftovers()
    refused = str(daemon.fault("plugin.disable", "dnsmasq"))
    assert "dhcp-host" in refused
    assert "withdraw" in refused
    daemon.call("plugin.disable", "dnsmasq", {"withdraw": True, "reason": "another DHCP server"})
    assert not {"reservations", "leases"} & set(centre.leftovers())
    assert daemon.call("appliance.get", appliance)["state"] == "active"

    daemon.call("plugin.enable", "dnsmasq")
    offered = daemon.call("plugin.start", "dnsmasq")["lacking"]
    assert [each["appliance"] for each in offered["appliances"]] == [appliance]
    for workflow in daemon.call("plugin.reconcile", "dnsmasq")["workflows"]:
        assert daemon.wait(workflow)["state"] == "done"
    assert "reservations" in centre.leftovers()
    assert daemon.call("plugin.get", "dnsmasq")["lacking"] == {}
    assert centre.audit()["clean"]
    daemon.finish("appliance.restart", appliance, {"grace_seconds": 0})
    centre.give_back(appliance)
    assert centre.leftovers() == {}
    assert centre.audit()["clean"]

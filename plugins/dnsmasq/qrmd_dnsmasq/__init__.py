"""DHCP and DNS forwarder for managed networks."""

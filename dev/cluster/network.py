"""The pod network: one flat bridge, a route for service addresses, one table that masquerades what leaves.

Addresses: pods 10.244.0.0/16, node N has 10.244.N.1 and gives 10.244.N.10-254 to its pods; services 10.96.0.0/16.
The bridge carries the address of node 0, which is also where the API server and the DNS server listen: nothing is
reachable from outside the machine. The other nodes' addresses are there too, each for as long as its node runs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from ipaddress import ip_interface, ip_network
from typing import Any

from dev.cluster.commands import run, succeeds
from dev.cluster.control_plane import SERVICES
from dev.cluster.errors import ClusterError

BRIDGE = "magistral0"
PODS = "10.244.0.0/16"
PREFIX = 16
MOST_NODES = 255
GATEWAY = "10.244.0.1"
TABLE = "magistral-cluster"
KUBE_PROXY_TABLES = (("ip", "kube-proxy"), ("ip6", "kube-proxy"))
RULES = f"""
table ip {TABLE} {{
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {PODS} ip daddr != {{ {PODS}, {SERVICES} }} masquerade
  }}
}}
"""


def up() -> None:
    """Make the bridge, its address, the service route and the table. Raises ClusterError when a range is taken."""
    taken = overlapping(_links(), [PODS, SERVICES])
    if taken:
        raise ClusterError(f"the local cluster needs {PODS} and {SERVICES}, but {taken}; free the range first")
    for family, table in KUBE_PROXY_TABLES:
        if succeeds(["nft", "list", "table", family, table]):
            raise ClusterError(
                f"the nftables table `{family} {table}` is there already: another cluster's kube-proxy runs on this "
                f"machine. Stop it, or remove what it left with `nft delete table {family} {table}`"
            )
    run(["ip", "link", "add", BRIDGE, "type", "bridge"])
    run(["ip", "address", "add", f"{GATEWAY}/{PREFIX}", "dev", BRIDGE])
    run(["ip", "link", "set", BRIDGE, "up"])
    # Without it a service address that no rule translates yet would leave by the machine's default route.
    run(["ip", "route", "add", SERVICES, "dev", BRIDGE])
    run(["nft", "-f", "-"], text=RULES)


def down() -> None:
    """Remove tables, pods' interfaces and the bridge; whatever is already gone is fine."""
    for family, table in (*KUBE_PROXY_TABLES, ("ip", TABLE)):
        if succeeds(["nft", "list", "table", family, table]):
            run(["nft", "delete", "table", family, table])
    links = _links()
    for link in links:
        if link.get("master") == BRIDGE:
            # Its namespace may be gone between the list and now, and the interface with it.
            succeeds(["ip", "link", "delete", link["ifname"]])
    if exists():
        run(["ip", "link", "delete", BRIDGE])


def give_address(address: str) -> None:
    """Let a node's kubelet listen on its own address."""
    # Not with the bridge's prefix: the CNI plug-in wants the first address of that range to be its gateway.
    run(["ip", "address", "replace", f"{address}/32", "dev", BRIDGE])


def take_address(address: str) -> None:
    """From now on nothing answers there; already gone is fine."""
    succeeds(["ip", "address", "delete", f"{address}/32", "dev", BRIDGE])


def exists() -> bool:
    """Whether the bridge is there."""
    return any(link["ifname"] == BRIDGE for link in _links())


def overlapping(links: Sequence[dict[str, Any]], ranges: Sequence[str]) -> str:
    """Text that names an interface whose address lies in one of `ranges`, else "". Takes `ip -j address`."""
    wanted = [ip_network(one) for one in ranges]
    for link in links:
        for address in link.get("addr_info", []):
            network = ip_interface(f"{address['local']}/{address['prefixlen']}").network
            for one in wanted:
                if link["ifname"] != BRIDGE and network.version == one.version and network.overlaps(one):
                    return f"interface {link['ifname']} has {network}, which overlaps {one}"
    return ""


def _links() -> list[dict[str, Any]]:
    links: list[dict[str, Any]] = json.loads(run(["ip", "-j", "address", "show"]))
    return links

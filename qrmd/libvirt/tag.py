"""Our owner tag in a domain's metadata. Pure.

``<qrmd:machine xmlns:qrmd="https://qrmd.example/ns/1" installation="…" subject="appliance:12" digest="…"/>``
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree as ET

from defusedxml import ElementTree as SafeET

from qrmd.drivers import OwnerTag

NAMESPACE = "https://qrmd.example/ns/1"
PREFIX = "qrmd"
_ELEMENT = f"{{{NAMESPACE}}}machine"

ET.register_namespace(PREFIX, NAMESPACE)


@dataclass(frozen=True, slots=True)
class Label:
    """What the metadata say: whose machine, and the digest of the XML that it was defined from."""

    tag: OwnerTag
    digest: str = ""


def build_label(label: Label) -> ET.Element:
    """The element for ``<metadata>``."""
    attributes = {"installation": label.tag.installation, "subject": label.tag.subject}
    return ET.Element(_ELEMENT, attributes | ({"digest": label.digest} if label.digest else {}))


def read_label(text: str) -> Label | None:
    """The label in what ``virDomainGetMetadata`` gave; None when it can't be read."""
    try:
        element = SafeET.fromstring(text)
    except (ET.ParseError, ValueError):
        return None
    if element.tag not in {_ELEMENT, "machine"}:
        return None
    tag = OwnerTag(element.get("installation", ""), element.get("subject", ""))
    return Label(tag, element.get("digest", ""))

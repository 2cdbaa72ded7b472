"""Products by what is ordered → price lines. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from qrmd_cloud.model import Product, ProductKind
from qrmd_cloud.money import show


@dataclass(frozen=True, slots=True)
class Item:
    """What a price depends on, for one server."""

    image: str
    type: str
    cpus: int
    memory_mb: int
    disk_mb: int
    nics: int
    ha: bool


@dataclass(frozen=True, slots=True)
class PriceLine:
    """One part of the price of a server: ``quantity`` of what ``unit`` cost ``price_micro``, per hour."""

    kind: str
    name: str
    quantity: int
    unit: int
    price_micro: int
    amount_micro: int

    def as_row(self) -> dict[str, Any]:
        """As a request keeps it."""
        return asdict(self)


def price(products: Iterable[Product], item: Item) -> tuple[PriceLine, ...]:
    """The price lines of one server for one hour; what no enabled product names is free."""
    lines = (_line(product, item) for product in products if product.enabled)
    return tuple(line for line in lines if line is not None)


def total(lines: Iterable[PriceLine]) -> int:
    """Micro-CCU per server and hour."""
    return sum(line.amount_micro for line in lines)


def _line(product: Product, item: Item) -> PriceLine | None:
    quantity = _quantity(product, item)
    if not quantity:
        return None
    amount = product.price_micro * quantity // product.unit
    return PriceLine(product.kind.value, product.name, quantity, product.unit, product.price_micro, amount)


def _quantity(product: Product, item: Item) -> int:
    return {
        ProductKind.CPU: item.cpus,
        ProductKind.MEMORY: item.memory_mb,
        ProductKind.DISK: item.disk_mb,
        ProductKind.NIC: item.nics,
        ProductKind.HA: int(item.ha),
        ProductKind.TYPE: int(product.value == item.type),
        ProductKind.IMAGE: int(product.value == item.image),
    }[product.kind]


def shown(lines: Iterable[PriceLine]) -> list[dict[str, Any]]:
    """Price lines as the interface shows them, amounts as decimal strings."""
    return [
        {
            "kind": line.kind,
            "name": line.name,
            "quantity": line.quantity,
            "unit": line.unit,
            "price": show(line.price_micro),
            "amount": show(line.amount_micro),
        }
        for line in lines
    ]

"""Verbs about prices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any

from qrmd.api import (
    ADMINISTER,
    CLOUD_USE,
    Call,
    Check,
    Db,
    InvalidInput,
    Length,
    ListOptions,
    Options,
    Range,
    Transaction,
    events,
    names,
    verb,
)
from qrmd_cloud import money
from qrmd_cloud.model import Product, ProductKind
from qrmd_cloud.store import products, rows

Id = Annotated[int, Range(1, 2**53)]
Word = Annotated[str, Length(63), Check(names.refuse_digits)]
Title = Annotated[str, Length(100), Check(names.refuse_digits)]
MOST_PER_HOUR = 10**6 * money.MICRO
NAMED = frozenset({ProductKind.TYPE, ProductKind.IMAGE})
FLAT = NAMED | {ProductKind.HA}
_NO_OPTIONS = Options()
_ALL = ListOptions()


@dataclass(frozen=True, slots=True)
class NewProduct:
    """A price per hour.

    Attributes:
        kind: cpu, memory, disk, nic (per ``unit``), ha, type, image (flat).
        price: CCUs per hour, decimal string.
        value: name of the virtualization type or image; empty for other kinds.
        unit: for how many processors, MiB or cards the price is.
        name: for people; empty: the kind.
    """

    kind: ProductKind
    price: Annotated[str, Length(24)]
    value: Word = ""
    unit: Annotated[int, Range(1, 2**31)] = 1
    name: Title = ""
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class ProductChange:
    """What to change of a product; what is absent stays."""

    price: Annotated[str, Length(24)] | None = None
    unit: Annotated[int, Range(1, 2**31)] | None = None
    name: Title | None = None
    enabled: bool | None = None


class Products:
    """``cloud.product.*``."""

    @verb("cloud.product.list", roles=CLOUD_USE)
    async def list(self, call: Call, options: ListOptions = _ALL) -> list[dict[str, Any]]:
        """Prices in order of ids. What no enabled product names is free."""
        return await call.read(_list, options)

    @verb("cloud.product.add", roles=ADMINISTER, changes=True)
    async def add(self, call: Call, product: NewProduct, options: Options = _NO_OPTIONS) -> Any:
        """Add a price. Requests that were approved already keep theirs. Returns its id."""
        return await call.change(options, _add, _checked(product), call.actor.name, options.reason)

    @verb("cloud.product.update", roles=ADMINISTER, changes=True)
    async def update(self, call: Call, product: Id, change: ProductChange, options: Options = _NO_OPTIONS) -> Any:
        """Change a price. Requests that were approved already keep theirs. Returns the product."""
        return await call.change(options, _update, product, change, call.actor.name, options.reason)

    @verb("cloud.product.remove", roles=ADMINISTER, changes=True)
    async def remove(self, call: Call, product: Id, options: Options = _NO_OPTIONS) -> Any:
        """Remove a price: what it was for is free from now on. Returns the product as it was."""
        return await call.change(options, _remove, product, call.actor.name, options.reason)


def view(product: Product) -> dict[str, Any]:
    """A product as the interface shows it."""
    return {
        "id": product.id,
        "kind": product.kind.value,
        "value": product.value,
        "name": product.name,
        "unit": product.unit,
        "price": money.show(product.price_micro),
        "enabled": product.enabled,
    }


def _price(text: str) -> int:
    micro = money.parse(text, "price")
    if micro > MOST_PER_HOUR:
        raise InvalidInput(f"a price is at most {money.show(MOST_PER_HOUR)} CCU per hour")
    return micro


def _checked(new: NewProduct) -> Product:
    if bool(new.value) != (new.kind in NAMED):
        raise InvalidInput(
            f"a price of kind {new.kind} {'needs' if new.kind in NAMED else 'has no'} value",
            hint="value names the type or the image",
        )
    if new.kind in FLAT and new.unit != 1:
        raise InvalidInput(f"a price of kind {new.kind} is flat: its unit is 1")
    return Product(0, new.kind, new.value, new.name or new.kind.value, new.unit, _price(new.price), new.enabled)


def _list(db: Db, options: ListOptions) -> list[dict[str, Any]]:
    return rows.listed(rows.page(db, Product, "cloud_products", options, products.FILTERS), view, options)


def _add(db: Transaction, product: Product, actor: str, reason: str) -> int:
    ident = products.add(db, product)
    _tell(db, "added", replace(product, id=ident), actor, reason)
    return ident


def _update(db: Transaction, ident: int, change: ProductChange, actor: str, reason: str) -> dict[str, Any]:
    product = products.get(db, ident)
    if product.kind in FLAT and change.unit not in {None, 1}:
        raise InvalidInput(f"a price of kind {product.kind} is flat: its unit is 1")
    product = replace(
        product,
        price_micro=_or(change.price, product.price_micro, _price),
        unit=_or(change.unit, product.unit),
        name=_or(change.name, product.name),
        enabled=_or(change.enabled, product.enabled),
    )
    products.update(db, product)
    _tell(db, "updated", product, actor, reason)
    return view(product)


def _or(value: Any, before: Any, convert: Callable[[Any], Any] = lambda value: value) -> Any:
    return before if value is None else convert(value)


def _remove(db: Transaction, ident: int, actor: str, reason: str) -> dict[str, Any]:
    product = products.get(db, ident)
    products.remove(db, ident)
    _tell(db, "removed", product, actor, reason)
    return view(product)


def _tell(db: Transaction, what: str, product: Product, actor: str, reason: str) -> None:
    subject = f"cloud_product:{product.id}"
    events.append(db, f"cloud_product.{what}", subject, actor=actor, reason=reason, data=view(product))

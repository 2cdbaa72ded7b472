"""Prices."""

from __future__ import annotations

from qrmd.api import Conflict, Db, NotFound, Transaction, load
from qrmd_cloud.model import Product

FILTERS = ("kind", "value", "name", "enabled")


def enabled(db: Db) -> list[Product]:
    """What is priced now."""
    return [load(Product, row) for row in db.rows("SELECT * FROM cloud_products WHERE enabled = 1 ORDER BY id")]


def get(db: Db, ident: int) -> Product:
    """A product. Raises NotFound."""
    row = db.row("SELECT * FROM cloud_products WHERE id = ?", (ident,))
    if row is None:
        raise NotFound(f"there is no product {ident}", subject=f"cloud_product:{ident}", hint="see cloud.product.list")
    return load(Product, row)


def add(db: Transaction, product: Product) -> int:
    """Insert; its id is ignored. Raises Conflict when its kind and value have a price already."""
    _refuse_second(db, product)
    return db.insert(
        "INSERT INTO cloud_products (kind, value, name, unit, price_micro, enabled) VALUES (?, ?, ?, ?, ?, ?)",
        _columns(product),
    )


def update(db: Transaction, product: Product) -> None:
    """Replace all but the id. Raises Conflict when its kind and value have another price already."""
    _refuse_second(db, product)
    db.execute(
        "UPDATE cloud_products SET kind = ?, value = ?, name = ?, unit = ?, price_micro = ?, enabled = ? WHERE id = ?",
        (*_columns(product), product.id),
    )


def remove(db: Transaction, ident: int) -> None:
    """Forget; requests keep the price lines they were approved with."""
    db.execute("DELETE FROM cloud_products WHERE id = ?", (ident,))


def _columns(product: Product) -> tuple[str | int, ...]:
    return (
        product.kind.value,
        product.value,
        product.name,
        product.unit,
        product.price_micro,
        int(product.enabled),
    )


def _refuse_second(db: Db, product: Product) -> None:
    other = db.value(
        "SELECT id FROM cloud_products WHERE kind = ? AND value = ? AND enabled = 1 AND id <> ?",
        (product.kind.value, product.value, product.id),
    )
    if product.enabled and other is not None:
        what = f"{product.kind} {product.value}".strip()
        raise Conflict(f"product {other} is the price of {what} already", hint="update or disable that one")

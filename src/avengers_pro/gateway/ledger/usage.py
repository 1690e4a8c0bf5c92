"""What replicas count together: every change of a limit's use is one short transaction that locks its row."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Update, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from avengers_pro.gateway.ledger.database import Database
from avengers_pro.gateway.ledger.dialects import upsert
from avengers_pro.gateway.ledger.tables import leases, usage

GONE_AFTER_S = 60.0
"""A replica that has said nothing for so long is gone: all that it held counts as used."""
_DEADLINE_S = 1.0
"""A request may be waiting."""
_CLOCK_STEP_S = 60.0
_OLD_S = 70 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a replica reports and wants of one meter.

    Attributes:
        meter: Its name, such as ``requests`` or ``day 2026-01-31``.
        limit: Most that all replicas together may use and hold.
        per_minute: What drains of the use; 0 = nothing does.
        known: What is used if nobody has counted yet.
        used: Used since the last report, out of what was held; less than 0 = too much was reported before.
        had: What it was granted the last time; 0 = nothing.
        least: What it goes on to hold, whatever the limit.
        needed: Total that it must hold to go on; at least ``least``. With less room it gets ``least``.
        wanted: Total that it would like to hold; at least ``needed``.
    """

    meter: str
    limit: float
    per_minute: float
    known: float
    used: float
    had: float
    least: float
    needed: float
    wanted: float


@dataclass(frozen=True, slots=True)
class Level:
    """Where a meter stands after an order.

    Attributes:
        used: By all replicas.
        others: Held by the other replicas.
        mine: Held by this one.
    """

    used: float
    others: float
    mine: float


@dataclass(frozen=True, slots=True)
class Usage:
    """The shared counters in the ledger's database.

    What is used and held never exceeds a limit, except by what replicas used beyond their leases. Their clocks need
    not agree: a meter's time is the latest that any of them has said, and never runs twice.
    """

    database: Database

    async def exchange(self, replica: str, key: str, orders: Sequence[Order], now: float) -> list[Level]:
        """Report and lease, for one key in one transaction.

        Args:
            replica: Who asks.
            key: Id of the API key.
            orders: At most one for each meter.
            now: Unix seconds.

        Returns:
            A level for each order, in the same sequence.

        Raises:
            StoreError: If the database cannot be reached or written in a second.
        """

        async def work(connection: AsyncConnection) -> list[Level]:
            done: dict[str, Level] = {}
            for order in sorted(orders, key=lambda order: order.meter):  # or two replicas would wait for each other
                done[order.meter] = await _exchange(connection, replica, key, order, now)
            return [done[order.meter] for order in orders]

        return await replace(self.database, deadline_s=_DEADLINE_S).transact(work, "counting what keys use")

    async def stay(self, replica: str) -> int:
        """Say that this replica is there, and count as used what replicas hold that are gone.

        Returns:
            How many leases were left behind.

        Raises:
            StoreError: If the database cannot be reached or written.
        """
        now = time.time()

        async def work(connection: AsyncConnection) -> int:
            await connection.execute(update(leases).where(leases.c.replica == replica).values(at=now))
            stale = leases.c.at < now - GONE_AFTER_S
            names = select(leases.c.key, leases.c.meter).where(stale).distinct().order_by(leases.c.key, leases.c.meter)
            found = 0
            for key, meter in (await connection.execute(names)).all():
                await _lock(connection, key, meter)
                gone = delete(leases).where(leases.c.key == key, leases.c.meter == meter, stale)
                for (held,) in (await connection.execute(gone.returning(leases.c.held))).all():
                    found += 1
                    await connection.execute(_row(key, meter).values(used=usage.c.used + held))
            await connection.execute(delete(usage).where(usage.c.at < now - _OLD_S))
            return found

        return await self.database.transact(work, "looking after leases")


async def _exchange(connection: AsyncConnection, replica: str, key: str, order: Order, now: float) -> Level:
    new = upsert(connection.dialect.name, usage, ()).values(key=key, meter=order.meter, used=order.known, at=now)
    await connection.execute(new)
    await _lock(connection, key, order.meter)
    of_meter = (leases.c.key == key, leases.c.meter == order.meter)
    query = select(usage.c.used, usage.c.at).where(usage.c.key == key, usage.c.meter == order.meter)
    used, at = (await connection.execute(query)).one()
    rows = await connection.execute(select(leases.c.replica, leases.c.held).where(*of_meter))
    held: dict[str, float] = {name: amount for name, amount in rows.all()}  # noqa: C416  (rows are not typed as pairs)
    mine = held.pop(replica, None)
    used = max(0.0, used - max(0.0, now - at) * order.per_minute / 60)
    if mine is None and order.had:  # it was taken for gone, and all that it held was counted as used
        used -= order.had if order.per_minute == 0 else min(order.had, order.used)
    used = max(0.0, used + order.used)
    others = sum(held.values())
    room = order.limit - used - others
    granted = order.least if room < order.needed else max(order.least, min(order.wanted, room))
    is_set_back = now < at - _CLOCK_STEP_S
    await connection.execute(_row(key, order.meter).values(used=used, at=now if is_set_back else max(now, at)))
    own = (*of_meter, leases.c.replica == replica)
    if granted <= 0:
        if mine is not None:
            await connection.execute(delete(leases).where(*own))
    elif mine is not None:
        await connection.execute(update(leases).where(*own).values(held=granted, at=time.time()))
    else:
        values = {"key": key, "meter": order.meter, "replica": replica, "held": granted, "at": time.time()}
        await connection.execute(insert(leases).values(values))
    return Level(used, others, max(granted, 0.0))


async def _lock(connection: AsyncConnection, key: str, meter: str) -> None:
    await connection.execute(_row(key, meter).values(at=usage.c.at))


def _row(key: str, meter: str) -> Update:
    return update(usage).where(usage.c.key == key, usage.c.meter == meter)

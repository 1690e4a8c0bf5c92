"""The API keys: made, listed, revoked, and held in memory so that recognising one asks no database."""

import asyncio
import hmac
import logging
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self, get_args

import msgspec
from sqlalchemy import Row, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from avengers_pro.errors import SettingsError, StoreError
from avengers_pro.gateway.access.limits import Limits, Role
from avengers_pro.gateway.access.secret import Secret, digest_of, new_id, new_secret
from avengers_pro.gateway.access.tables import api_keys, prepare, store_errors

REFRESH_S = 5.0
"""Until a key made or revoked by another process is noticed."""
_MOST_NAME_LETTERS = 200
_logger = logging.getLogger(__name__)


class KeyInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What may be shown of a key.

    Attributes:
        id: Eight letters and digits, public.
        name: For people; need not be unique.
        role: ``user`` or ``admin``.
        created_at: With time zone UTC.
        revoked_at: Likewise; None = the key may be used.
        limits: Bounds, fixed when the key is made.
    """

    id: str
    name: str
    role: Role
    created_at: datetime
    revoked_at: datetime | None
    limits: Limits


class Keys:
    """All keys of a database, with a snapshot of them in memory.

    The snapshot follows own changes at once and other processes' within ``refresh_s``. While the database is away the
    last snapshot stays in use, which the log says; ``refreshed_at`` tells how old it is.

    Attributes:
        refreshed_at: When the database last confirmed the snapshot, UTC.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        """Prefer ``open``, which also reads the keys."""
        self.refreshed_at = datetime.fromtimestamp(0, UTC)
        self._engine = engine
        self._by_digest: dict[bytes, tuple[bytes, KeyInfo]] = {}
        self._version: tuple[int, int] | None = None
        self._unreadable: frozenset[str] = frozenset()
        self._lock = asyncio.Lock()  # an older read that ends later must not replace a newer snapshot
        self._refreshing: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, engine: AsyncEngine, *, refresh_s: float | None = REFRESH_S) -> Self:
        """Make the table if needed, read the keys and keep up with other processes.

        Args:
            engine: Of the gateway's database; stays the caller's to dispose.
            refresh_s: Seconds between looks at the database; None = look only when asked, enough for one command.

        Raises:
            StoreError: If the database cannot be used.
        """
        keys = cls(engine)
        await prepare(engine)
        await keys.refresh()
        if refresh_s is not None:
            keys._refreshing = asyncio.create_task(keys._keep_fresh(refresh_s))
        return keys

    async def close(self) -> None:
        """Stop looking at the database."""
        if self._refreshing is not None:
            self._refreshing.cancel()
            with suppress(asyncio.CancelledError):
                await self._refreshing
            self._refreshing = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def create(self, name: str, role: Role = "user", limits: Limits | None = None) -> tuple[KeyInfo, Secret]:
        """Make a key.

        Args:
            name: 1 to 200 printable characters, for people.
            role: ``user`` or ``admin``.
            limits: Bounds; None = none.

        Returns:
            What may be shown, and the secret, which exists nowhere else.

        Raises:
            SettingsError: If name or role cannot be used.
            StoreError: If the database cannot be written.
        """
        if not name.strip() or len(name) > _MOST_NAME_LETTERS or not name.isprintable():
            raise SettingsError(f"a key's name must have 1 to {_MOST_NAME_LETTERS} printable characters, got {name!r}")
        if role not in get_args(Role):
            raise SettingsError(f"a key's role must be one of {', '.join(get_args(Role))}, got {role!r}")
        secret = new_secret()
        info = KeyInfo(
            id=new_id(),
            name=name,
            role=role,
            created_at=datetime.now(UTC),
            revoked_at=None,
            limits=limits or Limits(),
        )
        row = {
            **{field: getattr(info, field) for field in info.__struct_fields__},
            "digest": digest_of(secret.reveal()),
            "limits": msgspec.json.encode(info.limits).decode(),
        }
        with store_errors(self._engine, "cannot store the new key"):
            async with self._engine.begin() as connection:
                await connection.execute(insert(api_keys).values(row))
        await self.refresh()
        return info, secret

    async def list(self) -> tuple[KeyInfo, ...]:
        """Return all keys, the revoked ones too, oldest first, as the database has them now.

        Raises:
            StoreError: If the database cannot be read.
        """
        await self.refresh()
        found = [info for _, info in self._by_digest.values()]
        return tuple(sorted(found, key=lambda info: (info.created_at, info.id)))

    async def revoke(self, key: str) -> bool:
        """End a key for good; requests under way finish.

        Args:
            key: Its id.

        Returns:
            False if there is no such key, or it was revoked before.

        Raises:
            StoreError: If the database cannot be written.
        """
        statement = update(api_keys).where(api_keys.c.id == key, api_keys.c.revoked_at.is_(None))
        with store_errors(self._engine, f"cannot revoke the key {key}"):
            async with self._engine.begin() as connection:
                done = await connection.execute(statement.values(revoked_at=datetime.now(UTC)))
        await self.refresh()
        return bool(done.rowcount)

    @property
    def active(self) -> int:
        """How many keys of the snapshot may be used."""
        return sum(info.revoked_at is None for _, info in self._by_digest.values())

    def find(self, secret: str) -> KeyInfo | None:
        """Return the key with this text, revoked or not; None = there is none. Asks no database."""
        digest = digest_of(secret)
        stored = self._by_digest.get(digest)
        # Whoever watches how long the look-up takes learns of digests, from which no secret follows; the comparison
        # that decides takes the same time always.
        if stored is None or not hmac.compare_digest(digest, stored[0]):
            return None
        return stored[1]

    def of(self, key: str) -> KeyInfo | None:
        """Return the key with this id, revoked or not; None = there is none. Asks no database."""
        return next((info for _, info in self._by_digest.values() if info.id == key), None)

    async def refresh(self) -> None:
        """Bring the snapshot up to date.

        Keys are only ever added and revoked, so two counts say whether anything changed.

        Raises:
            StoreError: If the database cannot be read.
        """
        counts = select(func.count(api_keys.c.id), func.count(api_keys.c.revoked_at))
        async with self._lock:
            with store_errors(self._engine, "cannot read the keys"):
                async with self._engine.connect() as connection:
                    total, revoked = (await connection.execute(counts)).one()
                    if (total, revoked) != self._version:
                        self._take((await connection.execute(select(api_keys))).all())
            self.refreshed_at = datetime.now(UTC)

    def _take(self, rows: Any) -> None:
        infos = [(bytes(row.digest), _info(row)) for row in rows]
        self._by_digest = {digest: (digest, info) for digest, info in infos if info is not None}
        self._version = (len(rows), sum(row.revoked_at is not None for row in rows))
        unreadable = frozenset(row.id for row, (_, info) in zip(rows, infos, strict=True) if info is None)
        for key in sorted(unreadable - self._unreadable):
            # Without its limits a key would be unlimited: it is refused, and the others go on working.
            _logger.error(
                "The key %s has a role or limits that this version cannot read; it is refused. Revoke it, "
                "or run the version that made it.",
                key,
            )
        self._unreadable = unreadable

    async def _keep_fresh(self, refresh_s: float) -> None:
        is_away = False
        while True:
            await asyncio.sleep(refresh_s)
            try:
                await self.refresh()
            except StoreError as error:
                if not is_away:
                    _logger.warning("Keys made or revoked elsewhere go unnoticed: %s", error)
                is_away = True
            else:
                if is_away:
                    _logger.warning("The keys are read again.")
                is_away = False


def _info(row: Row[Any]) -> KeyInfo | None:
    """Read a row; None = its role or limits mean nothing to this version."""
    try:
        limits = msgspec.json.decode(row.limits, type=Limits)
        role = msgspec.convert(row.role, Role)
    except (msgspec.MsgspecError, SettingsError):
        return None
    return KeyInfo(
        id=row.id,
        name=row.name,
        role=role,
        created_at=_utc(row.created_at),
        revoked_at=None if row.revoked_at is None else _utc(row.revoked_at),
        limits=limits,
    )


def _utc(time: datetime) -> datetime:
    """SQLite keeps no time zone, so what comes without one was written in UTC."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)

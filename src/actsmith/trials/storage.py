"""Where a ledger is kept: an Optuna journal file for one machine, PostgreSQL for many.

    opened("runs/vit")                                       the journal in a run folder
    opened("postgresql+psycopg://searcher@db.lab/searches")  the password from ~/.pgpass or PGPASSWORD

What is read is JSON; nothing is unpickled. A password in a URL is never shown again.
"""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from actsmith.errors import ActsmithError, JobError, require

__all__ = ["JOURNAL", "PATIENCE", "at_hand", "closed", "journal_of", "opened", "patiently", "shown"]

JOURNAL = "ledger.log"
"""The journal's name in a run folder."""
PATIENCE = 300.0
"""Seconds for which a database may be away, a restart for one."""
REACHED = 30.0
"""The same at the start, where a wrong address is likelier than a restart."""
LONGEST = 5.0
"""Seconds between two tries, at most."""
POSTGRESQL = ("postgres", "postgresql", "postgresql+psycopg")
POOL = {"pool_size": 1, "max_overflow": 2, "pool_pre_ping": True, "pool_recycle": 600}
"""Connections that one process keeps, and may have: a hundred workers must fit into a server's usual hundred or two."""
CONNECT = {"connect_timeout": 10, "application_name": "actsmith"}
PASSING = ("OperationalError", "InterfaceError", "PendingRollbackError", "TimeoutError")
"""Errors after which another try may do: a connection that broke, a lock that was not had."""
MADE_TWICE = ("IntegrityError", "ProgrammingError")
"""The same while the tables are made: another process makes them too."""
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
WHERE = "a folder or file for a journal, or postgresql+psycopg://USER@HOST/DATABASE"


def opened(url: str | Path, *, cached: bool = False) -> Any:
    """The Optuna storage behind a URL.

    Args:
        url: of a PostgreSQL database; or a run folder, or a file of one's own, for a journal.
        cached: whether what is finished is kept in memory: for who reads all of a study again and again.

    Raises:
        ActsmithError: it is none that can be used, and why; an extra is missing.
        JobError: it cannot be reached, or written.
    """
    text = str(url)
    optuna = require("optuna", "search", "storage")
    scheme = _scheme(text)
    if scheme is None:
        return _journal(journal_of(text))
    _check(scheme)
    sqlalchemy = require("sqlalchemy", "search", "storage")
    require("psycopg", "postgresql", "storage")
    try:
        parsed = sqlalchemy.make_url(text).set(drivername="postgresql+psycopg")
    except (sqlalchemy.exc.ArgumentError, ValueError):
        raise ActsmithError(f"storage: got a URL that cannot be read, {shown(text)}; expected {WHERE}") from None
    # Optuna fills {SCHEMA_VERSION} into the text it is given.
    whole = parsed.render_as_string(hide_password=False).replace("{", "%7B").replace("}", "%7D")

    def connected() -> Any:
        return optuna.storages.RDBStorage(whole, engine_kwargs={**POOL, "connect_args": CONNECT})

    storage = patiently(connected, text, patience=REACHED, passing=(*PASSING, *MADE_TWICE))
    return optuna.storages.get_storage(storage) if cached else storage


def at_hand(storage: Any) -> bool:
    """Whether what a storage holds is in memory here, as a journal's is."""
    return getattr(getattr(storage, "_backend", storage), "engine", None) is None


def closed(storage: Any) -> None:
    """Give back the connections of a storage that is used no more."""
    engine = getattr(getattr(storage, "_backend", storage), "engine", None)
    if engine is not None:
        engine.dispose()


def journal_of(text: str | Path) -> Path:
    """The file of a journal that was named by its folder or by itself."""
    path = Path(text).expanduser()
    return path / JOURNAL if path.is_dir() or not path.suffix else path


def shown(url: str | Path) -> str:
    """A URL as it may be read by others: without a password.

    Example:
        >>> shown("postgresql+psycopg://me:secret@db.lab:5432/searches?sslmode=require")
        'postgresql+psycopg://me:***@db.lab:5432/searches'
        >>> shown("runs/vit")
        'runs/vit'
    """
    text = str(url)
    scheme, separator, rest = text.partition("://")
    if not separator:
        return text
    rest = rest.partition("?")[0].partition("#")[0]
    user, at, place = rest.rpartition("@")
    name, colon, _ = user.partition(":")
    return f"{scheme}://{name}{':***' if colon else ''}{at}{place}"


def patiently(
    action: Callable[[], Any], url: str | Path, *, patience: float = PATIENCE, passing: Sequence[str] = PASSING
) -> Any:
    """What `action` gives; done again, for a while, where the database is away.

    It must do no harm to do it twice: what was lost may have been the answer alone.

    Args:
        action: uses the storage.
        url: of the storage, for the message.
        patience: seconds.
        passing: names of the errors after which it is done again.

    Raises:
        JobError: the database stays away, or a file cannot be written.
    """
    until, pause = time.monotonic() + patience, 0.05
    while True:
        try:
            return action()
        except Exception as error:
            problem = _problem(error, url)
            if problem is None:
                raise
            kinds = {cls.__name__ for cls in type(_innermost(error)).__mro__}
            if not kinds & set(passing) or time.monotonic() > until:
                raise problem from None
        time.sleep(pause * random.uniform(0.5, 1.5))
        pause = min(2 * pause, LONGEST)


def _problem(error: Exception, url: str | Path) -> JobError | None:
    """The error to show for a storage's own; None for any other."""
    inner = _innermost(error)
    if isinstance(inner, OSError) and inner.errno in UNWRITABLE:
        return JobError(
            f"storage: {shown(url)} cannot be written: {inner.strerror}; mend that and go on: nothing that was "
            "finished is lost"
        )
    if type(inner).__module__.startswith(("sqlalchemy.", "psycopg")):
        why = str(getattr(inner, "orig", inner)).strip().partition("\n")[0]
        secret = str(url).partition("://")[2].rpartition("@")[0].partition(":")[2]
        why = why.replace(secret, "***") if secret else why
        return JobError(f"storage: {shown(url)}: {why or type(inner).__name__}")
    if isinstance(inner, ValueError) and type(inner).__name__ == "JSONDecodeError":
        return JobError(f"storage: {shown(url)} holds a line that is no JSON; is it a journal?")
    return None


def _innermost(error: BaseException) -> BaseException:
    """Optuna raises its own error from SQLAlchemy's."""
    own = type(error).__name__ == "StorageInternalError" and error.__cause__ is not None
    return error.__cause__ if own and error.__cause__ is not None else error


def _scheme(text: str) -> str | None:
    scheme, separator, _ = text.partition("://")
    return scheme.lower() if separator else None


def _check(scheme: str) -> None:
    if scheme in POSTGRESQL:
        return
    why = {
        "sqlite": "SQLite loses writers when several work at once",
        "redis": "what Optuna reads from Redis is unpickled",
    }.get(scheme.partition("+")[0], "it is not tested")
    raise ActsmithError(f"storage: {scheme}: got a storage that is not used here: {why}; expected {WHERE}")


def _journal(path: Path) -> Any:
    from optuna.storages.journal import JournalStorage

    from actsmith.trials.journal import Journal

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return patiently(lambda: JournalStorage(Journal(path)), path)
    except OSError as error:
        raise ActsmithError(f"storage: {str(path)!r} cannot be used: {error.strerror}; give another folder") from None

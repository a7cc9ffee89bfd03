"""``python -m bench.deriving``: derive everything again and again, as much as one process can, until it is stopped."""

from __future__ import annotations

from analytics.derive import derive_round
from bench.signed import TENANT
from runtime.settings import load_settings
from storage.database import create_database_engine
from storage.state.marks import mark_all


def main() -> None:
    """Mark and derive everything of the tenant without end."""
    engine = create_database_engine(
        load_settings().required_database_url(), application_name="bench deriving", pool_size=1
    )
    while True:
        with engine.begin() as connection:
            mark_all(connection, TENANT)
        while (done := derive_round(engine, TENANT)) is None or not done.is_done:
            pass


if __name__ == "__main__":
    main()

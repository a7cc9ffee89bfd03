"""The next release of the service: this one, with migrations that do not exist yet."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import migrations

ROOT = Path(__file__).parents[2]

#: Revisions that next releases might have: new columns in the busiest tables, and an index; then they are gone again.
#: The first keeps its locks for longer than a notification waits for its commit.
NEXT_REVISIONS = {
    "9998": """
from alembic import op

revision = "9998"
down_revision = "{head}"

def upgrade():
    op.execute("ALTER TABLE ingest.notification ADD COLUMN remark text")
    op.execute("ALTER TABLE charging.session ADD COLUMN remark text")
    op.execute("CREATE INDEX session_remark_idx ON charging.session (tenant, remark)")
    op.execute("SELECT pg_sleep(8)")
""",
    "9999": """
from alembic import op

revision = "9999"
down_revision = "9998"

def upgrade():
    op.execute("ALTER TABLE charging.session DROP COLUMN remark")
    op.execute("ALTER TABLE ingest.notification DROP COLUMN remark")

def downgrade():
    op.execute("ALTER TABLE ingest.notification ADD COLUMN remark text")
""",
}


@dataclass(frozen=True, slots=True)
class NextRelease:
    """A folder with the migrations of the next release."""

    directory: Path

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which ``python -m receiver`` is the next release."""
        # Its migrations are found before ours
        return {"PYTHONPATH": f"{self.directory}{os.pathsep}{ROOT}"}


def next_release(directory: Path) -> NextRelease:
    """Write the migrations of the next release into a folder below this one."""
    release = directory / "next"
    shutil.copytree(ROOT / "migrations", release / "migrations", ignore=shutil.ignore_patterns("__pycache__"))
    for revision, content in NEXT_REVISIONS.items():
        path = release / "migrations" / "versions" / f"{revision}_next.py"
        path.write_text(content.format(head=migrations.head()))
    return NextRelease(release)

"""The revisions that this release knows, read from the names of the files, are those that Alembic knows."""

from __future__ import annotations

from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory

import migrations


def test_the_names_of_the_files_are_the_revisions_in_their_order() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    scripts = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert migrations.revisions() == scripts[::-1]
    assert migrations.head() == scripts[0]

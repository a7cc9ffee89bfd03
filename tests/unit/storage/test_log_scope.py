"""What readers of the log share."""

from __future__ import annotations

from storage.log.scope import written_forms


def test_a_text_is_looked_for_in_each_form_in_which_json_may_write_it() -> None:
    assert written_forms("plain") == [b"plain"]
    assert set(written_forms("é/")) == {"é/".encode(), b"\\u00e9/", b"\\u00e9\\/"}

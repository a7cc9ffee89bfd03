"""An address of each page of the console, and the data that these pages show, for the tests of all pages."""

from __future__ import annotations

from tests.support.console import ACTION_ID, NOTIFICATION_ID, SESSION_ID, store_linked, store_session
from tests.support.console_fleet import CHARGE_POINT, EVSE, LOCATION, write_site
from tests.support.service import Service
from tests.support.uptime import EVSE as UPTIME_EVSE
from tests.support.uptime import follow_evse

#: An address of each page, by the path of its route. A page without one fails the first test.
PAGES = {
    "/": "/?tenant=demo&span=day",
    "/fleet": "/fleet?tenant=demo&state=unknown&q=EVSE",
    "/fleet/map": "/fleet/map?tenant=demo",
    "/tenants/{tenant}/locations/{id}": f"/tenants/demo/locations/{LOCATION}",
    "/tenants/{tenant}/charge-points/{id}": f"/tenants/demo/charge-points/{CHARGE_POINT}",
    "/tenants/{tenant}/evses/{id}": f"/tenants/demo/evses/{EVSE}",
    "/sessions": "/sessions?tenant=demo&state=ended&min_kwh=1",
    "/tenants/{tenant}/sessions/{session_id}": f"/tenants/demo/sessions/{SESSION_ID}",
    "/why": "/why?tenant=demo",
    "/tenants/{tenant}/why/{kind}/{entity_id}": f"/tenants/demo/why/session/{SESSION_ID}",
    "/notifications": "/notifications?tenant=demo&state=failed&containing=x&read=1",
    "/tenants/{tenant}/notifications/{notification_id:uuid}": f"/tenants/demo/notifications/{NOTIFICATION_ID}",
    "/notifications/replay": "/notifications/replay?tenant=demo&state=failed",
    "/tenants/{tenant}/replays/{action_id:uuid}": f"/tenants/demo/replays/{ACTION_ID}",
    "/tenants": "/tenants?tenant=demo",
    "/actions": "/actions?tenant=demo&actor=x",
    "/uptime": "/uptime?tenant=demo&month=2026-03",
    "/uptime/network": "/uptime/network?tenant=demo&year=2026",
    "/tenants/{tenant}/uptime/{evse_id}": f"/tenants/demo/uptime/{UPTIME_EVSE}?month=2026-03",
    "/findings": "/findings?tenant=demo",
    "/completeness": "/completeness?tenant=demo&span=week",
    "/completeness/kinds": "/completeness/kinds?tenant=demo",
}


def store_for_pages(service: Service) -> None:
    """Store what the pages above show, of the tenant ``demo``."""
    write_site(service.engine)
    store_session(service.engine)
    store_linked(service.engine)
    follow_evse(service)

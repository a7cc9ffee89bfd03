"""An address of each page of the console, for the tests of all pages."""

from __future__ import annotations

from tests.support.console import ACTION_ID, NOTIFICATION_ID, SESSION_ID
from tests.support.console_fleet import CHARGE_POINT, EVSE, LOCATION

#: An address of each page, by the path of its route. A page without one fails the first test.
PAGES = {
    "/": "/?tenant=demo&span=day",
    "/fleet": "/fleet?tenant=demo&state=unknown&q=EVSE",
    "/fleet/map": "/fleet/map?tenant=demo",
    "/tenants/{tenant}/locations/{id}": f"/tenants/demo/locations/{LOCATION}",
    "/tenants/{tenant}/charge-points/{id}": f"/tenants/demo/charge-points/{CHARGE_POINT}",
    "/tenants/{tenant}/evses/{id}": f"/tenants/demo/evses/{EVSE}",
    "/sessions": "/sessions?tenant=demo&state=ended&min_kwh=1",
    "/tenants/{tenant}/sessions/{session_id:int}": f"/tenants/demo/sessions/{SESSION_ID}",
    "/why": "/why?tenant=demo",
    "/tenants/{tenant}/why/{kind}/{entity_id:int}": f"/tenants/demo/why/session/{SESSION_ID}",
    "/notifications": "/notifications?tenant=demo&state=failed&containing=x&read=1",
    "/tenants/{tenant}/notifications/{notification_id:uuid}": f"/tenants/demo/notifications/{NOTIFICATION_ID}",
    "/notifications/replay": "/notifications/replay?tenant=demo&state=failed",
    "/tenants/{tenant}/replays/{action_id:uuid}": f"/tenants/demo/replays/{ACTION_ID}",
    "/tenants": "/tenants?tenant=demo",
    "/actions": "/actions?tenant=demo&actor=x",
}

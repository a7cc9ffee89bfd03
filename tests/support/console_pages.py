"""An address of each page of the console, for the tests of all pages."""

from __future__ import annotations

from tests.support.console import SESSION_ID
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
}

"""AMPECO's resources about equipment: downtime, models and vendors, error codes and payment terminals.

Units and conventions are those of ``ampeco.resources.charging`` (AMPECO API, EVSE and charge point downtime periods
v1.0, downtime period notices v1.0, charge point models and vendors v1.0, vendor error codes v2.0, firmware versions
v1.0, electricity meters v1.0, flexibility assets v1.0, payment terminals v1.0).
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import BeforeValidator

from ampeco.model import Model
from ampeco.resources.commercial import Resource, none_if_empty
from ampeco.values import BigInt, HardwareStatusText, Instant, NetworkStatus, SystemStatus, Text


class DowntimeStatuses(Model):
    """The statuses of a charge point or an EVSE when its downtime period was created."""

    system: SystemStatus | None = None
    network: NetworkStatus | None = None
    hardware: HardwareStatusText | None = None


class DowntimePeriod(Resource):
    """A time in which a charge point was down, or is exempt from counting as down.

    The resource has no ``last_updated_at``: the read orders it. ``ended_at`` is None while the period lasts. AMPECO
    makes the ``automatic`` ones; a person makes the ``manual`` ones, and may delete them.
    """

    charge_point_id: BigInt | None = None
    location_id: BigInt | None = None
    started_at: Instant | None = None
    ended_at: Instant | None = None
    type: Text | None = None
    entry_mode: Text | None = None
    notice_id: BigInt | None = None
    statuses: Annotated[DowntimeStatuses | None, BeforeValidator(none_if_empty)] = None

    @property
    def system_status(self) -> str | None:
        """The system status when the period was created."""
        return self.statuses.system if self.statuses else None

    @property
    def network_status(self) -> str | None:
        """The charge point's network status when the period was created."""
        return self.statuses.network if self.statuses else None

    @property
    def hardware_status(self) -> str | None:
        """The hardware status when the period was created."""
        return self.statuses.hardware if self.statuses else None


class EvseDowntimePeriod(DowntimePeriod):
    """A time in which an EVSE was down, or is exempt from counting as down."""

    evse_id: BigInt | None = None


class DowntimePeriodNotice(Resource):
    """A reason that a person can give for a downtime period."""

    type: Text | None = None
    notice: Text | None = None
    description: Text | None = None
    created_at: Instant | None = None


class ChargePointVendor(Resource):
    """A maker of charge points."""

    name: Text | None = None


class ChargePointModel(Resource):
    """A model of charge point."""

    NOT_KEPT: ClassVar[frozenset[str]] = frozenset({"defaultPhoto"})  # a new link in each answer, which expires

    name: Text | None = None
    vendor_id: BigInt | None = None


class FirmwareVersion(Resource):
    """A firmware for models of charge points."""

    NOT_KEPT: ClassVar[frozenset[str]] = frozenset({"fileUrl"})  # opens the file without a login, and expires


class Integrated(Resource):
    """An electricity meter or a flexibility asset, without the parameters of its integration: they may be a login."""

    NOT_KEPT: ClassVar[frozenset[str]] = frozenset({"integrationParameters"})


class VendorErrorCode(Resource):
    """What an error code of a vendor means. ``vendor_id`` is the text that charge points report."""

    vendor_id: Text | None = None
    error_code: Text | None = None
    error_code_description: Text | None = None
    error_code_customer_action: Text | None = None


class PaymentTerminal(Resource):
    """A terminal at which drivers pay, of a charging zone or of one charge point."""

    name: Text | None = None
    terminal_type: Text | None = None
    serial_number: Text | None = None
    charge_point_id: BigInt | None = None
    charging_zone_id: BigInt | None = None
    operator_id: BigInt | None = None
    network_status: NetworkStatus | None = None
    external_id: Text | None = None

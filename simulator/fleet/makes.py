"""The makes of charge points: vendors, their models, and the error codes that they document."""

from __future__ import annotations

#: Vendor, model and firmware; the position gives the ids of the vendor and of the model.
MAKES = (("Voltmark", "QC-50", "4.7.1"), ("Ohmega", "AC-22", "2.3.0"), ("Joulex", "HPC-150", "1.12.4"))

FIRST_VENDOR, FIRST_MODEL = 2_100, 2_200

_MODEL_IDS = {model: FIRST_MODEL + number for number, (_, model, _) in enumerate(MAKES)}
_VENDOR_IDS = {model: FIRST_VENDOR + number for number, (_, model, _) in enumerate(MAKES)}

#: Vendor, code, description and advice. E-090 is missing: vendors do not document every code.
ERROR_CODES = (
    ("Voltmark", "E-217", "The residual current device tripped.", "Unplug the vehicle and call support."),
    ("Ohmega", "E-031", "The connector did not lock.", "Plug in again and push the connector firmly."),
    ("Joulex", "E-112", "The current of a phase was too high.", None),
)


def model_id(model: str) -> int | None:
    """Return the id of a model; None for a charge point of a roaming partner, whose model is not known."""
    return _MODEL_IDS.get(model)


def vendor_id(model: str) -> int | None:
    """Return the id of a model's vendor; None if the model is not known."""
    return _VENDOR_IDS.get(model)

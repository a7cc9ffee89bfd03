"""The fields that AMPECO documents and our models do not read, by model.

A field that is neither here nor in its model is an unknown field (AMPECO API 3.110.0, callbacks of
notifications v2.0, resources). Secrets are not listed, because they are removed before a model
parses the JSON. A contract test compares this list with AMPECO's own document.
"""

from __future__ import annotations

_UNREAD = {
    "Cdr": "externalAppData",
    "ChargePoint": (
        "accessType autoFaultRecovery autoStartWithoutAuthorization chargingProfile currentSecurityProfile "
        "desiredSecurityProfile desiredSecurityProfileStatus disableAutoStartEmulation displayTariffAndCosts "
        "displayTariffsAndCosts electricityCostReimbursementIntegrationId electricityRateId enableAutoFaultRecovery "
        "enabledRandomisedDelay evses firstConnection hardwareEnabledSecurityProfile "
        "installationAndMaintenanceCompanyId integratedAt manufacturedAt networkId networkIp networkPort "
        "networkProtocol networkType notice noticeId ocppConnectedChargePointId ownerPartnerContractId "
        "ownerPartnerId ownerUserId partnerAccessType partnerCorporateBillingAsDefault plugAndCharge security "
        "showToPublicWithNotice subscription uptimeTrackingActivatedAt uptimeTrackingEnabled usesRenewableEnergy "
        "utilityId"
    ),
    "ChargingPeriod": "priceBreakdown pricingDetails",
    "ConfigurationKey": "key readonly required timestamp value",
    "Evse": "chargingProfile externalAppData midMeterCertificationEndYear",
    "EvseRoaming": "capabilities tariffIds",
    "InstallerJobChanged": "chargePoints",
    "Location": (
        "accessMethods additionalDescription additional_description chargingZones detailed_description "
        "externalAppData facilities images locationImage location_image parkingType public_charge_points "
        "public_charge_points_ids roaming shortDescription state streetAddress workingHours working_hours"
    ),
    "Network": "ip port",
    "OcpiData": (
        "authMethod authorizationReference cdrLocation cdrToken chargingPeriods invoiceReferenceId signedData "
        "totalEnergyCost totalFixedCost totalParkingCost totalParkingTime totalTime totalTimeCost version"
    ),
    "OicpData": (
        "calibrationLawVerificationInfo chargingEnd chargingStart cpoPartnerSessionId empPartnerSessionId evseId "
        "hubOperatorId hubProviderId identification meterValueEnd meterValueInBetween meterValueStart "
        "meteringSignature operatorId partnerProductId sessionEnd sessionId sessionStart signedMeteringValues "
        "version"
    ),
    "Owner": "accessType automaticFirmwareUpdatesEnabled contactId contractId corporateBillingAsDefault notice",
    "PhaseConsumption": "consumption phase",
    "Pricing": (
        "averagePowerIdleThreshold averagePowerLevels chargePointElectricityRate "
        "connectionFeeMinimumSessionDuration connectionFeeMinimumSessionEnergy dayIdleFeePerMinute dayPricePerKwh "
        "dayPricePerPeriod daysWhenApplied durationFeeFrom durationFeeGracePeriod durationFeeLimit durationFeeTo "
        "fallbackElectricityRateId flexibleMarkUpAsFixedPerKwh idleFeeGracePeriodMinutes idleFeeLimit "
        "idleFeePeriodEnd idleFeePeriodStart idlePricingPeriodInMinutes lockDurationPriceOnSessionStart "
        "lockEnergyPriceOnSessionStart lockIdlePriceOnSessionStart lockPriceOnSessionStart markupFixedFeePerKwh "
        "markupPercentagePerKwh multiIdleFee multiPricePerDuration multiPricePerKwh nightIdleFeePerMinute "
        "nightPricePerKwh nightPricePerPeriod optimisedLabel peakPowerLevels preAuthorizeAmount "
        "priceForEnergyWhenOptimized pricePerPeriod pricePeriodInMinutes pricePeriods regularUsePeriod "
        "stateOfChargeIdleThreshold subsidyIntegrationId taxID thresholdPriceForEnergy timePeriods"
    ),
    "Resource": (
        "acceptedAt address allowance amountDue balance baseFee baseFeeAppliesPerEachHomeCharger billingType "
        "billingUsageThreshold businessName chargePointPriorities chargePoints city connectedPhase consumption "
        "contactDetails corporateBilling country createdAt createdBy currencyCode customer date description "
        "disabilitiesAccessible electricalConfiguration electricityMeterId email emailVerified endpoint evses "
        "expireAt externalAppData externalId firstName freeRenewalPeriods idLabel idTagUid "
        "installationAndMaintenanceCompanyId installerAdminId label language lastName loadBalancingIntegration "
        "locale locationId maxCurrent maxVoltage middleName minChargePointCurrent monthlyPlatformFee name "
        "notifications number occupancyStatus ocpi offlineReservedCurrent options outcomeDetails parentCircuitId "
        "partnerId partnerInvites partner_ids paymentMethodId periodEnd periodStart phaseRotation phases phone "
        "postCode postPaidChargingSessionsAccumulation postcode protocol receiveNewsAndPromotions regNo region "
        "renewalCycle replacedAt replacementPlanId requirePasswordReset sendViaEmail setSessionLimitToZeroOnIdle "
        "socPriorities state status subscriptionId supplier totalAmount totalAwaitedRevenue totalCollectedRevenue "
        "totalCollectedRevenueFromPreviousPeriod totalEnergyCpoWh totalEnergyEmspWh totalExpenses totalRevenue type "
        "unmanagedLoad userGroupIds userId userPriorities vatNo vehicleNo vehicleType visibilityRestrictions"
    ),
    "Session": (
        "chargePointOperatorRoamingId clockAlignedEnergyConsumption extendingSessionId powerKw priceBreakdown "
        "randomisedDelay"
    ),
    "SessionStartStop": "startedAtTimestampLocal stoppedAtTimestampLocal",
    "Tariff": (
        "additionalInformation dayTariffStart description display integrationId learnMoreUrl nightTariffStart "
        "stopSession"
    ),
    "Transaction": "bankMessage cardDetails invoiceNo paymentMethod userEmail",
}

#: Names by the name of the model, in AMPECO's spelling.
UNREAD: dict[str, frozenset[str]] = {model: frozenset(names.split()) for model, names in _UNREAD.items()}

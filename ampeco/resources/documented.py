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
        "displayTariffsAndCosts electricityCostReimbursementIntegrationId electricityRateId "
        "enableAutoFaultRecovery enabledRandomisedDelay evses firstConnection hardwareEnabledSecurityProfile "
        "installationAndMaintenanceCompanyId integratedAt manufacturedAt networkId networkIp networkPort "
        "networkProtocol networkType notice noticeId ocppConnectedChargePointId ownerPartnerContractId "
        "ownerPartnerId ownerUserId partnerAccessType partnerCorporateBillingAsDefault plugAndCharge security "
        "showToPublicWithNotice subscription usesRenewableEnergy utilityId"
    ),
    "ChargePointModel": "installerManual userManual",
    "ChargingPeriod": "pricingDetails",
    "ChargingZone": "additionalInfo locationId",
    "ConfigurationKey": "key readonly required timestamp value",
    "Evse": "chargingProfile externalAppData midMeterCertificationEndYear",
    "EvseRoaming": "capabilities tariffIds",
    "FirmwareVersion": (
        "chargePointVendorId createdAt details firmwareVersion models signature signingCertificate updatedAt"
    ),
    "InstallerJobChanged": "chargePoints",
    "Integrated": (
        "chargePointId description dlmCircuitId downwardRegulationLimit endsAt evseId integrationId name "
        "status upwardRegulationLimit"
    ),
    "Invoice": "client totalEnergy",
    "Location": (
        "accessMethods additionalDescription additional_description detailed_description externalAppData "
        "facilities images locationImage location_image parkingType public_charge_points "
        "public_charge_points_ids roaming shortDescription state streetAddress"
    ),
    "Network": "ip port",
    "OcpiData": (
        "authMethod authorizationReference cdrLocation cdrToken chargingPeriods invoiceReferenceId signedData "
        "totalEnergyCost totalFixedCost totalParkingCost totalParkingTime totalTime totalTimeCost version"
    ),
    "OicpData": (
        "calibrationLawVerificationInfo chargingEnd chargingStart cpoPartnerSessionId empPartnerSessionId "
        "evseId hubOperatorId hubProviderId identification meterValueEnd meterValueInBetween meterValueStart "
        "meteringSignature operatorId partnerProductId sessionEnd sessionId sessionStart signedMeteringValues "
        "version"
    ),
    "Owner": "accessType automaticFirmwareUpdatesEnabled contactId contractId corporateBillingAsDefault notice",
    "PartnerContract": "accessAndPermissions",
    "PartnerExpense": "authorization breakdown chargePointName duration partnerName period startedAt",
    "PartnerRevenue": "authorization chargePointName duration partnerName startedAt",
    "PaymentTerminal": (
        "bundle countryCode currencyCode currencyId defaultLanguage displayText displayTextTimeout info "
        "integrationId invoiceFields isOnline kioskModeEnabled merchantAccount networkStatusMonitoringEnabled "
        "phone preauthorizeAmount presentCardOnStopSession supportedLanguages terminalId transactionTimeout "
        "valueAddedTaxId webhookUrl"
    ),
    "PhaseConsumption": "consumption phase",
    "Pricing": (
        "averagePowerIdleThreshold averagePowerLevels chargePointElectricityRate "
        "connectionFeeMinimumSessionDuration connectionFeeMinimumSessionEnergy dayIdleFeePerMinute "
        "dayPricePerKwh dayPricePerPeriod daysWhenApplied durationFeeFrom durationFeeGracePeriod "
        "durationFeeLimit durationFeeTo fallbackElectricityRateId flexibleMarkUpAsFixedPerKwh "
        "idleFeeGracePeriodMinutes idleFeeLimit idleFeePeriodEnd idleFeePeriodStart "
        "idlePricingPeriodInMinutes lockDurationPriceOnSessionStart lockEnergyPriceOnSessionStart "
        "lockIdlePriceOnSessionStart lockPriceOnSessionStart markupFixedFeePerKwh markupPercentagePerKwh "
        "multiIdleFee multiPricePerDuration multiPricePerKwh nightIdleFeePerMinute nightPricePerKwh "
        "nightPricePerPeriod optimisedLabel peakPowerLevels preAuthorizeAmount priceForEnergyWhenOptimized "
        "pricePerPeriod pricePeriodInMinutes pricePeriods regularUsePeriod stateOfChargeIdleThreshold "
        "subsidyIntegrationId taxID thresholdPriceForEnergy timePeriods"
    ),
    "Resource": (
        "acceptedAt accessMethods address allowance alphabeticCode amount amountDue answer assetId "
        "authorizedTokens balance bankMessage base baseFee baseFeeAppliesPerEachHomeCharger billingType "
        "billingUsageThreshold bonus bookedEvses bookingId businessName chargePoint chargePointPriorities "
        "chargePoints chargePointsCount city connectedPhase consumption contactDetails content "
        "corporateBilling country countryCode createdAt createdBy createdByAdminId currency currencyCode "
        "customer date decimal defaultPrice description disabilitiesAccessible displayName document "
        "electricalConfiguration electricityMeterId electricityRatesCount email emailVerified "
        "enableUseOfMinorCurrencyUnit enabled endAt endpoint evseCriteria evseId evses expireAt "
        "externalAppData externalId firstName freeRenewalPeriods hubjectId idLabel idTagUid idTags "
        "installationAndMaintenanceCompanyId installerAdminId label language lastName "
        "loadBalancingIntegration locale locationId maxCurrent maxVoltage middleName minChargePointCurrent "
        "minorUnitSign monthlyPlatformFee name notifications number numericCode occupancyStatus ocpi "
        "ocppVersion offlineReservedCurrent operatorId options outcomeDetails parentCircuitId "
        "parkingSpaceCriteria partnerId partnerInvites partner_ids partyId paymentMethodId pcId percentage "
        "periodEnd periodStart periods phaseRotation phases phone platformId postCode "
        "postPaidChargingSessionsAccumulation postcode prefix price protocol question rate rawRoamingTariffs "
        "receiveNewsAndPromotions regNo region rejectionReason renewalCycle replacedAt replacementPlanId "
        "requirePasswordReset roamingIds roamingTariffHumanReadable role sendViaEmail sessionId "
        "setSessionLimitToZeroOnIdle socPriorities startAt state status subscriptionId subscriptionPlanIds "
        "suffix summary supplier target tariffGroupId taxIdentificationNumberId taxPercentage techInfo "
        "timestamp totalAmount totalAwaitedRevenue totalCollectedRevenue "
        "totalCollectedRevenueFromPreviousPeriod totalEnergyCpoWh totalEnergyEmspWh totalExpenses "
        "totalRevenue transactionId type unitPriceAndCalculationsDecimal unmanagedLoad updatedAt userGroupIds "
        "userId userPriorities utilityId validFrom vatNo vehicleNo vehicleType visibilityRestrictions"
    ),
    "RevenueSharing": (
        "deductElectricityCost excludeConnectionFee feePerKwhAc feePerKwhDc fixedFeePerSessionAc "
        "fixedFeePerSessionDc handlingFee reimburseForElectricityCost"
    ),
    "RoamingOperator": "cpoSettings",
    "Session": (
        "chargePointOperatorRoamingId clockAlignedEnergyConsumption extendingSessionId powerKw randomisedDelay"
    ),
    "SessionStartStop": "startedAtTimestampLocal stoppedAtTimestampLocal",
    "Tariff": (
        "additionalInformation dayTariffStart description display integrationId learnMoreUrl nightTariffStart "
        "stopSession"
    ),
    "TariffSnapshot": (
        "additionalInformation dayTariffStart description display integrationId learnMoreUrl nightTariffStart "
        "stopSession"
    ),
    "Transaction": "bankMessage cardDetails invoiceNo paymentMethod userEmail",
    "UserSubscription": "remainingAllowance remainingFreeRenewalPeriods shouldUseExternalBilling",
    "Voucher": (
        "amount assignBeforeDate createdAt createdByAdminId currencyCode description expireDate redeemedAt "
        "redeemedByUserId remainingAmount status title transactionId type validityPeriod"
    ),
}

#: Names by the name of the model, in AMPECO's spelling.
UNREAD: dict[str, frozenset[str]] = {model: frozenset(names.split()) for model, names in _UNREAD.items()}

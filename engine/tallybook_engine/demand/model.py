"""The demand schemes there are."""

from tallybook_engine.demand.coincident_peak import CoincidentPeak
from tallybook_engine.demand.monthly_peaks import MeanOfMonthlyPeaks
from tallybook_engine.demand.ratchet import Ratchet
from tallybook_engine.demand.reactive import ExcessReactive, PowerFactor
from tallybook_engine.demand.rolling import RollingDemand
from tallybook_engine.demand.time_of_use import TimeOfUseDemand
from tallybook_engine.demand.top_peaks import MeanOfTopPeaks

DemandScheme = (
    RollingDemand
    | CoincidentPeak
    | Ratchet
    | MeanOfTopPeaks
    | MeanOfMonthlyPeaks
    | TimeOfUseDemand
    | ExcessReactive
    | PowerFactor
)

"""Kinds of determinants."""

from enum import Enum


class Kind(Enum):
    """What is asked of a channel, and what a determinant is."""

    INTERVAL = "INTERVAL"
    """The sum of its intervals."""
    TIMESLICE = "TIMESLICE"
    """The sums by slice of a timeslice group, UNCOVERED with them."""
    PMAX = "PMAX"
    """Its maximum."""
    REGISTER = "REGISTER"
    """Its reading at the period's end; answered with REGISTER_DIFFERENCE."""
    REGISTER_DIFFERENCE = "REGISTER_DIFFERENCE"
    """What the register counted from the period's start to its end. Never asked for by itself."""
    DEMAND = "DEMAND"
    """What a demand scheme makes of it. Asked for by a `DemandRequest`."""

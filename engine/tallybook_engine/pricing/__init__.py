"""What a quantity costs under a plan: one pricing model a file, and the rules around any model, one a file each.

The exact price F of an aggregated quantity Q walks: Q below 0 is 0 -> unit conversion -> included quantity -> the
model (or, at 0, `zero_usage`) -> minimum -> cap. `price` has the kernel, `lines` explains every amount to the tier.
"""

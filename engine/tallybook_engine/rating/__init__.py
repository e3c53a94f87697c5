"""From exact prices to money: marginal costs, rounding to the currency's smallest unit, taxes."""

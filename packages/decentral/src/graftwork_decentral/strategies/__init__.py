"""How agents bring their values together: seven named strategies, and any triple of your own."""

from graftwork_decentral.strategies.exact_diffusion import exact_diffusion
from graftwork_decentral.strategies.extra import extra
from graftwork_decentral.strategies.form import Exchange, Form
from graftwork_decentral.strategies.gradient_tracking import gt_atc, gt_non_atc, gt_semi_atc
from graftwork_decentral.strategies.strategy import Strategy
from graftwork_decentral.strategies.uncorrected import consensus, diffusion

__all__ = [
    "Strategy",
    "Form",
    "Exchange",
    "diffusion",
    "consensus",
    "exact_diffusion",
    "extra",
    "gt_atc",
    "gt_semi_atc",
    "gt_non_atc",
]

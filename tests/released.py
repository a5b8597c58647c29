"""The methods' parameters as the domain's defaults have them: what a release would publish, for tests alone."""

from __future__ import annotations

from typing import Any

from edge_agent.load.methods.cusum import StepRule
from edge_agent.load.methods.forecast import ForecastRule
from edge_agent.load.methods.hot_spot import ONAN_DISTRIBUTION, Paper, Transformer
from edge_agent.load.methods.load_rate import RateRule
from edge_agent.load.methods.load_shape import ShapeRule
from edge_agent.load.methods.phases import PhaseRule
from edge_agent.load.methods.power_integral import PaceRule
from edge_agent.load.methods.register_sanity import SanityRule
from edge_agent.load.methods.side_by_side import PairRule
from edge_agent.load.methods.sum_check import SumRule
from edge_agent.load.methods.sum_of_rates import RatesRule

STEP = StepRule(  # 4.1; jump, settle [C]
    k=0.5, h=8.0, least_days=28, least_class_days=4, keep_days=60, spread_floor=0.02, confirm_days=7,
    confirm_ratio=1.10, confirm_load=0.95, confirm_jump=1.07, settle_days=42,
)  # fmt: skip
PAIR = PairRule(  # 4.2; modes [C]
    least_pairs=96, least_spread=0.30, slope_margin=0.02, intercept_margin=0.02, errors=3.0, ratio_r2=0.99, snap=0.02,
    modes_apart=5.0, mode_share=0.10, exact_pairs=400,
)  # fmt: skip
PACE = PaceRule(  # 4.3, 3.2
    error=0.05, error_expected_wh=1000.0, fly=10.0, fly_expected_wh=10.0, stop_expected_wh=100.0,
    stop_least_s=3600.0, least_coverage=0.9,
)  # fmt: skip
SUM = SumRule(least_days=28, keep_days=90, sigmas=3.0, margin=0.03, negative=0.01, least_coverage=0.95)  # 4.4
PHASE = PhaseRule(
    tolerance=0.05, least_current=0.05, least_pf=0.5, pattern_within=0.04, silent_share=0.05
)  # 4.6; silent [C]
SHAPE = ShapeRule(  # 4.7
    weeks=4, least_days=28, least_day_coverage=0.9, night_from_h=22, night_to_h=6, evening_from_h=18,
    evening_to_h=22, margin=0.10,
)  # fmt: skip
RATE = RateRule(levels=(0.80, 1.00, 1.05, 1.10), class_width=0.005, top=2.0)  # 4.8
SANITY = SanityRule(carry=1.2, least_decrease=10.0)  # 4.9: 0.01 kWh
FORECAST = ForecastRule(least_elapsed_s=300, least_coverage=0.8, trend_samples=5, trend_falls=0.05)  # 4.10; trend [C]
RATES = RatesRule(least=0.1, apart_s=5.0)  # 3.3, kWh
SMALL_OIL = Transformer(**ONAN_DISTRIBUTION, paper=Paper.NORMAL, most_load=1.5)  # 2.9


def changed(rule: Any, **changes: Any) -> Any:
    return type(rule)(**{**{name: getattr(rule, name) for name in rule.__slots__}, **changes})

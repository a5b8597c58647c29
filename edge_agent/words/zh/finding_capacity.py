"""容量、电价与合同档案类疑点的说法，以及不能作出判定的原因。"""

from __future__ import annotations

SENTENCES: dict[str, str] = {
    # 标题
    "finding.title.cap-demand-forecast": "需量预警：本需量周期的需量可能超过合同值",
    "finding.title.cap-expansion-suspect": "疑似未经申请的增容",
    "finding.title.cap-overload-sustained": "持续过载",
    "finding.title.cap-reverse-overload": "反向重过载",
    "finding.title.cap-suspended-use": "疑似暂停、减容期间用电",
    "finding.title.cap-thermal": "变压器因负荷温度偏高，或老化快于正常",
    "finding.title.tar-capacity-rule": "计费方式与供电容量不符",
    "finding.title.tar-class-shape": "负荷特性更接近合同以外的用电类别",
    "finding.title.tar-export-undeclared": "有电量送出，而未登记发电设备",
    "finding.title.tar-pf": "当月功率因数低于考核标准",
    "finding.title.tar-step-tier": "年用电量接近或已超过阶梯分档",
    # 实测
    "finding.seen.cap-demand-forecast": (
        "{end} 时，本需量周期已过 {elapsed_s} 秒；计量点 {point} 的负荷若保持不变，需量将达到 {projected} 以上；"
        "合同值为 {contracted}，按 {rule} 可用至其 {free} 而不另计费。"
    ),
    "finding.seen.cap-expansion-suspect": (
        "截至 {end}，计量点 {point} 的日最大负荷至少为先前的 {times} 倍，疑似自 {onset} 起（{step_days} 天）："
        "先前为 {level_before}，此后至少为 {level_since}。合同容量 {contracted}，运行容量 {running}。"
        "负荷约等于或高于合同容量。"
    ),
    "finding.seen.cap-overload-sustained": (
        "计量点 {point} 的用电超过运行容量 {running}，持续时间达到 {release} 的要求；"
        "最大时在 {end} 结束的周期内至少为 {drawn}，为其 {share}。"
    ),
    "finding.seen.cap-reverse-overload": (
        "计量点 {point} 送出的功率超过额定容量 {rated} 的 {threshold}，持续时间达到 {release} 的要求；"
        "最大时在 {end} 结束的周期内至少为 {drawn}，为其 {share}。"
    ),
    "finding.seen.cap-suspended-use": (
        "在 {end} 结束的需量周期内，计量点 {point} 的用电至少为 {drawn}，"
        "是 {suspended_since} 起允许运行容量的 {times} 倍；"
        "此后至少用电 {used_kwh} kWh，有 {used_days} 天超过该容量。"
    ),
    "finding.seen.cap-suspended-use.several": (
        "在 {start} 至 {end} 的 {periods} 个需量周期中，至少有一个周期计量点 {point} 的用电至少为 {drawn}，"
        "是 {suspended_since} 起允许运行容量的 {times} 倍；"
        "此后至少用电 {used_kwh} kWh，有 {used_days} 天超过该容量。"
    ),
    "finding.seen.cap-thermal": (
        "{end} 时，计量点 {point} 的变压器（{rated}）绕组热点温度经计算不低于 {hot_spot_c} 度，"
        "老化速度不低于正常的 {ageing} 倍；环境温度为{ambient}。"
    ),
    "finding.seen.tar-capacity-rule": (
        "{end}，计量点 {point} 的容量为 {size_kva} kVA；档案为“{has}”，而 {rule} 要求“{should}”。"
    ),
    "finding.seen.tar-class-shape": (
        "截至 {end} 连续四周，计量点 {point} 的负荷特性更接近用电类别 {class_nearest}，"
        "而非合同约定的 {class_agreed}（相似度：{similarity}）。夜间占比 {night_share}，晚间占比 {evening_share}。"
    ),
    "finding.seen.tar-export-undeclared": (
        "{day}，计量点 {point} 至少送出 {export_kwh} kWh，而档案中没有登记发电设备。逐小时 kWh：{export_by_hour}。"
    ),
    "finding.seen.tar-pf": (
        "结算月 {month} 截至 {end}，计量点 {point} 的功率因数最高为 {power_factor}，考核标准为 {standard}"
        "（调整 {adjustment_percent} %），由下界 {active_kwh} kWh 和 {reactive_kvarh} kvarh 算得；"
        "已知时间占 {coverage_share}；当月是否已结束：{final}。"
    ),
    "finding.seen.tar-step-tier": (
        "截至 {end}，计量点 {point} 在 {year} 年至少用电 {year_kwh} kWh：{rule} 的第 {step} 档到 {step_kwh} kWh"
        " 为止（{what}）。"
    ),
    # 下一步
    "finding.action.cap-demand-forecast": "如有约定，及时告知用户；此时尚不产生任何费用。",
    "finding.action.cap-expansion-suspect": (
        "先核对档案中的合同、互感器变比和业扩申请；再到现场查看自该日起接入了哪些变压器和设备。"
    ),
    "finding.action.cap-overload-sustained": "告知用户变压器在加速老化；建议申请增容或改善功率因数。",
    "finding.action.cap-reverse-overload": "将约定的发电容量与实际送出比对，将铭牌与档案比对。",
    "finding.action.cap-suspended-use": "先核对档案中的暂停或减容记录和封印；若无误，再到现场查看运行的设备。",
    "finding.action.cap-thermal": "与变压器自身的温度计比对；建议在夏季之前转移负荷、改善功率因数或申请增容。",
    "finding.action.tar-capacity-rule": "核对档案中的合同、用电类别和容量。",
    "finding.action.tar-class-shape": "核对档案中合同约定的用电用途。",
    "finding.action.tar-export-undeclared": "在档案中查找并网申请；如没有，向用户询问，并检查电能表接线。",
    "finding.action.tar-pf": "与电费账单和电能表的无功组合设置比对；建议用户检查无功补偿装置。",
    "finding.action.tar-step-tier": "告知用户；核对档案中的家庭人口。",
    # 不能判定的原因
    "verdict.baseline_no_spread": "该用户平日的负荷天天相同，没有离散度",
    "verdict.baseline_not_a_number": "当日的最大负荷未知",
    "verdict.baseline_out_of_order": "该日已判定过",
    "verdict.baseline_too_few": "该用户平日的用电水平仍在学习",
    "verdict.class_shapes_unknown": "供电单位尚未装入各用电类别的负荷特性",
    "verdict.class_unknown": "该计量点的用电类别未知，或该类别没有负荷特性",
    "verdict.export_not_measured": "电能表不计量送出电量，或尚未读到",
    "verdict.generation_declared": "已登记发电设备",
    "verdict.generation_undeclared": "有功率送出而未登记发电设备：从电网取用的电量不等于全部用电",
    "verdict.joined_before": "该用户在规则实行之前报装：可沿用原计费方式",
    "verdict.joined_unknown": "报装日期或规则的实行日期未知",
    "verdict.month_too_young": "结算月开始不久",
    "verdict.nameplate_unknown": "变压器铭牌与以 kVA 计的合同均未知",
    "verdict.no_capacity_rule": "该用电类别没有已知的容量规则",
    "verdict.no_power_factor_rule": "该用电类别没有已知的功率因数规则",
    "verdict.no_step_tariff": "该用电类别没有已知的阶梯电价",
    "verdict.nothing_over_to_pay": "按合同所用规则，需量超过合同值不另计费",
    "verdict.nothing_suspended": "没有暂停或减容",
    "verdict.shape_unknown": "负荷没有可供比较的特性",
    "verdict.too_little_energy": "电量太少，不足以判定功率因数",
    "verdict.too_little_of_the_day": "当日已知的时段太少",
    "verdict.too_little_of_the_month": "结算月已知的部分太少",
    "verdict.too_little_of_the_window": "本需量周期已知的部分太少",
    "verdict.window_over": "该需量周期已结束",
    "verdict.year_not_whole": "本年度先前的用电量未知",
    "verdict.year_over": "该日历年已结束",
}

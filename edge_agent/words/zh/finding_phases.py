"""各相、电流与供电电压类疑点的说法，以及不能作出判定的原因。"""

from __future__ import annotations

from edge_agent.words.zh.finding import _BOTH, _COUNTER, _LOG

_BY_METER = {"": _COUNTER, ".log": _LOG, ".both": _BOTH}
_PHASES = {"voltage_loss": "L{n} 相失压", "current_loss": "L{n} 相失流", "phase_break": "L{n} 相断相"}

SENTENCES: dict[str, str] = {
    # 标题
    "finding.title.met-volt-loss": "失压：电能表有一相有电流而无电压",
    "finding.title.met-curr-loss": "失流：电能表有一相无电流，而其他相带负荷",
    "finding.title.met-phase-break": "断相",
    "finding.title.met-power-consistency": "有功功率与电压、电流、相位不符：疑似错接线",
    "finding.title.met-reverse": "潮流或功率反向，而未登记发电设备",
    "finding.title.met-phase-seq": "电能表记录逆相序",
    "finding.title.met-unbalance-i": "电流不平衡",
    "finding.title.met-ct-overrange": "电流超过互感器或电能表的量程",
    "finding.title.met-ct-oversized": "互感器变比配置偏大",
    "finding.title.pq-volt-event": "过压或欠压事件",
    "finding.title.pq-outage": "停电",
    "finding.title.pq-volt-deviation": "供电电压偏差超限",
    "finding.title.pq-unbalance-u": "三相电压不平衡",
    # 实测
    "finding.seen.met-volt-loss": (
        "{start} 和 {end} 时，计量点 {point} 的电能表 {phase} 相电压为额定值的 {voltage}，而该相有电流。"
        "后一时刻的示值：{shown}。"
    ),
    "finding.seen.met-curr-loss": (
        "{start} 和 {end} 时，计量点 {point} 的电能表 {phase} 相无电流，而该相有电压且另有一相带负荷。"
        "后一时刻的示值：{shown}。"
    ),
    "finding.seen.met-phase-break": (
        "{start} 和 {end} 时，计量点 {point} 的电能表 {phase} 相电压为额定值的 {voltage} 且无电流，而另有一相带电。"
        "后一时刻的示值：{shown}。"
    ),
    "finding.seen.met-power-consistency": (
        "计量点 {point} 显示的有功功率与其电压、电流和功率因数算得的不符：{end} 时为算得值的 {ratio} 倍"
        "（{pattern}），且读数持续如此，时间达到 {release} 的要求。当时的示值（一次侧）：{shown}。"
    ),
    "finding.seen.met-reverse": (
        "{start} 和 {end} 时，有功功率自计量点 {point}{of_phase} 流出，至少为其计量装置额定值的 {share}，"
        "而档案中没有登记发电设备。后一时刻的示值：{shown}。"
    ),
    "finding.seen.met-phase-seq": (
        "{end} 时，计量点 {point} 电能表的状态字表明其{sequence_of}为逆相序（状态字 {status_word}）。"
    ),
    "finding.seen.met-unbalance-i": (
        "{start} 和 {end} 时，计量点 {point} 各相电流相差至少为最大相的 {share}。后一时刻的示值：{shown}。"
    ),
    "finding.seen.met-ct-overrange": (
        "{start} 和 {end} 时，计量点 {point} 的 {phase} 相电流至少为互感器或电能表额定值的 {share}。"
        "后一时刻的示值：{shown}。"
    ),
    "finding.seen.met-ct-oversized": (
        "{start} 至 {end} 的 {days} 天中，计量点 {point} 带负荷的时间里有一半，最大相电流低于互感器额定一次电流的 "
        "{median}。"
    ),
    "finding.seen.pq-volt-event": (
        "{start} 和 {end} 时，计量点 {point} 的电压{direction}：{phase} 相为额定值的 {voltage}。"
        "后一时刻的示值：{shown}。"
    ),
    "finding.seen.pq-outage": (
        "{start} 和 {end} 时，计量点 {point} 的电能表各相均无电压，也无电流。后一时刻的示值：{shown}。"
    ),
    "finding.seen.pq-volt-deviation": (
        "在 {end} 结束的区间内，计量点 {point} 的平均电压{direction}：{phase} 为额定值的 {voltage}。平均值：{shown}。"
    ),
    "finding.seen.pq-unbalance-u": (
        "在 {end} 结束的区间内，计量点 {point} 的三相电压不平衡度为 {unbalance} %（{measure}），限值为 {limit} %。"
        "平均值：{shown}。"
    ),
    **{
        f"finding.seen.{topic}.meter{source}": sentence
        for topic in ("met-volt-loss", "met-curr-loss", "met-phase-break", "pq-outage")
        for source, sentence in _BY_METER.items()
    },
    # 句子的组成部分
    "finding.direction.high": "偏高",
    "finding.direction.low": "偏低",
    "finding.measure.negative_sequence": "负序不平衡度",
    "finding.measure.spread": "最大值与最小值之差",
    "finding.pattern.fits": "在允许误差之内",
    "finding.pattern.one_lost": "如同一个元件未计量",
    "finding.pattern.one_reversed": "如同一只电流互感器反接",
    "finding.pattern.two_reversed": "如同两只电流互感器反接",
    "finding.pattern.all_reversed": "如同全部电流互感器反接",
    "finding.pattern.none": "与已知的错接线类型都不相符",
    "finding.at": "{pattern}，位于 {at}",
    "finding.of_phase": " 的 {phase} 相",
    **{f"finding.event.{code}_l{n}": said.format(n=n) for code, said in _PHASES.items() for n in (1, 2, 3)},
    "finding.event.power_off": "停电",
    # 下一步
    "finding.action.met-volt-loss": "现场检查该相的电压端子、熔断器和电压互感器；期间少计的电量按其余相推算。",
    "finding.action.met-curr-loss": (
        "现场检查该相的电流端子、连片和互感器，并用钳形表比对；该相本来不带负荷的，不属故障。"
    ),
    "finding.action.met-phase-break": "在电源侧和电能表处查找该相断开的熔断器或导线。",
    "finding.action.met-power-consistency": "现场检查计量接线：各电流互感器的极性和相别、电压相序。",
    "finding.action.met-reverse": "询问是否有档案中未登记的发电设备；如没有，检查电流互感器的极性。",
    "finding.action.met-phase-seq": "现场检查电能表端子处的相序。",
    "finding.action.met-unbalance-i": "建议用户将负荷均分到各相；同时查找有无故障。",
    "finding.action.met-ct-overrange": "将变比和电能表与负荷比对，安排更换为较大的规格。",
    "finding.action.met-ct-oversized": "核对档案与铭牌上的变比，安排更换为较小的规格。",
    "finding.action.pq-volt-event": "向配网运行部门询问当时的情况。",
    "finding.action.pq-outage": "向配网运行部门询问；与停电公告比对。",
    "finding.action.pq-volt-deviation": "检查供电变压器的分接头和线路负荷。",
    "finding.action.pq-unbalance-u": "检查供电侧有无缺相故障和较大的单相负荷。",
    # 不能判定的原因
    "verdict.no_voltage": "电能表没有给出电压",
    "verdict.no_current": "电能表没有给出电流",
    "verdict.no_power": "电能表没有给出功率，或没有同时给出功率因数",
    "verdict.rating_unknown": "档案中没有电流互感器，也没有最大电流",
    "verdict.not_at_once": "同一轮各数值的读取时刻相距太远，无法比较",
    "verdict.may_be_generation": "功率流出：互感器反接与未登记的发电设备看起来一样",
    "verdict.wiring_3p3w": "三相三线接法下，各元件不对应各相",
    "verdict.too_few_days": "当月带负荷的天数太少",
    "verdict.status_word_unclear": "电能表的状态字无法解读",
}

"""疑点的说法：实测了什么、与什么限值相比、由谁答复；不作任何超出实测的论断。"""

from __future__ import annotations

_COUNTER = "计量点 {point} 的电能表“{event}”计数在 {before_at} 与 {after_at} 两次读数之间由 {before} 增至 {after}。"
_LOG = "计量点 {point} 的电能表记录了“{event}”（{events} 次），按其自身时钟为 {logged}。"
_BOTH = (
    "计量点 {point} 的电能表“{event}”计数在 {before_at} 与 {after_at} 两次读数之间由 {before} 增至 {after}；"
    "其事件记录按自身时钟为 {logged}。"
)

SENTENCES: dict[str, str] = {
    "finding.title.cap-over-contract": "疑似超合同容量用电",
    "finding.title.cap-heavy-load": "重载",
    "finding.title.cap-demand-over": "疑似超合同最大需量",
    "finding.title.met-decrease": "电能表示值比先前减小",
    "finding.title.met-cover": "电能表记录开盖",
    "finding.title.met-magnetic": "电能表记录恒定磁场干扰",
    "finding.title.met-param-change": "电能表记录编程或清零",
    "finding.title.dat-comm": "设备无应答",
    "finding.state.open": "自 {opened} 起未结。",
    "finding.state.over": "{opened} 生成；现已不再成立（{at}）。",
    "finding.seen.cap-over-contract": (
        "在 {end} 结束的需量周期内，计量点 {point} 的用电至少为 {drawn}，为运行容量 {running} 的 {share}。"
    ),
    "finding.seen.cap-over-contract.several": (
        "在 {start} 至 {end} 的 {periods} 个需量周期中，至少有一个周期计量点 {point} 的用电至少为 {drawn}，"
        "为运行容量 {running} 的 {share}；仅知其平均值。"
    ),
    "finding.seen.cap-heavy-load": (
        "计量点 {point} 的用电超过运行容量 {running} 的 {threshold}，持续时间达到 {release} 的要求；"
        "最大时在 {end} 结束的周期内至少为 {drawn}，占 {share}。"
    ),
    "finding.seen.cap-demand-over": (
        "在 {end} 结束的需量周期内，计量点 {point} 的需量至少为 {drawn}，为合同值 {contracted} 的 {share}。"
    ),
    "finding.seen.cap-demand-over.several": (
        "在 {start} 至 {end} 的 {periods} 个需量周期中，至少有一个周期计量点 {point} 的需量至少为 {drawn}，"
        "为合同值 {contracted} 的 {share}；仅知其平均值。"
    ),
    "finding.seen.met-decrease": (
        "{start} 至 {end} 之间，计量点 {point} 电能表的 {quantity} 示值由 {before} 变为 {after}（表显）；"
        "两个数值均读取两次，电能表编号未变。"
    ),
    "finding.seen.met-cover": _COUNTER,
    "finding.seen.met-cover.log": _LOG,
    "finding.seen.met-cover.both": _BOTH,
    "finding.seen.met-magnetic": _COUNTER,
    "finding.seen.met-magnetic.log": _LOG,
    "finding.seen.met-magnetic.both": _BOTH,
    "finding.seen.met-param-change": _COUNTER,
    "finding.seen.met-param-change.log": _LOG,
    "finding.seen.met-param-change.both": _BOTH,
    "finding.seen.dat-comm": "链路 {link} 上的 {devices} 截至 {end} 已有 {silent_min} 分钟无应答（{detail}）。",
    "finding.seen.generic": "在 {start} 至 {end} 之间，计量点 {point} 的实测值：{values}。",
    "finding.event.cover_open": "开表盖",
    "finding.event.terminal_cover_open": "开端钮盒",
    "finding.event.magnetic": "恒定磁场干扰",
    "finding.event.programming": "编程",
    "finding.event.meter_reset": "电能表清零",
    "finding.event.demand_reset": "需量清零",
    "finding.event.event_reset": "事件清零",
    "finding.sure.bounds": "所列为下界：已扣除示值分度和缺数。该周期有 {coverage} 由读数证实；需量来自{source}。",
    "finding.sure.recorded": "数值来自{source}，证实了该周期的 {coverage}；缺失部分已扣除。",
    "finding.sure.both": "电能示值与采样功率两者一致。",
    "finding.sure.active_only": "只测得有功功率；视在功率不会小于它。",
    "finding.sure.meter": "这是电能表自己的记录；网关没有测到可以证实它的数值。",
    "finding.sure.witness": "电能表自身也有记录：大约同一时刻计数或记录了“{event}”。",
    "finding.source.register": "电能示值之差",
    "finding.source.power": "采样功率",
    "finding.source.profile": "电能表自身的负荷记录",
    "finding.source.recorded": "记录文件",
    "finding.counts": "累计：{intervals} 个周期，{days} 天，{episodes} 次，最长连续 {longest_run} 个周期。",
    "finding.fact": "依据：{name} = {value}（{state}，来源：{source}）。",
    "finding.archive_first": "先核档案：所依据的档案项未核实或有冲突。",
    "finding.trial": "该计量点当时处于试运行（没有验收记录），不计入任何评价。",
    "finding.threshold": "超过已发布限值：{threshold}（{release}）。",
    "finding.route": "责任部门：{route}，期限 {due}。",
    "finding.route.archive": "档案管理",
    "finding.route.metering": "计量",
    "finding.route.collection": "采集运维",
    "finding.route.billing": "电费核算",
    "finding.route.customer-inspection": "用电检查",
    "finding.step.opened": "生成",
    "finding.step.updated": "更新",
    "finding.step.cleared": "解除",
    "finding.step.annotated": "附注",
    "finding.history": "{time}  {step}（{reason}），等级：{severity}",
    "finding.reason.level": "达到限值",
    "finding.reason.episode": "再次发生",
    "finding.reason.maximum": "新的最大值",
    "finding.reason.hold": "恢复并保持",
    "finding.reason.answered": "已答复",
    "finding.reason.period": "周期结束",
    "finding.reason.superseded": "由更重的疑点取代",
    "finding.reason.day": "当日汇总",
    "finding.reason.witness": "另有佐证",
    "finding.severity.info": "提示",
    "finding.severity.notice": "一般",
    "finding.severity.warning": "较重",
    "finding.severity.major": "重大",
    "finding.severity.critical": "紧急",
    "finding.fact.name.capacity": "合同容量",
    "finding.fact.name.ct": "电流互感器变比",
    "finding.fact.name.vt": "电压互感器变比",
    "finding.fact.name.meter_serial": "电能表编号",
    "finding.fact.name.tariff_class": "用电类别",
    "finding.fact.state.verified": "已核实",
    "finding.fact.state.unverified": "未核实",
    "finding.fact.state.conflict": "有冲突",
    "finding.fact.source.system": "营销系统",
    "finding.fact.source.technician": "现场人员",
    "finding.fact.source.meter": "电能表",
    "finding.action.cap-over-contract": "核对档案中的合同与互感器变比；若无误，建议用户申请增容或改善功率因数。",
    "finding.action.cap-heavy-load": "建议用户申请增容或改善功率因数。",
    "finding.action.cap-demand-over": "出账前与电能表自身的最大需量核对。",
    "finding.action.met-decrease": "现场抄读电能表，将编号和示值与档案核对。",
    "finding.action.met-cover": "核对工单；现场检查封印和表盖，并与最近的示值比对。",
    "finding.action.met-magnetic": "现场检查电能表及周围，并比对前后数日的电量。",
    "finding.action.met-param-change": "核对工单；抄读电能表的参数和示值，与档案核对。",
    "finding.action.dat-comm": "检查所列设备的电源、接线和地址，再检查链路。",
    "finding.action.generic": "先核对档案，再到现场按所列数值核实。",
    "verdict.gap": "缺数超过一个需量周期",
    "verdict.gap_refused": "缺数，且电能表不提供该时段的负荷记录",
    "verdict.gap_not_recorded": "缺数，且电能表负荷记录中没有该时段",
    "verdict.gap_distrusted": "缺数，且电能表标明其记录存疑（时钟被设置或无效、数据无效），或两条记录相互矛盾",
    "verdict.gap_contradicted": "缺数，且电能表的负荷记录与示值的变化不符",
    "verdict.gap_clock_off": "缺数，且电能表的记录由有偏差的时钟标时",
    "verdict.gap_not_had": "缺数，且未能及时读到电能表的负荷记录",
    "verdict.no_reading": "周期两端尚无读数",
    "verdict.ratio_unknown": "档案中没有该时段的互感器变比",
    "verdict.archive_change": "周期内合同、变比或电能表有变更",
    "verdict.clock_step": "周期内网关时钟被设置",
    "verdict.register_break": "示值与上次不连续",
    "verdict.meter_exchanged": "电能表已更换",
    "verdict.meter_exchange": "周期内电能表被更换",
    "verdict.capacity_unknown": "档案中没有该时段的容量",
    "verdict.capacity_suspended": "没有运行容量：已暂停",
    "verdict.contract_in_other_unit": "合同以另一单位计（kVA 或 kW）",
    "verdict.active_power_only": "只测得有功功率；不由 kW 推算 kVA",
    "verdict.mean_of_several": "仅知若干周期的平均值",
    "verdict.register_too_coarse": "示值分度太粗：一个分度相当于 {step_kw} kW，低于 {least} 的超载无法判定",
    "verdict.serial_unknown": "电能表编号未知，无法区分换表与示值下降",
    "verdict.meter_clock_off": "只有电能表时钟能说明时间，而其偏差在五分钟以上",
    "verdict.read_once": "先前的数值只读到一次",
    "verdict.between": "在上、下界之间：既不能判超限，也不能判正常",
    "verdict.clear": "正常",
    "verdict.breach": "超限",
}

"""从原始报文到疑点的推算过程，以及尚不清楚的事项：页面上的文字。"""

from __future__ import annotations

SENTENCES: dict[str, str] = {
    "report.digest": "主题参数摘要",
    "report.times": "以 Z 结尾的时间为协调世界时；计量点当地时间为 UTC{offset}（{zone}）。",
    "report.clock_said.no_error": "网关时钟：{quality}；误差范围未知。",
    "report.clock_unread": "未读取电能表时钟。",
    "report.marks": (
        "来源后的标记：[V] 见于资料，其后数字为资料份数；[C] 由本程序推算；[M] 凭对标准的记忆，采用前须核对；[X] "
        "各资料不一。“领域规则”为本程序自身规范的条目，不是法规。"
    ),
    "report.unknown": "尚不清楚的事项",
    "report.unknown.ratio": "互感器实际变比是否与档案一致：电能表无法得知，须查看铭牌。",
    "report.unknown.serial": "现场电能表是否为档案所列：未读到其编号，须与铭牌核对。",
    "report.unknown.clock": "电能表时钟偏差：未读取；所有时间均按网关时钟。",
    "report.unknown.coverage": "判定区间的 {share} 没有读数证实；下界中按零计。",
    "report.unknown.one_way": "其他测量途径是否得出相同结果：仅有一种途径。",
    "report.unknown.gaps": "电能表未给出的数据项：{names}。",
    "report.unknown.facts": "下列档案项是否正确，未经核实：{names}。",
    "report.unknown.why": "产生的原因。本页不说明任何人的行为或意图。",
    "report.way": "从原始报文到疑点",
    "report.way.bytes": "一、由字节到数值",
    "report.way.register": "{address}，{type}，× {scale}{unit}",
    "report.way.place": "报文 {frame}，第 {first} 字节起",
    "report.way.profile": "各数据项的位置与读法按设备配置 {profile}（{model}），其依据：{source}。",
    "report.way.modbus": (
        "请求的末四个字节（串行线路上为校验码之前的四个字节）为首个寄存器及其个数。应答中数值自第 10 "
        "字节（串行线路为第 4 字节）起，每个寄存器两个字节，依次排列。u 为无符号整数，i 为有符号整数，f "
        "为浮点数，bcd 为十进制数字，其后为位数。"
    ),
    "report.way.dlt645": (
        "应答的数据域每个字节加有 33H，须减去。先为四字节数据标识，后为数值；每个数值低字节在前，为 BCD 码。"
    ),
    "report.way.other": "本页不拆解该规约的字节；报文原样列于下文。",
    "report.way.primary": (
        "一次侧：电压 × 电压互感器变比 {vt}，电流 × 电流互感器变比 {ct}，功率和电能 × 综合倍率 {k}，均按档案。"
    ),
    "report.way.means": "二、由示值到平均功率",
    "report.way.sum": (
        "{name}：（{end} - {start}）{unit} × {k} × 3600 ÷ {seconds} 秒 = {power}，两次读数时间为 {start_at} 和 "
        "{end_at}。示值一个分度相当于 {off}。"
    ),
    "report.way.apparent": "视在功率：（{p}² + {q}²）的平方根 = {s} kVA。",
    "report.way.band": (
        "{name}，按区间准确的两端：{value} {unit}，不低于 {low}，不高于 {high} {unit}。此即疑点所列数值。"
    ),
    "report.way.against": "三、与限值比较",
    "report.way.share": (
        "{value} ÷ {limit} {unit} = {share_value}；不低于 {low} ÷ {limit} = {share_low}，不高于 {high} ÷ {limit} "
        "= {share_high}。判定以下界为准。"
    ),
    "report.way.phases": "二、由电压、电流和功率因数算得的功率与显示值（一次侧）",
    "report.way.all": "合计",
    "report.way.deviation": (
        "{shown} kW ÷ {made} kW = {ratio}，与 1 相差 {off}。其中 {tolerance} 可由准确级和末位数字引起，至少还差 {low}。"
    ),
    "report.way.pattern": (
        "对称负荷下，一个元件未计量时功率为 2/3，一只电流互感器反接为 1/3，两只为 -1/3。显示值{pattern}。"
    ),
    "report.way.limit": "已发布的限值与确认",
    "report.way.passed": "超过：{release}，等级{severity}，高于 {above}。实测下界为 {low}。",
    "report.way.opened": "该等级疑点的生成条件：{opening}。",
    "report.way.sure.next": "不以单次读数为准：须有其后的读数与区间两端的读数相衔接。",
    "report.way.sure.held": "不以单次读数为准：须在该时间内由多次读数得出相同结果。",
    "report.opens.count": "{n} {unit}内 {k} 次",
    "report.opens.hold": "持续 {minutes} 分钟",
    "report.opens.of": "{minutes} 分钟，期间每 {n} 次读数至少 {k} 次",
    "report.site.by_archive": "档案：{value}；铭牌：",
    "report.column.at_time": "读取时间（当地）",
    "report.column.register": "寄存器",
    "report.column.place": "位置",
    "report.column.number": "数字",
    "report.column.shown": "表显",
    "report.column.primary": "一次侧",
    "report.column.phase": "相别",
    "report.column.volts": "电压 U，V",
    "report.column.amps": "电流 I，A",
    "report.column.factor": "功率因数（不计符号）",
    "report.column.made": "U×I×功率因数，kW",
    "report.column.power_shown": "显示功率，kW",
    "report.column.ratio": "显示值÷算得值",
    "report.column.frame": "报文",
    "report.heading": "佐证材料：{topic}",
    "report.comma": "、",
    "report.worst": "所列为迄今超限最多的区间；疑点生成时判定的是 {start} … {end}。",
    "report.way.sample": (
        "平均值之外的一次采样：{at} 电能表自身显示 {shown} kVA，× {k} = {s} kVA，为 {limit} kVA 的 {share}。"
    ),
    "report.way.lower": "同一区间的采样功率给出的下界略低，为 {low}；两种途径取较低者。",
}

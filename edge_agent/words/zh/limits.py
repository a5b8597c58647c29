"""随程序发布的各级限值的来源，与发布文件中的英文逐条对应；表中没有的按发布时的原文显示。"""

from __future__ import annotations

SENTENCES: dict[str, str] = {
    "report.limit.cap-demand-forecast.info": "自周期第 5 分钟起推算值高于合同限值，每个周期一次 [C]",
    "report.limit.cap-demand-over.warning": "超过合同最大需量 105 % 的部分加倍计收 [V3]，或按现场所用电价规则",
    "report.limit.cap-expansion-suspect.major": (
        "增加或更换设备而超过约定容量，供电营业规则 2024 第 101 条 [M]；1996 第 100 条 [V2]"
    ),
    "report.limit.cap-heavy-load.notice": "重载：80-100 % 持续 2 h 及以上，电网企业运行分级 [M]",
    "report.limit.cap-over-contract.notice": "超合同容量用电，供电营业规则 2024 第 101 条 [M]",
    "report.limit.cap-over-contract.warning": "借用两部制电价的 105 % 作为允许偏差 [C]",
    "report.limit.cap-over-contract.major": "一个月内在多日重复出现 [C]",
    "report.limit.cap-overload-sustained.warning": "过载：100 % 以上持续 2 h 及以上，电网企业运行分级 [M]",
    "report.limit.cap-reverse-overload.notice": "重载 80-100 % 持续 2 h 及以上，用于反方向 [M]",
    "report.limit.cap-reverse-overload.warning": "过载 100 % 以上持续 2 h 及以上，用于反方向 [M]",
    "report.limit.cap-suspended-use.major": (
        "使用已暂停或已封停的设备，供电营业规则 2024 第 101 条 [M]；1996 第 100 条 [V]"
    ),
    "report.limit.cap-thermal.notice": "热点温度 98 度以上持续 15 min，GB/T 1094.7 [V]",
    "report.limit.cap-thermal.warning": "24 h 平均老化率高于 1，GB/T 1094.7 [V]",
    "report.limit.cap-thermal.major": "正常周期负载下热点温度高于 120 度，GB/T 1094.7 [V]",
    "report.limit.dat-agent-health.notice": "积压超过 80 %、最早消息超过 24 h、未对时超过 1 h，持续 10 min [C]",
    "report.limit.dat-agent-health.warning": "同上，第二级限值 [C]",
    "report.limit.dat-agent-health.major": "同上，第三级限值 [C]",
    "report.limit.dat-clock.notice": "各固件为 1 至 10 min [X]；60 s，两次读数 [C]",
    "report.limit.dat-clock.warning": "广播校时不超过 5 min，DL/T 645 [M]",
    "report.limit.dat-clock.major": "某省电能表规范为 10 min [V]，或日期有误 [C]",
    "report.limit.dat-comm.notice": "ERC31：抄读失败，带最后成功时间 [V]；15 min [C]",
    "report.limit.dat-comm.warning": "一天没有读数 [C]",
    "report.limit.dat-implausible.notice": "功率超过合同两倍；有电流而数值连续 8 次不变，行业做法 [V]；两次读数 [C]",
    "report.limit.dat-missing.notice": "有效数与应有数之比低于 0.95，行业做法 [C]",
    "report.limit.dat-missing.warning": "低于 0.80，行业做法 [C]",
    "report.limit.dat-unknown-meter.warning": "ERC35：发现未知电能表 [V]；读取两次 [C]",
    "report.limit.met-cover.major": "ERC37/38 开表盖、开端钮盒：计数加 1，立即 [V]；计数 03300D00、03300E00 [V]",
    "report.limit.met-ct-overrange.cn-terminal-zj.warning": (
        "过流，省级终端 15 min [V]，其他 5 min [X]；限值同 OI 3005 [V2]"
    ),
    "report.limit.met-ct-overrange.notice": "S 级保证至 In 的 120 % [V]；OI 3005：I > 1.2 Imax 持续 60 s [V2]",
    "report.limit.met-ct-overrange.warning": "15 min 为较重（领域规则 5.2）",
    "report.limit.met-ct-oversized.notice": (
        "不低于 In 的 30 %，S 级 20 %（DL/T 448、GB/T 50063 [V]）；档案未载明准确级，取较低者"
    ),
    "report.limit.met-curr-loss.cn-terminal-zj.warning": (
        "省级终端 1 min [V]，其他 15 min [X]；I < 0.5 % In 同 OI 3004 [V2]，ERC9 本身 [M]"
    ),
    "report.limit.met-curr-loss.warning": "OI 3004：I < 0.5 % In 持续 60 s [V2]；上报需 15 min（领域规则 5.2）",
    "report.limit.met-decrease.major": "ERC27：新示值小于前一示值 [V]；0.01 kWh",
    "report.limit.met-energy-error.warning": "ERC28：电量与功率比较 [V]；24 h 相差 5 %，连续 2 天 [C]",
    "report.limit.met-fly.major": "ERC29：超过按功率算得值的 10 倍，省级默认值 [V]",
    "report.limit.met-magnetic.major": (
        "计数加 1，立即；OI 302A [M]；计数 03350000，国网扩展 [V]；电能表自身延时 0-60 s [X]"
    ),
    "report.limit.met-main-sub.warning": "ERC22：两点差动 [V]；超过 max(3 sigma, 3 %) 或低于 -1 %，连续 3 天 [C]",
    "report.limit.met-param-change.warning": "ERC8、ERC13：参数变更，编程和需量清零计数变化 [V]；03300000、0200 [V]",
    "report.limit.met-param-change.major": "清零重于编程 [C]；计数 03300100、03300300 [V]",
    "report.limit.met-phase-break.cn-terminal-zj.warning": (
        "OI 3003：U < 60 % Un 持续 60 s [V2]；省级终端 1 min，其他 15 min [X]"
    ),
    "report.limit.met-phase-seq.warning": (
        "OI 300F、3010 [V2]；15 min（领域规则 5.2）：状态字四次，按规约间隔 5 min [C]"
    ),
    "report.limit.met-power-consistency.notice": (
        "领域规则 4.6：3 % 加准确级，4 次采样中 3 次且 15 min（Chandel 与 Thakur 2019 [V]）；一般：仅 50 % "
        "的畸变即可引起 0.11 的偏差 [C]"
    ),
    "report.limit.met-power-consistency.major": (
        "畸变无法解释的偏差，而对称负荷失去一个元件或反接必然造成（2/3、1/3、-1/3）[C]；重大：领域规则 5.2"
    ),
    "report.limit.met-ratio-mismatch.major": (
        "对档案的斜率偏差超过 max(3 SE, 0.02 + 准确级)，连续 3 天 [C]；回归法见 Yip 等 2017 [V]；"
        "未经同意变更参数，各省规定 [V]"
    ),
    "report.limit.met-reverse.warning": "OI 3007：-P > 该相基准功率的 0.5 % 持续 60 s [V2]；上报和终端 15 min [V]",
    "report.limit.met-stop.major": "ERC30：应有 0.1 kWh 而示值在 n 个 15 min 内不变 [V]；n = 4 [C]",
    "report.limit.met-sum-rates.warning": "n 个费率示值与总示值的截断误差 [C]；两次读数 [C]",
    "report.limit.met-unbalance-i.notice": "OI 301E：30 % [V2]；上报需 15 min（领域规则 5.2）",
    "report.limit.met-unbalance-i.warning": "OI 302D，严重不平衡：90 % [V2]；上报需 15 min（领域规则 5.2）",
    "report.limit.met-unmetered-current.major": (
        "恒定部分超过 max(3 SE, 额定值的 2 %)，连续 3 天 [C]；回归法见 Yip 等 2017 [V]"
    ),
    "report.limit.met-volt-loss.cn-terminal-zj.warning": (
        "OI 3000：U < 78 % Un 持续 60 s [V2]；省级终端 1 min，其他 15 min [X]"
    ),
    "report.limit.met-volt-loss.cn-terminal-zj.major": "超过 24 h：连续三天出现 [C]",
    "report.limit.pq-outage.warning": "OI 3011：U < 60 % Un [M]；60 s（领域规则 5.4）",
    "report.limit.pq-unbalance-u.notice": "一天的 95 % 不超过 2 %：24 h 中超过二十分之一的刻钟 [C]，GB/T 15543 [V2]",
    "report.limit.pq-unbalance-u.warning": "短时不超过 4 %，GB/T 15543 [V2]；一个窗口（领域规则 5.4）",
    "report.limit.pq-volt-deviation.notice": "三个窗口（领域规则 5.4）",
    "report.limit.pq-volt-event.warning": "OI 3001、3002：持续 60 s [V2]",
    "report.limit.tar-archive-mismatch.warning": "档案与现场保持一致，关键项由专人核对 [V]；读取两次 [C]",
    "report.limit.tar-capacity-rule.notice": (
        "315 kVA 及以上执行两部制，100 kVA 及以下单一制，发改价格〔2023〕526号 [M]；考核标准自 100 kVA 起 [V]"
    ),
    "report.limit.tar-class-shape.warning": "连续四周与另一用电类别更接近，差 0.10 [C]",
    "report.limit.tar-export-undeclared.warning": (
        "连续两天每天超过 1 kWh [C]；未经同意自备电源，供电营业规则 2024 [M]"
    ),
    "report.limit.tar-pf.notice": "考核标准 0.90、0.85 和 0.80，1983 年功率因数调整办法 [V]；调整表 [M]",
    "report.limit.tar-pf.warning": "低于标准 0.10 以上：电费增加 5 % 及以上 [M]",
    "report.limit.tar-step-tier.info": (
        "达到一档的 90 % 和该档本身时各一次 [C]；分档：NDRC 2011-2617 及各省规定 [V, M]"
    ),
    "report.limit.tar-tou-schedule.warning": "时段表有任何不同 [V]；连续两次读取 [C]",
}
